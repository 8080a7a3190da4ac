"""The study's brain mask: the reference's own where it passes the checks, else what all sequences vote for.

``margin of the reference -> margin of a second sequence -> gate``; only where the gate finds a figure unusual, the
model runs on every registered sequence and the mean of the margins is cut. Each margin is computed in its sequence's
own space and carried by the registration, so that no voxel is sampled twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glioserve_contract import GlioserveError, Modality
from glioserve_contract.records.preprocess import BrainRecord, QualityCheck
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_dicom.volumes.geometry import Geometry, Matrix, SequenceVolume, apply
from glioserve_preprocess.arrays import BoolArray, ByteArray, DoubleArray, FloatArray
from glioserve_preprocess.brain.classical import classical_mask
from glioserve_preprocess.brain.gate import agreement_check, margin_checks, volume_check
from glioserve_preprocess.brain.limits import refuse_volume, refuse_wide_field
from glioserve_preprocess.brain.model import BrainModel, load_brain_model
from glioserve_preprocess.brain.network import (
    Margin,
    brain_margin,
    crown_and_middle_lps_mm,
    mask_of_margin,
    one_solid_piece,
)
from glioserve_preprocess.tensor.grid import sample


@dataclass(frozen=True, eq=False)
class Brain:
    """The mask on the reference's grid, 0/1 [z, y, x], its checks, and the record of how it was made."""

    mask: ByteArray
    checks: tuple[QualityCheck, ...]
    record: BrainRecord
    widest_lps_mm: DoubleArray
    """Points [n, 3] all over what any of the masks holds, in the reference's space: where the reference is blank, its
    own mask lacks what another sequence's has."""


@dataclass(frozen=True, eq=False)
class _Opinion:
    margin: Margin
    checks: tuple[QualityCheck, ...]
    sequences: tuple[Modality, ...]
    widest: BoolArray
    """Union of this margin's mask and the others', on the margin's grid."""

    @property
    def doubt(self) -> tuple[bool, int]:
        """Sort key, the lower the better: an empty mask, which has few figures, is worst; then the count of reviews."""
        return not (self.margin.values > 0).any(), sum(c.verdict == "review" for c in self.checks)


def find_brain(
    reference: SequenceVolume,
    others: Sequence[SequenceVolume],
    to_moving: Mapping[Modality, Matrix],
    method: BrainExtraction,
    brain_models: Path | None = None,
    threads: int = 1,
) -> Brain:
    """Return the brain of a registered study.

    Args:
        reference: The canonical reference volume.
        others: The other canonical volumes of the recipe.
        to_moving: ``moving_lps_from_reference_lps`` of every sequence.
        method: The recipe's choice of method and model.
        brain_models: A site's own folder of models, looked into before the package's.
        threads: Number of sequences that the model runs on at once, each on one thread; the answer is the same to
            the bit on any number.

    Raises:
        GlioserveError: GLIO-1601 where there is no brain; GLIO-5113 to -5115 where the recipe's network is missing,
            is another one, or does not work.
    """
    model = load_brain_model(method, brain_models)
    refuse_wide_field(reference.geometry)
    if model is None:
        mask = classical_mask(reference)
        record = BrainRecord("classical", "", "", (reference.modality,))
        return Brain(
            mask, (volume_check(mask, reference.geometry),), record, spread_points_lps_mm(mask, reference.geometry)
        )
    opinion = _opinion(reference, others, to_moving, model, threads)
    mask = mask_of_margin(opinion.margin, reference.geometry)
    refuse_volume(int(mask.sum()), math.prod(reference.geometry.spacing_mm))
    record = BrainRecord("network", model.card.name, model.digest, opinion.sequences)
    return Brain(mask, opinion.checks, record, spread_points_lps_mm(opinion.widest, opinion.margin.geometry))


