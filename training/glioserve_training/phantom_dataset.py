"""Phantoms as training tensors, by the serving code's own grid and normalise stages.

A head is rendered at 2 mm and scanned with its real slice thickness and motion, but coarser pixels, and registration
is simulated by the known transform and an error: seconds instead of half a minute per study. Each patient is made
with both diagnoses, so that nothing but the lesion's inside tells the classes apart.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import Recipe, preprocessing_digest
from glioserve_dicom.volumes.geometry import Geometry, Matrix, SequenceVolume, network_geometry
from glioserve_networks.dataset import Patient, index_of, save_index, save_patient
from glioserve_phantom import DIAGNOSES, Phantom, make_phantom
from glioserve_phantom.acquisition import PhantomAcquisition
from glioserve_preprocess.brain.extraction import find_brain, mask_points_lps_mm
from glioserve_preprocess.brain.model import site_folder
from glioserve_preprocess.itk import set_itk_threads
from glioserve_preprocess.tensor.grid import sample, sample_mask
from glioserve_preprocess.tensor.normalise import normalise
from glioserve_training.masks import damaged, registration_error

RENDER_SPACING_MM = 2.0
MIN_PIXEL_MM = 2.0
FIRST_TRAINING_SEED = 1_000_000
"""Training phantoms' seeds start here; smaller seeds are for tests, demos and benchmarks, and never trained on."""
DRAWS = 2
"""Draws of mask and alignment errors per patient and diagnosis."""
EXTRACTED_SHARE = 0.5
"""Share of the draws that take the serving code's own brain mask; the others damage the true one."""


def make_dataset(recipe: Recipe, patients: int, folder: Path, workers: int = 2) -> Path:
    """Fill ``folder/<digest>`` with ``patients`` phantoms of each diagnosis and return it; what is there is kept."""
    target = folder / preprocessing_digest(recipe).removeprefix("sha256:")[:12]
    save_index(index_of(recipe, "phantoms"), target)
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + patients)
    jobs = [(s, recipe, target / f"phantom-{s}.npz") for s in seeds]
    missing = [job for job in jobs if not job[2].exists()]
    for _ in tqdm(_run(missing, workers), total=len(missing), desc="phantoms", unit="head", disable=not missing):
        pass
    return target


def _run(jobs: list[tuple[int, Recipe, Path]], workers: int) -> Iterator[None]:
    """Run the jobs in this process with no workers; else spawned, not forked: ITK's threads do not survive a fork."""
    if not workers or len(jobs) < 2:
        yield from map(_make_file, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers, set_itk_threads) as pool:
        yield from pool.imap_unordered(_make_file, jobs)


def phantom_patient(seed: int, recipe: Recipe, draws: int = DRAWS) -> Patient:
    """Make all draws of one phantom with each diagnosis."""
    images, labels, lesions = [], [], []
    for diagnosis in DIAGNOSES:
        phantom = coarse_phantom(seed).with_diagnosis(diagnosis)
        volumes = {m: phantom.volume(m) for m in recipe.channels}
        for image, lesion in _draw(phantom, volumes, recipe, draws):
            images.append(image.astype(np.float16))
            labels.append(recipe.classes.index(diagnosis))
            lesions.append(lesion)
    return Patient(np.stack(images), np.array(labels, dtype=np.int64), np.stack(lesions))


def coarse_phantom(seed: int) -> Phantom:
    """Make the phantom of ``seed``, rendered at 2 mm and scanned with pixels no finer than that."""
    phantom = make_phantom(seed, spacing_mm=RENDER_SPACING_MM)
    return replace(phantom, acquisitions={m: _coarser(a) for m, a in phantom.acquisitions.items()})


def _coarser(acquisition: PhantomAcquisition) -> PhantomAcquisition:
    geometry = acquisition.geometry
    factor = MIN_PIXEL_MM / np.array(geometry.spacing_mm[:2])
    x, y = (max(8, round(n / f)) for n, f in zip(geometry.size_voxels[:2], factor, strict=True))
    affine = geometry.lps_from_voxel.copy()
    affine[:3, :2] *= factor
    # The field of view keeps its corner: the first voxel's centre moves in by half the growth.
    affine[:3, 3] += (affine[:3, :2] - geometry.lps_from_voxel[:3, :2]).sum(axis=1) / 2
    # Pixels of twice the size average the noise of four.
    noise = acquisition.noise / float(np.sqrt(np.prod(factor)))
    return replace(acquisition, geometry=Geometry((x, y, geometry.size_voxels[2]), affine), noise=noise)


def _draw(
    phantom: Phantom, volumes: Mapping[Modality, SequenceVolume], recipe: Recipe, draws: int
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]]:
    """Yield (network input [C, D, H, W], lesion [D, H, W]) per draw."""
    reference = volumes[recipe.reference]
    for number in range(draws):
        # By seed and draw alone: errors are the same for both diagnoses and must not tell them apart.
        rng = np.random.default_rng([phantom.seed, 5, number])
        mask = _extracted(reference, recipe) if rng.random() < EXTRACTED_SHARE else None
        if mask is None:
            truth = phantom.brain_mask(recipe.reference, reference.geometry)
            mask = damaged(np.random.default_rng([phantom.seed, 6, number]), truth, reference.geometry)
        centre = mask_points_lps_mm(mask, reference.geometry).mean(axis=0)
        target = network_geometry(recipe.grid, centre)
        on_grid = sample_mask(mask, reference.geometry, target)
        channels = []
        for modality in recipe.channels:
            matrix: Matrix = np.eye(4)
            if modality is not recipe.reference:
                known = phantom.moving_lps_from_reference_lps(modality, recipe.reference)
                matrix = known @ registration_error(rng, centre)
            volume = volumes[modality]
            sampled = sample(volume.voxels, volume.geometry, target, matrix, outside=np.nan)
            channels.append(normalise(sampled, on_grid, recipe.intensity, f"Phantom {phantom.seed}'s {modality}"))
        yield np.stack(channels), phantom.lesion_mask(recipe.reference, target)


def _extracted(reference: SequenceVolume, recipe: Recipe) -> npt.NDArray[np.uint8] | None:
    """Return the serving code's own mask; None where it fails or sends the study to review."""
    try:
        brain = find_brain(reference, (), {}, recipe.brain_extraction, site_folder())
    except GlioserveError as error:
        if error.code is not ErrorCode.BRAIN_NOT_FOUND:
            raise
        return None
    return brain.mask if all(c.verdict == "ok" for c in brain.checks) else None


def _make_file(job: tuple[int, Recipe, Path]) -> None:
    seed, recipe, file = job
    save_patient(phantom_patient(seed, recipe), file)
