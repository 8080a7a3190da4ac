"""Memory and /dev/shm that a server needs, from what its repository serves, held against what this machine gives it.

The figures were measured on the embedded server with the demo model (docs/operations.md has the table). A study that
waits holds its request, in buffers of gRPC that are half as large again; one that is worked on holds its request in
shared memory twice, once for Triton and once for the next, and its decoded volumes in a process of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.tensors import PREPROCESS_MODEL
from glioserve_triton.process.guardian import SHARED_MEMORY
from glioserve_triton.process.logs import Log

MIB = 1 << 20
AT_REST_BYTES = 512 * MIB
"""Server and models that have nothing to do."""
STUDY_BYTES = 448 * MIB
"""Work on a study of any size, in one instance of ``preprocess``, beside what grows with the request."""
STUDY_COPIES = 5.0
"""Size of a study's decoded and resampled volumes, as a multiple of its request: 16-bit pixels become 32-bit twice."""
WAITING_COPIES = 1.6
"""Size of a request in Triton and gRPC, as a multiple of its bytes."""
SHARED_BYTES = 96 * MIB
"""Shared memory of all models for tensors between them."""
SHARED_COPIES = 2.0
"""Size of a request in the shared memory of one instance of ``preprocess``, as a multiple of its bytes."""
SMALL_REQUEST_BYTES = 20 * MIB
"""Request that every server must be able to work on: four sequences of 256 x 256 x 40 voxels."""
LARGE_REQUEST_BYTES = 128 * MIB
"""Request that a full queue should be able to hold of; larger ones are rare."""
LEAST_SHARED_BYTES = 64 * MIB
"""Size of /dev/shm in a container for which none was set; :data:`SMALL_REQUEST_BYTES` just pass, one at a time."""
_UNLIMITED = 1 << 60
"""Smallest number that stands for no limit in cgroup version 1."""


@dataclass(frozen=True)
class Load:
    """Most studies that a server holds at once."""

    instances: int
    """Studies that are worked on: the instances of ``preprocess``."""
    waiting: int
    """Studies in its queue; 0 where the queue has no bound."""

    def memory_bytes(self, request_bytes: int) -> int:
        """Return the memory for a full queue of requests of one size, shared memory included."""
        held = WAITING_COPIES * (self.instances + self.waiting) + STUDY_COPIES * self.instances
        fixed = AT_REST_BYTES + STUDY_BYTES * self.instances
        return fixed + int(held * request_bytes) + self.shared_bytes(request_bytes)

    def shared_bytes(self, request_bytes: int) -> int:
        """Return the part of it that must fit into /dev/shm."""
        return SHARED_BYTES + int(SHARED_COPIES * self.instances * request_bytes)

    def largest_request_bytes(self, room: Room) -> int:
        """Return the size of request of which a full queue fits; 0 where not even an empty one does."""
        per_byte = self.memory_bytes(MIB) - self.memory_bytes(0), self.shared_bytes(MIB) - self.shared_bytes(0)
        left = room.memory_bytes - self.memory_bytes(0), room.shared_bytes - self.shared_bytes(0)
        return max(0, int(min(rest / each for rest, each in zip(left, per_byte, strict=True)) * MIB))


@dataclass(frozen=True)
class Room:
    """Memory that the server may take here."""

    memory_bytes: int
    """The smallest limit among the machine's memory and the cgroups that hold this process."""
    shared_bytes: int
    """Free part of /dev/shm."""


def load_of(repository: Path) -> Load:
    """Return the load that the repository's ``preprocess/config.pbtxt`` allows."""
    text = (repository / PREPROCESS_MODEL.name / "config.pbtxt").read_text(encoding="utf-8")
    try:
        config = text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        detail = f"{PREPROCESS_MODEL.name}/config.pbtxt cannot be read: {error}."
        raise GlioserveError(ErrorCode.INVALID_REPOSITORY, detail) from error
    instances = sum(group.count or 1 for group in config.instance_group) or 1
    return Load(instances, config.dynamic_batching.default_queue_policy.max_queue_size)


def room_here(system: Path = Path("/"), shared_memory: Path = SHARED_MEMORY) -> Room:
    """Return what this process may take; ``system`` is the folder that holds ``proc`` and ``sys``."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    disk = os.statvfs(shared_memory)
    return Room(min([physical, *_cgroup_limits(system)]), disk.f_bavail * disk.f_frsize)


@dataclass(frozen=True)
class Use:
    """Memory that is in use here, beside the limits on it."""

    memory_bytes: int
    """Memory of this process's cgroup without what the kernel can drop; of the machine where no cgroup tells."""
    memory_limit_bytes: int
    shared_bytes: int
    """Used part of /dev/shm."""
    shared_limit_bytes: int


