"""Measure what preprocessing costs, from DICOM files to the network's input without brain extraction, with the bars.

``make bench NAME=preprocess ARGS='[--repeat 3] [--skip-growth]'``: a four-sequence study of FG-6692's size (the
patient's own where it is given) against ANTs doing the three registrations alone; two threads against one, beside a
spin loop; peak memory of a study of 4 x 256 x 256 x 176; growth with slices and sequences; where the time goes.
Every figure is of a fresh process. `make peers` installs ANTs. About ten minutes.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bars import Bar, print_bars
from common import print_table, write_result
from glioserve_contract import Modality
from glioserve_contract.records.recipe import Grid, Recipe
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from glioserve_registry.demo_model import demo_model_dir
from glioserve_triton.served.versions import load_manifest
from peer_process import ANTS, Worker, require_peers, write_pair
from pipeline.run import Measured, Task, measure, recipe_task, takes_threads
from pipeline.studies import SEQUENCES, Study, fg_sized_study, phantom_study

MAX_OF_ANTS = 1 / 13
MIN_SPEED_UP = 0.85
"""Least speed-up on two threads, as a share of the spin loop's."""
MAX_PEAK_MB = 1000.0
MIN_SLICES = 20
GROWTH_SLICES = (26, 60, 120, 240)
MEMORY_SLICES = 176


def recipe(sequences: int = 4) -> Recipe:
    """The demo's with ``sequences`` channels, the production grid (96 voxels of 2 mm each way) and thin stacks."""
    demo = load_manifest(demo_model_dir()).recipe
    return replace(demo, channels=SEQUENCES[:sequences], grid=Grid()).with_min_slices(MIN_SLICES)


def task(what: str, study: Study, *, sequences: int = 4, **options: Any) -> Task:
    """A measurement of ``study``, with its mask injected where it has one."""
    mask = str(study.mask) if study.mask else None
    values = {"mask": mask, **options}
    return Task(what, [str(f) for f in study.files], recipe_task(recipe(sequences)), **values)


def with_mask(study: Study, folder: Path) -> tuple[Study, Measured]:
    """One run with brain extraction, which keeps the mask and the volumes that the other measurements take."""
    done = measure(task("cost", study, mask=None, repeat=0, keep=str(folder)), folder)
    return replace(study, mask=folder / "brain.npy"), done


def ants_alone(folder: Path) -> dict[str, float]:
    """CPU seconds of ANTs for each of the three registrations of the kept volumes."""
    volumes = {m: _kept(folder / f"{m}.npz", m) for m in SEQUENCES}
    seconds = {}
    with Worker(ANTS, folder) as worker:
        for moving in SEQUENCES[1:]:
            answer = worker.register(write_pair(volumes[SEQUENCES[0]], volumes[moving], folder / "pair.npz"))
            if answer.matrix is None:
                raise SystemExit(f"ANTs failed on {moving}: {answer.error}")
            seconds[moving.value] = answer.cpu_s
    return seconds


def _kept(file: Path, modality: Modality) -> SequenceVolume:
    with np.load(file) as arrays:
        z, y, x = arrays["voxels"].shape
        return SequenceVolume(modality, arrays["voxels"], Geometry((x, y, z), arrays["affine"]))


def cost(folder: Path, repeat: int) -> tuple[list[Bar], dict[str, Any], Study]:
    """The study against ANTs, measured before and after it."""
    study, _ = with_mask(fg_sized_study(), folder)
    before = measure(task("cost", study, repeat=repeat), folder)
    ants = ants_alone(folder)
    after = measure(task("cost", study, repeat=repeat), folder)
    cpu_s, ants_s = median([*before.cpu_s, *after.cpu_s]), sum(ants.values())
    rows: list[list[object]] = [
        ["ours, four sequences, files to tensor", cpu_s],
        ["– the first study of a process", before.first_cpu_s],
        ["ANTs, three registrations alone", ants_s],
        *[[f"– {name}", seconds] for name, seconds in ants.items()],
    ]
    print_table(f"{study.name}, one thread", ["what", "CPU s"], rows)
    note = f"1/{ants_s / cpu_s:.1f}"
    bar = Bar("CPU time, of ANTs' three registrations", cpu_s / ants_s, MAX_OF_ANTS, note=note)
    figures = {"study": study.name, "cpu_s": cpu_s, "first_cpu_s": before.first_cpu_s, "ants_cpu_s": ants}
    return [bar], figures, study


def profile(study: Study, folder: Path, repeat: int) -> dict[str, Any]:
    """CPU seconds per stage and of the costliest functions."""
    done = measure(task("profile", study, repeat=repeat), folder)
    whole = sum(done.stages_cpu_s.values())
    rows = [[name, seconds, f"{seconds / whole:.0%}"] for name, seconds in done.stages_cpu_s.items()]
    print_table("CPU seconds per stage, one thread", ["stage", "CPU s", "share"], [*rows, ["sum", whole, "100%"]])
    spent = [[name, seconds, f"{seconds / whole:.0%}"] for name, seconds in done.functions]
    print_table("Costliest functions, their own time, under a profiler", ["function", "CPU s", "of the sum"], spent)
    return {"stages_cpu_s": done.stages_cpu_s, "functions_cpu_s": dict(done.functions)}


