"""Make one volume of one stack, behind a geometry gate: what is not a complete rectangular stack is refused.

SimpleITK's own series reader takes stacks with missing, duplicate and mixed slices in silence, so sorting and
checking are ours; pydicom decodes. A bad series is refused with its code, never repaired by guess.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.limits import MAX_VOLUME_VOXELS
from glioserve_dicom.files.quiet import quiet
from glioserve_dicom.slices.decode import decode, same_image
from glioserve_dicom.slices.frames import Frame, Plane, facing
from glioserve_dicom.slices.spacing import SAME_POSITION_MM, Vector, even_step
from glioserve_dicom.slices.stacks import Stack
from glioserve_dicom.volumes.geometry import SequenceVolume, checked_geometry

THREADS = min(8, os.cpu_count() or 1)
"""Threads for compressed frames, whose decoders release the interpreter's lock; copying native ones does not."""


def assemble(stack: Stack, modality: Modality) -> SequenceVolume:
    """Return the volume of one stack, slices sorted along its normal.

    Raises:
        GlioserveError: the stack's problem, GLIO-1104, -1107, -1207, -1303 and -14xx; messages name the sequence,
            never the patient.
    """
    try:
        with quiet("pydicom"):
            return _assemble(stack, modality)
    except GlioserveError as problem:
        raise GlioserveError(problem.code, f"The {modality} series: {problem.detail}") from None


def _assemble(stack: Stack, modality: Modality) -> SequenceVolume:
    if stack.problem is not None:
        raise stack.problem
    plane = stack.frames[0].plane
    assert plane is not None  # a frame without is a problem
    placed = without_copies(stack.frames)
    voxels_needed = plane.rows * plane.columns * len(placed)
    if voxels_needed > MAX_VOLUME_VOXELS:
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, f"{voxels_needed} voxels; at most {MAX_VOLUME_VOXELS}.")
    positions = _positions(placed)
    step = even_step(positions, plane.normal, plane.normal_error)
    affine = _affine(facing(plane, step), positions.mean(axis=0) - step * (len(placed) - 1) / 2, step)
    geometry = checked_geometry((plane.columns, plane.rows, len(placed)), affine, "Its grid")
    voxels = np.empty(geometry.shape, dtype=np.float32)
    if any(f.instance.encapsulated for f in placed):
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(_decode_quietly, placed, voxels))
    else:
        for frame, slice_voxels in zip(placed, voxels, strict=True):
            decode(frame, slice_voxels)
    return SequenceVolume(modality, voxels, geometry)


def _decode_quietly(frame: Frame, out: npt.NDArray[np.float32]) -> None:
    with quiet("pydicom"):  # holds in its own thread alone
        decode(frame, out)


def _affine(plane: Plane, first_lps_mm: Vector, step: Vector) -> npt.NDArray[np.float64]:
    """Return ``lps_from_voxel`` of a stack whose first voxel is at ``first_lps_mm``.

    It follows PS3.3 C.7.6.2.1.1 within the plane, and the step between slices across it.
    """
    row_mm, column_mm = plane.pixel_spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = np.array(plane.orientation[:3]) * column_mm
    affine[:3, 1] = np.array(plane.orientation[3:]) * row_mm
    affine[:3, 2] = step
    affine[:3, 3] = first_lps_mm
    return affine


def _positions(frames: Sequence[Frame]) -> npt.NDArray[np.float64]:
    return np.array([f.plane.position_lps_mm for f in frames if f.plane is not None], dtype=np.float64)


def without_copies(frames: Sequence[Frame]) -> list[Frame]:
    """Return frames at different positions; an exact copy is dropped, another image at the same place is GLIO-1402."""
    kept = [frames[0]]
    normal = frames[0].plane.normal if frames[0].plane is not None else np.zeros(3)
    along_mm = _positions(frames) @ normal
    last_mm = along_mm[0]
    for frame, position_mm in zip(frames[1:], along_mm[1:], strict=True):
        if position_mm - last_mm >= SAME_POSITION_MM:
            kept.append(frame)
            last_mm = position_mm
        elif not same_image(frame, kept[-1]) and not _decode_alike(frame, kept[-1]):
            raise GlioserveError(ErrorCode.DUPLICATE_SLICE, "Two different images lie at one slice position.")
    return kept


def _decode_alike(one: Frame, other: Frame) -> bool:
    """Return whether two files hold the same signal at the same place, though coded in different ways."""
    if one.plane is None or other.plane is None or one.instance.transfer_syntax == other.instance.transfer_syntax:
        return False
    if np.abs(np.subtract(one.plane.position_lps_mm, other.plane.position_lps_mm)).max() >= SAME_POSITION_MM:
        return False
    a, b = (np.empty((f.plane.rows, f.plane.columns), np.float32) for f in (one, other) if f.plane is not None)
    decode(one, a)
    decode(other, b)
    return np.array_equal(a, b)
