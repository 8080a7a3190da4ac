"""Regions of shared memory that a client writes volumes into and a server of the same host reads them from.

A region's file is removed as soon as the server has opened it: nothing is left in /dev/shm, whichever side is killed. A
region is used again after an answer; after anything else the server may still read it, so that it is given up.
"""

from __future__ import annotations

import mmap
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from glioserve_client.calls.settings import Settings
from glioserve_client.connect.channels import Methods, status_of
from glioserve_client.connect.transport import Transport
from glioserve_client.request import Place, Tensor
from glioserve_client.shared_memory.names import FOLDER, new_name, sweep
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.pixels.parts import write_parts

KEY_HEADER = "triton-grpc-protocol-shared-memory-key"
"""Header of the operator's token (``--shared-memory-token-file``)."""
CALL_TIMEOUT_S = 5.0
_ALIGNMENT = 64
_GRAIN_BYTES = 1 << 20
_LOOPBACK = re.compile(r"(?:dns:///|ipv4:|ipv6:)?(?:127(?:\.\d+){3}|localhost|\[::1\]|\[?::1\]?):\d+")


@dataclass(eq=False)
class Region:
    """Shared memory that the server has opened."""

    name: str
    memory: mmap.mmap = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """Length of the region."""
        return len(self.memory)


@dataclass(frozen=True)
class Placed:
    """Tensors in a region."""

    region: Region
    inputs: tuple[Tensor, ...]


class Regions:
    """Regions of one client: written, lent to one call at a time, and given up."""

    def __init__(self, settings: Settings, transport: Transport, token_file: Path) -> None:
        """Prepare; nothing is opened before the first volume.

        Args:
            settings: the client's.
            transport: opens the channel on which regions are registered.
            token_file: file with the operator's token.

        Raises:
            ValueError: the client's URL is not on the loopback.
        """
        if not _LOOPBACK.fullmatch(settings.url):
            raise ValueError("shared memory needs a server on this host: a URL such as 127.0.0.1:8001")
        self._settings, self._transport, self._token_file = settings, transport, token_file
        self._lock = threading.Lock()
        self._free: list[Region] = []
        self._given_up: list[Region] = []
        self._channel: Any = None
        self._methods: Methods | None = None

    def place(self, tensors: Sequence[Tensor]) -> Placed:
        """Write tensors into a region that the server knows.

        Raises:
            SharedMemoryRefusedError: GLIO-4113 where the server does not allow it or cannot open the region, or where
                this machine has no room for it.
        """
        starts, size = [], 0
        for tensor in tensors:
            starts.append(size)
            size += -(-tensor.size_bytes // _ALIGNMENT) * _ALIGNMENT
        region = self._of_size(size)
        placed = []
        with memoryview(region.memory) as memory:
            for tensor, start in zip(tensors, starts, strict=True):
                with memory[start : start + tensor.size_bytes] as out:
                    write_parts(tensor.parts, out)
                place = Place(region.name, start, tensor.size_bytes)
                placed.append(Tensor(tensor.name, tensor.dtype, tensor.shape, (), place))
        return Placed(region, tuple(placed))

    def give_back(self, placed: Placed) -> None:
        """Take a region back after an answer: the server is done with it."""
        with self._lock:
            self._free.append(placed.region)

    def give_up(self, placed: Placed) -> None:
        """Take a region out of use: the server may still read it, or does not know it any more."""
        with self._lock:
            self._given_up.append(placed.region)

    def close(self) -> None:
        """Have the server forget the regions. One that it still reads it forgets when it finds this process ended."""
        with self._lock:
            self._given_up += self._free
            self._free = []
        self._forget_given_up()
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _of_size(self, size_bytes: int) -> Region:
        with self._lock:
            large = [region for region in self._free if region.size_bytes >= size_bytes]
            if large:
                region = min(large, key=lambda found: found.size_bytes)
                self._free.remove(region)
                return region
            # Smaller ones would only add up: a study of another size has come.
            self._given_up += self._free
            self._free = []
        self._forget_given_up()
        return self._new(max(-(-size_bytes // _GRAIN_BYTES), 1) * _GRAIN_BYTES)

    def _new(self, size_bytes: int) -> Region:
        sweep()
        try:
            name = new_name()
            file = FOLDER / name
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _refused(f"This machine has no shared memory to write to: {error.strerror}.") from error
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)  # else a full /dev/shm would end the process on writing
            memory = mmap.mmap(descriptor, size_bytes)
            self._call("SystemSharedMemoryRegister", name=name, key=f"/{name}", byte_size=size_bytes)
        except OSError as error:
            raise _refused(f"{FOLDER} has no room for {size_bytes >> 20} MiB: {error.strerror}.") from error
        finally:
            os.close(descriptor)
            file.unlink(missing_ok=True)
        return Region(name, memory)

    def _forget_given_up(self) -> None:
        with self._lock:
            given_up, self._given_up = self._given_up, []
        for region in given_up:
            try:
                self._call("SystemSharedMemoryUnregister", name=region.name)
            except GlioserveError as error:
                if "in use" in error.detail:
                    with self._lock:
                        self._given_up.append(region)
                    continue
            region.memory.close()

    def _call(self, method: str, **fields: Any) -> None:
        """Call one of the two methods. Raises GLIO-4113, or what any call raises where no server is there."""
        try:
            token = self._token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _refused("The file with the operator's token cannot be read.") from error
        with self._lock:
            if self._methods is None or self._channel is None:
                self._channel = self._transport.channel(
                    self._settings.url, self._settings.tls, self._settings.connection
                )
                self._methods = Methods(self._channel)
            methods = self._methods
        try:
            metadata = (*self._settings.metadata(), (KEY_HEADER, token))
            methods.send(method, fields, metadata, CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            status, text = status_of(error)
            if "protocol is restricted" in text or status == "UNIMPLEMENTED":
                raise _refused("The server does not let this caller register shared memory.") from error
            if "Unable to open shared memory" in text:
                raise _refused("The server cannot open the region: it runs elsewhere, or as another user.") from error
            raise self._settings.failure(status, text) from error


def is_lost(placed: Placed, error: GlioserveError) -> bool:
    """Return whether the server does not know the region any more, as after a restart."""
    return placed.region.name in error.detail


def _refused(problem: str) -> GlioserveError:
    return GlioserveError(ErrorCode.SHARED_MEMORY_REFUSED, problem)
