"""Cases that do what no case may do: the fuzz test must notice each."""

from __future__ import annotations

import ctypes
import logging
import time
import warnings

from fuzz.cases import Case
from fuzz.sources import MARKER
from glioserve_contract import ErrorCode, GlioserveError


def _crash() -> None:
    ctypes.string_at(0)


def _hang() -> None:
    time.sleep(60)


def _memory() -> None:
    held = bytearray(700 << 20)
    held[::4096] = b"x" * len(held[::4096])
    raise GlioserveError(ErrorCode.EMPTY_STUDY)


def _uncoded() -> None:
    raise KeyError("Rows")


def _name_in_message() -> None:
    raise GlioserveError(ErrorCode.NOT_DICOM, f"{MARKER}.dcm is no DICOM.")


def _name_in_log() -> None:
    logging.getLogger("pydicom").warning("Invalid value: %s", MARKER)


def _warning() -> None:
    warnings.warn("Invalid value for VR UI", stacklevel=1)


def _print() -> None:
    print("something")


def _refused() -> None:
    raise GlioserveError(ErrorCode.EMPTY_STUDY)


FAULTS = {
    "crash": _crash,
    "hang": _hang,
    "memory": _memory,
    "uncoded": _uncoded,
    "name in message": _name_in_message,
    "name in log": _name_in_log,
    "warning": _warning,
    "print": _print,
    "refused": _refused,
    "answered": lambda: None,
}


def case_of(seed: int, number: int) -> Case:
    """Each once."""
    name = list(FAULTS)[number]
    return Case(name, f"{name} of seed {seed}", FAULTS[name])
