"""Measure the demo model on fresh phantoms that go the whole way: DICOM, preprocessing, ONNX Runtime, answer.

Seeds start far below those that training uses, so no phantom was ever trained on. A peak of the heat map hits when
it lies inside the lesion or within 8 mm of it. Studies that are refused are counted, and so are those that the
report abstains on; an abstained study has a score, which counts towards the AUC.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from tqdm import tqdm

from common import ROOT, print_table, write_result
from glioserve_contract import GlioserveError, Modality
from glioserve_contract.records.manifest import Manifest, ServedVersion
from glioserve_dicom.volumes.geometry import apply
from glioserve_phantom import Phantom, make_phantom
from glioserve_phantom.dicom import dicom_files
from glioserve_preprocess.itk import set_itk_threads
from glioserve_preprocess.pipeline import Preprocessed, preprocess_dicom
from glioserve_preprocess.report.answer import answer
from glioserve_training.metrics import HIT_MM, auc
from glioserve_triton.served.versions import load_manifest

FIRST_SEED = 10_000


@dataclass(frozen=True)
class Outcome:
    """One study. Everything after ``refused`` is None where it was refused."""

    seed: int
    diagnosis: str
    refused: str = ""
    score: float | None = None
    abstained: bool | None = None
    peak_mm: float | None = None
    """Distance from the heat map's peak to the lesion; infinite where the map is empty."""
    brain_dice: float | None = None
    registration_mm: float | None = None
    """Largest mean error over the brain among the registered sequences."""
    seconds: float | None = None
    """Preprocessing, network and report; not the making of the phantom."""


def study(job: tuple[int, Path]) -> Outcome:
    """One phantom from its seed to its outcome."""
    seed, model = job
    phantom = make_phantom(seed)
    files = dicom_files(phantom)
    manifest = load_manifest(model)
    started = time.perf_counter()
    try:
        prepared = preprocess_dicom(files, manifest.recipe, accept_identified=True)
        logits, cam = _network(model, prepared.image)
        result = answer(ServedVersion("classifier", "1", manifest), logits, cam, prepared.brain_mask, prepared.record)
    except GlioserveError as error:
        return Outcome(seed, phantom.diagnosis, refused=error.code.token)
    seconds = time.perf_counter() - started
    heatmap = result.report.heatmap
    peak = heatmap.peak_lps_mm if heatmap else None
    return Outcome(
        seed,
        phantom.diagnosis,
        score=result.report.score,
        abstained=not result.report.label,
        peak_mm=_distance_to_lesion_mm(phantom, manifest, np.array(peak)) if peak else float("inf"),
        brain_dice=_brain_dice(phantom, manifest, prepared),
        registration_mm=_registration_mm(phantom, manifest, prepared),
        seconds=seconds,
    )


def _network(model: Path, image: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[Any, Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model / "model.onnx", options, providers=["CPUExecutionProvider"])
    logits, cam = session.run(["LOGITS", "CAM"], {"IMAGE": image[None]})
    return logits[0], cam[0]


def _distance_to_lesion_mm(phantom: Phantom, manifest: Manifest, peak_lps_mm: np.ndarray[Any, Any]) -> float:
    """0 in a voxel of the lesion, else to the nearest such voxel's centre."""
    reference = manifest.recipe.reference
    geometry = phantom.acquisitions[reference].geometry
    mask = phantom.lesion_mask(reference, geometry)
    x, y, z = np.rint(apply(geometry.voxel_from_lps, peak_lps_mm[None])[0]).astype(int)
    if mask[z, y, x]:
        return 0.0
    centres = apply(geometry.lps_from_voxel, np.argwhere(mask)[:, ::-1].astype(np.float64))
    return float(np.linalg.norm(centres - peak_lps_mm, axis=1).min())


def _brain_dice(phantom: Phantom, manifest: Manifest, prepared: Preprocessed) -> float:
    # The reader may have turned the stack around: the truth is asked for on the grid that it gave.
    reference = manifest.recipe.reference
    truth = phantom.brain_mask(reference, prepared.volumes[reference].geometry)
    return float(2 * (truth & prepared.native_mask).sum() / (truth.sum() + prepared.native_mask.sum()))


def _registration_mm(phantom: Phantom, manifest: Manifest, prepared: Preprocessed) -> float:
    reference = manifest.recipe.reference
    head_points = np.random.default_rng(0).uniform((-60, -75, -45), (60, 75, 60), (500, 3))
    points = apply(phantom.scanner_lps_from_head[reference], head_points)
    errors = [0.0]
    for registration in prepared.record.registrations:
        found = apply(np.array(registration.moving_lps_from_reference_lps), points)
        true = apply(phantom.moving_lps_from_reference_lps(Modality(registration.modality), reference), points)
        errors.append(float(np.linalg.norm(found - true, axis=1).mean()))
    return max(errors)


def summary(outcomes: list[Outcome], threshold: float) -> dict[str, Any]:
    """Necrosis is the positive class; a study is called necrosis when its score is below the threshold."""
    answered = [o for o in outcomes if o.score is not None]
    scores = np.array([o.score for o in answered], dtype=np.float64)
    necrosis = np.array([o.diagnosis == "necrosis" for o in answered])
    called = scores < threshold
    peaks = np.array([o.peak_mm for o in answered], dtype=np.float64)
    column = {k: np.array([getattr(o, k) for o in answered]) for k in ("brain_dice", "registration_mm", "seconds")}
    return {
        "studies": len(outcomes),
        "answered": len(answered),
        "refused": dict(Counter(o.refused for o in outcomes if o.refused)),
        "abstained": sum(bool(o.abstained) for o in answered),
        "auc": auc(-scores, necrosis),
        "sensitivity": float(called[necrosis].mean()),
        "specificity": float((~called[~necrosis]).mean()),
        "heatmap_hits": float((peaks <= HIT_MM).mean()),
        "heatmap_hits_of_all": float((peaks <= HIT_MM).sum() / len(outcomes)),
        "heatmap_hits_inside": float((peaks == 0).mean()),
        "brain_dice_median": float(np.median(column["brain_dice"])),
        "brain_dice_min": float(column["brain_dice"].min()),
        "registration_mm_median": float(np.median(column["registration_mm"])),
        "registration_mm_max": float(column["registration_mm"].max()),
        "seconds_median": float(np.median(column["seconds"])),
    }


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--model", type=Path, default=ROOT / "examples" / "demo_model")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--details", action="store_true", help="print every study too")
    args = parser.parse_args()
    manifest = load_manifest(args.model, verify_files=True)
    jobs = [(args.first_seed + i, args.model) for i in range(args.studies)]
    with multiprocessing.get_context("spawn").Pool(args.workers, set_itk_threads) as pool:
        outcomes = list(tqdm(pool.imap(study, jobs), total=len(jobs), desc="studies", unit="study"))
    if args.details:
        print_table("Studies", list(asdict(outcomes[0])), [list(asdict(o).values()) for o in outcomes])
    figures = summary(outcomes, manifest.recipe.threshold)
    print_table(f"Demo model on {args.studies} fresh phantoms, from DICOM", ["figure", "value"], list(figures.items()))
    settings = {"studies": args.studies, "first_seed": args.first_seed, "hit_mm": HIT_MM}
    settings |= {"threshold": manifest.recipe.threshold, "weights_digest": manifest.weights_digest}
    write_result("demo_model", settings, figures, ("onnxruntime", "SimpleITK", "numpy", "pydicom"))


if __name__ == "__main__":
    main()
