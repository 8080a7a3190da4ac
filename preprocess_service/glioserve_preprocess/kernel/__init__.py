"""The compiled part of registration: two functions of C, called through ctypes, which lets other threads run.

Built by ``hatch_build.py`` when the package is installed (any C compiler; the ``ziglang`` wheel where there is none),
so that nothing is compiled while a server starts: the first call costs what the hundredth does.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np

from glioserve_preprocess.arrays import ByteArray, DoubleArray, FloatArray
from glioserve_preprocess.kernel.library import load

MAX_FIXED_BINS = 256
_SCRATCH_PER_SAMPLE = 8
_RESULT = 26


@dataclass(frozen=True, eq=False)
class Information:
    """Mutual information and overlap at one map, with their gradients by it [3, 4]."""

    nats: float
    nats_gradient: DoubleArray
    overlap: float
    """Share of the samples that lie in the moving image, 0 to 1."""
    overlap_gradient: DoubleArray


@dataclass(frozen=True, eq=False)
class Motion:
    """The motion of a point q, relative to the pivot, under six parameters in mm.

    It goes to the moving image's voxel ``turn (R(rotation) q + pivot + shift) + start``, the parameters being rotation
    vector x ``radius_mm``, then shift.
    """

    turn: DoubleArray
    """Left part [3, 3] of the moving image's voxel_from_lps."""
    start: DoubleArray
    """Last column [3] of the moving image's voxel_from_lps."""
    pivot_lps_mm: DoubleArray
    radius_mm: float


class MutualInformation:
    """Mutual information of fixed samples and a moving image as a function of the affine map between them.

    An object serves one thread at a time.

    ``points`` FP32 [n, 3]; ``fixed_bins`` UINT8 [n], each below ``bins``; ``moving`` FP32 [z, y, x] in bins: every
    value from 1 to ``bins - 3``.
    """

    def __init__(self, points: FloatArray, fixed_bins: ByteArray, moving: FloatArray, bins: int) -> None:
        if points.shape != (len(fixed_bins), 3) or moving.ndim != 3 or min(moving.shape) < 2:
            raise ValueError(f"points {points.shape}, bins {fixed_bins.shape}, moving {moving.shape}")
        if bins > MAX_FIXED_BINS or int(fixed_bins.max(initial=0)) >= bins:
            raise ValueError("a fixed sample is outside the histogram")
        if not (float(moving.min()) >= 1 and float(moving.max()) <= bins - 3):  # NaN fails too
            raise ValueError("a moving voxel is outside the histogram")
        self._library = _library()
        self._points = np.ascontiguousarray(points, dtype=np.float32)
        self._fixed_bins = np.ascontiguousarray(fixed_bins, dtype=np.uint8)
        self._moving = np.ascontiguousarray(moving, dtype=np.float32)
        self._size = np.array(moving.shape[::-1], dtype=np.int64)
        self._bins = bins
        self._samples = np.empty(len(points) * _SCRATCH_PER_SAMPLE, dtype=np.float32)
        self._tables = np.empty(2 * bins * (bins + 1), dtype=np.float64)
        self._result = np.empty(_RESULT, dtype=np.float64)

    def __call__(self, voxel_from_point: DoubleArray) -> Information:
        """Return the information at ``voxel_from_point`` [3, 4]; all zero where no sample lies in the image."""
        matrix = np.ascontiguousarray(voxel_from_point, dtype=np.float64)
        self._library.glio_mutual_information(
            self._points.ctypes.data,
            self._fixed_bins.ctypes.data,
            len(self._fixed_bins),
            self._moving.ctypes.data,
            self._size.ctypes.data,
            matrix.ctypes.data,
            self._bins,
            self._samples.ctypes.data,
            self._tables.ctypes.data,
            self._result.ctypes.data,
        )
        nats, weight = self._result[:2]
        by_nats, by_weight = self._result[2:].reshape(2, 3, 4)
        count = max(1, len(self._fixed_bins))
        overlap = min(float(weight) / count, 1.0)  # the sum of weights of 1 may end a few bits above their number
        return Information(float(nats), by_nats.copy(), overlap, by_weight / count)

    def climb(
        self,
        motion: Motion,
        parameters_mm: DoubleArray,
        *,
        voxel_mm: float,
        tolerance: float,
        iterations: int,
        times_overlap: bool,
    ) -> tuple[DoubleArray, float]:
        """Return parameters and value of the maximum nearest to ``parameters_mm`` [6], by BFGS in ``voxel_mm`` units.

        With ``times_overlap`` the information times the overlap is maximised. The search ends where no parameter gains
        more than ``tolerance`` nats a unit, a step gains less than 1e-5 of the whole, or after ``iterations``.
        """
        turn, start, pivot = (
            np.ascontiguousarray(v, dtype=np.float64) for v in (motion.turn, motion.start, motion.pivot_lps_mm)
        )
        end = np.array(parameters_mm, dtype=np.float64)
        nats = self._library.glio_climb(
            self._points.ctypes.data,
            self._fixed_bins.ctypes.data,
            len(self._fixed_bins),
            self._moving.ctypes.data,
            self._size.ctypes.data,
            self._bins,
            self._samples.ctypes.data,
            self._tables.ctypes.data,
            turn.ctypes.data,
            start.ctypes.data,
            pivot.ctypes.data,
            motion.radius_mm,
            voxel_mm,
            tolerance,
            int(times_overlap),
            iterations,
            end.ctypes.data,
        )
        return end, float(nats)


@cache
def _library() -> ctypes.CDLL:
    """Return the library with its functions' types; loaded once a process, as it holds no state of its own."""
    library = load("mutual_information")
    pointer, i32, i64, double = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_double
    evaluated, climbed = library.glio_mutual_information, library.glio_climb
    evaluated.argtypes = [pointer, pointer, i64, pointer, pointer, pointer, i32, pointer, pointer, pointer]
    climbed.argtypes = [
        pointer, pointer, i64, pointer, pointer, i32, pointer, pointer,
        pointer, pointer, pointer, double, double, double, i32, i32, pointer,
    ]  # fmt: skip
    evaluated.restype, climbed.restype = ctypes.c_int, double
    return library
