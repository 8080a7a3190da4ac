"""One measurement of the pipeline in a fresh process: ``run.py TASK.json`` prints one line of JSON.

A process of its own, because peak memory and the cost of a first call are only known of a fresh one.
"""

from __future__ import annotations

import cProfile
import hashlib
import inspect
import json
import os
import pstats
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np

from glioserve_contract.codec import to_dict
from glioserve_contract.records.preprocess import BrainRecord
from glioserve_contract.records.recipe import Recipe, parse_recipe
from glioserve_preprocess import pipeline
from glioserve_preprocess.brain.extraction import Brain, spread_points_lps_mm
from glioserve_preprocess.itk import set_itk_threads

TIMEOUT_S = 900.0
CLOCKS = "time.perf_counter"
TOP_FUNCTIONS = 14


@dataclass(frozen=True)
class Task:
    """Measurement that a process is started for."""

    what: str
    """``cost`` (a first run and ``repeat`` warm ones), ``speed_up`` or ``profile``."""
    files: list[str]
    recipe: dict[str, Any]
    mask: str | None = None
    """The reference's mask as .npy, which spares the brain extraction; without it the pipeline's own runs."""
    threads: int = 1
    repeat: int = 1
    keep: str | None = None
    """Folder for the mask and the native volumes."""


@dataclass
class Measured:
    """CPU (user + system, all threads) and wall seconds per run, the first one apart; memory of the whole process."""

    first_cpu_s: float = float("nan")
    first_wall_s: float = float("nan")
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    stages_cpu_s: dict[str, float] = field(default_factory=dict)
    before_mb: float = float("nan")
    """Memory of the process with its imports and the files in memory, before the first run."""
    peak_mb: float = float("nan")
    files_mb: float = float("nan")
    speed_ups: list[dict[str, float]] = field(default_factory=list)
    functions: list[tuple[str, float]] = field(default_factory=list)
    """Own seconds of the costliest functions."""


