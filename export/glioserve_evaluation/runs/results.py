"""Each case's outcome as a line of its own, on the disk before the next one counts: a run can end at any time.

``results.jsonl``: a header (which cohort), the network's facts once they are known, one line per outcome. A line that
was cut off is dropped; lines of another cohort or network are refused, never mixed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from types import TracebackType
from typing import Literal

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, from_dict, to_dict
from glioserve_contract.errors import Retry, find_code
from glioserve_evaluation.runs.cohort import Cohort, CohortCase, CohortLabel
from glioserve_evaluation.runs.prediction import ModelFacts

RESULTS_FILE = "results.jsonl"
RESULTS_SCHEMA: Literal["glioserve/evaluation-results/1"] = "glioserve/evaluation-results/1"
UNKNOWN_ERROR = "unknown"
"""Value in place of a code, for an error that no stage knows; its detail is the name of its type alone."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one case; a failed one has ``error`` and no score."""

    case: str
    label: CohortLabel
    group: str
    seconds: float
    """Time from reading the folder to the answer."""
    score: float | None = None
    predicted: Literal["necrosis", "recurrence", ""] = ""
    """The diagnosis on whose side of the threshold the score lies, also where the answer abstained."""
    abstained: int = 0
    """Number of reasons to give no label."""
    quality: Literal["ok", "review", ""] = ""
    error: str = ""
    """Code of the error as ``GLIO-dddd``, or :data:`UNKNOWN_ERROR`; empty where there is an answer."""
    detail: str = ""
    """Detail of the error, without paths and identifiers."""
    model_version: str = ""
    weights_digest: str = ""
    """Digest of the network that answered, or would have; empty where a server refused the study, as it names none."""

    @property
    def labelled(self) -> bool:
        """True if there was a label: the case neither failed nor abstained."""
        return self.score is not None and not self.abstained

    @property
    def may_pass_later(self) -> bool:
        """True if the case failed for a reason that lies outside the study."""
        if not self.error:
            return False
        code = find_code(self.error)
        return code is None or code.row.retry is Retry.YES

    @property
    def asked_again(self) -> bool:
        """True if the next run asks the case again, as it also does where the network that failed is not known."""
        return self.may_pass_later or (bool(self.error) and not self.weights_digest)


@dataclass(frozen=True)
class _Header:
    schema: Literal["glioserve/evaluation-results/1"]
    cohort_digest: str
    studies_digest: str


class ResultStore:
    """Append-only results of one cohort and one network; a context manager, which holds the file for itself.

    Raises GLIO-5121 if the file is of another cohort or network, is damaged, or another run is writing to it.
    """

    def __init__(self, folder: Path, cohort: Cohort, model: ModelFacts | None, *, resume: bool) -> None:
        """Open or begin ``folder/results.jsonl``; ``model`` is the network, where it is known beforehand."""
        self._path = folder / RESULTS_FILE
        self._cohort = cohort
        self.model = model
        self._outcomes: dict[str, Outcome] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._file = _locked(self._path)
        try:
            if not resume:
                self._file.truncate(0)
            kinds = self._read()
            if "cohort" not in kinds:
                self._append("cohort", _Header(RESULTS_SCHEMA, cohort.digest, cohort.studies_digest))
            if "model" not in kinds and model is not None:
                self._append("model", model)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ResultStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()  # which also frees the lock

    @property
    def pending(self) -> tuple[CohortCase, ...]:
        """Cases to be asked: those without an outcome, and those whose failure may not occur again."""
        known = self._outcomes
        return tuple(c for c in self._cohort.cases if c.case not in known or known[c.case].asked_again)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Outcomes in the cohort's order; cases without one are left out."""
        return tuple(self._outcomes[c.case] for c in self._cohort.cases if c.case in self._outcomes)

    def check_model(self, model: ModelFacts) -> None:
        """Note which network answers; GLIO-5121 where another one did before."""
        if self.model is None:
            self.model = model
            self._append("model", model)
        elif not self.model.same_network(model):
            raise _refused(
                f"The network of {RESULTS_FILE} is {_name(self.model)}, this one is {_name(model)}; "
                "evaluate one network at a time (a promotion under way changes a server's), name another --out, or "
                "begin anew with --no-resume"
            )

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome, which is on the disk when this returns."""
        self._append("outcome", outcome)
        self._outcomes[outcome.case] = outcome

    def _append(self, kind: str, value: object) -> None:
        line = json.dumps({"kind": kind, **to_dict(value)}, ensure_ascii=True, allow_nan=False)
        self._file.write(line.encode("ascii") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> set[str]:
        """Read the whole lines that are there, cut off the rest, and return the kinds of the lines."""
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        self._file.truncate(whole)
        self._file.seek(whole)
        kinds: set[str] = set()
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                kinds.add(self._take(number, json.loads(line)))
            except (UnicodeDecodeError, json.JSONDecodeError, SchemaError, AttributeError, KeyError) as error:
                raise _refused(
                    f"Line {number} of {RESULTS_FILE} is damaged ({type(error).__name__}); begin anew with --no-resume"
                ) from None
        return kinds

    def _take(self, number: int, value: dict[str, object]) -> str:
        kind = value.pop("kind")
        if not isinstance(kind, str) or (kind == "cohort") != (number == 1):
            raise KeyError(kind)
        if kind == "cohort":
            header = from_dict(_Header, value)
            if (header.cohort_digest, header.studies_digest) != (self._cohort.digest, self._cohort.studies_digest):
                raise _refused(
                    f"{RESULTS_FILE} is of another cohort than this table; name another --out, or begin anew with "
                    "--no-resume"
                )
        elif kind == "model":
            found = from_dict(ModelFacts, value)
            expected, self.model = self.model, found
            if expected is not None:
                self.check_model(expected)
        elif kind == "outcome":
            outcome = from_dict(Outcome, value)
            self._outcomes[outcome.case] = outcome
        else:
            raise KeyError(kind)
        return kind


def _locked(path: Path) -> BufferedRandom:
    try:
        path.touch()
        file = path.open("r+b")
    except OSError as error:
        raise _refused(f"{RESULTS_FILE} cannot be written: {error.strerror}") from error
    # flock on the open results themselves, so that no lock file stays beside them: filelock opens and locks a file of
    # its own, and would hold another descriptor than the one that writes.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise _refused(f"Another evaluation is writing to this {RESULTS_FILE}; name another --out") from None
    return file


def _name(model: ModelFacts) -> str:
    return f"{model.name} (weights {model.weights_digest[7:19]}…, recipe {model.recipe_digest[7:19]}…)"


def _refused(problem: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_COHORT, f"{problem}.")


def require_answers(outcomes: Sequence[Outcome]) -> None:
    """Raise GLIO-5121, with up to three of the errors, where not one study was answered."""
    if not any(o.score is not None for o in outcomes):
        errors = ", ".join(sorted({f"{o.error}: {o.detail}" for o in outcomes})[:3])
        raise GlioserveError(ErrorCode.INVALID_COHORT, f"Not one of {len(outcomes)} studies was answered ({errors}).")
