"""The input of a study as drift is measured: scanner and intensities of each channel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from glioserve_contract import Modality
from glioserve_contract.records.studies.inputs import HISTOGRAM_BINS, InputRecord, SequenceInput
from glioserve_preprocess.arrays import ByteArray, FloatArray
from glioserve_preprocess.series.acquisition import Acquisition

_DIGITS = 6
"""Decimals of a share: finer than one voxel of the largest network grid in use."""


def input_record(
    channels: Mapping[Modality, FloatArray], brain_mask: ByteArray, acquisitions: Mapping[Modality, Acquisition]
) -> InputRecord:
    """Return the record of the network's input.

    Args:
        channels: Normalised channels [D, H, W], 0 to 1, in the order of the network.
        brain_mask: The brain, 0 or 1 [D, H, W], with at least one voxel of the brain.
        acquisitions: Headers of the series that were used; empty for volumes.
    """
    inside = brain_mask > 0
    return InputRecord(tuple(_sequence(m, image[inside], acquisitions.get(m)) for m, image in channels.items()))


def _sequence(modality: Modality, values: FloatArray, acquisition: Acquisition | None) -> SequenceInput:
    counts, _ = np.histogram(values, bins=HISTOGRAM_BINS, range=(0.0, 1.0))
    shares = tuple(round(float(share), _DIGITS) for share in counts / counts.sum())
    if acquisition is None:
        return SequenceInput(modality, shares)
    return SequenceInput(modality, shares, acquisition.manufacturer, acquisition.field_strength_tesla)
