"""Features and scores of phantoms that go the whole way from DICOM to the answer, kept under ``build/drift``."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime as ort
from pydicom import dcmread
from tqdm import tqdm

from common import ROOT
from glioserve_contract import GlioserveError, from_dict, to_dict
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.studies.study import StudyFeatures
from glioserve_dicom.volumes.geometry import Geometry
from glioserve_phantom import Phantom, make_phantom
from glioserve_phantom.acquisition import PhantomAcquisition
from glioserve_phantom.dicom import dicom_files
from glioserve_preprocess.itk import set_itk_threads
from glioserve_preprocess.pipeline import preprocess_dicom
from glioserve_preprocess.report.answer import answer
from glioserve_triton.served.versions import load_manifest
from glioserve_watch.features import features_of

MODEL = ROOT / "examples" / "demo_model"
CACHE = ROOT / "build" / "drift"
PIXEL_FACTOR, SLICE_FACTOR = 0.6, 0.75
"""Pixels and slices of the scanner with another spacing, as shares of the usual ones."""
NOISE_FACTOR, COIL_BIAS = 3.0, 0.5
"""Noise and coil field of the scanner with other intensities."""
OTHER_VENDOR, OTHER_FIELD_TESLA = "Canon Medical Systems", 0.55


@dataclass(frozen=True)
class Answered:
    """One study as drift sees it."""

    features: StudyFeatures
    score: float


def _same(phantom: Phantom) -> Phantom:
    return phantom


def _finer(phantom: Phantom) -> Phantom:
    return _scanned(phantom, lambda a: replace(a, geometry=_resampled(a.geometry)))


def _noisier(phantom: Phantom) -> Phantom:
    return _scanned(phantom, lambda a: replace(a, noise=a.noise * NOISE_FACTOR, bias=COIL_BIAS))


def _scanned(phantom: Phantom, change: Callable[[PhantomAcquisition], PhantomAcquisition]) -> Phantom:
    return replace(phantom, acquisitions={m: change(a) for m, a in phantom.acquisitions.items()})


def _resampled(geometry: Geometry) -> Geometry:
    """Return the same field of view in finer voxels; its first voxel's centre stays."""
    factors = np.array((PIXEL_FACTOR, PIXEL_FACTOR, SLICE_FACTOR))
    affine = geometry.lps_from_voxel.copy()
    affine[:3, :3] *= factors
    x, y, z = (round(n / f) for n, f in zip(geometry.size_voxels, factors, strict=True))
    return Geometry((x, y, z), affine)


SCANNERS: dict[str, Callable[[Phantom], Phantom]] = {
    "usual": _same,
    "spacing": _finer,
    "intensity": _noisier,
    "vendor": _same,
}
"""Scanners by name; the last one differs in its headers alone."""


def make_studies(seeds: Sequence[int], scanners: Sequence[str], workers: int) -> None:
    """Preprocess and answer the phantoms of these seeds by each scanner, unless it is done already."""
    CACHE.mkdir(parents=True, exist_ok=True)
    missing = [(s, tuple(n for n in scanners if not _file(n, s).exists())) for s in seeds]
    jobs = [job for job in missing if job[1]]
    if jobs:
        with multiprocessing.get_context("spawn").Pool(workers, set_itk_threads) as pool:
            for _ in tqdm(pool.imap_unordered(_make, jobs), total=len(jobs), desc="phantoms", unit="head"):
                pass


def studies(seeds: Sequence[int], scanner: str) -> list[Answered]:
    """Return the studies of these seeds, in their order; those that were refused are left out."""
    found = (json.loads(_file(scanner, seed).read_text(encoding="utf-8")) for seed in seeds)
    return [from_dict(Answered, value) for value in found if value]


def _file(scanner: str, seed: int) -> Path:
    return CACHE / f"{scanner}-{seed}.json"


def _make(job: tuple[int, tuple[str, ...]]) -> None:
    seed, scanners = job
    for scanner in scanners:
        _file(scanner, seed).write_text(json.dumps(to_dict(_answered(seed, scanner))), encoding="utf-8")


def _answered(seed: int, scanner: str) -> Answered | None:
    manifest = load_manifest(MODEL)
    phantom = make_phantom(seed)
    used = {m: phantom.acquisitions[m] for m in manifest.recipe.channels}
    files = dicom_files(SCANNERS[scanner](replace(phantom, acquisitions=used)), distractors=False)
    if scanner == "vendor":
        files = [_of_other_vendor(content) for content in files]
    try:
        prepared = preprocess_dicom(files, manifest.recipe, accept_identified=True, threads=1)
    except GlioserveError:
        return None
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(MODEL / "model.onnx", options, providers=["CPUExecutionProvider"])
    logits, cam = session.run(["LOGITS", "CAM"], {"IMAGE": prepared.image[None]})
    served = ServedVersion("classifier", "1", manifest)
    report = answer(served, logits[0], cam[0], prepared.brain_mask, prepared.record, with_heatmap=False).report
    return Answered(features_of(report.preprocess), report.score)


def _of_other_vendor(content: bytes) -> bytes:
    ds = dcmread(BytesIO(content))
    ds.Manufacturer, ds.MagneticFieldStrength = OTHER_VENDOR, OTHER_FIELD_TESLA
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
