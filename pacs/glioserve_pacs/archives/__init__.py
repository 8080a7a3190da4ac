"""Places that studies come from and results go to: what the bridge asks of a PACS, whatever protocol it speaks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

from glioserve_contract import ErrorCode, GlioserveError

_UID, _LONGEST_UID = re.compile(r"[0-9]+(\.[0-9]+)*"), 64


@dataclass(frozen=True, order=True)
class Image:
    """An MR image of a study, by its UIDs."""

    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class FoundStudy:
    """A study that a PACS lists."""

    study_instance_uid: str
    """Its UID; empty where what the PACS lists is not one, so that the study cannot be asked for."""
    instances: int | None = None
    """Number of all its instances where the PACS tells it; a change of it is a reason to look again."""


@dataclass(frozen=True)
class Query:
    """Question for studies: for one by its UID or accession number, or for all with MR images since a day."""

    study_instance_uid: str = ""
    accession_number: str = ""
    since: date | None = None


Keep = Callable[[Image, bytes], None]
"""Function that takes a fetched file: the image's UIDs, and the whole DICOM Part 10 file."""


class Source(Protocol):
    """A place that studies come from. Every method raises GlioserveError, GLIO-42xx, where it fails."""

    def find(self, query: Query) -> list[FoundStudy]:
        """Return the studies that the query asks for."""
        ...

    def images(self, study_instance_uid: str) -> frozenset[Image]:
        """Return the study's MR images that are there now; no other kind of object."""
        ...

    def fetch(self, study_instance_uid: str, images: Collection[Image], keep: Keep) -> None:
        """Hand each of these images to ``keep``, in any order; fewer may come, which the caller notices."""
        ...


class Destination(Protocol):
    """A place that results are stored in. Every method raises GlioserveError, GLIO-42xx, where it fails."""

    def missing(self, study_instance_uid: str, sop_instance_uids: Collection[str]) -> set[str]:
        """Return those of the UIDs that are not there, or whose presence is unknown."""
        ...

    def store(self, files: Sequence[Path]) -> tuple[str, ...]:
        """Store these DICOM files; return a reason for each that the other side does not take, none where it took all.

        A file that is not taken keeps no other one from being stored.
        """
        ...


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what a library raises over the answer to the request to ``what`` into GLIO-4204.

    A PACS's bytes may make it raise anything. Errors that have a code, and those of this machine, are passed on.
    """
    try:
        yield
    except (GlioserveError, OSError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - its text may quote the study
        detail = f"The answer to the request to {what} is not DICOM."
        raise GlioserveError(ErrorCode.PACS_ANSWER_MALFORMED, detail) from None


def checked_uid(text: str, keyword: str) -> str:
    """Return a UID that a PACS lists, which becomes part of addresses and keys.

    Numbers that begin with 0, which the standard forbids and scanners write, are let through.

    Raises:
        GlioserveError: GLIO-4204 where it is not one; the message does not have it.
    """
    if not is_uid(text):
        raise GlioserveError(ErrorCode.PACS_ANSWER_MALFORMED, f"A {keyword} that the PACS lists is not a UID.")
    return text


def is_uid(text: str) -> bool:
    """Return whether a text is numbers with points between, at most 64 characters (PS3.5 9.1)."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def digest_of(images: Collection[Image]) -> str:
    """Return 32 hex digits of a set of images, whatever their order; empty for none."""
    if not images:
        return ""
    lines = "\n".join(f"{image.series_instance_uid} {image.sop_instance_uid}" for image in sorted(images))
    return hashlib.sha256(lines.encode()).hexdigest()[:32]
