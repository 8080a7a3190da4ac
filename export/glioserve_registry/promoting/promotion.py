"""Another version serves: on disk, and on live servers until a canary study is answered by it; else all is undone.

The record says first what is begun, then the configurations change, then each server loads and answers. Whatever
fails, the files become what they were, every server that was touched loads again and must answer with the version
before. A process that is killed in between leaves a record that says so
(:func:`glioserve_registry.layout.verify.verify`), and the next promotion or rollback starts from the version before.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.metrics import outcome_of
from glioserve_contract.records.facts.publication import GateVerdict
from glioserve_contract.records.manifest import Manifest, ServedVersion
from glioserve_contract.records.promotion import Action, Begun, CanaryRecord, Change, Promotion
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_export.files import LOCK_TIMEOUT_S
from glioserve_export.progress import Progress, quiet
from glioserve_registry.layout.repository import locked, versions
from glioserve_registry.layout.serving import (
    current,
    manifest_of,
    utc_now,
    version_folder,
    with_begun,
    with_change,
    without_cut_off,
    write,
    write_record,
)
from glioserve_registry.publishing.gate import (
    Gate,
    check_same_interface,
    judge,
    load_gate,
    require_passed,
    shadow_rules,
)
from glioserve_registry.publishing.publication import checked_export
from glioserve_watch.shadow.comparison import CandidateStanding

LOAD_TIMEOUT_S = 180.0
"""Longest time from the load call until one version alone is ready; a TensorRT plan's warm-up takes a minute."""
_POLL_S = 0.1


class LiveServer(Protocol):
    """A running server over the repository. Its calls raise :class:`GlioserveError`, and none waits without end."""

    @property
    def name(self) -> str:
        """Address of the server, which messages name it by."""

    def ready_versions(self) -> frozenset[int]:
        """Return the classifier's versions that are ready; also shows that the admin token opens model control."""

    def load(self, timeout_s: float) -> None:
        """Load the classifier anew from the repository."""

    def canary(self, served: ServedVersion) -> CanaryRecord:
        """Send a study through the whole pipeline and return the answer, where ``served`` gave it as it should."""


@dataclass(frozen=True)
class Promoted:
    """Result of a promotion or rollback."""

    version: int
    before: int | None
    """The version that served; equal to ``version`` where nothing changed."""
    previous: int | None = None
    """Version that a rollback goes to now."""
    override: str | None = None
    canary: dict[str, CanaryRecord] = field(default_factory=dict)
    cut_off: Begun | None = None
    """An earlier change that had been cut off, and was undone first."""


def promote(
    repository: Path,
    version: int,
    servers: Sequence[LiveServer] = (),
    *,
    override: str | None = None,
    shadows: Sequence[CandidateStanding] = (),
    progress: Progress = quiet,
    load_timeout_s: float = LOAD_TIMEOUT_S,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
) -> Promoted:
    """Have ``version`` serve, once the gate has passed it again.

    ``shadows`` are the comparisons of candidates on live studies; the gate looks for that of ``version`` with the
    version that serves.

    GLIO-5124 for a version that is not there, GLIO-5103 and GLIO-5104 for one that cannot be served here, GLIO-5122
    where the gate refuses it, all before anything is changed; GLIO-5123 where it failed on a live server and was
    undone. Without ``servers`` only files change: a server that polls, or the next start, takes them up.
    """
    with locked(repository, lock_timeout_s):
        gate = load_gate(repository)
        change = _Promotion(repository, "promote", gate, override, progress, load_timeout_s, tuple(shadows))
        return change.run(version, servers)


