"""What GPU and what TensorRT a machine has, by its own tools: whoever builds a plan and whoever serves it ask alike.

Only programs that NVIDIA's driver and packages bring are asked, each in a process of its own with a time limit: a
broken installation can crash or hang whoever loads it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glioserve_contract.errors import ErrorCode, GlioserveError

QUERY_TIMEOUT_S = 60.0
"""Of one question. The first that touches a GPU without persistence mode waits for its initialisation."""
NVIDIA_SMI_QUERY = ("--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")
"""``nvidia-smi --help-query-gpu``; compute_cap is there since driver 510."""
TRTEXEC_PLACES = ("/usr/src/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")
"""Where NVIDIA's Debian packages and containers put it, off PATH."""

_BANNER = re.compile(r"\[TensorRT v(\d{5,7})\](?: \[b(\d+)\])?")
"""``&&&& RUNNING TensorRT.trtexec [TensorRT v101601] [b11] # …``: the first line of any run of trtexec. The number is
major * 10000 + minor * 100 + patch since TensorRT 10."""
_DPKG = re.compile(r"^ii\s+libnvinfer(\d+)(?::\S+)?\s+(\d+\.\d+\.\d+\.\d+)", re.MULTILINE)
_VERSION = re.compile(r"\d+\.\d+\.\d+(\.\d+)?")
_MIG = re.compile(r"^\s+MIG (\S+)\s+Device", re.MULTILINE)


@dataclass(frozen=True)
class Device:
    """One kind of GPU."""

    name: str
    """``NVIDIA A30``; of a MIG slice ``NVIDIA A30 (MIG 1g.6gb)``: a slice has fewer multiprocessors than its GPU, so
    a plan of the one is not the other's."""
    compute_capability: str
    """``8.0``."""
    driver_version: str


def find_device(timeout_s: float = QUERY_TIMEOUT_S) -> Device | None:
    """The GPU of this machine; None where ``nvidia-smi`` is not there, or finds none.

    GLIO-5119 where there are GPUs of different kinds: one plan cannot be all of theirs.
    """
    program = shutil.which("nvidia-smi")
    listed = _answer([program, *NVIDIA_SMI_QUERY], timeout_s) if program else None
    if program is None or listed is None:
        return None
    kinds = parse_devices(listed, _answer([program, "-L"], timeout_s) or "")
    if len(kinds) > 1:
        names = ", ".join(f"{d.name} (compute capability {d.compute_capability})" for d in kinds)
        raise GlioserveError(
            ErrorCode.ENGINE_BUILD_FAILED,
            f"There are GPUs of different kinds: {names}. A plan fits one: give the container those of one kind "
            "(NVIDIA_VISIBLE_DEVICES).",
        )
    return kinds[0] if kinds else None


def parse_devices(query: str, listing: str = "") -> tuple[Device, ...]:
    """Kinds of GPU in the answer to :data:`NVIDIA_SMI_QUERY` and, for MIG slices, to ``nvidia-smi -L``, as listed.

    Where slices are listed, work runs in them and not in the whole GPU.
    """
    whole = []
    for line in query.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 3 and re.fullmatch(r"\d+\.\d+", fields[1]):
            whole.append(Device(*fields))
    slices = _slices(listing)
    kinds = []
    for index, device in enumerate(whole):
        names = [f"{device.name} (MIG {profile})" for profile in slices.get(index, ())] or [device.name]
        kinds += [Device(name, device.compute_capability, device.driver_version) for name in names]
    return tuple(dict.fromkeys(kinds))


def _slices(listing: str) -> dict[int, list[str]]:
    """Index of a GPU in ``nvidia-smi -L`` to the profiles of its MIG slices."""
    sections = re.split(r"^GPU \d+:", listing, flags=re.MULTILINE)[1:]
    return {index: found for index, text in enumerate(sections) if (found := _MIG.findall(text))}


def find_tensorrt_version(trtexec: Path | None = None, timeout_s: float = QUERY_TIMEOUT_S) -> str | None:
    """All four numbers of the TensorRT that is installed; None where none is found.

    By the Python package, else by trtexec's first line, else by Debian's package list.
    """
    trtexec = trtexec or find_trtexec()
    return (
        python_package_version(timeout_s)
        or (trtexec_version(trtexec, timeout_s) if trtexec else None)
        or _debian_version(timeout_s)
    )


def python_package_version(timeout_s: float = QUERY_TIMEOUT_S) -> str | None:
    """``tensorrt.__version__``; None where it cannot be imported, as without its libraries."""
    said = _answer([sys.executable, "-c", "import tensorrt; print(tensorrt.__version__)"], timeout_s)
    last = said.split()[-1] if said and said.split() else ""
    return last if _VERSION.fullmatch(last) else None


def find_trtexec() -> Path | None:
    """On PATH, else where NVIDIA puts it."""
    on_path = shutil.which("trtexec")
    places = ([on_path] if on_path else []) + [place for place in TRTEXEC_PLACES if shutil.which(place)]
    return Path(places[0]) if places else None


def trtexec_version(trtexec: Path, timeout_s: float = QUERY_TIMEOUT_S) -> str | None:
    """By the banner that ``--help`` begins with; there is no ``--version``."""
    said = _answer([str(trtexec), "--help"], timeout_s)
    return parse_banner(said) if said else None


def parse_banner(text: str) -> str | None:
    """``10.16.1.11`` of ``[TensorRT v101601] [b11]``; without the build's number where it says none."""
    match = _BANNER.search(text)
    if match is None:
        return None
    number = int(match[1])
    parts = [number // 10000, number // 100 % 100, number % 100, *([int(match[2])] if match[2] else [])]
    return ".".join(map(str, parts))


def parse_dpkg(text: str) -> str | None:
    """The newest libnvinfer that ``dpkg -l`` lists as installed."""
    versions = [found[1] for found in _DPKG.findall(text)]
    return max(versions, key=lambda v: [int(n) for n in v.split(".")], default=None)


def _debian_version(timeout_s: float) -> str | None:
    said = _answer(["dpkg", "-l", "libnvinfer*"], timeout_s) if shutil.which("dpkg") else None
    return parse_dpkg(said) if said else None


def _answer(command: Sequence[str], timeout_s: float) -> str | None:
    """What a program prints; None where it cannot be run, fails or takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
