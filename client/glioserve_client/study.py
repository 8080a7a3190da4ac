"""Hold what a caller hands over: a DICOM study as files, or volumes with their affines. Both are frozen.

:mod:`glioserve_dicom` reads them, as it does at the server, so that both sides refuse the same inputs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from glioserve_client.deidentify import Deidentified, deidentify
from glioserve_client.dicomfile import DicomFile, dicom_file, text_of
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.files.folder import (
    MAX_FOLDER_BYTES,
    MAX_FOLDER_FILES,
    SkippedFile,
    StudyFiles,
    given_files,
    named_files,
    study_files,
)
from glioserve_dicom.files.medium import NOT_THERE, listed_images
from glioserve_dicom.volumes.arrays import checked_voxels, volume_of_nifti
from glioserve_dicom.volumes.geometry import SequenceVolume, checked_geometry

__all__ = ["MAX_FOLDER_BYTES", "MAX_FOLDER_FILES", "DicomStudy", "SkippedFile", "Study", "Volume", "VolumeStudy"]

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, repr=False)
class DicomStudy:
    """A study's DICOM files, whole and parseable, in any order and of all series.

    Pixels of files that were read from a folder or by their paths stay on the disk until they are sent. The study is
    de-identified once, when it is first sent; all its requests carry the same pseudonyms.
    """

    files: tuple[DicomFile, ...]
    skipped: tuple[SkippedFile, ...] = ()
    _made: Deidentified | None = field(default=None, init=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, compare=False)

    def __post_init__(self) -> None:
        """Raise TypeError for what the methods that read would have made files of."""
        if not isinstance(self.files, tuple) or not all(isinstance(file, DicomFile) for file in self.files):
            raise TypeError(
                "a DicomStudy is read by from_directory(folder), from_files(paths) or from_bytes([content])"
            )

    def __repr__(self) -> str:
        return f"DicomStudy({len(self.files)} files, {len(self.skipped)} skipped)"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the files alone: pseudonyms stay where they were made."""
        return DicomStudy, (self.files, self.skipped)

    def deidentified(self, check: Callable[[], None] = lambda: None) -> Deidentified:
        """Return the files that are sent, de-identified: made at the first call, and kept as long as the study.

        Args:
            check: called before each file; what it raises ends the work.
        """
        with self._lock:
            if (made := self._made) is None:
                made = deidentify([file for file in self.files if not file.reason_not_sent], check=check)
                object.__setattr__(self, "_made", made)
            return made

    @classmethod
    def from_directory(cls, directory: PathLike, *, in_memory: bool = False) -> DicomStudy:
        """Read every file below ``directory``, but for hidden ones and what is plainly not DICOM (see ``skipped``).

        Zip archives are opened, in the folder or as ``directory`` itself. What is not a regular file (a pipe, a
        device, a linked folder) is skipped too.

        Args:
            directory: the folder, or the one file.
            in_memory: True keeps pixels in memory, for files that are removed or changed before they are sent or
                shown. By default they are read again then, which takes a third less memory, and a file that is not the
                same any more is GLIO-1202.

        Raises:
            EmptyStudyError: the folder does not exist or holds no DICOM file.
            NotDicomError: ``directory`` is a file that is not DICOM.
            TruncatedFileError: a file ends early or cannot be read; ``error.path`` names it.
            InvalidArchiveError: a zip archive is damaged, encrypted or holds another archive.
            StudyTooLargeError: more than :data:`MAX_FOLDER_FILES` files or :data:`MAX_FOLDER_BYTES` bytes.
        """
        if not os.fspath(directory):  # it would be the folder that the process happens to be in
            raise GlioserveError(ErrorCode.EMPTY_STUDY, "The folder's name is empty.")
        return cls._of(lambda: study_files(Path(directory)), in_memory)

    @classmethod
    def from_files(cls, paths: Iterable[PathLike], *, in_memory: bool = False) -> DicomStudy:
        """Read these files, each of which must be DICOM or a zip archive; ``in_memory`` as of :meth:`from_directory`.

        Raises:
            StudyError: as :meth:`from_directory` does.
            TypeError: ``paths`` is one path.
        """
        if isinstance(paths, str | bytes | os.PathLike) or not isinstance(paths, Iterable):
            raise TypeError("from_files takes a list of paths; one folder is read by from_directory")
        return cls._of(lambda: named_files(Path(path) for path in paths), in_memory)

    @classmethod
    def from_bytes(cls, contents: Iterable[bytes]) -> DicomStudy:
        """Take DICOM files or zip archives that are in memory already (from DICOMweb, say).

        Raises:
            StudyError: as :meth:`from_files` does.
            TypeError: ``contents`` is the bytes of one file, or not of bytes.
        """
        if isinstance(contents, str | bytes | bytearray | memoryview) or not isinstance(contents, Iterable):
            raise TypeError("from_bytes takes a list of files, each as bytes: from_bytes([content])")
        given = tuple(contents)
        for content in given:
            if not isinstance(content, bytes | bytearray | memoryview):
                raise TypeError(f"from_bytes takes files as bytes, not {type(content).__name__}")
        return cls._of(lambda: given_files(tuple(map(bytes, given))), in_memory=True)

    @classmethod
    def _of(cls, read: Callable[[], StudyFiles], in_memory: bool) -> DicomStudy:
        found = read()
        files: list[DicomFile] = []
        listed: set[str] = set()
        there: set[str] = set()
        for file in found.files:
            with _naming(file.path):
                path = None if in_memory or file.packed else file.path
                instance = file.instance()
                listed |= listed_images(instance)
                there.add(text_of(instance.dataset, "SOPInstanceUID"))
                files.append(dicom_file(instance, file.content, file.name, path))
        absent = tuple(SkippedFile("", NOT_THERE) for _ in listed - there)
        return cls(tuple(files), (*found.skipped, *absent))


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """One sequence as voxels: FP32 [z, y, x], any unit, and ``lps_from_voxel`` 4 x 4 from voxel (x, y, z) to LPS mm.

    Given as any array of real numbers (integers, floats of any width and byte order, booleans), the axes in any order
    and turned any way, as long as the affine says so; further axes of length 1 are dropped. Both arrays are copied
    and read-only. NaN may stand for the outside of the field of view; the server judges whether it does.

    Raises:
        InvalidVolumeError: the array has not three axes of two voxels or more.
        InvalidAffineError: the affine does not map voxels to mm, or its axes are not at right angles or span
            over a metre.
        UnsupportedVoxelsError: the voxels are complex numbers, colours, texts or several volumes.
        NonFiniteVoxelsError: voxels are infinite, or more than half of them NaN.
        ExtremeIntensityError: voxels lie beyond 1e12.
        StudyTooLargeError: the volume is over the contract's limit on voxels.
    """

    voxels: npt.NDArray[np.float32]
    lps_from_voxel: npt.NDArray[np.float64]

    if TYPE_CHECKING:  # it takes more than it has

        def __init__(self, voxels: npt.ArrayLike, lps_from_voxel: npt.ArrayLike) -> None: ...

    def __repr__(self) -> str:
        spacing = ", ".join(f"{s:.3g}" for s in np.linalg.norm(self.lps_from_voxel[:3, :3], axis=0))
        return f"Volume(shape={self.voxels.shape}, spacing_mm=({spacing}))"

    def __post_init__(self) -> None:
        voxels = checked_voxels(self.voxels, "The volume", copy=True)
        z, y, x = voxels.shape
        lps_from_voxel = checked_geometry((x, y, z), self.lps_from_voxel, "The volume").lps_from_voxel
        for name, array in (("voxels", voxels), ("lps_from_voxel", lps_from_voxel)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the arrays, which are read-only again when they come back."""
        return Volume, (self.voxels, self.lps_from_voxel)


@dataclass(frozen=True, eq=False)
class VolumeStudy:
    """A study as volumes, one per sequence: arrays and affines only, so no header can identify the patient.

    A face can be recognised from a head's voxels all the same; removing it is not this client's task.
    """

    volumes: Mapping[Modality, Volume]

    def __post_init__(self) -> None:
        if not _by_sequence(self.volumes):
            raise GlioserveError(ErrorCode.EMPTY_STUDY, "No volume was given.")
        volumes = {modality_of(m): self.volumes[m] for m in self.volumes}
        for modality, volume in volumes.items():
            if not isinstance(volume, Volume):
                raise TypeError(f"{modality}: make a Volume(voxels, lps_from_voxel) of the {type(volume).__name__}")
        object.__setattr__(self, "volumes", MappingProxyType(volumes))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the volumes, whose mapping Python cannot pickle by itself."""
        return VolumeStudy, (dict(self.volumes),)

    @classmethod
    def from_nifti(cls, paths: Mapping[Modality, PathLike]) -> VolumeStudy:
        """Read NIfTI files: [x, y, z] in RAS becomes [z, y, x] in LPS (:mod:`glioserve_dicom.volumes.nifti`).

        Raises:
            StudyError: as :class:`Volume` does, and InvalidAffineError where the file does not state for certain
                which way is left. The message names the sequence.
        """
        volumes = {}
        for modality, path in _by_sequence(paths).items():
            with _naming(Path(path)):
                volumes[modality_of(modality)] = _copy_of(volume_of_nifti(modality_of(modality), Path(path)))
        return cls(volumes)


Study = DicomStudy | VolumeStudy


def checked_study(study: object) -> None:
    """Raise TypeError for anything but a study, and say how to make one of it."""
    if isinstance(study, DicomStudy | VolumeStudy):
        return
    advice = "read a study first: DicomStudy.from_directory(folder), from_files(paths) or VolumeStudy.from_nifti(paths)"
    if isinstance(study, bytes | bytearray | memoryview):
        advice = "bytes are read by DicomStudy.from_bytes([...])"
    elif isinstance(study, Volume):
        advice = "name its sequence: VolumeStudy({Modality.T1CE: volume})"
    raise TypeError(f"a study is needed, not {type(study).__name__}: {advice}")


@contextmanager
def _naming(path: Path | None) -> Iterator[None]:
    """Give an error the local file at fault as its ``path``: for the caller's own terminal, not for the message."""
    try:
        yield
    except GlioserveError as error:
        error.path = path
        raise


_T = TypeVar("_T")


def _by_sequence(given: Mapping[Modality, _T]) -> Mapping[Modality, _T]:
    """Return the mapping. Raises TypeError for anything else."""
    if not isinstance(given, Mapping):
        raise TypeError(f"a mapping of sequences is needed, as {{Modality.T1CE: ...}}, not {type(given).__name__}")
    return given


def modality_of(name: Modality) -> Modality:
    """Return the sequence of a name. Raises ValueError for another name."""
    try:
        return Modality(name)
    except ValueError:
        raise ValueError(f"the sequences are {', '.join(Modality)}, not {name!r}") from None


def _copy_of(volume: SequenceVolume) -> Volume:
    return Volume(volume.voxels, volume.geometry.lps_from_voxel)
