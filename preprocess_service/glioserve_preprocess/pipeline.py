"""The preprocessing of one study: from files or volumes to the network's input and the record of how it was made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from glioserve_contract import CONTRACT_VERSION, GlioserveError, Modality
from glioserve_contract.records.preprocess import (
    NAMED_BY_CALLER,
    PreprocessRecord,
    Quality,
    QualityCheck,
    RegistrationRecord,
    SequenceProvenance,
    SeriesRecord,
)
from glioserve_contract.records.recipe import Recipe, preprocessing_digest
from glioserve_dicom.files.folder import StudyFiles
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import Stack
from glioserve_dicom.volumes.geometry import (
    Matrix,
    SequenceVolume,
    affine_record,
    apply,
    canonical,
    network_geometry,
)
from glioserve_preprocess.arrays import ByteArray, DoubleArray, FloatArray
from glioserve_preprocess.brain.coverage import coverage_checks
from glioserve_preprocess.brain.extraction import find_brain, mask_points_lps_mm
from glioserve_preprocess.opinion.network import PixelOpinion, opinion_of
from glioserve_preprocess.overrides import SeriesName
from glioserve_preprocess.registration.register import Registration, mean_displacement_mm, register, register_all
from glioserve_preprocess.series.acquisition import Acquisition
from glioserve_preprocess.series.enhancement import MIN_SHARE, Enhancement, compare_enhancement
from glioserve_preprocess.series.opinions import opinion_record
from glioserve_preprocess.series.selection import Choice, choose_series
from glioserve_preprocess.stopwatch import Check, StageEnded, Stopwatch, go_on, untold
from glioserve_preprocess.tensor.grid import sample, sample_mask
from glioserve_preprocess.tensor.inputs import input_record
from glioserve_preprocess.tensor.normalise import intensity_range, scale
from glioserve_preprocess.tensor.provenance import provenance_of, sequence_provenance
from glioserve_preprocess.tensor.volumes import check_contrast, pick_volumes, slice_axis_size

USUAL_DISPLACEMENT_MM = (0.0, 40.0)
"""Motion of the head between two sequences."""
_Seen = TypeVar("_Seen")


@dataclass(frozen=True, eq=False)
class Preprocessed:
    """The network's input and what led to it. Arrays are [z, y, x], channels first."""

    image: FloatArray
    """The network's input [C, D, H, W], 0 to 1, 0 outside the brain."""
    brain_mask: ByteArray
    """The brain on the network's grid [D, H, W], 0 or 1."""
    record: PreprocessRecord
    volumes: Mapping[Modality, SequenceVolume]
    """The chosen sequences' native voxels, their axes turned to L, P, S (:func:`geometry.canonical`)."""
    native_mask: ByteArray
    """The brain on the grid of the reference among ``volumes``."""


def preprocess_dicom(
    files: Sequence[bytes] | StudyFiles,
    recipe: Recipe,
    *,
    accept_identified: bool,
    series: Mapping[Modality, SeriesName] | None = None,
    threads: int | None = None,
    brain_models: Path | None = None,
    check: Check = go_on,
    ended: StageEnded = untold,
) -> Preprocessed:
    """Preprocess the DICOM files of one study.

    Args:
        files: DICOM Part 10 files, or zip archives of them, in any order, of all series.
        recipe: The network's recipe.
        accept_identified: Whether a file with identifying attributes is read; a server refuses it.
        series: The series that the caller names for a sequence, whatever its headers hold.
        threads: Threads for the work on several sequences at once; None takes one for each core. The answer is the
            same to the bit on any number.
        brain_models: A site's own folder of brain models, looked into before the package's.
        check: Called between steps, from any thread; what it raises ends the work.
        ended: Called after each stage with its name, begin and end.

    Raises:
        GlioserveError: GLIO-11xx to -17xx where the study cannot be read, chosen from, registered or normalised;
            GLIO-5113 to -5115 where the recipe's brain model cannot be used.
    """
    watch = Stopwatch(check, ended)
    with watch.stage("read"):
        instances = read(files, accept_identified=accept_identified)
    with watch.stage("series"):
        choice = choose_series(
            instances,
            recipe.channels,
            recipe.min_slices,
            named=series,
            compare=lambda first, second: _after(check, compared_by_images(first, second)),
            look=lambda stack: _after(check, looked_at(stack)),
            voxels=lambda stack: _after(check, voxels_of(stack)),
        )
    with watch.stage("assemble"):
        volumes = {m: _after(check, assemble(c.stack, m)) for m, c in choice.chosen.items()}
    records = tuple(_series_record(volumes[m], choice) for m in recipe.channels)
    warnings = (*instances.warnings, *choice.warnings)
    acquisitions = {m: candidate.acquisition for m, candidate in choice.chosen.items()}
    return _finish(
        volumes, records, warnings, recipe, watch, threads, brain_models,
        acquisitions, choice.checks, choice.pair_is_comparable,
    )  # fmt: skip


