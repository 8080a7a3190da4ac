"""The GPU and the TensorRT of a machine, asked in the same way where a plan is built and where it is served.

Each question is a program of its own with a time limit, because a broken installation can crash or hang the process
that loads it: NVIDIA's management library (:mod:`nvml`), TensorRT's Python package, ``trtexec`` and ``dpkg``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glioserve_contract.errors import ErrorCode, GlioserveError
from glioserve_contract.install import install_advice

QUERY_TIMEOUT_S = 60.0
"""Time for one question; the first that touches a GPU without persistence mode waits for its initialisation."""
KILL_TIMEOUT_S = 1.0
"""Time for a killed program to end; a call that hangs inside the driver may outlive even that."""
NVML_PACKAGE = "nvidia-ml-py"
"""The Python package that asks NVIDIA's management library; without it no GPU is found."""
TRTEXEC_PLACES = ("/usr/src/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")
"""Places off PATH where NVIDIA's Debian packages and containers put trtexec."""
_NVML_PROGRAM = Path(__file__).with_name("nvml.py")

_BANNER = re.compile(r"\[TensorRT v(\d{5,7})\](?: \[b(\d+)\])?")
"""``&&&& RUNNING TensorRT.trtexec [TensorRT v101601] [b11] # …``: the first line of any run of trtexec. The number is
major * 10000 + minor * 100 + patch since TensorRT 10."""
_DPKG = re.compile(r"^[ih]i\s+libnvinfer(\d+)(?::\S+)?\s+(\d+\.\d+\.\d+\.\d+)", re.MULTILINE)
"""``ii`` is installed, ``hi`` installed and held back from upgrades (``apt-mark hold``)."""
_VERSION = re.compile(r"(\d+\.\d+\.\d+(?:\.\d+)?)(?:\.post\d+)?(?:\+[A-Za-z0-9.]+)?")
"""``__version__`` of the Python package: ``10.14.1.48.post1`` is TensorRT 10.14.1.48, packaged a second time."""


@dataclass(frozen=True)
class Device:
    """One kind of GPU."""

    name: str
    """``NVIDIA A30``; of a MIG slice ``NVIDIA A30 (MIG 1g.6gb)``: a slice has fewer multiprocessors than its GPU, so
    a plan built for one does not fit the other."""
    compute_capability: str
    """``8.0``."""
    driver_version: str


def no_device_reason() -> str:
    """Return why :func:`find_device` found none, as a phrase for a message."""
    if importlib.util.find_spec("pynvml") is None:
        return f"the Python package {NVML_PACKAGE} is not installed ({install_advice('gpu')})"
    return "NVIDIA's driver is not there, does not answer, or lists no GPU"


def find_device(timeout_s: float = QUERY_TIMEOUT_S) -> Device | None:
    """Return the GPU of this machine; None where there is none, or the driver does not answer in time.

    Raises GLIO-5119 where there are GPUs of different kinds: one plan cannot fit them all.
    """
    answer = _answer([sys.executable, str(_NVML_PROGRAM)], timeout_s)
    kinds = parse_devices(answer) if answer else ()
    if len(kinds) > 1:
        names = ", ".join(f"{d.name} (compute capability {d.compute_capability})" for d in kinds)
        raise GlioserveError(
            ErrorCode.ENGINE_BUILD_FAILED,
            f"There are GPUs of different kinds: {names}. A plan fits one: give the container those of one kind "
            "(NVIDIA_VISIBLE_DEVICES).",
        )
    return kinds[0] if kinds else None


def parse_devices(text: str) -> tuple[Device, ...]:
    """Return the kinds of GPU that :mod:`nvml` printed, each once, in its order."""
    return tuple(dict.fromkeys(Device(**device) for device in json.loads(text)))


def find_tensorrt_version(trtexec: Path | None = None, timeout_s: float = QUERY_TIMEOUT_S) -> str | None:
    """Return all four numbers of the TensorRT that is installed; None where none is found.

    Debian's package list is asked first, because Triton loads the system's library: a Python package may have brought
    another one of its own. Then come the Python package and trtexec's first line.
    """
    trtexec = trtexec or find_trtexec()
    return (
        library_version(timeout_s)
        or python_package_version(timeout_s)
        or (trtexec_version(trtexec, timeout_s) if trtexec else None)
    )


def python_package_version(timeout_s: float = QUERY_TIMEOUT_S) -> str | None:
    """Return TensorRT's own numbers in ``tensorrt.__version__``; None where it cannot be imported.

    It cannot be imported without its libraries. A suffix of the packaging (``.post1``) is left out.
    """
    words = (_answer([sys.executable, "-c", "import tensorrt; print(tensorrt.__version__)"], timeout_s) or "").split()
    match = _VERSION.fullmatch(words[-1]) if words else None
    return match[1] if match else None


def find_trtexec() -> Path | None:
    """Return trtexec on PATH, or else where NVIDIA puts it; None where it is in neither place."""
    on_path = shutil.which("trtexec")
    places = ([on_path] if on_path else []) + [place for place in TRTEXEC_PLACES if shutil.which(place)]
    return Path(places[0]) if places else None


def trtexec_version(trtexec: Path, timeout_s: float = QUERY_TIMEOUT_S) -> str | None:
    """Return TensorRT's version of the banner that ``--help`` begins with; trtexec has no ``--version``."""
    answer = _answer([str(trtexec), "--help"], timeout_s)
    return parse_banner(answer) if answer else None


def parse_banner(text: str) -> str | None:
    """Return ``10.16.1.11`` of ``[TensorRT v101601] [b11]``; without the build's number where it is not there."""
    match = _BANNER.search(text)
    if match is None:
        return None
    number = int(match[1])
    parts = [number // 10000, number // 100 % 100, number % 100, *([int(match[2])] if match[2] else [])]
    return ".".join(map(str, parts))


def parse_dpkg(text: str) -> str | None:
    """Return the newest libnvinfer that ``dpkg -l`` lists as installed; None where it lists none."""
    versions = [package[1] for package in _DPKG.findall(text)]
    return max(versions, key=lambda v: [int(n) for n in v.split(".")], default=None)


def library_version(timeout_s: float = QUERY_TIMEOUT_S) -> str | None:
    """Return the version of the system's libnvinfer, which Triton loads; None where Debian's list has none."""
    answer = _answer(["dpkg", "-l", "libnvinfer*"], timeout_s) if shutil.which("dpkg") else None
    return parse_dpkg(answer) if answer else None


def _answer(command: Sequence[str], timeout_s: float) -> str | None:
    """Return what a program prints; None where it cannot be run, fails or takes longer than ``timeout_s``."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            errors="replace",
        )  # fmt: skip
    except OSError:
        return None
    try:
        printed, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # not subprocess.run: it would wait for a hung driver
            process.wait(KILL_TIMEOUT_S)
        return None
    return printed if process.returncode == 0 else None
