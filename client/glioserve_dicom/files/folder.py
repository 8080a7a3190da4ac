"""A study's files from disk: a folder to its depth, or a single file such as a zip archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.limits import MAX_INSTANCES, MAX_REQUEST_BYTES
from glioserve_dicom.files.archive import is_archive
from glioserve_dicom.files.part10 import looks_like_dicom

MAX_FOLDER_FILES = 4 * MAX_INSTANCES
"""Where reading a folder stops: this is no study's folder."""
READING_THREADS = 8
"""A share over the network answers late, not slowly."""


def study_files(study: Path) -> tuple[list[bytes], int]:
    """The contents of what may be DICOM, in the order of the names, and how many other files lie beside them.

    Hidden files are passed over; zip archives are left as they are for :func:`glioserve_dicom.read.read`.
    Raises GLIO-1103, -1104 and -1202 (a file that cannot be read, by its number).
    """
    paths = [study] if study.is_file() else sorted(_visible_files(study), key=str)
    if not paths:
        raise GlioserveError(ErrorCode.EMPTY_STUDY, f"{study} is no folder with files and no file.")
    if len(paths) > MAX_FOLDER_FILES or sum(_size_bytes(p) for p in paths) > 2 * MAX_REQUEST_BYTES:
        raise GlioserveError(ErrorCode.STUDY_TOO_LARGE, f"{len(paths)} files in the folder.")
    whats = [f"File {number} of {len(paths)} (in the order of their names)" for number in range(1, len(paths) + 1)]
    with ThreadPoolExecutor(READING_THREADS) as pool:
        contents = list(pool.map(_content, paths, whats))
    # zeros where a preamble should be are what an interrupted copy leaves: an error, not another kind of file
    found = [c for c in contents if looks_like_dicom(c) or is_archive(c) or not any(c[:132])]
    return found, len(contents) - len(found)


def _visible_files(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [s for s in subfolders if not s.startswith((".", "__MACOSX"))]
        for name in names:
            path = Path(folder) / name
            if not name.startswith(".") and (path.is_file() or not path.exists()):  # a pipe would block
                yield path


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # reading it will say why


def _content(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GlioserveError(ErrorCode.TRUNCATED_FILE, f"{what} cannot be read: {error.strerror}.") from None
