"""The brain mask: our network beside the classical method, on a real patient and on fresh synthetic heads.

``make bench NAME=brain [ARGS='--heads 200 --copies 20']``: Dice of both methods against HD-BET's mask of FG-6692's
T1ce (never used in training or in the setting of any threshold), carried to T1, T2 and FLAIR by the consensus of
registration tools; on perturbed copies of each; on fresh synthetic heads; and CPU seconds of a study. The five worst
of the network are drawn into ``out/brain/``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from bars import Bar, print_bars
from brain.cases import BrainCase, Mask, mask_of_real_study, real_cases, synthetic_cases
from common import ROOT, print_table, write_result
from glioserve_contract import GlioserveError, Modality
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_dicom.volumes.geometry import Matrix, canonical, isotropic_cover
from glioserve_preprocess.brain.extraction import find_brain
from glioserve_preprocess.registration.register import register_all
from glioserve_preprocess.tensor.grid import sample
from registration.bench_registration import kept_truth, native_truth
from registration.cases import MOVING, REFERENCE, RealStudy, real_study

HEADS = ROOT / "build" / "bench_brain"
PICTURES = ROOT / "out" / "brain"
WORST = 5
SYNTHETIC = "synthetic"
"""All of them; the groups are named after it."""
METHODS = {"network": BrainExtraction(), "classical": BrainExtraction("classical")}


@dataclass(frozen=True)
class Row:
    """One case by both methods. Dice is 0 where no brain was found."""

    name: str
    group: str
    dice: dict[str, float]
    verdict: str
    """Verdict of the network's gate: ok, review, or the code."""


def judged(make: Callable[[], BrainCase]) -> Row:
    """Both methods on one case, each on that sequence alone."""
    case = make()
    dice, verdict = {}, "ok"
    for name, method in METHODS.items():
        mask, said = masked(case, method)
        dice[name] = _dice(mask, case.mask)
        verdict = said if name == "network" else verdict
    return Row(case.name, case.group, dice, verdict)


def masked(case: BrainCase, method: BrainExtraction) -> tuple[Mask, str]:
    """The mask of one sequence alone, and the gate's verdict or the code."""
    try:
        brain = find_brain(case.volume, (), {}, method)
    except GlioserveError as error:
        return np.zeros(case.volume.geometry.shape, dtype=bool), error.code.token
    review = any(c.verdict == "review" for c in brain.checks)
    return brain.mask > 0, "review" if review else "ok"


def _dice(found: Mask, true: Mask) -> float:
    return float(2 * (found & true).sum() / max(1, found.sum() + true.sum()))


def _all(makers: Iterable[Callable[[], BrainCase]], jobs: int, what: str) -> list[Row]:
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for row in pool.imap(judged, makers):
            rows.append(row)
            if len(rows) % 20 == 0:
                print(f"{what}: {len(rows)}", flush=True)
    return rows


@dataclass(frozen=True)
class _Given:
    """A case as its own maker: what is already in memory travels to the pool as it is."""

    case: BrainCase

    def __call__(self) -> BrainCase:
        return self.case


def study_cost(study: RealStudy, repeats: int = 3) -> dict[str, float]:
    """CPU seconds of the brain stage for FG-6692's three sequences of the study's best recipe, registered before."""
    volumes = [canonical(study.volumes[m]) for m in (REFERENCE, *MOVING[:2])]
    to_moving = {r.modality: r.moving_lps_from_reference_lps for r in register_all(volumes[0], volumes[1:], 1)}
    costs = {}
    for name, method in METHODS.items():
        find_brain(volumes[0], volumes[1:], to_moving, method)  # the session is made once
        taken = []
        for _ in range(repeats):
            start = time.process_time()
            find_brain(volumes[0], volumes[1:], to_moving, method)
            taken.append(time.process_time() - start)
        costs[name] = min(taken)
    return costs


def picture(case: BrainCase, found: Mask, file: Path) -> None:
    """Three planes through the true brain's middle on 1 mm voxels: truth in green, the network in red."""
    grid = isotropic_cover(case.volume.geometry, 1.0)
    volume = sample(case.volume.voxels, case.volume.geometry, grid, np.eye(4))
    truth, mask = (
        sample(m.astype(np.float32), case.volume.geometry, grid, np.eye(4)) >= 0.5 for m in (case.mask, found)
    )
    middle = [int(c) for c in ndimage.center_of_mass(truth)]
    grey = np.clip(volume / max(float(np.percentile(volume, 99.5)), 1e-6), 0, 1)
    tiles = []
    for axis in range(3):
        plane = [np.take(a, middle[axis], axis) for a in (grey, truth, mask)]
        if axis:
            plane = [np.flipud(p) for p in plane]  # superior is up
        rgb = np.repeat((plane[0] * 255).astype(np.uint8)[..., None], 3, axis=2)
        for outline, colour in ((plane[1], (0, 220, 0)), (plane[2], (255, 40, 0))):
            rgb[outline & ~ndimage.binary_erosion(outline)] = colour
        tiles.append(rgb)
    height = max(t.shape[0] for t in tiles)
    canvas = [np.pad(t, ((0, height - t.shape[0]), (0, 4), (0, 0))) for t in tiles]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(canvas, axis=1)).save(file)