def measure(task: Task, folder: Path) -> Measured:
    """Run ``task`` in a fresh process with numpy's libraries on one thread."""
    file = folder / "task.json"
    file.write_text(json.dumps(asdict(task)), encoding="utf-8")
    threads = "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS".split()
    done = subprocess.run(
        [sys.executable, __file__, str(file)],
        env={**os.environ, **dict.fromkeys(threads, "1")},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the measurement of {task.what} failed:\n{done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def takes_threads() -> bool:
    """True where the pipeline can be told how many threads to use."""
    return "threads" in inspect.signature(pipeline.preprocess_dicom).parameters


def recipe_task(recipe: Recipe) -> dict[str, Any]:
    """A recipe as a task carries it."""
    values: dict[str, Any] = to_dict(recipe)
    return values


def _run(files: Sequence[bytes], recipe: Recipe, threads: int) -> pipeline.Preprocessed:
    set_itk_threads(threads)
    options: dict[str, Any] = {"threads": threads} if takes_threads() else {}
    return pipeline.preprocess_dicom(files, recipe, accept_identified=True, **options)


def _with_mask(file: str | None) -> AbstractContextManager[Any]:
    if file is None:
        return nullcontext()
    mask = np.load(file)

    def known(reference: Any, *_: Any, **__: Any) -> Any:
        if reference.voxels.shape != mask.shape:
            raise SystemExit(f"the mask is of {mask.shape}, the reference of {reference.voxels.shape}")
        record = BrainRecord("known", "", "", (reference.modality,))
        return Brain(mask, (), record, spread_points_lps_mm(mask, reference.geometry))

    return mock.patch.object(pipeline, "find_brain", known)


def _cost(task: Task, files: Sequence[bytes], recipe: Recipe, out: Measured) -> None:
    for number in range(task.repeat + 1):
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        done = _run(files, recipe, task.threads)
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        if number:
            out.cpu_s.append(cpu_s)
            out.wall_s.append(wall_s)
        else:
            out.first_cpu_s, out.first_wall_s = cpu_s, wall_s
    if task.keep:
        np.save(Path(task.keep) / "brain.npy", done.native_mask)
        for modality, volume in done.volumes.items():
            affine = volume.geometry.lps_from_voxel
            np.savez(Path(task.keep) / f"{modality}.npz", voxels=volume.voxels, affine=affine)


def _stages(task: Task, files: Sequence[bytes], recipe: Recipe, out: Measured) -> None:
    """CPU seconds per stage: the pipeline's stopwatch on the process's clock. One thread, or stages would mix."""
    with mock.patch(CLOCKS, time.process_time):
        runs = []
        for _ in range(task.repeat):
            cpu_s = time.process_time()
            stages = dict(_run(files, recipe, 1).record.timings_s)
            stages["rest"] = time.process_time() - cpu_s - sum(stages.values())
            runs.append(stages)
    out.stages_cpu_s = {name: median(run[name] for run in runs) for name in runs[0]}


def _profile(files: Sequence[bytes], recipe: Recipe, out: Measured) -> None:
    profile = cProfile.Profile(time.process_time)
    profile.runcall(_run, files, recipe, 1)
    stats: dict[tuple[str, int, str], Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    own = [(f"{_module(file)}{name}", times[2]) for (file, _, name), times in stats.items()]
    out.functions = sorted(own, key=lambda f: -f[1])[:TOP_FUNCTIONS]


def _module(file: str) -> str:
    return "" if file == "~" else f"{Path(file).parent.name}/{Path(file).name}:"


def _speed_up(task: Task, files: Sequence[bytes], recipe: Recipe, out: Measured) -> None:
    """The pipeline on one and on two threads, and a spin loop on one and on two, in turn."""
    _run(files, recipe, 2)
    start = time.perf_counter()
    _run(files, recipe, 1)
    rounds = _rounds((time.perf_counter() - start) / 2)
    for _ in range(task.repeat):
        seconds = {}
        for threads in (1, 2):
            start = time.perf_counter()
            done = _run(files, recipe, threads)
            seconds[f"pipeline_{threads}"] = time.perf_counter() - start
            for stage, stage_s in done.record.timings_s.items():
                seconds[f"{stage}_{threads}"] = stage_s
            start = time.perf_counter()
            _spin_in(threads, 2 // threads * rounds)
            seconds[f"spin_{threads}"] = time.perf_counter() - start
        out.speed_ups.append(seconds)


def _spin(rounds: int) -> None:
    """Work that needs neither the interpreter lock nor memory."""
    hashlib.pbkdf2_hmac("sha256", b"spin", b"loop", rounds)


def _spin_in(threads: int, rounds: int) -> None:
    running = [threading.Thread(target=_spin, args=(rounds,)) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _rounds(seconds: float) -> int:
    """Return as many rounds as take about so long."""
    trial = 100_000
    start = time.perf_counter()
    _spin(trial)
    return max(trial, int(trial * seconds / (time.perf_counter() - start)))


def _memory_mb(key: str) -> float:
    """VmRSS or VmHWM. Not getrusage, whose peak is the parent's until it is exceeded."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def main() -> None:
    """Measure and print."""
    task = Task(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    recipe = parse_recipe(task.recipe)
    files = [Path(name).read_bytes() for name in task.files]
    out = Measured(before_mb=_memory_mb("VmRSS"), files_mb=sum(map(len, files)) / 1e6)
    with _with_mask(task.mask):
        if task.what == "cost":
            _cost(task, files, recipe, out)
        elif task.what == "speed_up":
            _speed_up(task, files, recipe, out)
        else:
            _run(files, recipe, 1)
            _stages(task, files, recipe, out)
            _profile(files, recipe, out)
    out.peak_mb = _memory_mb("VmHWM")
    print(json.dumps(asdict(out)))


if __name__ == "__main__":
    main()