def use_here(system: Path = Path("/"), shared_memory: Path = SHARED_MEMORY) -> Use:
    """Return what is in use at this moment; ``system`` is the folder that holds ``proc`` and ``sys``."""
    disk = os.statvfs(shared_memory)
    used = next(_cgroup_uses(system), None)
    return Use(
        _machine_use(system) if used is None else used,
        room_here(system, shared_memory).memory_bytes,
        (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        disk.f_blocks * disk.f_frsize,
    )


def check_room(repository: Path, log: Log, room: Room | None = None) -> None:
    """Log whether a full queue fits here, with the number to set where it does not.

    Raises:
        GlioserveError: GLIO-5130 where not even one small study at a time does; GLIO-5108 for a configuration that
            cannot be read.
    """
    room = room or room_here()
    load = load_of(repository)
    one = Load(1, 0)
    if room.memory_bytes < (needed := one.memory_bytes(SMALL_REQUEST_BYTES)):
        raise _too_small("memory", room.memory_bytes, needed)
    if room.shared_bytes < LEAST_SHARED_BYTES:
        raise _too_small(str(SHARED_MEMORY), room.shared_bytes, load.shared_bytes(LARGE_REQUEST_BYTES))
    if not load.waiting:
        log.event(
            "the queue of preprocess has no bound: set max_queue_size in its config.pbtxt, or export again", "warning"
        )
        return
    fitting = load.largest_request_bytes(room)
    log.event(
        "room",
        memory_mib=room.memory_bytes // MIB,
        shared_memory_mib=room.shared_bytes // MIB,
        waiting_studies=load.waiting,
        of_up_to_mib=fitting // MIB,
    )
    if fitting >= LARGE_REQUEST_BYTES:
        return
    for what, there, wanted in (
        ("memory", room.memory_bytes, load.memory_bytes(LARGE_REQUEST_BYTES)),
        (str(SHARED_MEMORY), room.shared_bytes, load.shared_bytes(LARGE_REQUEST_BYTES)),
    ):
        if there < wanted:
            log.event(
                f"{there // MIB} MiB of {what} are too little for {load.waiting} waiting studies of "
                f"{LARGE_REQUEST_BYTES // MIB} MiB: set {_rounded_mib(wanted)} MiB or more, a smaller max_queue_size "
                "in preprocess/config.pbtxt, or a smaller limit on requests at the gateway",
                "warning",
            )


def _too_small(what: str, there: int, wanted: int) -> GlioserveError:
    return GlioserveError(
        ErrorCode.SERVER_TOO_SMALL,
        f"The server has {there // MIB} MiB of {what}; it needs at least {_rounded_mib(wanted)} MiB.",
    )


def _rounded_mib(size_bytes: int) -> int:
    """Return MiB, up to the next 64."""
    return -(-size_bytes // (64 * MIB)) * 64


def _cgroup_limits(system: Path) -> Iterator[int]:
    """Yield the limits on memory of the cgroups that hold this process, of either version, outermost last."""
    for folder, old in _cgroups(system):
        limit = _number(folder / ("memory.limit_in_bytes" if old else "memory.max"))
        if limit is not None and limit < _UNLIMITED:
            yield limit


def _cgroup_uses(system: Path) -> Iterator[int]:
    """Yield the memory in use of those cgroups, without the pages of files that the kernel would drop first."""
    for folder, old in _cgroups(system):
        used = _number(folder / ("memory.usage_in_bytes" if old else "memory.current"))
        if used is not None:
            droppable = _field(folder / "memory.stat", "total_inactive_file" if old else "inactive_file")
            yield max(used - droppable, 0)


def _cgroups(system: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the folders of the cgroups that hold this process, outermost last; True for those of version 1."""
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "memory" not in controllers.split(","):
            continue
        mount = system / "sys/fs/cgroup" / ("memory" if controllers else "")
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(mount):
                break
            yield folder, bool(controllers)


def _machine_use(system: Path) -> int:
    file = system / "proc/meminfo"
    return 1024 * max(_field(file, "MemTotal:") - _field(file, "MemAvailable:"), 0)


def _field(file: Path, name: str) -> int:
    """Return the number after ``name`` in a table of the kernel; 0 where it is not there."""
    try:
        rows = [line.split() for line in file.read_text(encoding="ascii").splitlines()]
    except OSError:
        return 0
    return next((int(row[1]) for row in rows if len(row) > 1 and row[0] == name), 0)


def _number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if re.fullmatch(r"\d+", text) else None
