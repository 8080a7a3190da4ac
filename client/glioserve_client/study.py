"""What a caller hands over: a DICOM study as files, or volumes with their affines. Both frozen.

Reading is strict where silence would change the answer: a damaged file is an error, never left out, because one
missing slice at the end of a stack would go unnoticed. What is plainly not DICOM (``Thumbs.db``, a README) is left
out of a folder and listed in ``skipped``; a file named by the caller must be DICOM.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from glioserve_client.dicomfile import DicomFile, looks_like_dicom, read_dicom_file
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.limits import (
    MAX_INSTANCES,
    MAX_MAGNITUDE,
    MAX_NAN_SHARE,
    MAX_POSITION_MM,
    MAX_REQUEST_BYTES,
    MAX_SHEAR_COSINE,
    MAX_SPACING_MM,
    MAX_VOLUME_VOXELS,
    MIN_SPACING_MM,
)
from glioserve_dicom.files.archive import is_archive, unpack
from glioserve_dicom.volumes.nifti import read_nifti

MAX_FOLDER_FILES = 4 * MAX_INSTANCES
"""Where reading a folder stops: this is no study's folder."""
MAX_FOLDER_BYTES = 2 * MAX_REQUEST_BYTES
"""Likewise. What is sent keeps the contract's own, tighter limits."""

READING_THREADS = 8

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class SkippedFile:
    """A file of the folder that is not part of the study. ``name`` may carry a patient's name."""

    name: str = field(repr=False)
    reason: str


@dataclass(frozen=True)
class DicomStudy:
    """A study's DICOM files, whole and parseable, in memory. Any order, all series."""

    files: tuple[DicomFile, ...]
    skipped: tuple[SkippedFile, ...] = ()

    @classmethod
    def from_directory(cls, directory: PathLike) -> DicomStudy:
        """Every file below ``directory``, but for hidden ones and what is plainly not DICOM (see ``skipped``).

        Zip archives are opened, in the folder or as ``directory`` itself.

        Raises:
            EmptyStudyError: no such folder, or no DICOM file in it.
            TruncatedFileError: a file ends early or cannot be read; ``error.path`` names it.
            InvalidArchiveError: a zip archive is damaged, encrypted or holds another archive.
            StudyTooLargeError: more than :data:`MAX_FOLDER_FILES` files or :data:`MAX_FOLDER_BYTES` bytes.
        """
        root = Path(directory)
        if root.is_file():
            return cls.from_files([root])
        if not root.is_dir():
            raise GlioserveError(ErrorCode.EMPTY_STUDY, "There is no such folder.")
        paths = _within_limits(_visible_files(root))
        study = cls._read(sorted(paths, key=str), root, may_skip=True)
        if not study.files:
            raise GlioserveError(
                ErrorCode.EMPTY_STUDY,
                f"The folder holds no DICOM file ({len(study.skipped)} others, hidden ones apart).",
            )
        return study

    @classmethod
    def from_files(cls, paths: Iterable[PathLike]) -> DicomStudy:
        """These files, each of which must be DICOM or a zip archive. Raises as :meth:`from_directory` does."""
        found = _within_limits(Path(path) for path in paths)
        if not found:
            raise GlioserveError(ErrorCode.EMPTY_STUDY, "No file was named.")
        return cls._read(found, None, may_skip=False)._not_empty()

    @classmethod
    def from_bytes(cls, contents: Iterable[bytes]) -> DicomStudy:
        """DICOM files or zip archives in memory already (from DICOMweb, say). Raises as :meth:`from_files`."""
        found = list(contents)
        if not found:
            raise GlioserveError(ErrorCode.EMPTY_STUDY, "No file was given.")
        sorter = _Sorter()
        for index, content in enumerate(found):
            sorter.add(content, "", _where(index, len(found)), may_skip=False)
        return cls(tuple(sorter.files), tuple(sorter.skipped))._not_empty()

    @classmethod
    def _read(cls, paths: Sequence[Path], root: Path | None, *, may_skip: bool) -> DicomStudy:
        sorter = _Sorter()
        wheres = [_where(index, len(paths)) for index in range(len(paths))]
        with ThreadPoolExecutor(READING_THREADS) as pool:  # a share over the network answers late, not slowly
            contents = pool.map(_content, paths, wheres)
            for path, where in zip(paths, wheres, strict=True):
                try:
                    name = str(path.relative_to(root)) if root else str(path)
                    sorter.add(next(contents), name, where, may_skip=may_skip)
                except GlioserveError as error:
                    error.path = path
                    raise
        return cls(tuple(sorter.files), tuple(sorter.skipped))

    def _not_empty(self) -> DicomStudy:
        if not self.files:
            raise GlioserveError(ErrorCode.EMPTY_STUDY, f"No DICOM file in the archive ({len(self.skipped)} others).")
        return self


