"""A run: failures are rows, interrupts and kills lose nothing that was done, and it goes on where it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_evaluation.runs import results
from glioserve_evaluation.runs.prediction import CasePrediction
from glioserve_evaluation.runs.results import RESULTS_FILE, Outcome, ResultStore
from glioserve_evaluation.runs.run import run_cases, without_identifiers
from support.results.evaluation import MODEL, facts, prediction, small_cohort

TESTS = Path(__file__).resolve().parents[1]
WAIT_S = 60.0


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    with ResultStore(tmp_path / "out", small_cohort(tmp_path / "cohort"), MODEL, resume=True) as opened:
        yield opened


def answering(**special: Callable[[], CasePrediction]) -> Callable[[Path], CasePrediction]:
    """0.2 for every study but those named by number (``_3=...``)."""

    def predict(study: Path) -> CasePrediction:
        return special.get(f"_{study.name[-1]}", lambda: prediction(0.2))()

    return predict


def raising(error: BaseException) -> Callable[[], CasePrediction]:
    def fail() -> CasePrediction:
        raise error

    return fail


def dies(study: Path) -> CasePrediction:
    """End this process as the kernel ends one for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError(study)


def test_every_case_gets_its_outcome(store: ResultStore) -> None:
    predictor = answering(_1=lambda: prediction(0.5), _2=lambda: prediction(0.9, abstained=2))
    seen = []
    run_cases(store, predictor, on_outcome=seen.append, progress=False)
    assert [o.predicted for o in store.outcomes] == ["necrosis", "recurrence", "recurrence", *["necrosis"] * 3]
    assert [o.abstained for o in store.outcomes] == [0, 0, 2, 0, 0, 0]
    assert [o.labelled for o in store.outcomes] == [True, True, False, True, True, True]
    assert store.outcomes[2].quality == "review"
    assert tuple(seen) == store.outcomes
    assert {(o.weights_digest, o.model_version) for o in store.outcomes} == {(MODEL.weights_digest, "3")}
    assert store.pending == ()


def test_a_failed_study_is_a_row(store: ResultStore) -> None:
    refusal = GlioserveError(ErrorCode.TOO_FEW_SLICES, "t1ce has 20 slices, the recipe wants 32.")
    run_cases(store, answering(_1=raising(refusal)), model=MODEL, progress=False)
    failed = store.outcomes[1]
    assert (failed.error, failed.detail) == ("GLIO-1303", "t1ce has 20 slices, the recipe wants 32.")
    assert (failed.score, failed.predicted, failed.weights_digest) == (None, "", MODEL.weights_digest)
    assert sum(o.labelled for o in store.outcomes) == 5
    assert store.pending == ()


def test_an_unknown_error_is_a_row_without_its_text(store: ResultStore) -> None:
    run_cases(store, answering(_1=raising(KeyError("DOE^JOHN"))), progress=False)
    failed = store.outcomes[1]
    assert (failed.error, failed.detail) == ("unknown", "KeyError")
    assert [c.case for c in store.pending] == ["c1"]


@pytest.mark.parametrize(
    ("detail", "left"),
    [
        ("{study} holds no files.", "[study] holds no files."),
        ("DOE^JOHN 4 is empty.", "[study] is empty."),
        ("/mnt/archive/DOE/1.dcm cannot be read.", "[path] cannot be read."),
        ("~/cohort/x and C:\\cohort\\x.dcm", "[path] and [path]"),
        ("Series 1.2.840.113619.2.55.3 fits t1.", "Series [UID] fits t1."),
        ("Spacing 1.25 mm, 3/4 of it; and/or 12.5.", "Spacing 1.25 mm, 3/4 of it; and/or 12.5."),
    ],
)
def test_details_travel_without_paths_and_identifiers(detail: str, left: str) -> None:
    study = Path("/data/cohort/DOE^JOHN 4")
    assert without_identifiers(detail.format(study=study), study) == left


def test_progress_is_told_on_stderr(store: ResultStore, capsys: pytest.CaptureFixture[str]) -> None:
    run_cases(store, answering(_1=raising(ValueError())), progress=True)
    told = capsys.readouterr()
    assert "6/6" in told.err
    assert "failed=1" in told.err
    assert told.out == ""


