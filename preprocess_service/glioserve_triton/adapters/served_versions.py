"""The version of the classifier that gave an answer: its weights' digest, looked up in the repository's manifests."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.promotion import PROMOTION_FILE, Promotion
from glioserve_triton.served.promotions import load_promotion
from glioserve_triton.served.versions import load_versions

_Stamp = tuple[int, int, int]


class ServedVersions:
    """The versions of a repository, as a server that runs meanwhile sees them.

    Versions of equal weights may differ in their recipes (a temperature fitted later). Among them the answer is of
    the one that serves by ``promotion.json``, else of the one that served last, as while another takes its place.
    """

    def __init__(self, classifier: Path) -> None:
        """GLIO-5108 or GLIO-5103 where the folder's records cannot be read."""
        self._classifier = classifier
        self._stamp = self._stamp_now()
        self._load()

    def find(self, weights_digest: str) -> ServedVersion:
        """Return the version that answers with these weights; GLIO-2101 where no manifest has them."""
        stamp = self._stamp_now()
        if stamp != self._stamp or weights_digest not in self._by_digest:
            # A record that breaks while the server runs must not end its answers: what was read before still holds.
            with contextlib.suppress(GlioserveError):
                self._load()
            self._stamp = stamp
        if weights_digest not in self._by_digest:
            raise GlioserveError(ErrorCode.UNKNOWN_MODEL, f"Weights {weights_digest[:19]}… are in no manifest.")
        return self._by_digest[weights_digest]

    def _load(self) -> None:
        promotion = load_promotion(self._classifier)
        versions = sorted(load_versions(self._classifier), key=lambda v: _precedence(v, promotion))
        self.numbers = tuple(v.version for v in versions)
        """All versions, the one that serves last."""
        self._by_digest = {v.manifest.weights_digest: v for v in versions}  # the last of equals stays

    def _stamp_now(self) -> _Stamp | None:
        """Return a value that changes whenever the record does; None where there is no record."""
        try:
            status = os.stat(self._classifier / PROMOTION_FILE)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size


def _precedence(served: ServedVersion, promotion: Promotion | None) -> tuple[int, int]:
    number = int(served.version)
    return (promotion.recency(number) if promotion else 0, number)
