"""Sizing: a server's needs, the machine's means, and the message where the two do not fit."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_WAITING_STUDIES
from glioserve_registry.layout.static_models import static_repository
from glioserve_triton.process.logs import Log
from glioserve_triton.process.sizing import (
    LARGE_REQUEST_BYTES,
    MIB,
    Load,
    Room,
    check_room,
    load_of,
    room_here,
    use_here,
)

GIB = 1024 * MIB
CHART = Room(memory_bytes=12 * GIB, shared_bytes=2 * GIB)
"""The Helm chart's defaults."""


def said(room: Room, repository: Path | None = None) -> str:
    stream = io.StringIO()
    check_room(repository or static_repository(), Log(stream, "text"), room)
    return stream.getvalue()


def test_the_load_is_what_the_repository_allows() -> None:
    assert load_of(static_repository()) == Load(instances=2, waiting=MAX_WAITING_STUDIES)


def test_a_full_queue_fits_the_charts_defaults() -> None:
    load = load_of(static_repository())
    assert load.largest_request_bytes(CHART) >= LARGE_REQUEST_BYTES
    text = said(CHART)
    assert " I glioserve] room memory_mib=12288 shared_memory_mib=2048 waiting_studies=16" in text
    assert " W " not in text


@pytest.mark.parametrize("size_bytes", [MIB, 100 * MIB, 300 * MIB])
def test_the_largest_request_is_the_one_that_just_fits(size_bytes: int) -> None:
    load = Load(2, 16)
    enough = Room(load.memory_bytes(size_bytes), load.shared_bytes(size_bytes))
    assert load.largest_request_bytes(enough) == pytest.approx(size_bytes, abs=MIB)
    for short in (Room(enough.memory_bytes - 50 * MIB, GIB * 9), Room(GIB * 99, enough.shared_bytes - 50 * MIB)):
        assert load.largest_request_bytes(short) < size_bytes
    assert load.largest_request_bytes(Room(MIB, MIB)) == 0


@pytest.mark.parametrize(
    ("room", "what", "number"),
    [(Room(4 * GIB, 2 * GIB), "4096 MiB of memory", 7040), (Room(12 * GIB, 200 * MIB), "200 MiB of /dev/shm", 640)],
    ids=["memory", "shared memory"],
)
def test_what_is_too_small_for_a_full_queue_is_told_with_the_number_to_set(room: Room, what: str, number: int) -> None:
    warned = [line for line in said(room).splitlines() if " W " in line]
    assert len(warned) == 1
    assert f"{what} are too little for 16 waiting studies of 128 MiB: set {number} MiB or more" in warned[0]
    as_told = Room(number * MIB, 2 * GIB) if "memory" in what else Room(12 * GIB, number * MIB)
    assert " W " not in said(as_told)


@pytest.mark.parametrize(
    ("room", "what"),
    [
        (Room(900 * MIB, 2 * GIB), "900 MiB of memory; it needs at least 1280"),
        (Room(GIB * 8, 32 * MIB), "32 MiB of /dev/shm"),
    ],
    ids=["memory", "shared memory"],
)
def test_what_cannot_work_is_refused(room: Room, what: str) -> None:
    with pytest.raises(GlioserveError, match=what) as caught:
        said(room)
    assert caught.value.code is ErrorCode.SERVER_TOO_SMALL


def test_a_queue_without_bound_is_told(tmp_path: Path) -> None:
    (tmp_path / "preprocess").mkdir()
    (tmp_path / "preprocess" / "config.pbtxt").write_text('name: "preprocess"')
    assert load_of(tmp_path) == Load(1, 0)
    assert "set max_queue_size" in said(CHART, tmp_path)


def test_a_configuration_that_is_no_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "preprocess").mkdir()
    (tmp_path / "preprocess" / "config.pbtxt").write_text("name: {")
    with pytest.raises(GlioserveError) as caught:
        load_of(tmp_path)
    assert caught.value.code is ErrorCode.INVALID_REPOSITORY


CGROUPS = {
    "version 2, within a namespace": ("0::/\n", {"memory.max": "3000000000"}, 3_000_000_000),
    "version 2, no limit of its own": (
        "0::/pods/one\n",
        {"pods/one/memory.max": "max", "pods/memory.max": "2000000000"},
        2_000_000_000,
    ),
    "version 2, the parent is smaller": (
        "0::/pods/one\n",
        {"pods/one/memory.max": "4000000000", "pods/memory.max": "2000000000"},
        2_000_000_000,
    ),
    "version 1": (
        "5:cpu,cpuacct:/x\n4:memory:/docker/a\n",
        {"memory/docker/a/memory.limit_in_bytes": "1500000000", "memory/memory.limit_in_bytes": str((1 << 63) - 4096)},
        1_500_000_000,
    ),
    "version 1, within a container": (
        "4:memory:/docker/a\n",
        {"memory/memory.limit_in_bytes": "1500000000"},
        1_500_000_000,
    ),
}


@pytest.mark.parametrize(("lines", "files", "limit"), CGROUPS.values(), ids=CGROUPS)
def test_the_smallest_limit_of_the_cgroups_counts(
    tmp_path: Path, lines: str, files: dict[str, str], limit: int
) -> None:
    write(tmp_path / "proc/self/cgroup", lines)
    for name, content in files.items():
        write(tmp_path / "sys/fs/cgroup" / name, content + "\n")
    assert room_here(tmp_path).memory_bytes == limit


def test_without_cgroups_the_machines_memory_counts(tmp_path: Path) -> None:
    total_kib = int(Path("/proc/meminfo").read_text(encoding="ascii").split()[1])
    assert room_here(tmp_path).memory_bytes == pytest.approx(total_kib * 1024, rel=0.01)
    assert room_here().shared_bytes > 0


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        (
            "0::/pod/server\n",
            {"pod/server/memory.current": "900", "pod/server/memory.stat": "anon 5\ninactive_file 200"},
        ),
        (
            "4:memory:/pod\n1:cpu:/\n",
            {"memory/pod/memory.usage_in_bytes": "900", "memory/pod/memory.stat": "total_inactive_file 200"},
        ),
    ],
    ids=["v2", "v1"],
)
def test_memory_in_use_leaves_out_what_the_kernel_can_drop(tmp_path: Path, cgroup: str, files: dict[str, str]) -> None:
    write(tmp_path / "proc/self/cgroup", cgroup)
    for name, content in files.items():
        write(tmp_path / "sys/fs/cgroup" / name, content + "\n")
    assert use_here(tmp_path, tmp_path).memory_bytes == 700


def test_without_cgroups_the_machines_use_counts(tmp_path: Path) -> None:
    write(tmp_path / "proc/meminfo", "MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:  400 kB\n")
    use = use_here(tmp_path, tmp_path)
    assert use.memory_bytes == 600 * 1024
    assert 0 < use.shared_bytes < use.shared_limit_bytes


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")