def test_a_server_that_changes_its_network_ends_the_run(store: ResultStore) -> None:
    other = prediction(0.7, model=facts(weights_digest="sha256:" + "1" * 64))
    with pytest.raises(GlioserveError, match="one network at a time"):
        run_cases(store, answering(_3=lambda: other), progress=False)
    assert [o.case for o in store.outcomes] == ["c0", "c1", "c2"]


def test_threads_answer_all_cases(store: ResultStore) -> None:
    with ThreadPoolExecutor(3) as pool:
        run_cases(store, answering(_4=lambda: prediction(0.8)), executor=pool, progress=False)
    assert [o.score for o in store.outcomes] == [0.2, 0.2, 0.2, 0.2, 0.8, 0.2]


def test_a_worker_that_dies_is_told_and_the_studies_stay_pending(store: ResultStore) -> None:
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
        pytest.raises(GlioserveError, match="fewer --workers"),
    ):
        run_cases(store, dies, executor=pool, progress=False)
    assert len(store.pending) == 6


def test_an_interrupt_keeps_what_is_done_and_the_rest_is_asked_later(tmp_path: Path, store: ResultStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_cases(store, answering(_2=raising(KeyboardInterrupt())), progress=False)
    assert [o.case for o in store.outcomes] == ["c0", "c1"]
    asked = []
    run_cases(store, lambda study: asked.append(study.name[-1]) or prediction(0.3), progress=False)
    assert asked == ["2", "3", "4", "5"]
    assert len(store.outcomes) == 6


class RecordingPool(ThreadPoolExecutor):
    """Threads whose pool knows when an interrupt has been handled: studies that were not begun are cancelled."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.futures: list[Future[object]] = []

    def submit(self, *args: object, **options: object) -> Future[object]:
        self.futures.append(super().submit(*args, **options))
        return self.futures[-1]

    def wait_until_cancelled(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while not any(future.cancelled() for future in self.futures):
            assert time.monotonic() < deadline
            time.sleep(0.005)


def interrupt_once(monkeypatch: pytest.MonkeyPatch, moment: str) -> Callable[[Outcome], None]:
    """Send SIGINT at ``moment`` of storing the first outcome; the answer is ``run_cases``' ``on_outcome``."""
    sent = []

    def send() -> None:
        if not sent:
            sent.append(moment)
            signal.raise_signal(signal.SIGINT)

    def before(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def interrupted(*args: object) -> object:
            send()
            return original(*args)

        monkeypatch.setattr(owner, name, interrupted)

    if moment == "before the line is written":
        before(ResultStore, "add")
    if moment == "before the line is on the disk":
        before(results.os, "fsync")
    return lambda _: send() if moment == "after the line is stored" else None


MOMENTS = ["before the line is written", "before the line is on the disk", "after the line is stored"]


def cases_on_disk(folder: Path) -> list[str]:
    """The cases of the outcomes' lines, each of which must be whole."""
    content = (folder / "out" / RESULTS_FILE).read_bytes()
    assert content.endswith(b"\n")
    lines = [json.loads(line) for line in content.splitlines()]
    return sorted(line["case"] for line in lines if line["kind"] == "outcome")


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_while_an_outcome_is_stored_keeps_the_studies_under_way(
    moment: str, tmp_path: Path, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    with RecordingPool(2) as pool:

        def predict(study: Path) -> CasePrediction:
            asked.append(f"c{study.name[-1]}")
            if study.name[-1] != "0":  # under way from before the interrupt until it has been handled
                pool.wait_until_cancelled()
            return prediction(0.3)

        with pytest.raises(KeyboardInterrupt):
            run_cases(store, predict, executor=pool, on_outcome=interrupt_once(monkeypatch, moment), progress=False)
    assert cases_on_disk(tmp_path) == sorted(asked)  # each once
    assert 2 <= len(asked) < 6
    assert sorted(o.case for o in store.outcomes) == sorted(asked)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    asked.clear()
    run_cases(store, lambda study: asked.append(study) or prediction(0.3), progress=False)
    assert len(cases_on_disk(tmp_path)) == 6
    assert store.pending == ()


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_while_an_outcome_is_stored_ends_a_run_of_one_worker_behind_it(
    moment: str, tmp_path: Path, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    with pytest.raises(KeyboardInterrupt):
        run_cases(
            store,
            lambda study: asked.append(study) or prediction(0.3),
            on_outcome=interrupt_once(monkeypatch, moment),
            progress=False,
        )
    assert len(asked) == 1
    assert cases_on_disk(tmp_path) == ["c0"]


def test_a_second_interrupt_ends_the_run_at_once(tmp_path: Path, store: ResultStore) -> None:
    released = threading.Event()
    with RecordingPool(2) as pool:

        def predict(study: Path) -> CasePrediction:
            if study.name[-1] == "1":
                released.wait(WAIT_S)
            elif study.name[-1] != "0":
                pool.wait_until_cancelled()
            return prediction(0.3)

        try:
            with pytest.raises(KeyboardInterrupt):
                run_cases(
                    store,
                    predict,
                    executor=pool,
                    on_outcome=lambda _: signal.raise_signal(signal.SIGINT),
                    progress=False,
                )
            assert "c1" not in cases_on_disk(tmp_path)
        finally:
            released.set()
    run_cases(store, answering(), progress=False)
    assert store.pending == ()


def test_a_run_outside_the_main_thread_leaves_signals_alone(store: ResultStore) -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []
    with ThreadPoolExecutor(1) as other:
        other.submit(
            run_cases,
            store,
            answering(),
            on_outcome=lambda _: seen.append(signal.getsignal(signal.SIGINT)),
            progress=False,
        ).result(WAIT_S)
    assert seen == [before] * 6


RUN = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from glioserve_evaluation.runs.cohort import load_cohort
from glioserve_evaluation.runs.results import ResultStore
from glioserve_evaluation.runs.run import run_cases
from support.results.evaluation import MODEL, prediction

folder, workers = Path(sys.argv[1]), int(sys.argv[2])
futures = []

class Pool(ThreadPoolExecutor):
    def submit(self, *args):
        futures.append(super().submit(*args))
        return futures[-1]

def three_then_none_until_interrupted(study):
    (folder / f"asked-{study.name[-1]}").touch()
    while study.name[-1] > "2" and not any(future.cancelled() for future in futures):
        time.sleep(0.01)
    return prediction(0.4)

with ResultStore(folder / "out", load_cohort(folder / "cohort" / "cohort.csv"), MODEL, resume=True) as store:
    with Pool(workers) as pool:
        run_cases(store, three_then_none_until_interrupted, executor=pool if workers > 1 else None)
"""
"""A run that can only end by a signal: how fast it or its observer is makes no difference."""


def outcomes_on_disk(folder: Path) -> int:
    try:
        lines = (folder / "out" / RESULTS_FILE).read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return 0
    return sum(json.loads(line)["kind"] == "outcome" for line in lines)


@pytest.mark.parametrize(("how", "workers"), [(signal.SIGKILL, 1), (signal.SIGINT, 2)])
def test_a_run_that_is_ended_goes_on_where_it_stopped(tmp_path: Path, how: signal.Signals, workers: int) -> None:
    cohort = small_cohort(tmp_path / "cohort", 9)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    running = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path), str(workers)], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + WAIT_S
        while outcomes_on_disk(tmp_path) < 2 and running.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        running.send_signal(how)
        _, told = running.communicate(timeout=WAIT_S)
    finally:
        running.kill()
    assert running.returncode != 0
    kept = outcomes_on_disk(tmp_path)
    assert 2 <= kept < 9, told
    if how == signal.SIGINT:  # the studies under way were brought to their end, and no other was begun
        assert "KeyboardInterrupt" in told
        assert kept == len(list(tmp_path.glob("asked-*")))
    asked = []
    with ResultStore(tmp_path / "out", cohort, MODEL, resume=True) as store:
        assert len(store.outcomes) == kept
        run_cases(store, lambda study: asked.append(study) or prediction(0.3), progress=False)
        assert len(asked) == 9 - kept
        assert store.pending == ()
