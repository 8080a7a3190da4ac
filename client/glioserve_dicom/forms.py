"""Hold the value of an attribute to the form that PS3.6 gives it, so that no text stands in the place of a number.

The client sends a number or a code only in this form, and the server takes no other from strangers.
"""

from __future__ import annotations

import math
import re
import struct
from functools import lru_cache

from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

from glioserve_dicom.files.part10 import MR_STORAGE

COLOURS = r"PALETTE COLOR|RGB|ARGB|HSV|CMYK|YBR_[A-Z0-9_]{2,12}"
"""Pattern of the values of PhotometricInterpretation that stand for colour (PS3.3 C.7.6.3.1.2), retired ones too."""
UNKNOWN_PHOTOMETRIC = "UNKNOWN"
"""Stand-in for a PhotometricInterpretation that is none of DICOM's, which the reader refuses likewise."""
BINARY_BYTES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "US or SS": 2}
"""Length of one number of the value representations that are not text."""
_NUMBER = rb"[ \0\t\r\n]*(?:[+-]?(?:[0-9]{1,32}(?:\.[0-9]{0,32})?|\.[0-9]{1,32})(?:[eE][+-]?[0-9]{1,3})?[ \0\t\r\n]*)?"
_NUMBERS = re.compile(rb"%b(?:\\%b)*" % (_NUMBER, _NUMBER))
"""Form of numbers that are written as text (DS, IS), with what the reader strips."""
_LONGEST_TEXT = 0xFFFE
"""Length of the longest value of these in explicit VR."""
_MOST_VALUES = 64
"""Most values of an attribute that may have any number: more is not an acquisition parameter."""
_FLOATS = {"FL": "f", "FD": "d"}
_LEAST_FLOAT, _LARGEST_FLOAT = 1e-9, 1e12
"""Bounds of a parameter's magnitude; the bytes of a text make numbers beyond them."""
_MOST_INDEX = 1 << 20
"""Bound of the kept attributes of four bytes, which count frames and positions."""
_CODES = {
    "Modality": re.compile(r"MR"),
    "PatientPosition": re.compile(r"[HF]F(S|P|DL|DR)|[LR]F[PS]|[AP]FD[LR]"),
    "PhotometricInterpretation": re.compile(rf"MONOCHROME[12]|{COLOURS}"),
    **dict.fromkeys(
        (
            "InversionRecovery",
            "ContrastBolusAgentAdministered",
            "EchoPlanarPulseSequence",
            "PhaseContrast",
            "TimeOfFlightContrast",
        ),
        re.compile(r"YES|NO"),
    ),
}
"""Kept text attributes that are not numbers, and all that they may hold."""


def has_form(value: bytes, keyword: str, vr: str, little: bool = True) -> bool:
    """Return whether the raw value of a kept attribute has the form of its attribute.

    Args:
        value: bytes of the element.
        keyword: the attribute, one that :data:`glioserve_dicom.identity.KEPT_ATTRIBUTES` keeps as it is.
        vr: its value representation in the dictionary, such as ``US or SS``.
        little: whether the file is little endian.
    """
    if keyword == "SOPClassUID":
        return value.strip(b" \0").decode("latin-1") in MR_STORAGE
    if keyword in _CODES:
        return _CODES[keyword].fullmatch(value.decode("latin-1").strip(" \0")) is not None
    if vr in BINARY_BYTES:
        count, rest = divmod(len(value), BINARY_BYTES[vr])
        return not rest and count <= most_values(keyword) and _are_parameters(value, vr, count, little)
    if vr in ("DS", "IS"):
        return value.count(b"\\") < most_values(keyword) and is_numeric_text(value)
    return False  # a kept attribute of another kind has no rule yet: it stays here until it has one


def stand_in(keyword: str) -> bytes:
    """Return a fixed malformed value of a number: what the client sends instead of a malformed one of the file's."""
    width = BINARY_BYTES.get(dictionary_VR(keyword).split(" ")[0])
    return b"? " if width is None else bytes(4 if width == 2 else 2)  # binary: two values, or less than one


def is_stand_in(value: bytes, keyword: str) -> bool:
    """Return whether a value is :func:`stand_in`, which the reader refuses as it refuses the file's own."""
    return value == stand_in(keyword) or (
        keyword == "PhotometricInterpretation" and value.strip(b" ") == UNKNOWN_PHOTOMETRIC.encode()
    )


def is_numeric_text(value: bytes) -> bool:
    """Return whether each value of a DS or IS is a number or empty."""
    return len(value) <= _LONGEST_TEXT and _NUMBERS.fullmatch(value) is not None


@lru_cache(maxsize=256)
def most_values(keyword: str) -> int:
    """Return the most values that an attribute may have."""
    tag = tag_for_keyword(keyword)
    multiplicity = dictionary_VM(tag) if tag is not None else "1"
    return int(multiplicity) if multiplicity.isdigit() else _MOST_VALUES


def _are_parameters(value: bytes, vr: str, count: int, little: bool) -> bool:
    order = "<" if little else ">"
    if vr in _FLOATS:
        floats = struct.unpack(f"{order}{count}{_FLOATS[vr]}", value)
        return all(v == 0 or (math.isfinite(v) and _LEAST_FLOAT <= abs(v) <= _LARGEST_FLOAT) for v in floats)
    return vr != "UL" or all(v < _MOST_INDEX for v in struct.unpack(f"{order}{count}I", value))
