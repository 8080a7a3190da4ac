"""GPU memory by CUDA's driver API, through ctypes: eleven calls.

The driver's library is wherever there is a GPU, under one name. The server's image has neither torch nor cuda-python,
and the runtime library's name and place change with CUDA's major version. TensorRT works in the device's primary
context, so that one is taken here too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

LIBRARY = "libcuda.so.1"

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDeviceGet": (c_void_p, c_int),
    "cuDevicePrimaryCtxRetain": (c_void_p, c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuStreamCreate": (c_void_p, c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuMemAlloc_v2": (c_void_p, c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuGetErrorString": (c_int, c_void_p),
}
"""``cuda.h``; a pointer to what is filled in is c_void_p, a device's address 64 bits."""


class CudaError(Exception):
    """A call of the driver failed; the message has its words."""


class Cuda:
    """The first GPU's primary context and one stream of it, for the life of the process."""

    def __init__(self, library: Any = None) -> None:
        """Take the first GPU; ``library`` stands in for the driver's in tests. CudaError where no GPU is usable."""
        try:
            self._library = ctypes.CDLL(LIBRARY) if library is None else library
            for name, arguments in _SIGNATURES.items():
                getattr(self._library, name).argtypes = arguments
        except (OSError, AttributeError) as error:
            raise CudaError(f"CUDA's driver cannot be used: {error}") from error
        device, context, stream = c_int(), c_void_p(), c_void_p()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self.call("cuStreamCreate", byref(stream), 0)
        self.stream = int(stream.value or 0)

    def call(self, name: str, *arguments: Any) -> None:
        """Call one function of the driver; CudaError with its own words where it does not return 0."""
        code = int(getattr(self._library, name)(*arguments))
        if code:
            words = c_char_p()
            self._library.cuGetErrorString(code, byref(words))
            raise CudaError(f"{name}: {(words.value or b'error').decode(errors='replace')} ({code})")

    def synchronise(self) -> None:
        """Wait for all that the stream was given."""
        self.call("cuStreamSynchronize", self.stream)

    @contextmanager
    def memory(self) -> Iterator[Memory]:
        """Yield device memory that is freed at the end, after an error too.

        Some errors make every later call fail, so what freeing says then does not replace the first error.
        """
        memory = Memory(self)
        try:
            yield memory
        except BaseException:
            with suppress(CudaError):
                memory.free()
            raise
        memory.free()


class Memory:
    """Named pieces of device memory. Copies are queued on the stream, in order with what runs there."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._addresses: dict[str, int] = {}

    def allocate(self, name: str, size_bytes: int) -> int:
        """Allocate a piece and return its address."""
        address = c_uint64()
        self._cuda.call("cuMemAlloc_v2", byref(address), max(size_bytes, 1))
        self._addresses[name] = int(address.value)
        return self._addresses[name]

    def to_device(self, name: str, array: Any) -> None:
        """Fill a piece from a contiguous array, which must live until the stream is synchronised."""
        self._cuda.call(
            "cuMemcpyHtoDAsync_v2", self._addresses[name], array.ctypes.data, array.nbytes, self._cuda.stream
        )

    def to_host(self, array: Any, name: str) -> None:
        """Fill a contiguous array from a piece; it is filled once the stream is synchronised."""
        self._cuda.call(
            "cuMemcpyDtoHAsync_v2", array.ctypes.data, self._addresses[name], array.nbytes, self._cuda.stream
        )

    def free(self) -> None:
        """Give all of it back."""
        while self._addresses:
            _, address = self._addresses.popitem()
            self._cuda.call("cuMemFree_v2", address)
