"""The compiled part of :mod:`grid`: a volume sampled at the places of another grid, called through ctypes.

Nothing here keeps state, and other Python threads run while it does: any number of threads may call it. The same
input gives the same bits. Built as :mod:`kernel` is.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from glioserve_preprocess.arrays import ByteArray, DoubleArray, FloatArray
from glioserve_preprocess.kernel.library import load


def sample_places(
    source: FloatArray,
    kernels: tuple[DoubleArray, DoubleArray, DoubleArray],
    limit: tuple[float, float, float],
    source_from_target: DoubleArray,
    target_shape: tuple[int, int, int],
    where: ByteArray | None,
    outside: float,
    threads: int = 1,
) -> FloatArray:
    """Sample ``source`` [z, y, x] at every voxel of a target grid, FP32 ``target_shape`` [z, y, x].

    Voxels beyond the source's border become ``outside``, those where ``where`` is 0 become 0. ``kernels`` and ``limit``
    are in (x, y, z) order: the smoothing taps (odd in number, sum 1) and the border's place in voxels.
    ``source_from_target`` is 4 x 4 and maps voxel indices (x, y, z).
    """
    source = np.ascontiguousarray(source, dtype=np.float32)
    matrix = np.ascontiguousarray(source_from_target[:3], dtype=np.float64)
    radii = np.array([len(k) // 2 for k in kernels], dtype=np.int64)
    taps = np.concatenate([np.pad(k, 1) for k in kernels]).astype(np.float64)
    size, target_size = (np.array(shape[::-1], dtype=np.int64) for shape in (source.shape, target_shape))
    limits = np.array(limit, dtype=np.float64)
    chosen = None if where is None else np.ascontiguousarray(where, dtype=np.uint8)
    if source.ndim != 3 or (chosen is not None and chosen.shape != target_shape):
        raise ValueError(f"source {source.shape}, where {None if chosen is None else chosen.shape}")
    out = np.empty(target_shape, dtype=np.float32)
    library = _library()

    def fill(first_z: int, last_z: int) -> None:
        scratch = np.empty(4 * (2 * int(radii.max()) + 2), dtype=np.float32)
        library.glio_sample(
            source.ctypes.data, size.ctypes.data, limits.ctypes.data, matrix.ctypes.data, target_size.ctypes.data,
            None if chosen is None else chosen.ctypes.data, taps.ctypes.data, radii.ctypes.data, outside,
            first_z, last_z, scratch.ctypes.data, out.ctypes.data,
        )  # fmt: skip

    if threads == 1:
        fill(0, target_shape[0])
    else:
        ends = [target_shape[0] * n // (2 * threads) for n in range(2 * threads + 1)]  # slabs hold more or less brain
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, ends[:-1], ends[1:]))
    return out


def sample_axis(
    source: FloatArray, axis: int, kernel: DoubleArray, limit: float, places: DoubleArray, outside: float
) -> FloatArray:
    """Sample ``source`` at ``places`` (in voxels) along one ``axis`` of the array, FP32; the others stay."""
    source = np.ascontiguousarray(source, dtype=np.float32)
    n, target, radius = source.shape[axis], len(places), len(kernel) // 2
    places, kernel = (np.ascontiguousarray(a, dtype=np.float64) for a in (places, np.pad(kernel, 1)))
    outer, inner = (int(np.prod(part, dtype=np.int64)) for part in (source.shape[:axis], source.shape[axis + 1 :]))
    out = np.empty((*source.shape[:axis], target, *source.shape[axis + 1 :]), dtype=np.float32)
    scratch = np.empty(target * (2 * radius + 2), dtype=np.float32)
    spans = np.empty(target * 2, dtype=np.int64)
    _library().glio_sample_axis(
        source.ctypes.data, outer, n, inner, limit, places.ctypes.data, target, kernel.ctypes.data, radius,
        outside, scratch.ctypes.data, spans.ctypes.data, out.ctypes.data,
    )  # fmt: skip
    return out


@cache
def _library() -> ctypes.CDLL:
    """Return the library with its functions' types; loaded once a process, as it holds no state of its own."""
    library = load("resample")
    pointer, i64, double, single = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_float
    library.glio_sample.argtypes = [*[pointer] * 8, single, i64, i64, pointer, pointer]
    library.glio_sample_axis.argtypes = [
        pointer, i64, i64, i64, double, pointer, i64, pointer, i64, single, pointer, pointer, pointer,
    ]  # fmt: skip
    library.glio_sample.restype = library.glio_sample_axis.restype = None
    return library