def mask_points_lps_mm(mask: ByteArray, geometry: Geometry, most: int = 20000) -> DoubleArray:
    """Return the centres of at most ``most`` voxels of the mask, evenly picked, [n, 3]."""
    indices = np.argwhere(mask)[:, ::-1]
    indices = indices[:: max(1, len(indices) // most)]
    return apply(geometry.lps_from_voxel, indices.astype(np.float64))


def spread_points_lps_mm(mask: npt.NDArray[np.generic], geometry: Geometry, most: int = 60000) -> DoubleArray:
    """Return at most about ``most`` points within the mask's voxels, at random places, [n, 3].

    The places fill the voxels, so that also the planes of a finer grid have points.
    """
    indices = np.argwhere(mask)[:, ::-1]
    indices = indices[:: max(1, len(indices) // most)]
    places = indices + np.random.default_rng(0).uniform(-0.5, 0.5, indices.shape)
    return apply(geometry.lps_from_voxel, places)


def _opinion(
    reference: SequenceVolume,
    others: Sequence[SequenceVolume],
    to_moving: Mapping[Modality, Matrix],
    model: BrainModel,
    threads: int,
) -> _Opinion:
    first = _margins([reference, *others[:1]], model, threads)
    own = first[0]
    if isinstance(own, GlioserveError):
        raise own
    judge = partial(
        _judged,
        image=sample(reference.voxels, reference.geometry, own.geometry, np.eye(4)),
        crown_lps_mm=crown_and_middle_lps_mm(reference)[0],
    )
    beside = _carried(others[:1], first[1:], to_moving, own)
    alone = judge(own, list(beside.values()), (reference.modality,))
    if alone.doubt == (False, 0) or not others:
        return alone
    beside |= _carried(others[1:], _margins(others[1:], model, threads), to_moving, own)
    if not beside:
        return alone
    margins = [own, *beside.values()]
    vote = Margin(_mean([m.values for m in margins]), own.geometry, own.unit)
    together = judge(vote, margins, (reference.modality, *beside))
    return together if together.doubt < alone.doubt else alone


def _margins(volumes: Sequence[SequenceVolume], model: BrainModel, threads: int) -> list[Margin | GlioserveError]:
    """Return each sequence's margin in its own space, or the error that it ended in."""

    def margin(volume: SequenceVolume) -> Margin | GlioserveError:
        try:
            return brain_margin(volume, model)
        except GlioserveError as error:
            return error

    with ThreadPoolExecutor(max(1, min(threads, len(volumes)))) as pool:
        return list(pool.map(margin, volumes))


def _carried(
    volumes: Sequence[SequenceVolume],
    margins: Sequence[Margin | GlioserveError],
    to_moving: Mapping[Modality, Matrix],
    own: Margin,
) -> dict[Modality, Margin]:
    """Sample the margins on the reference's margin grid, NaN beyond their fields of view; errors are left out."""
    carried = {}
    for volume, margin in zip(volumes, margins, strict=True):
        if isinstance(margin, Margin):
            matrix = to_moving[volume.modality]
            values = sample(margin.values, margin.geometry, own.geometry, matrix, outside=np.nan)
            carried[volume.modality] = Margin(values, own.geometry, own.unit)
    return carried


def _judged(
    margin: Margin,
    beside: Sequence[Margin],
    sequences: tuple[Modality, ...],
    *,
    image: FloatArray,
    crown_lps_mm: DoubleArray,
) -> _Opinion:
    """Return the margin with its checks and its median agreement with the others, each in its field of view."""
    checks = margin_checks(margin, image, crown_lps_mm)
    mask = one_solid_piece(margin.values > 0)
    widest = mask
    agreements = []
    for other in beside:
        seen = np.isfinite(other.values)
        others_mask = one_solid_piece(np.where(seen, other.values, -1) > 0)
        agreements.append(agreement_check(mask & seen, others_mask))
        widest = widest | others_mask
    if agreements:
        agreements.sort(key=lambda c: c.value)
        checks = (*checks, agreements[(len(agreements) - 1) // 2])
    return _Opinion(margin, checks, sequences, widest)


def _mean(values: Sequence[FloatArray]) -> FloatArray:
    """Return the mean, per voxel, of the volumes whose field of view covers it; the reference's covers all."""
    stack = np.stack(values)
    looks = np.isfinite(stack)
    return np.asarray(np.where(looks, stack, 0).sum(axis=0) / looks.sum(axis=0), dtype=np.float32)
