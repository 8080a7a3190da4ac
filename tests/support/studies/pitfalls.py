"""The small scan that the tables of pitfalls start from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from glioserve_dicom.volumes.geometry import Geometry
from support.studies.encodings import edited
from support.studies.scans import T1_HEADER, oblique, part10, series

SIZE, SPACING_MM = (40, 36, 8), (0.9, 1.1, 4.5)
Stored = npt.NDArray[np.uint16]
GEOMETRY = oblique(SIZE, SPACING_MM, 5)
STORED = np.random.default_rng(5).integers(0, 4000, SIZE[::-1]).astype(np.uint16)
FRAME_OF_REFERENCE = generate_uid()


def scan(stored: Stored = STORED, geometry: Geometry = GEOMETRY, **header: Any) -> list[Dataset]:
    """A T1 of eight oblique slices, or whatever is asked."""
    return series(stored, geometry, **{**T1_HEADER, "FrameOfReferenceUID": FRAME_OF_REFERENCE, **header})


def files(datasets: Sequence[Dataset]) -> list[bytes]:
    """Return the files as they lie in a folder."""
    return [part10(d) for d in datasets]


def other_pixels(seed: int = 6) -> Stored:
    """Another image of the same size."""
    return np.random.default_rng(seed).integers(0, 4000, STORED.shape).astype(np.uint16)


def same_series(*scans: Sequence[Dataset]) -> list[Dataset]:
    """All in one series, as the first is."""
    uid = scans[0][0].SeriesInstanceUID
    return [d for part in scans for d in edited(part, lambda d, _: setattr(d, "SeriesInstanceUID", uid))]


def facing(*axes: tuple[float, float, float]) -> Geometry:
    """A grid whose columns, rows and slices run along these patient axes."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes, dtype=float).T * SPACING_MM
    affine[:3, 3] = (-30, 20, 10)
    return Geometry(SIZE, affine)


SAGITTAL = facing((0, 1, 0), (0, 0, -1), (-1, 0, 0))
CORONAL = facing((1, 0, 0), (0, 0, -1), (0, 1, 0))


def documented_rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of docs/inputs.md, without its head."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "inputs.md").read_text(encoding="utf-8")
    part = page.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