def summary(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Per group: median and least Dice of both methods, and how many the gate lets pass."""
    result = {}
    for group in [*dict.fromkeys(r.group for r in rows), SYNTHETIC]:
        of_group = [r for r in rows if group in (r.group, r.group.split(",")[0])]
        if not of_group:
            continue
        figures: dict[str, float] = {"scans": len(of_group)}
        for method in METHODS:
            values = np.array([r.dice[method] for r in of_group])
            figures |= {f"{method}_median": float(np.median(values)), f"{method}_least": float(values.min())}
        figures["network_ok"] = sum(r.verdict == "ok" for r in of_group)
        result[group] = figures
    return result


def bars(figures: dict[str, dict[str, float]], costs: dict[str, float]) -> list[Bar]:
    """The bars that the project set itself."""
    found = []

    def least(name: str, group: str, figure: str, limit: float) -> None:
        value = figures.get(group, {}).get(figure, float("nan"))
        found.append(Bar(name, value, limit, "Dice", at_least=True))

    for modality in (REFERENCE, *MOVING):
        strict = modality is REFERENCE
        group = f"FG-6692 {modality}"
        if strict:
            least(f"{group} as it is", group, "network_median", 0.95)
        least(f"{group} copies, median", f"{group} perturbed", "network_median", 0.94 if strict else 0.93)
        least(f"{group} copies, least", f"{group} perturbed", "network_least", 0.90 if strict else 0.88)
    least("synthetic heads, median", SYNTHETIC, "network_median", 0.97)
    found.append(Bar("CPU time of a study", costs.get("network", float("nan")), 1.5, "s"))
    return found


def main() -> None:
    """Run, draw, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=200, help="fresh synthetic heads")
    parser.add_argument("--copies", type=int, default=20, help="perturbed copies of each real sequence")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    study = real_study()
    costs: dict[str, float] = {}
    makers: list[Callable[[], BrainCase]] = []
    if study is None:
        print("FG-6692 is left out: its files are not there")
    else:
        costs = study_cost(study)
        makers += [_Given(c) for c in real_cases(study, mask_of_real_study(), _truth(study, args.jobs), args.copies)]
    makers += list(synthetic_cases(args.heads, HEADS, args.jobs))
    rows = _all(makers, args.jobs, "scans")
    figures = summary(rows)
    columns = ["scans", *(f"{m}_{f}" for m in METHODS for f in ("median", "least")), "network_ok"]
    print_table("Dice", ["", *columns], [[g, *(f[c] for c in columns)] for g, f in figures.items()])
    print_table("CPU seconds of a study of three sequences", ["method", "CPU s"], [list(c) for c in costs.items()])
    order = sorted(range(len(rows)), key=lambda i: rows[i].dice["network"])
    for rank, i in enumerate(order[:WORST], start=1):
        case = makers[i]()
        file = PICTURES / f"worst-{rank}-{case.name.replace(' ', '-')}.png"
        picture(case, masked(case, METHODS["network"])[0], file)
        print(f"{rows[i].dice['network']:.3f}  {rows[i].verdict:9s}  {file.relative_to(ROOT)}")
    found = bars(figures, costs)
    print_bars(found)
    settings = {"heads": args.heads, "copies": args.copies, "model": METHODS["network"].digest}
    write_result(
        "brain",
        settings,
        {"dice": figures, "cpu_s": costs, "bars": [b.record() for b in found]},
        ("numpy", "onnxruntime"),
    )


def _truth(study: RealStudy, jobs: int) -> dict[Modality, Matrix]:
    """moving_lps_from_reference_lps by the tools' consensus: of the last registration benchmark, or found now."""
    kept = kept_truth()
    if kept:
        return kept
    with tempfile.TemporaryDirectory(prefix="bench_brain-") as folder:
        return native_truth(study, Path(folder), jobs)[1]


if __name__ == "__main__":
    main()
