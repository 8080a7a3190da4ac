"""The place of a feature map's voxels in the input, which puts a Grad-CAM map on the patient."""

from __future__ import annotations

from collections.abc import Iterable


def lattice(layers: Iterable[tuple[int, int, int]]) -> tuple[float, float]:
    """Return (start, step), in voxels of the input, of a chain of (kernel, stride, padding) layers along one axis.

    The receptive field of output voxel i is centred on input voxel ``start + step * i``. With odd kernels padded
    by half their size, start is 0: the map is *not* a stretched copy of the input's extent.
    """
    start, step = 0.0, 1.0
    for kernel, stride, padding in layers:
        start += ((kernel - 1) / 2 - padding) * step
        step *= stride
    return start, step
