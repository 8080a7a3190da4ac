"""Registration tools as processes: one worker each, one thread, answers within a time limit, none left behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from common import ROOT
from glioserve_dicom.volumes.geometry import Matrix, SequenceVolume

PEERS_PYTHON = ROOT / "build" / "peers" / "bin" / "python"
WORKER = ROOT / "benchmarks" / "peers" / "worker.py"
ONE_THREAD = dict.fromkeys(
    "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS".split(), "1"
)
CALL_TIMEOUT_S = 300.0
START_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Tool:
    """One way to register. ``family`` is whose code it is: settings of one tool count once in a consensus."""

    name: str
    family: str
    module: str
    """``benchmarks/peers/<module>_rigid.py``."""
    heavy: bool = False
    """Runs under the peers' own Python."""

    @property
    def python(self) -> Path:
        """The interpreter that has it."""
        return PEERS_PYTHON if self.heavy else Path(sys.executable)


OURS = Tool("glioserve", "glioserve", "glioserve")
ANTS = Tool("ANTs", "ANTs", "ants", heavy=True)
ELASTIX = Tool("elastix", "elastix", "elastix", heavy=True)
SIMPLEITK = Tool("SimpleITK 8/4/2", "SimpleITK", "simpleitk")
SIMPLEITK_DENSE = Tool("SimpleITK 4/3/2", "SimpleITK", "simpleitk_dense")
PEERS = (ANTS, ELASTIX, SIMPLEITK, SIMPLEITK_DENSE)


@dataclass(frozen=True, eq=False)
class Answer:
    """Result of one call: a matrix (fixed LPS mm to moving LPS mm), or an error, and what it cost."""

    matrix: Matrix | None
    error: str = ""
    verdict: str = ""
    cpu_s: float = field(default=float("nan"))
    wall_s: float = field(default=float("nan"))


class WorkerGoneError(RuntimeError):
    """The process ended or did not answer in time."""


def require_peers() -> None:
    """Exit with what to do where the peers' environment is missing."""
    if not PEERS_PYTHON.exists():
        raise SystemExit("The peers are not installed: run `make peers` (about 2.5 GB into build/peers) first.")


class Worker:
    """One tool's process, started again after a crash or a time-out. A context manager."""

    def __init__(self, tool: Tool, folder: Path) -> None:
        self.tool = tool
        self.import_cpu_s = self.import_wall_s = float("nan")
        self._log = folder / f"{tool.module}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def __enter__(self) -> Worker:
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def register(self, pair: Path) -> Answer:
        """Register the pair that :func:`write_pair` wrote."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"pair": str(pair)}).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._read(CALL_TIMEOUT_S)
        except (WorkerGoneError, BrokenPipeError) as error:
            self._stop()
            return Answer(None, error=str(error) or "the process ended")
        matrix = answer.get("matrix")
        return Answer(
            None if matrix is None else np.array(matrix, dtype=np.float64),
            answer.get("error", ""),
            answer.get("verdict", ""),
            answer["cpu_s"],
            answer["wall_s"],
        )

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.tool.python), str(WORKER), self.tool.module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,
            )
        self._unread = b""
        try:
            started = self._read(START_TIMEOUT_S)
        except WorkerGoneError:
            self._stop()
            words = self._log.read_text(encoding="utf-8", errors="replace")[-1000:]
            raise SystemExit(f"{self.tool.name} did not start. Its last words:\n{words}") from None
        self.import_cpu_s, self.import_wall_s = started["import_cpu_s"], started["import_wall_s"]

    def _read(self, timeout_s: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        end = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise WorkerGoneError(f"no answer within {timeout_s:.0f} s")
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise WorkerGoneError("the process ended")
            self._unread += chunk
        line, self._unread = self._unread.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def write_pair(fixed: SequenceVolume, moving: SequenceVolume, file: Path) -> Path:
    """Voxels [z, y, x] and lps_from_voxel of both, as the workers read them; exact, unlike NIfTI's FP32 affines."""
    np.savez(
        file,
        fixed_voxels=fixed.voxels,
        fixed_affine=fixed.geometry.lps_from_voxel,
        moving_voxels=moving.voxels,
        moving_affine=moving.geometry.lps_from_voxel,
    )
    return file