def preprocess_volumes(
    volumes: Mapping[Modality, SequenceVolume],
    recipe: Recipe,
    *,
    threads: int | None = None,
    brain_models: Path | None = None,
    check: Check = go_on,
    ended: StageEnded = untold,
) -> Preprocessed:
    """Preprocess volumes with their affines, which the caller has assigned to sequences.

    Args:
        volumes: Volumes by sequence; those that are not in the recipe are left out with a warning.
        recipe: The network's recipe.
        threads: Threads for the work on several sequences at once; None takes one for each core.
        brain_models: A site's own folder of brain models, looked into before the package's.
        check: Called between steps, from any thread; what it raises ends the work.
        ended: Called after each stage with its name, begin and end.

    Raises:
        GlioserveError: GLIO-11xx, -13xx, -15xx to -17xx as for DICOM files; GLIO-5113 to -5115.
    """
    watch = Stopwatch(check, ended)
    with watch.stage("series"):
        picked, warnings = pick_volumes(volumes, recipe.channels, recipe.min_slices)
    series = tuple(_volume_record(picked[m]) for m in recipe.channels)
    return _finish(picked, series, warnings, recipe, watch, threads, brain_models, {})


def _finish(
    native: Mapping[Modality, SequenceVolume],
    series: tuple[SeriesRecord, ...],
    warnings: tuple[str, ...],
    recipe: Recipe,
    watch: Stopwatch,
    threads: int | None,
    brain_models: Path | None,
    acquisitions: Mapping[Modality, Acquisition],
    checks: Sequence[QualityCheck] = (),
    pair_is_comparable: bool = False,
) -> Preprocessed:
    """Register, extract the brain, resample and normalise: the same for both ways in."""
    threads = threads or available_cores()
    with ThreadPoolExecutor(threads) as pool:
        volumes = dict(zip(native, pool.map(canonical, native.values()), strict=True))
        list(pool.map(check_contrast, volumes.values()))
    reference = volumes[recipe.reference]
    with watch.stage("register"):
        others = [volumes[m] for m in recipe.channels if m is not recipe.reference]
        registrations = register_all(reference, others, threads, watch.check)
    to_moving: dict[Modality, Matrix] = {r.modality: r.moving_lps_from_reference_lps for r in registrations}
    to_moving[recipe.reference] = np.eye(4)
    with watch.stage("brain"), ThreadPoolExecutor(threads) as pool:
        brain = find_brain(reference, others, to_moving, recipe.brain_extraction, brain_models, threads)
        seen = pool.map(lambda m: coverage_checks(volumes[m], apply(to_moving[m], brain.widest_lps_mm)), to_moving)
        judged = [*checks, *brain.checks, *(c for r in registrations for c in r.checks), *chain.from_iterable(seen)]
        native_mask = brain.mask
        points_lps_mm = mask_points_lps_mm(native_mask, reference.geometry)
    target = network_geometry(recipe.grid, points_lps_mm.mean(axis=0))
    with ThreadPoolExecutor(threads) as pool:
        with watch.stage("grid"):
            brain_mask = sample_mask(native_mask, reference.geometry, target, threads)

            sampled = [
                sample(v.voxels, v.geometry, target, to_moving[m], brain_mask, outside=np.nan, threads=threads)
                for m, v in ((m, volumes[m]) for m in recipe.channels)
            ]
        with watch.stage("normalise"):

            def normalised(of: SeriesRecord, voxels: FloatArray) -> tuple[FloatArray, SequenceProvenance]:
                m = of.modality
                low_high = intensity_range(voxels, brain_mask, recipe.intensity, f"The {m} sequence")
                how = sequence_provenance(
                    volumes[m], of.series_instance_uid, to_moving[m], target, recipe.intensity, low_high
                )
                return scale(voxels, brain_mask, *low_high), how

            channels, steps = zip(*pool.map(normalised, series, sampled), strict=True)
            image = np.stack(channels)
            provenance = provenance_of(image, native_mask, steps)
    if pair_is_comparable:
        judged.append(_enhancement_check(volumes, to_moving))
    record = PreprocessRecord(
        contract_version=CONTRACT_VERSION,
        preprocessing_digest=preprocessing_digest(recipe),
        reference=recipe.reference,
        reference_grid=native[recipe.reference].geometry.record(),
        network_grid=target.record(),
        series=series,
        registrations=tuple(_registration_record(r, points_lps_mm) for r in registrations),
        quality=_quality(to_moving, points_lps_mm, judged),
        warnings=warnings,
        timings_s=dict(watch.timings_s),
        provenance=provenance,
        brain=brain.record,
        inputs=input_record(dict(zip(recipe.channels, channels, strict=True)), brain_mask, acquisitions),
    )
    return Preprocessed(image, brain_mask, record, volumes, native_mask)