def rollback(
    repository: Path,
    servers: Sequence[LiveServer] = (),
    *,
    progress: Progress = quiet,
    load_timeout_s: float = LOAD_TIMEOUT_S,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
) -> Promoted:
    """Have the version before serve again; GLIO-5124 where there is none.

    The site's limits on the evaluation are not asked: it has served, and this is for when the new one cannot.
    """
    with locked(repository, lock_timeout_s):
        found = current(repository)
        target = None if found is None else found.begun.from_version if found.begun else found.previous
        if target is None:
            raise GlioserveError(ErrorCode.VERSION_NOT_FOUND, "No version served here before the one that serves.")
        return _Promotion(repository, "rollback", Gate(), None, progress, load_timeout_s).run(target, servers)


def answers_by_new_recipe(repository: Path, promoted: Promoted) -> bool:
    """Return whether running servers follow a change of files alone.

    They do where both versions have the same weights: an answer's version is looked up by its weights' digest.
    """
    numbers = {promoted.version, promoted.before or promoted.version}
    with contextlib.suppress(GlioserveError):  # the version before may be broken, and rolled back from
        weights = [manifest_of(repository, number).weights_digest for number in numbers]
        return len(weights) > len(set(weights))
    return False


@dataclass(frozen=True)
class _Promotion:
    """One change, under the lock."""

    repository: Path
    action: Action
    gate: Gate
    override: str | None
    progress: Progress
    load_timeout_s: float
    shadows: tuple[CandidateStanding, ...] = ()

    def run(self, version: int, servers: Sequence[LiveServer]) -> Promoted:
        found = current(self.repository)
        served, verdict, override = self._judged(version)
        for server in servers:  # reached, and open to this token, before anything is changed
            server.ready_versions()
        before = None if found is None else without_cut_off(found)
        cut_off = found.begun if found is not None else None
        was = before.serving if before is not None else None
        if before is None or was is None:
            raise GlioserveError(ErrorCode.VERSION_NOT_FOUND, "The repository has no version.")
        change = Change(self.action, version, utc_now(), was, gate=verdict, override=override)
        if was == version:
            write(self.repository, before)  # repairs configurations that are not the record's
            answers = self._go_live(served, before, servers, change)
            return Promoted(version, was, before.previous, cut_off=cut_off, canary=answers)
        if not servers:
            after = with_change(before, change)
            write(self.repository, after)
            return Promoted(version, was, after.previous, override, cut_off=cut_off)
        if cut_off is not None:
            write_record(self.repository, before)
        write(self.repository, with_begun(before, Begun(self.action, version, was, change.at)))
        answers = self._go_live(served, before, servers, change)
        after = with_change(before, replace(change, canary=answers))
        write_record(self.repository, after)
        return Promoted(version, was, after.previous, override, answers, cut_off)

    def _judged(self, version: int) -> tuple[ServedVersion, GateVerdict, str | None]:
        """Return the version, the gate's verdict on it as it lies there, and the reason where one was needed."""
        manifest_of(self.repository, version)
        try:
            manifest = checked_export(version_folder(self.repository, version))
        except GlioserveError as error:
            raise GlioserveError(error.code, f"Version {version} of the repository: {error.detail}") from error
        for other in versions(self.repository):
            try:
                theirs = manifest_of(self.repository, other)
            except GlioserveError:
                if self.action == "rollback":
                    continue  # it fitted when it served, and the one to get away from may be the broken one
                raise
            check_same_interface(other, theirs, manifest)
        verdict = judge(self.gate, manifest)
        if self.action == "promote":
            verdict = verdict.with_rules(shadow_rules(self.gate, self._shadow_of(manifest)))
        override = None if self.action == "rollback" else require_passed(verdict, self.override)
        return ServedVersion(CLASSIFIER_MODEL.name, str(version), manifest), verdict, override

    def _shadow_of(self, manifest: Manifest) -> CandidateStanding | None:
        """Return how the version did as a candidate beside the one that serves."""
        found = current(self.repository)
        if found is None:
            return None
        serves = manifest_of(self.repository, found.serving).weights_digest
        pair = (manifest.weights_digest, serves)
        return next((s for s in self.shadows if (s.candidate_digest, s.served_digest) == pair), None)

    def _go_live(
        self, served: ServedVersion, before: Promotion, servers: Sequence[LiveServer], change: Change
    ) -> dict[str, CanaryRecord]:
        """Let every server in turn load and answer; where any fails, undo all and raise GLIO-5123."""
        answers: dict[str, CanaryRecord] = {}
        touched: list[LiveServer] = []
        try:
            for server in servers:
                touched.append(server)
                answers[server.name] = self._serve(server, served)
        except BaseException as error:
            undone = self._undo(before, touched, change, error)
            self.progress(undone)
            if not isinstance(error, Exception):
                raise  # an interruption goes on, with everything as it was
            raise GlioserveError(
                ErrorCode.PROMOTION_UNDONE,
                f"Version {served.version} on {touched[-1].name}: {_said(error)} {undone}",
            ) from error
        return answers

    def _serve(self, server: LiveServer, served: ServedVersion) -> CanaryRecord:
        self.progress(f"{server.name}: loading version {served.version}")
        server.load(self.load_timeout_s)
        deadline = time.monotonic() + self.load_timeout_s
        # Alone: while two are ready, Triton lets the higher number answer.
        while (ready := _ready(server)) != {int(served.version)}:
            if time.monotonic() > deadline:
                there = ", ".join(map(str, sorted(ready))) or "none"
                raise GlioserveError(
                    ErrorCode.SERVER_FAILED,
                    f"After {self.load_timeout_s:g} s the versions that are ready are: {there}; not {served.version} "
                    "alone. Is it this repository that the server serves?",
                )
            time.sleep(_POLL_S)
        self.progress(f"{server.name}: canary study")
        return server.canary(served)

    def _undo(self, before: Promotion, touched: Sequence[LiveServer], change: Change, error: BaseException) -> str:
        """Restore files, then servers, and return the report; GLIO-5123 with what to do where that fails too."""
        self.progress(f"failed ({_said(error)}); undoing")
        problems, refused = [], False
        try:
            undone = before
            if change.from_version != change.to_version:
                undone = with_change(before, replace(change, undone=_said(error)))
            write(self.repository, undone)
            manifest = manifest_of(self.repository, before.serving)
        except (GlioserveError, OSError) as trouble:
            problems.append(f"the files: {_said(trouble)}")
        else:
            back = ServedVersion(CLASSIFIER_MODEL.name, str(before.serving), manifest)
            for server in touched:
                try:
                    self._serve(server, back)
                except GlioserveError as trouble:
                    # By then this version alone is ready: a study that it refuses is not the server's fault.
                    if outcome_of(trouble.code) == "refused":
                        refused = True
                    else:
                        problems.append(f"{server.name}: {_said(trouble)}")
        if problems:
            raise GlioserveError(
                ErrorCode.PROMOTION_UNDONE,
                f"Version {change.to_version}: {_said(error)} UNDOING IT FAILED TOO ({'; '.join(problems)}). Which "
                "version answers is NOT known.",
                f"Run `glioserve repository verify`, then `glioserve repository promote {before.serving}` without "
                "--url, and restart the servers named here.",
            ) from error
        if refused:
            return (
                f"Undone: version {before.serving} serves, and refuses the canary study too: send another (--canary)."
            )
        return f"Undone: version {before.serving} serves, and has answered."


def _ready(server: LiveServer) -> frozenset[int]:
    """Return the versions that are ready; none while the server is too busy with loading to report them."""
    try:
        return server.ready_versions()
    except GlioserveError:
        return frozenset()


def _said(error: BaseException) -> str:
    """Return the error's words for a record that stays.

    An unknown error is named by its type alone, since its text may name people or places.
    """
    if isinstance(error, KeyboardInterrupt):
        return "It was interrupted."
    if isinstance(error, GlioserveError):
        return f"[{error.token}] {error.detail}"
    reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}{reason}."
