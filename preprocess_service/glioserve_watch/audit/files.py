"""The files of an audit log: their names, their order, and their lines."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

AUDIT_FOLDER = "audit"
"""Folder of the audit log in a study log, and in a bridge's state folder."""
_NAME = re.compile(r"audit-([0-9]{12})-([0-9]{4}-[0-9]{2}-[0-9]{2})\.jsonl")


@dataclass(frozen=True, order=True)
class AuditFile:
    """One file; files sort by their first line."""

    first_seq: int
    day: date
    """Day on which its lines were written, UTC."""
    path: Path


def file_name(first_seq: int, day: date) -> str:
    """Return the name of the file that begins with a line."""
    return f"audit-{first_seq:012d}-{day.isoformat()}.jsonl"


def files_of(folder: Path) -> list[AuditFile]:
    """Return the files of an audit log, oldest first; what else lies in the folder is not among them."""
    return sorted(file for path in folder.iterdir() if (file := _file_of(path)) is not None)


def _file_of(path: Path) -> AuditFile | None:
    match = _NAME.fullmatch(path.name)
    if match is None or not path.is_file():  # a folder or a pipe may have such a name
        return None
    try:
        return AuditFile(int(match[1]), date.fromisoformat(match[2]), path)
    except ValueError:  # no such day
        return None


def last_line(path: Path, step_bytes: int = 1 << 16) -> bytes:
    """Return the last line of a file as it is there; empty where it has none."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        tail = b""
        while end and b"\n" not in tail[:-1]:
            begin = max(0, end - step_bytes)
            file.seek(begin)
            tail, end = file.read(end - begin) + tail, begin
    return tail[tail.rfind(b"\n", 0, -1) + 1 :]


def sync_folder(folder: Path) -> None:
    """Have the names of a folder's files survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