def available_cores() -> int:
    """Return the cores that this process may use: containers often get fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _after(check: Check, seen: _Seen) -> _Seen:
    """Return ``seen`` if the study is still wanted after the work for it."""
    check()
    return seen


def compared_by_images(first: Stack, second: Stack) -> Enhancement | None:
    """Compare the images of two T1-weighted stacks; return None where they cannot be read or aligned."""
    try:
        a, b = (canonical(assemble(stack, Modality.T1)) for stack in (first, second))
        return compare_enhancement(a, b, register(a, b).moving_lps_from_reference_lps)
    except GlioserveError:
        return None


def looked_at(stack: Stack) -> PixelOpinion | None:
    """Return the opinion on a stack by its voxels alone; None where they cannot be read."""
    try:
        volume = assemble(stack, Modality.T1)
    except GlioserveError:
        return None
    return opinion_of(volume)


def voxels_of(stack: Stack) -> FloatArray | None:
    """Return the voxels [z, y, x] of a stack; None where they cannot be read."""
    try:
        return assemble(stack, Modality.T1).voxels
    except GlioserveError:
        return None


def _enhancement_check(
    volumes: Mapping[Modality, SequenceVolume], to_moving: Mapping[Modality, Matrix]
) -> QualityCheck:
    """Return by how much more of the T1 than of the T1ce stands out, where both are of one technique."""
    native_from_enhanced = to_moving[Modality.T1] @ np.linalg.inv(to_moving[Modality.T1CE])
    found = compare_enhancement(volumes[Modality.T1CE], volumes[Modality.T1], native_from_enhanced)
    swapped = found.second_excess - found.first_excess
    return QualityCheck.judged("t1ce_swapped_with_t1", max(swapped, 0.0), "share", (0.0, MIN_SHARE))


def _series_record(volume: SequenceVolume, choice: Choice) -> SeriesRecord:
    modality = volume.modality
    candidate = choice.chosen[modality]
    return SeriesRecord(
        modality=modality,
        series_instance_uid=candidate.series_instance_uid,
        slices=volume.geometry.size_voxels[2],
        spacing_mm=volume.geometry.spacing_mm,
        confidence=1.0 if modality in choice.named else candidate.score(modality),
        reasons=candidate.evidence.reasons,
        part=candidate.stack.part,
        runners_up=choice.runners_up.get(modality, ()),
        pixels=opinion_record(candidate.pixels),
    )


def _volume_record(volume: SequenceVolume) -> SeriesRecord:
    return SeriesRecord(
        modality=volume.modality,
        series_instance_uid="",
        slices=slice_axis_size(volume.geometry),
        spacing_mm=volume.geometry.spacing_mm,
        confidence=1.0,
        reasons=(NAMED_BY_CALLER,),
    )


def _registration_record(registration: Registration, points_lps_mm: DoubleArray) -> RegistrationRecord:
    matrix = registration.moving_lps_from_reference_lps
    return RegistrationRecord(
        modality=registration.modality,
        moving_lps_from_reference_lps=affine_record(matrix),
        similarity=registration.similarity,
        similarity_before=registration.similarity_before,
        mean_displacement_mm=mean_displacement_mm(matrix, points_lps_mm),
        verdict=registration.verdict,
        contrast=registration.contrast,
        overlap=registration.overlap,
        rival=registration.rival,
        second_start_mm=registration.second_start_mm,
    )


def _quality(
    to_moving: Mapping[Modality, Matrix],
    points_lps_mm: DoubleArray,
    judged: Sequence[QualityCheck],
) -> Quality:
    """Join the stages' own checks, ``judged``, with those of motion."""
    checks = list(judged)
    for modality, matrix in to_moving.items():
        moved_mm = mean_displacement_mm(matrix, points_lps_mm)
        checks.append(QualityCheck.judged(f"{modality}_displacement", moved_mm, "mm", USUAL_DISPLACEMENT_MM))
    return Quality("review" if any(c.verdict == "review" for c in checks) else "ok", tuple(checks))
