"""The opinion itself: what a series is by its voxels alone, with a calibrated share for each kind.

It reads no header. It costs some tenths of a CPU second, depends on the voxels alone, and abstains where the likeliest
kind does not reach the threshold at which at most one in a hundred synthetic scans was wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from glioserve_contract.sequences import PixelKind
from glioserve_dicom.volumes.geometry import SequenceVolume
from glioserve_preprocess.opinion.coarse import coarse_head
from glioserve_preprocess.opinion.model import load_opinion_model


@dataclass(frozen=True)
class PixelOpinion:
    """Opinion on what one series is, by its voxels alone."""

    shares: Mapping[PixelKind, float]
    """Calibrated share of every kind; they sum to 1."""
    thresholds: Mapping[PixelKind, float]
    """Share from which each kind is the answer."""

    @property
    def likeliest(self) -> PixelKind:
        """Kind of the largest share, decided or not."""
        return max(self.shares, key=lambda kind: self.shares[kind])

    @property
    def confidence(self) -> float:
        """Largest share, 0 to 1."""
        return self.shares[self.likeliest]

    @property
    def kind(self) -> PixelKind | None:
        """Likeliest kind, or None where its share is below its threshold."""
        return self.likeliest if self.confidence >= self.thresholds[self.likeliest] else None


def opinion_of(volume: SequenceVolume) -> PixelOpinion:
    """Return the opinion on one volume of any orientation and spacing; every share is equal where it shows nothing.

    The same voxels give the same shares to the bit, however the file orders and turns its axes. Any number of threads
    may ask at once.

    Raises:
        GlioserveError: GLIO-5126 where the package's network is damaged.
    """
    model = load_opinion_model()
    thresholds = dict(zip(model.card.kinds, model.card.thresholds, strict=True))
    tensor = coarse_head(volume)
    if tensor is None:
        return PixelOpinion(dict.fromkeys(model.card.kinds, 1 / len(model.card.kinds)), thresholds)
    return PixelOpinion(model.shares(tensor), thresholds)
