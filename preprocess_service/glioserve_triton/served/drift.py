"""Drift of a repository's versions: their references, read and checked once, and the monitor of a running server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError, sha256_digest
from glioserve_contract.records.studies.drift import DRIFT_REFERENCE_FILE, DriftReference, parse_drift_reference
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_triton.process.logs import Log
from glioserve_triton.served.versions import load_manifest
from glioserve_watch.drift.monitor import DriftMonitor
from glioserve_watch.drift.state import STATE_FILE


def load_drift_reference(folder: Path) -> DriftReference | None:
    """Return the reference of a version's folder, held to the manifest; None where the version has none.

    Raises:
        GlioserveError: GLIO-5103 where the file is not the manifest's, GLIO-5102 where it is another network's.
    """
    manifest = load_manifest(folder)
    wanted = manifest.files.get(DRIFT_REFERENCE_FILE)
    if wanted is None:
        return None
    try:
        content = (folder / DRIFT_REFERENCE_FILE).read_bytes()
    except OSError as error:
        raise GlioserveError(ErrorCode.INVALID_MANIFEST, f"{DRIFT_REFERENCE_FILE}: {error.strerror}.") from error
    if sha256_digest(content) != wanted:
        raise GlioserveError(ErrorCode.INVALID_MANIFEST, f"{DRIFT_REFERENCE_FILE} is not the file the manifest names.")
    return parse_drift_reference(content, manifest.recipe, manifest.weights_digest)


class DriftReferences:
    """References by version and weights, looked up when the first study of a version asks for its own."""

    def __init__(self, classifier: Path, on_problem: Callable[[str, str], None]) -> None:
        """``on_problem`` is called once for a version whose reference is missing or unfit, with the reason."""
        self._classifier, self._on_problem = classifier, on_problem
        self._known: dict[tuple[str, str], DriftReference | None] = {}

    def __call__(self, version: str, weights_digest: str) -> DriftReference | None:
        """Return the reference of a version that has these weights; None where there is none that fits."""
        key = version, weights_digest
        if key not in self._known:
            self._known[key] = self._find(*key)
        return self._known[key]

    def _find(self, version: str, weights_digest: str) -> DriftReference | None:
        try:
            reference = load_drift_reference(self._classifier / version)
        except GlioserveError as error:
            self._on_problem(version, error.detail)
            return None
        if reference is None:
            self._on_problem(version, f"the version has no {DRIFT_REFERENCE_FILE}")
        elif reference.weights_digest != weights_digest:
            self._on_problem(version, "other weights have the version's number now")
            return None
        return reference


def watch_drift(repository: Path, folder: Path | None, log: Log) -> DriftMonitor:
    """Return the monitor of a repository's versions, with the windows of the last run where ``folder`` has them.

    A state that cannot be read is set aside and told: drift must not keep a server from serving.
    """

    def no_reference(version: str, reason: str) -> None:
        log.event("drift is not watched", classifier_version=version, reason=reason)

    def flagged(version: str, site: str, feature: str, is_set: bool) -> None:
        if is_set:
            log.event("studies differ from the training", "warning", version=version, site=site, feature=feature)
        else:
            log.event("studies no longer differ from the training", version=version, site=site, feature=feature)

    references = DriftReferences(repository / CLASSIFIER_MODEL.name, no_reference)
    try:
        return DriftMonitor(references, folder, flagged)
    except GlioserveError as error:
        assert folder is not None
        log.event("drift begins anew", "error", reason=error.detail)
        (folder / STATE_FILE).replace(folder / f"{STATE_FILE}.damaged")
        return DriftMonitor(references, folder, flagged)
