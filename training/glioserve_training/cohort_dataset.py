"""A cohort's studies as training tensors, by the very preprocessing that serves: DICOM folder in, ``.npz`` out.

Tensors are kept under the digest of the preprocessing and of the study's own files, so that a second run, and
every network of a grid, finds them there.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from glioserve_contract import GlioserveError
from glioserve_contract.records.recipe import Recipe, preprocessing_digest
from glioserve_dicom.files.folder import study_files
from glioserve_networks.dataset import Patient, index_of, save_index, save_patient
from glioserve_preprocess.brain.model import site_folder
from glioserve_preprocess.itk import set_itk_threads
from glioserve_preprocess.pipeline import preprocess_dicom


@dataclass(frozen=True)
class LabelledStudy:
    """One case of a cohort. ``case`` names it in results; the folder's own name never does."""

    case: str
    folder: Path
    label: str
    """A class of the recipe."""


@dataclass(frozen=True)
class Excluded:
    """A study that preprocessing refused, by the code of the refusal."""

    case: str
    code: str
    detail: str


@dataclass(frozen=True)
class CohortDataset:
    """The tensor file of each case, in the folder of one preprocessing, and the cases that have none."""

    folder: Path
    files: dict[str, Path]
    excluded: tuple[Excluded, ...]


def make_cohort_dataset(studies: Sequence[LabelledStudy], recipe: Recipe, cache: Path, workers: int) -> CohortDataset:
    """Preprocess the studies that are not in ``cache`` yet; a study that is refused is excluded, not an error."""
    folder = cache / preprocessing_digest(recipe).removeprefix("sha256:")[:12]
    save_index(index_of(recipe, "cohort"), folder)
    jobs = [(study, recipe, folder) for study in studies]
    files: dict[str, Path] = {}
    excluded = []
    sequences = "+".join(recipe.channels)
    for study, outcome in tqdm(_run(jobs, workers), total=len(jobs), desc=sequences, unit="study"):
        if isinstance(outcome, Excluded):
            excluded.append(outcome)
        else:
            files[study.case] = outcome
    return CohortDataset(folder, files, tuple(excluded))


_Job = tuple[LabelledStudy, Recipe, Path]


def _run(jobs: list[_Job], workers: int) -> Iterator[tuple[LabelledStudy, Path | Excluded]]:
    """Run the jobs in this process with one worker; else spawned, not forked: ITK's threads do not survive a fork."""
    if workers < 2 or len(jobs) < 2:
        yield from map(_make, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers, set_itk_threads) as pool:
        yield from pool.imap(_make, jobs)


def _make(job: _Job) -> tuple[LabelledStudy, Path | Excluded]:
    study, recipe, folder = job
    try:
        files = study_files(study.folder)
        target = folder / f"{_digest(f.content for f in files.files)}.npz"
        if not target.exists():
            image = preprocess_dicom(files, recipe, accept_identified=True, brain_models=site_folder()).image
            label = np.array([recipe.classes.index(study.label)], dtype=np.int64)
            save_patient(Patient(image[np.newaxis].astype(np.float16), label, None), target)
        return study, target
    except GlioserveError as error:
        return study, Excluded(study.case, error.code.token, error.detail)


def _digest(files: Iterable[bytes]) -> str:
    """Return the digest of the study's content; the names of its files do not count."""
    digests = sorted(hashlib.sha256(content).digest() for content in files)
    return hashlib.sha256(b"".join(digests)).hexdigest()[:24]
