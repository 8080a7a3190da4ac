"""Tensors of impossible shape reach a Python model as empty ones, which it refuses, instead of ending its process.

Triton 2.51 takes a request whose shape is negative, or overflows, as long as the product of the sizes, taken modulo
2^64, fits the bytes: [0, -2, 5], or [2^62, 4, 4] without any. Its stub then asks NumPy for such an array, NumPy raises,
and the exception ends the process: one small request of a stranger. NumPy cannot be told otherwise, but the stub takes
the address of NumPy's function from a table that Python can see, when it makes its first array. There it gets one that
looks at the shape first.
"""

from __future__ import annotations

import ctypes
import importlib
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from glioserve_triton.adapters.backend_api import BackendUtils

_NEW_FROM_DESCR = 94
"""Place of PyArray_NewFromDescr in NumPy's table, by its binary interface."""
_ENTRIES = 283
"""Entries of the table that pybind11 knows, up to PyArray_SetBaseObject."""
_TABLE = "_ARRAY_API"
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
"""Modules that have the table: the first for extensions of NumPy 1, the second in NumPy 2."""
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int
_SIGNATURE = ctypes.PYFUNCTYPE(_POINTER, _POINTER, _POINTER, _INT, _POINTER, _POINTER, _POINTER, _INT, _POINTER)
_MOST_ELEMENTS = 1 << 40
"""More than any machine has memory for."""
_kept: list[Any] = []
"""Objects whose addresses the stub holds for the life of the process."""


def is_possible(shape: Sequence[int]) -> bool:
    """Return whether an array of this shape can exist: NumPy counts an axis without elements as one with one."""
    return all(size >= 0 for size in shape) and math.prod(max(size, 1) for size in shape) < _MOST_ELEMENTS


def refuse_impossible_shapes(pb_utils: BackendUtils) -> None:
    """Have the stub of this process make empty arrays of impossible shapes; called before its first tensor."""
    modules: list[Any] = []
    for name in _MODULES:
        with suppress(ImportError):
            modules.append(importlib.import_module(name))
    pointer_of, capsule_of = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_New
    pointer_of.restype, pointer_of.argtypes = _POINTER, [ctypes.py_object, ctypes.c_char_p]
    capsule_of.restype, capsule_of.argtypes = ctypes.py_object, [_POINTER, ctypes.c_char_p, _POINTER]
    own = getattr(modules[0], _TABLE)
    table = (_POINTER * _ENTRIES)()
    ctypes.memmove(table, pointer_of(own, None), ctypes.sizeof(table))
    original = _SIGNATURE(table[_NEW_FROM_DESCR] or 0)

    def checked(kind: int, descr: int, rank: int, shape: int, strides: int, data: int, flags: int, base: int) -> Any:
        if rank and not is_possible(list((ctypes.c_ssize_t * rank).from_address(shape))):
            empty = (ctypes.c_ssize_t * rank)()
            return original(kind, descr, rank, ctypes.addressof(empty), None, data, flags, base)
        return original(kind, descr, rank, shape, strides, data, flags, base)

    function = _SIGNATURE(checked)
    table[_NEW_FROM_DESCR] = ctypes.cast(function, _POINTER)
    _kept.extend((table, function))
    changed = capsule_of(ctypes.addressof(table), None, None)
    for module in modules:
        setattr(module, _TABLE, changed)
    try:  # the stub looks the table up once, for the first array; everybody else goes on with NumPy's own
        pb_utils.Tensor("first", np.zeros(1, np.float32))
    finally:
        for module in modules:
            setattr(module, _TABLE, own)