class _Sorter:
    """DICOM from what is not, archives opened, within the bounds of a folder."""

    def __init__(self) -> None:
        self.files: list[DicomFile] = []
        self.skipped: list[SkippedFile] = []
        self._size_bytes = 0

    def add(self, content: bytes, name: str, where: str, *, may_skip: bool) -> None:
        """One file; an archive's own may be skipped always, as a folder's."""
        if is_archive(content):
            for number, (inner, unpacked) in enumerate(unpack(content, where), 1):
                self.add(unpacked, f"{name}/{inner}", f"{where}, file {number} in it", may_skip=True)
        elif may_skip and not looks_like_dicom(content):
            self.skipped.append(SkippedFile(name, "not DICOM"))
        else:
            self.files.append(read_dicom_file(content, name, where))
            self._size_bytes += len(content)
            if len(self.files) > MAX_FOLDER_FILES or self._size_bytes > MAX_FOLDER_BYTES:
                raise _too_large()


@dataclass(frozen=True, eq=False)
class Volume:
    """One sequence as voxels: FP32 [z, y, x], any unit, and ``lps_from_voxel`` 4 x 4 from voxel (x, y, z) to LPS mm.

    Given as any array of real numbers (integers, floats of any width and byte order, booleans), the axes in any order
    and turned any way, as long as the affine says so; further axes of length 1 are dropped. Both arrays are copied
    and read-only. NaN may stand for the outside of the field of view; the server judges whether it does.

    Raises:
        InvalidVolumeError: not three axes of two voxels or more.
        InvalidAffineError: not a map from voxels to mm, or its axes are not at right angles.
        UnsupportedVoxelsError: complex, colour, text, several volumes.
        NonFiniteVoxelsError: infinite voxels, or more than half of them NaN.
        ExtremeIntensityError: voxels beyond 1e12.
        StudyTooLargeError: over the contract's limit on voxels.
    """

    voxels: npt.NDArray[np.float32]
    lps_from_voxel: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "voxels", _frozen(_checked_voxels(self.voxels)))
        object.__setattr__(self, "lps_from_voxel", _frozen(_checked_affine(self.lps_from_voxel)))


@dataclass(frozen=True, eq=False)
class VolumeStudy:
    """A study as volumes, one per sequence: arrays and affines only, so there is no header to give anybody away.

    A face can be recognised from a head's voxels all the same; that is not this client's matter.
    """

    volumes: Mapping[Modality, Volume]

    def __post_init__(self) -> None:
        if not self.volumes:
            raise GlioserveError(ErrorCode.EMPTY_STUDY, "No volume was given.")
        volumes = {Modality(m): self.volumes[m] for m in self.volumes}
        object.__setattr__(self, "volumes", MappingProxyType(volumes))

    @classmethod
    def from_nifti(cls, paths: Mapping[Modality, PathLike]) -> VolumeStudy:
        """NIfTI files, converted: nibabel's [x, y, z] in RAS becomes [z, y, x] in LPS. See :mod:`nifti`.

        Raises what :class:`Volume` does, and InvalidAffineError where the file does not say for certain where left
        is. The message names the sequence.
        """
        return cls({Modality(m): _volume_from_nifti(Path(path), Modality(m)) for m, path in paths.items()})


Study = DicomStudy | VolumeStudy


def _where(index: int, total: int) -> str:
    """How a message names a file: by its number, as a name may carry a patient's."""
    return f"File {index + 1} of {total} (in the order of their names)"


