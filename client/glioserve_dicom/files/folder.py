"""Gather a study's files: from a folder with all below it, from files named one by one, or from bytes in memory.

Reading is strict where silence would change the answer: a file that is damaged or cannot be read is an error, never
left out, because one missing slice at the end of a stack would go unnoticed. What is plainly not DICOM
(``Thumbs.db``, a README), and what is not a regular file (a pipe, a socket, a device, a linked folder), is left out of
a folder and listed; a file that was named must be DICOM. Zip archives are opened wherever they are.

Messages count files and never quote a path or a name, as either may carry a patient's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_INSTANCES, MAX_REQUEST_BYTES
from glioserve_dicom.files.archive import is_archive, is_hidden, unpack
from glioserve_dicom.files.part10 import Instance, looks_like_dicom, parse

MAX_FOLDER_FILES = 4 * MAX_INSTANCES
"""Most files of a folder; one that holds more is not a study's."""
MAX_FOLDER_BYTES = 2 * MAX_REQUEST_BYTES
"""Most bytes of a folder's files, and of what its archives hold. A request keeps the contract's tighter limits."""
READING_THREADS = 8
"""Files that are read at once: a network share answers late, not slowly."""

DIRECTORY_NAME = "DICOMDIR"
"""Name of the list of a medium's files, which PS3.10 fixes; some systems write it in lower case."""

NOT_DICOM, NOT_REGULAR, LINKED_FOLDER = "not DICOM", "not a regular file", "a linked folder"
"""Reasons of a :class:`SkippedFile`."""


@dataclass(frozen=True)
class SkippedFile:
    """A file of the folder that is not part of the study. ``name`` may carry a patient's name."""

    name: str = field(repr=False)
    reason: str


@dataclass(frozen=True, eq=False)
class StudyFile:
    """A file that is, or has begun to be, DICOM; or one that cannot be read, with its problem."""

    what: str
    """Name in messages, by its number: ``File 3 of 9``."""
    content: bytes = field(default=b"", repr=False)
    name: str = field(default="", repr=False)
    """Path relative to the folder that was read; empty for bytes. May carry a patient's name."""
    path: Path | None = field(default=None, repr=False)
    """Place on the disk, of the archive for what came out of one; None for bytes. May carry a patient's name."""
    packed: bool = False
    """True where it came out of an archive."""
    problem: GlioserveError | None = None
    """Reason why there is no content; None where there is."""

    def instance(self) -> Instance:
        """Parse the file. Raises its problem, or what :func:`glioserve_dicom.files.part10.parse` raises."""
        if self.problem is not None:
            raise self.problem
        return parse(self.content, self.what)


@dataclass(frozen=True)
class StudyFiles:
    """A study's files in order, and what lay beside them. There is at least one file."""

    files: tuple[StudyFile, ...]
    skipped: tuple[SkippedFile, ...] = ()


def study_files(study: Path) -> StudyFiles:
    """Read the files of a folder, or the one file, such as a zip archive, that ``study`` is.

    A medium's DICOMDIR stands for the folder that it lies in: the files that it lists are below it.

    Raises:
        EmptyStudyError: GLIO-1103 for a folder that is not there or holds no DICOM file.
        StudyTooLargeError: GLIO-1104 for more than the limits on files or bytes.
        TruncatedFileError: GLIO-1202 for a folder below it that cannot be listed.
    """
    if study.name.upper() == DIRECTORY_NAME and study.is_file():
        study = study.parent
    if not study.is_dir():
        if not os.path.lexists(study):
            raise GlioserveError(ErrorCode.EMPTY_STUDY, "There is no such folder or file.")
        return named_files([study])
    sorter, entries = _Sorter(), []
    for path in _within_limits(_visible(study)):
        if (reason := _reason_to_skip(path)) is None:
            entries.append(path)
        else:
            sorter.skipped.append(SkippedFile(str(path.relative_to(study)), reason))
    _read(sorter, sorted(entries, key=str), study)
    if not sorter.files:
        others = len(sorter.skipped)
        raise GlioserveError(
            ErrorCode.EMPTY_STUDY, f"The folder holds no DICOM file ({others} others, hidden ones apart)."
        )
    return sorter.result()


def named_files(paths: Iterable[Path]) -> StudyFiles:
    """Read these files, each of which must be DICOM or a zip archive. Raises as :func:`study_files` does."""
    named = _within_limits(paths)
    if not named:
        raise GlioserveError(ErrorCode.EMPTY_STUDY, "No file was named.")
    sorter = _Sorter()
    _read(sorter, named, None)
    return sorter.result()


def given_files(contents: Sequence[bytes], most_files: int | None = None, most_bytes: int | None = None) -> StudyFiles:
    """Sort files in memory, each of which must be DICOM or a zip archive.

    Args:
        contents: the files, in any order.
        most_files: limit on the files, those in archives included; None for a folder's.
        most_bytes: limit on their bytes; None for a folder's.

    Raises:
        EmptyStudyError: GLIO-1103 where there is no file, or no DICOM file in the archives.
        StudyTooLargeError: GLIO-1104 for more than the limits.
    """
    if not contents:
        raise GlioserveError(ErrorCode.EMPTY_STUDY, "No file was given.")
    sorter = _Sorter(most_files, most_bytes)
    sorter.check(len(contents), sum(map(len, contents)))
    for number, content in enumerate(contents, 1):
        sorter.add(StudyFile(f"File {number} of {len(contents)}", content), may_skip=False)
    return sorter.result()


