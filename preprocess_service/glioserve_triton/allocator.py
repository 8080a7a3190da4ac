"""Settings of glibc's allocator: tritonserver gives a request's memory back, and its Python processes keep theirs.

gRPC reads a request in pieces of 64 KiB. In the arenas of the allocator one small object that stays behind a piece
keeps all the memory before it; a piece that the kernel maps by itself is given back when it is freed. Python models
use arrays of the same sizes again and again, so for them it is cheaper to keep what was freed.
"""

from __future__ import annotations

import ctypes
from collections.abc import MutableMapping

_SERVER = {
    # Each arena keeps what was freed in it; with one for every core, that is most of a large request.
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(60 << 10),
    # 2 GiB of requests in pieces; the kernel allows 65,530 maps of a process, and the arenas take what is above.
    "MALLOC_MMAP_MAX_": str(32 << 10),
}
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Numbers of mallopt(3)'s parameters."""
_PYTHON_MMAP_THRESHOLD_BYTES = 8 << 20
"""About the value that glibc reaches by itself after the first arrays of a usual study."""
_PYTHON_MMAP_MAX = 65536


def set_for_server(environment: MutableMapping[str, str]) -> None:
    """Add the settings of tritonserver to its environment; those that an operator has set stay."""
    for name, value in _SERVER.items():
        environment.setdefault(name, value)


def set_for_python_model() -> None:
    """Undo the settings that this process of a Python model inherited; nothing where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_MMAP_THRESHOLD, _PYTHON_MMAP_THRESHOLD_BYTES)
    mallopt(_TRIM_THRESHOLD, 2 * _PYTHON_MMAP_THRESHOLD_BYTES)
    mallopt(_MMAP_MAX, _PYTHON_MMAP_MAX)