def _visible_files(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [s for s in subfolders if not s.startswith((".", "__MACOSX"))]
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def _within_limits(paths: Iterable[Path]) -> list[Path]:
    """The paths, unless they are too many or too large: before anything is read into memory."""
    kept, size = [], 0
    for path in paths:
        kept.append(path)
        try:
            size += path.stat().st_size
        except OSError:
            continue  # reading it will say why
        if len(kept) > MAX_FOLDER_FILES or size > MAX_FOLDER_BYTES:
            raise _too_large()
    return kept


def _too_large() -> GlioserveError:
    detail = f"The folder holds over {MAX_FOLDER_FILES} files or {MAX_FOLDER_BYTES >> 20} MiB."
    return GlioserveError(ErrorCode.STUDY_TOO_LARGE, detail)


def _content(path: Path, where: str) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would block for ever
            raise GlioserveError(ErrorCode.NOT_DICOM, f"{where} is not a regular file.")
        return path.read_bytes()
    except OSError as error:
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{where} cannot be read: {error.strerror}.") from error


def _volume_from_nifti(path: Path, modality: Modality) -> Volume:
    try:
        return Volume(*read_nifti(path))
    except GlioserveError as error:
        raise GlioserveError(error.code, f"{modality}: {error.detail}") from error


def _checked_voxels(voxels: npt.ArrayLike) -> npt.NDArray[np.float32]:
    try:
        array = np.asarray(voxels)
    except (TypeError, ValueError) as error:
        raise GlioserveError(ErrorCode.UNSUPPORTED_VOXELS, "A volume is not an array of numbers.") from error
    if array.dtype.kind not in "biuf":
        raise GlioserveError(ErrorCode.UNSUPPORTED_VOXELS, f"A volume has voxels of type {array.dtype.name}.")
    if array.size > MAX_VOLUME_VOXELS:
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, f"A volume has {array.size} voxels, over {MAX_VOLUME_VOXELS}.")
    shape = array.shape
    while array.ndim > 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim > 3:
        raise GlioserveError(
            ErrorCode.UNSUPPORTED_VOXELS, f"A volume has the shape {shape}: several volumes, or colours."
        )
    if array.ndim != 3 or min(array.shape) < 2:
        raise GlioserveError(ErrorCode.INVALID_VOLUME, f"A volume has the shape {shape}, not [z, y, x].")
    return _single_precision(array)


def _single_precision(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise GlioserveError(ErrorCode.NON_FINITE_VOXELS, "A volume has infinite voxels.")
    with np.errstate(over="ignore"):
        copy = array.astype(np.float32, order="C")
    missing = float(np.isnan(copy).mean())
    if missing > MAX_NAN_SHARE:
        raise GlioserveError(ErrorCode.NON_FINITE_VOXELS, f"A volume is {missing:.0%} NaN.")
    if max(abs(float(np.nanmin(copy))), abs(float(np.nanmax(copy)))) > MAX_MAGNITUDE:
        raise GlioserveError(ErrorCode.EXTREME_INTENSITY, f"A volume has voxels beyond {MAX_MAGNITUDE:g}.")
    return copy


def _checked_affine(affine: npt.ArrayLike) -> npt.NDArray[np.float64]:
    try:
        matrix = np.array(affine, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise GlioserveError(ErrorCode.INVALID_AFFINE, "An affine is not an array of numbers.") from error
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise GlioserveError(
            ErrorCode.INVALID_AFFINE, "An affine is not a finite 4 x 4 matrix that ends in 0, 0, 0, 1."
        )
    with np.errstate(over="ignore"):  # infinite lengths are too long
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if (lengths < MIN_SPACING_MM).any() or (lengths > MAX_SPACING_MM).any():
        raise GlioserveError(ErrorCode.INVALID_AFFINE, f"An affine has voxels of {np.round(lengths, 3).tolist()} mm.")
    axes = matrix[:3, :3] / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > MAX_SHEAR_COSINE:
        raise GlioserveError(ErrorCode.INVALID_AFFINE, "An affine's axes are not at right angles.")
    if np.abs(matrix[:3, 3]).max() > MAX_POSITION_MM:
        raise GlioserveError(
            ErrorCode.INVALID_AFFINE, f"An affine's first voxel lies over {MAX_POSITION_MM:g} mm away."
        )
    return matrix


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array