class _Sorter:
    """A collector that sorts DICOM files from others and opens archives, within limits."""

    def __init__(self, most_files: int | None = None, most_bytes: int | None = None) -> None:
        self.files: list[StudyFile] = []
        self.skipped: list[SkippedFile] = []
        self._most_files = MAX_FOLDER_FILES if most_files is None else most_files
        self._most_bytes = MAX_FOLDER_BYTES if most_bytes is None else most_bytes
        self._size_bytes = 0

    def add(self, file: StudyFile, *, may_skip: bool) -> None:
        """Sort one file; files of an archive may always be skipped, as those of a folder."""
        if file.problem is None and is_archive(file.content):
            try:
                for number, (name, content) in enumerate(unpack(file.content, file.what), 1):
                    inner = f"{file.what}, file {number} in it"
                    self.add(StudyFile(inner, content, f"{file.name}/{name}", file.path, packed=True), may_skip=True)
            except GlioserveError as problem:
                kept = _without_frames(problem)
                self.files.append(StudyFile(file.what, name=file.name, path=file.path, problem=kept))
        elif file.problem is None and may_skip and not looks_like_dicom(file.content):
            self.skipped.append(SkippedFile(file.name, NOT_DICOM))
        else:
            self.files.append(file)
            self._size_bytes += len(file.content)
            self.check(len(self.files), self._size_bytes)

    def check(self, files: int, size_bytes: int) -> None:
        """Raise GLIO-1104 over the limits."""
        if files > self._most_files or size_bytes > self._most_bytes:
            raise _too_large(self._most_files, self._most_bytes)

    def result(self) -> StudyFiles:
        """Return what was sorted. Raises GLIO-1103 where archives held no DICOM file."""
        if not self.files:
            detail = f"No DICOM file in the archive ({len(self.skipped)} others)."
            raise GlioserveError(ErrorCode.EMPTY_STUDY, detail)
        return StudyFiles(tuple(self.files), tuple(self.skipped))


def _without_frames(problem: GlioserveError) -> GlioserveError:
    """Return the error without the frames that raised it, which would keep what was unpacked in them."""
    problem.__context__ = problem.__cause__ = None
    return problem.with_traceback(None)


def _read(sorter: _Sorter, paths: Sequence[Path], root: Path | None) -> None:
    """Read the files into ``sorter``; those below ``root`` may be skipped, those without one were named."""
    order = " (in the order of their names)" if root else ""
    whats = [f"File {number} of {len(paths)}{order}" for number in range(1, len(paths) + 1)]
    with ThreadPoolExecutor(READING_THREADS) as pool:
        for path, what, content in zip(paths, whats, pool.map(_content, paths, whats), strict=True):
            name = str(path.relative_to(root)) if root else str(path)
            if isinstance(content, GlioserveError):
                sorter.add(StudyFile(what, b"", name, path, problem=content), may_skip=False)
            else:
                sorter.add(StudyFile(what, content, name, path), may_skip=root is not None)


def _content(path: Path, what: str) -> bytes | GlioserveError:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would block for ever
            return GlioserveError(ErrorCode.NOT_DICOM, f"{what} is not a regular file.")
        return path.read_bytes()
    except OSError as error:
        return GlioserveError(ErrorCode.TRUNCATED_FILE, f"{what} cannot be read: {error.strerror}.")


def _visible(root: Path) -> Iterator[Path]:
    """Yield the files below ``root`` and the links to folders, which are not followed; hidden ones are passed over."""
    for folder, subfolders, names in os.walk(root, onerror=_unlisted):
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        links = [name for name in subfolders if os.path.islink(os.path.join(folder, name))]
        yield from (Path(folder) / name for name in (*names, *links) if not is_hidden(name))


def _unlisted(error: OSError) -> None:
    raise GlioserveError(
        ErrorCode.TRUNCATED_FILE, f"A folder of the study cannot be listed: {error.strerror}."
    ) from None


def _reason_to_skip(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return None  # reading it finds out why
    return None if stat.S_ISREG(mode) else LINKED_FOLDER if stat.S_ISDIR(mode) else NOT_REGULAR


def _within_limits(paths: Iterable[Path]) -> list[Path]:
    """Return the paths, unless they are too many or too large: before anything is read into memory."""
    kept: list[Path] = []
    size_bytes = 0
    for path in paths:
        kept.append(path)
        try:
            size_bytes += path.stat().st_size
        except OSError:
            continue  # reading it finds out why
        if len(kept) > MAX_FOLDER_FILES or size_bytes > MAX_FOLDER_BYTES:
            raise _too_large(MAX_FOLDER_FILES, MAX_FOLDER_BYTES)
    return kept


def _too_large(most_files: int, most_bytes: int) -> GlioserveError:
    detail = f"The study holds over {most_files} files or {most_bytes >> 20} MiB."
    return GlioserveError(ErrorCode.STUDY_TOO_LARGE, detail)
