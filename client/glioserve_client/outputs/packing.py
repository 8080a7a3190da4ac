"""Pack volumes for a page: 8 bits a voxel, cut to what is shown, thinned where they would make the page too large."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from glioserve_dicom.volumes.geometry import Matrix

MAX_PACKED_CHARACTERS = 13_500_000
"""Largest size of all volumes of a page together. With the rest, a page stays under 15 MB."""
_THINNING_STEP = 1.05
"""Factor between two spacings that are tried, when a page is too large."""
_FILLED = 0.96
"""Share of the largest size that the last try aims at."""

Levels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PackedVolume:
    """One volume in display order: columns run to the patient's left, rows to posterior, slices to the head."""

    name: str
    """Name of the sequence, or ``heat``."""
    levels: Levels
    """Levels 0 to 255, [slice, row, column]; level n is the intensity ``low + n * (high - low) / 255``."""
    voxel_from_box: Matrix
    """Affine, 4 x 4, from the page's box in mm to (column, row, slice) of ``levels``."""
    first: tuple[int, int, int]
    """Number of the first voxel kept, from 0, along (column, row, slice) of the whole series."""
    count: tuple[int, int, int]
    """Number of voxels of the whole series along (column, row, slice)."""
    low: float
    high: float
    window: tuple[float, float]
    """Intensities that are shown black and white at first."""

    @property
    def spacing_mm(self) -> npt.NDArray[np.float64]:
        """Spacing along (column, row, slice), in mm."""
        spacing: npt.NDArray[np.float64] = 1 / np.linalg.norm(self.voxel_from_box[:3, :3], axis=1)
        return spacing

    def packed(self) -> str:
        """Return the levels as text: each the difference from the one before, modulo 256; deflated; in Base64."""
        differences = np.diff(self.levels.ravel(), prepend=np.uint8(0))
        return base64.b64encode(zlib.compress(differences.tobytes(), 6)).decode("ascii")

    def thinned(self, spacing_mm: float) -> PackedVolume:
        """Return the volume with a spacing of about ``spacing_mm`` along the axes that are finer; averaged, not picked.

        Its voxels have numbers of their own, since they are no longer those of the series.
        """
        old = self.levels.shape[::-1]
        new = [max(1, round(n * min(1.0, s / spacing_mm))) for n, s in zip(old, self.spacing_mm, strict=True)]
        if new == list(old):
            return self
        in_plane = np.stack([_resized(plane, new[0], new[1]) for plane in self.levels])
        levels = _resized(in_plane.reshape(old[2], -1), new[0] * new[1], new[2]).reshape(new[2], new[1], new[0])
        share = np.array(new) / old
        thin_from_voxel = np.diag([*share, 1.0])
        thin_from_voxel[:3, 3] = 0.5 * share - 0.5  # the grid's edges stay where they are
        return replace(
            self,
            levels=levels,
            voxel_from_box=thin_from_voxel @ self.voxel_from_box,
            first=(0, 0, 0),
            count=(new[0], new[1], new[2]),
        )


def pack(
    name: str,
    voxels: npt.NDArray[np.float32],
    voxel_from_box: Matrix,
    size_mm: npt.NDArray[np.float64],
    window: tuple[float, float],
    bounds: tuple[float, float],
) -> PackedVolume | None:
    """Return the part of a volume that lies in the box, or None where it lies outside.

    Args:
        name: the volume's name.
        voxels: intensities [slice, row, column] in display order.
        voxel_from_box: affine, 4 x 4, from the box in mm to (column, row, slice) of ``voxels``.
        size_mm: extent of the box along its axes.
        window: intensities that are shown black and white at first.
        bounds: intensities that become level 0 and level 255.
    """
    corners = np.array([[*(size_mm * corner), 1.0] for corner in np.ndindex(2, 2, 2)])
    reached = (corners @ voxel_from_box.T)[:, :3]
    count = np.array(voxels.shape[::-1])
    start = np.clip(np.floor(reached.min(axis=0) + 0.5), 0, count).astype(int)
    stop = np.clip(np.ceil(reached.max(axis=0) - 0.5) + 1, 0, count).astype(int)
    if (start >= stop).any():
        return None
    kept = voxels[start[2] : stop[2], start[1] : stop[1], start[0] : stop[0]]
    low, high = bounds
    share = np.clip((kept - low) / max(high - low, 1e-12), 0, 1)
    cut_from_voxel = np.eye(4)
    cut_from_voxel[:3, 3] = -start
    return PackedVolume(
        name,
        np.ascontiguousarray(np.rint(np.nan_to_num(share) * 255).astype(np.uint8)),
        cut_from_voxel @ voxel_from_box,
        (int(start[0]), int(start[1]), int(start[2])),
        (int(count[0]), int(count[1]), int(count[2])),
        low,
        high,
        window,
    )


def packed_to_fit(
    volumes: Sequence[PackedVolume], most: int = MAX_PACKED_CHARACTERS
) -> tuple[list[PackedVolume], list[str], float | None]:
    """Return the volumes, their packed levels and, where they had to be thinned, the spacing in mm that was needed.

    Args:
        volumes: the volumes of a page.
        most: largest size of all packed levels together, in characters.
    """
    texts = [volume.packed() for volume in volumes]
    if sum(map(len, texts)) <= most:
        return list(volumes), texts, None
    spacing_mm = float(min(volume.spacing_mm.min() for volume in volumes))
    while sum(len(t) * _kept(v, spacing_mm) for v, t in zip(volumes, texts, strict=True)) > most:
        spacing_mm *= _THINNING_STEP
    thin, texts = _thinned(volumes, spacing_mm)
    while (size := sum(map(len, texts))) > most:
        spacing_mm *= _THINNING_STEP
        thin, texts = _thinned(volumes, spacing_mm)
    # Averaged voxels are less noisy and so take fewer characters than expected: try once what fills the page.
    finer_mm = spacing_mm * (size / (_FILLED * most)) ** (1 / 3)
    finer, finer_texts = _thinned(volumes, finer_mm)
    if finer_mm < spacing_mm and sum(map(len, finer_texts)) <= most:
        return finer, finer_texts, finer_mm
    return thin, texts, spacing_mm


def _thinned(volumes: Sequence[PackedVolume], spacing_mm: float) -> tuple[list[PackedVolume], list[str]]:
    thin = [volume.thinned(spacing_mm) for volume in volumes]
    return thin, [volume.packed() for volume in thin]


def _kept(volume: PackedVolume, spacing_mm: float) -> float:
    """Return the share of the voxels that a spacing of at least ``spacing_mm`` leaves."""
    return float(np.prod(np.minimum(1.0, volume.spacing_mm / spacing_mm)))


def _resized(plane: Levels, width: int, height: int) -> Levels:
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
