"""The version of the classifier that gave an answer: its weights' digest, looked up in the repository's manifests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.promotion import PROMOTION_FILE, Promotion
from glioserve_triton.served.promotions import load_promotion
from glioserve_triton.served.versions import load_versions, readable_versions

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
        self._promotion = load_promotion(classifier)
        self._take(load_versions(classifier))

    def find(self, weights_digest: str) -> ServedVersion:
        """Return the version that answers with these weights; GLIO-2101 where no manifest has them."""
        stamp = self._stamp_now()
        if stamp != self._stamp or weights_digest not in self._by_digest:
            self._read_again(stamp)
        if weights_digest not in self._by_digest:
            raise GlioserveError(ErrorCode.UNKNOWN_MODEL, f"Weights {weights_digest[:19]}… are in no manifest.")
        return self._by_digest[weights_digest]

    def _read_again(self, stamp: _Stamp | None) -> None:
        """Take what can be read: a file that breaks while the server runs leaves what was read of it before."""
        with contextlib.suppress(GlioserveError):
            self._promotion = load_promotion(self._classifier)
            self._stamp = stamp
        known = {served.version: served for served in self._versions}
        self._take([*{**known, **{v.version: v for v in readable_versions(self._classifier)}}.values()])

    def _take(self, versions: Sequence[ServedVersion]) -> None:
        self._versions = sorted(versions, key=lambda v: _precedence(v, self._promotion))
        self.numbers = tuple(v.version for v in self._versions)
        """All versions, the one that serves last."""
        self._by_digest = {v.manifest.weights_digest: v for v in self._versions}  # the last of equals stays

    def _stamp_now(self) -> _Stamp | None:
        """Return a value that changes whenever the record does; None where there is no record."""
        try:
            status = os.stat(self._classifier / PROMOTION_FILE)
        except OSError:
            return None
        return status.st_ctime_ns, status.st_ino, status.st_size


def _precedence(served: ServedVersion, promotion: Promotion | None) -> tuple[int, int]:
    number = int(served.version)
    return (promotion.recency(number) if promotion else 0, number)