def speed_up(study: Study, folder: Path, repeat: int) -> tuple[list[Bar], dict[str, Any]]:
    """Two threads against one, of the pipeline, its stages and the spin loop."""
    if not takes_threads():
        print("\nThe pipeline takes no `threads`: its two-thread run is the same as its one-thread run.")
    runs = measure(task("speed_up", study, repeat=repeat), folder).speed_ups
    names = [key.removesuffix("_1") for key in runs[0] if key.endswith("_1")]
    gains = {name: median(run[f"{name}_1"] / run[f"{name}_2"] for run in runs) for name in names}
    rows = [[n, *(median(r[f"{n}_{t}"] for r in runs) for t in (1, 2)), gains[n]] for n in names]
    print_table(f"Wall seconds, one thread and two; medians of {repeat}", ["what", "1", "2", "speed-up"], rows)
    share = gains["pipeline"] / gains["spin"]
    note = f"{gains['pipeline']:.2f} of {gains['spin']:.2f}"
    bar = Bar("speed-up on two threads, of the spin loop's", share, MIN_SPEED_UP, at_least=True, note=note)
    return [bar], {"speed_up": gains, "runs_wall_s": runs}


def memory(folder: Path) -> tuple[list[Bar], dict[str, Any]]:
    """Peak of a fresh process for the large study on two threads, without and with brain extraction."""
    study = phantom_study(MEMORY_SLICES, isotropic=True)
    bare = measure(task("cost", study, repeat=0, threads=2), folder)
    whole = measure(task("cost", study, repeat=0, threads=2, mask=None), folder)
    rows = [[name, m.files_mb, m.before_mb, m.peak_mb, m.first_cpu_s, m.first_wall_s]
            for name, m in (("without brain extraction", bare), ("with it", whole))]  # fmt: skip
    columns = ["process", "files MB", "before MB", "peak MB", "CPU s", "wall s"]
    print_table(f"A study of 4 x 256 x 256 x {MEMORY_SLICES}, files in memory", columns, rows)
    made = [Bar("peak memory", bare.peak_mb, MAX_PEAK_MB, "MB"),
            Bar("peak memory with brain extraction", whole.peak_mb, MAX_PEAK_MB, "MB")]  # fmt: skip
    return made, {"without_brain": _short(bare), "with_brain": _short(whole)}


def growth(folder: Path) -> dict[str, Any]:
    """Time and memory with slices and with sequences; the second study of a fresh process, its peak over both."""
    kept: dict[str, Any] = {}
    columns = ["study", "CPU s", "wall s", "first CPU s", "before MB", "peak MB"]
    rows = []
    for slices in GROWTH_SLICES:
        done = measure(task("cost", phantom_study(slices)), folder)
        rows.append([f"4 sequences of {slices} slices", *_row(done)])
        kept[f"slices_{slices}"] = _short(done)
    for sequences in range(1, len(SEQUENCES) + 1):
        study = phantom_study(GROWTH_SLICES[0]).of(SEQUENCES[:sequences])
        done = measure(task("cost", study, sequences=sequences), folder)
        rows.append([f"{sequences} sequence{'s' * (sequences > 1)} of {GROWTH_SLICES[0]} slices", *_row(done)])
        kept[f"sequences_{sequences}"] = _short(done)
    print_table("Growth, one thread", columns, rows)
    return kept


def _row(done: Measured) -> list[float]:
    return [done.cpu_s[0], done.wall_s[0], done.first_cpu_s, done.before_mb, done.peak_mb]


def _short(done: Measured) -> dict[str, Any]:
    return {key: value for key, value in asdict(done).items() if value not in ([], {})}


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--skip-growth", action="store_true")
    args = parser.parse_args()
    require_peers()
    folder = Path(tempfile.mkdtemp(prefix="bench_preprocess-"))
    try:
        judged, costs, study = cost(folder, args.repeat)
        figures: dict[str, Any] = {"cost": costs, "profile": profile(study, folder, args.repeat)}
        for name, measured in (
            ("two_threads", speed_up(study, folder, 2 * args.repeat + 1)),
            ("memory", memory(folder)),
        ):
            judged, figures[name] = [*judged, *measured[0]], measured[1]
        if not args.skip_growth:
            figures["growth"] = growth(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print_bars(judged)
    figures["bars"] = [bar.record() for bar in judged]
    settings = {"repeat": args.repeat, "study": study.name, "sequences": 4, "min_slices": MIN_SLICES}
    write_result("preprocess", settings, figures, ("numpy", "SimpleITK", "pydicom"))


if __name__ == "__main__":
    main()
