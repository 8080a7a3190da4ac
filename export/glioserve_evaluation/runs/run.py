"""Ask a predictor for every case that has no outcome yet.

A failed study is a row; only what would spoil the other outcomes ends a run.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_evaluation.runs.cohort import CohortCase
from glioserve_evaluation.runs.interrupts import HeldInterrupts
from glioserve_evaluation.runs.prediction import CasePrediction, ModelFacts, Predictor
from glioserve_evaluation.runs.results import UNKNOWN_ERROR, Outcome, ResultStore

_UID = re.compile(r"\b[0-2](?:\.\d+){4,}\b")
_PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:\\|\\\\|~?/)[^\s\"',;:]+")
MAX_DETAIL_LENGTH = 500


@dataclass(frozen=True)
class _Asked:
    """A worker's result: frozen values alone, so that they travel between processes."""

    case: CohortCase
    seconds: float
    prediction: CasePrediction | None = None
    error: str = ""
    detail: str = ""


def run_cases(
    store: ResultStore,
    predictor: Predictor,
    *,
    executor: Executor | None = None,
    model: ModelFacts | None = None,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    progress: bool = True,
) -> None:
    """Bring every pending case of ``store`` to an outcome.

    Args:
        store: The results, which keep each outcome at once.
        predictor: The function from a study's folder to its answer; picklable where ``executor`` uses processes.
        executor: The workers; None runs one case after the other, in this thread.
        model: The network that failed cases are attributed to, where it is known without an answer.
        on_outcome: A function that is called with each outcome once it is stored.
        progress: Show a progress bar on stderr.

    Raises:
        GlioserveError: GLIO-5121 where another network answers than before, or a worker process ended.
        KeyboardInterrupt: SIGINT arrived, at whatever moment. An outcome that was being stored is stored whole. The
            studies that ``executor`` had begun were still brought to their end and stored, unless a second SIGINT
            arrived; without an executor the one study under way is asked again by the next run.
    """
    interrupts = HeldInterrupts()
    pending = store.pending
    done = len(store.outcomes) - sum(o.asked_again for o in store.outcomes)
    failed = 0
    bar = tqdm(
        total=done + len(pending), initial=done, desc="studies", unit="study", mininterval=1, disable=not progress
    )
    with interrupts.held(), bar, closing(_ask_all(pending, predictor, executor, interrupts)) as answers:
        for asked in answers:
            if asked.prediction is not None:
                store.check_model(asked.prediction.model)
            outcome = _outcome(asked, model)
            store.add(outcome)
            on_outcome(outcome)
            failed += bool(outcome.error)
            if failed:
                bar.set_postfix(failed=failed, refresh=False)
            bar.update()


def ignore_interrupts() -> None:
    """Ignore SIGINT in a worker process: the parent handles a terminal's Ctrl-C and lets its workers finish."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _ask_all(
    cases: Sequence[CohortCase], predictor: Predictor, executor: Executor | None, interrupts: HeldInterrupts
) -> Generator[_Asked]:
    """Yield the results as they are ready."""
    if executor is None:
        for case in cases:
            with interrupts.let_through():
                asked = _ask(predictor, case)
            yield asked
        return
    open_futures: set[Future[_Asked]] = {executor.submit(_ask, predictor, case) for case in cases}
    try:
        yield from _as_completed(open_futures, interrupts)
    finally:  # however the run ended: studies that no worker has begun are not begun
        for future in open_futures:
            future.cancel()


def _as_completed(open_futures: set[Future[_Asked]], interrupts: HeldInterrupts) -> Generator[_Asked]:
    """Yield the results as they are ready; after an interrupt only those of studies that a worker has begun.

    A second interrupt is raised at once.
    """
    interrupted: KeyboardInterrupt | None = None
    while open_futures:
        try:
            with interrupts.let_through():
                reached = wait(open_futures, return_when=FIRST_COMPLETED)
        except KeyboardInterrupt as error:
            if interrupted is not None:
                raise
            interrupted = error
            open_futures = {f for f in open_futures if not f.cancel()}
            continue
        done, open_futures = reached  # outside the block: an interrupt at its end loses no result
        for future in done:
            try:
                yield future.result()
            except BrokenExecutor as error:
                raise GlioserveError(
                    ErrorCode.INVALID_COHORT,
                    "A worker process ended, probably for want of memory. What is done is kept: run again with fewer "
                    "--workers.",
                ) from error
    if interrupted is not None:
        raise interrupted


def _ask(predictor: Predictor, case: CohortCase) -> _Asked:
    started = time.perf_counter()
    try:
        prediction = predictor(case.folder)
    except GlioserveError as error:
        detail = without_identifiers(error.detail, case.folder)
        return _Asked(case, time.perf_counter() - started, error=error.token, detail=detail)
    except Exception as error:  # noqa: BLE001 - one study must not end an evaluation; its text may carry anything
        return _Asked(case, time.perf_counter() - started, error=UNKNOWN_ERROR, detail=type(error).__name__)
    return _Asked(case, time.perf_counter() - started, prediction)


def without_identifiers(detail: str, study: Path) -> str:
    """Return an error's detail for results that travel, without the study's path and name and any path or UID.

    Names of one or two characters are not looked for: they would take every such letter out of the text.
    """
    for text in sorted({str(study), str(study.resolve()), study.name, study.stem}, key=len, reverse=True):
        if len(text) > 2:
            detail = detail.replace(text, "[study]")
    return _UID.sub("[UID]", _PATH.sub("[path]", detail))[:MAX_DETAIL_LENGTH]


def _outcome(asked: _Asked, model: ModelFacts | None) -> Outcome:
    case, prediction = asked.case, asked.prediction
    seconds = round(asked.seconds, 3)
    if prediction is None:
        known = (model.version, model.weights_digest) if model else ("", "")
        return Outcome(
            case.case, case.label, case.group, seconds,
            error=asked.error, detail=asked.detail, model_version=known[0], weights_digest=known[1],
        )  # fmt: skip
    facts = prediction.model
    return Outcome(
        case=case.case,
        label=case.label,
        group=case.group,
        seconds=seconds,
        score=prediction.score,
        predicted="recurrence" if prediction.score >= facts.threshold else "necrosis",
        abstained=prediction.abstained,
        quality=prediction.quality,
        model_version=facts.version,
        weights_digest=facts.weights_digest,
    )
