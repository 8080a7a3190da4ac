"""The one place where a header's values are read: strictly, silently, and without pydicom's conversions.

pydicom converts leniently and warns with the value in the text; a value may name the patient. Here an attribute has
the form that PS3.6 gives it, or it is a GLIO-1213 that names the attribute and never its value.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import lru_cache

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag, Tag

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.files.bounded import MOST_ITEMS

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_ITEM = b"\xfe\xff\x00\xe0"
"""Tag of a sequence's item in little endian."""
_MOST_CHARACTERS = 4096
"""Most characters of a value that are looked at: a header's numbers and codes are short."""


def text(dataset: Dataset, keyword: str) -> str:
    """Return the attribute's text, values joined by backslashes; empty when it is absent or empty."""
    return "\\".join(texts(dataset, keyword))


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the attribute's values as stripped texts. Binary and structured values give nothing: they are not text."""
    element = element_of(dataset, keyword)
    if element is None:
        return ()
    value = element.value
    if isinstance(value, bytes):
        if _vr(element, keyword) in _BINARY:
            return ()
        value = _decoded(value[:_MOST_CHARACTERS]).split("\\")
    values = tuple(_strip(str(v)) for v in _as_list(value) if not isinstance(v, bytes | Dataset))
    return values if any(values) else ()


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the attribute's one finite number, or None when it is absent or empty. Raises GLIO-1213 otherwise."""
    values = numbers(dataset, keyword, 1)
    return values[0] if values else None


def whole(dataset: Dataset, keyword: str) -> int | None:
    """Return the attribute's one whole number, or None when it is absent or empty. Raises GLIO-1213 otherwise."""
    value = number(dataset, keyword)
    if value is not None and value != int(value):
        raise malformed(keyword, "is not a whole number")
    return None if value is None else int(value)


def numbers(dataset: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...]:
    """Return the attribute's ``count`` finite numbers (default: however many), or none when it is absent or empty.

    Raises GLIO-1213 otherwise.
    """
    element = element_of(dataset, keyword)
    if element is None:
        return ()
    value = element.value
    try:
        if isinstance(value, bytes):
            found = _numbers_of(value, _vr(element, keyword), bool(getattr(element, "is_little_endian", True)))
        else:
            found = tuple(float(str(v)) for v in _as_list(value) if v not in ("", None))
    except (TypeError, ValueError, OverflowError, struct.error):
        raise malformed(keyword, "is not a number") from None
    if found and count not in (None, len(found)):
        raise malformed(keyword, f"has {len(found)} values instead of {count}")
    if not all(map(math.isfinite, found)):
        raise malformed(keyword, "is not finite")
    return found


def comparable(dataset: Dataset, keyword: str) -> str:
    """Return the attribute's value in one spelling, numbers as numbers: to tell images apart by. Empty when absent."""
    if dictionary_VR(keyword).split(" ")[0] not in (*_BINARY, "DS", "IS"):
        return text(dataset, keyword)
    return "\\".join(str(int(v)) if v.is_integer() else f"{v:g}" for v in numbers(dataset, keyword))


def items(dataset: Dataset, keyword: str | BaseTag) -> Sequence[Dataset]:
    """Return the items of a sequence; empty when it is absent. Raises GLIO-1213 when it is not a sequence."""
    tag = _tag(keyword) if isinstance(keyword, str) else keyword
    if tag not in dataset:
        return ()
    if _has_too_many_items(element_of(dataset, tag)):
        raise malformed(keyword, f"has over {MOST_ITEMS} items")
    try:
        value = dataset[tag].value
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on a damaged sequence
        raise malformed(keyword, "cannot be parsed") from None
    if value is None:
        return ()
    if not isinstance(value, DicomSequence):  # which holds data sets alone: thousands need no look at each
        raise malformed(keyword, "is not a sequence")
    return value


def element_of(dataset: Dataset, keyword: str | BaseTag) -> DataElement | RawDataElement | None:
    """Return the element as it was read, if possible not converted; None when it is absent. Raises GLIO-1213."""
    tag = _tag(keyword) if isinstance(keyword, str) else keyword
    try:
        return dataset.get_item(tag)
    except Exception:  # noqa: BLE001 - pydicom converts what has an unknown VR and no value
        raise malformed(keyword, "cannot be parsed") from None


def malformed(keyword: str | BaseTag, problem: str) -> GlioserveError:
    """Return the error for an attribute whose value has another form than the standard gives it."""
    return GlioserveError(ErrorCode.INVALID_ATTRIBUTE, f"{keyword} {problem}.")


@lru_cache(maxsize=256)
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def _vr(element: DataElement | RawDataElement, keyword: str) -> str:
    """Return the file's VR where it is one of numbers, else the dictionary's: an archive may have written UN."""
    vr = element.VR
    return vr if vr is not None and (vr in _BINARY or vr in ("DS", "IS")) else _official_vr(keyword)


@lru_cache(maxsize=512)
def _official_vr(keyword: str) -> str:
    return dictionary_VR(keyword).split(" ")[0]


def _numbers_of(value: bytes, vr: str, little: bool) -> tuple[float, ...]:
    if vr in _BINARY:
        kind = _BINARY[vr]
        count = len(value) // struct.calcsize(kind)
        return tuple(float(v) for v in struct.unpack(f"{'<' if little else '>'}{count}{kind}", value))
    parts = _decoded(value[:_MOST_CHARACTERS]).split("\\")
    if any("_" in part for part in parts):  # Python reads 1_000 as a number, DICOM does not
        raise ValueError
    return tuple(float(part) for part in map(_strip, parts) if part)


def _has_too_many_items(element: object) -> bool:
    """Return whether a sequence that is still bytes would make more items than any image needs."""
    value = getattr(element, "value", None)
    if not isinstance(value, bytes) or len(value) < MOST_ITEMS * len(_ITEM):
        return False
    little = getattr(element, "is_little_endian", True)
    return value.count(_ITEM if little else _ITEM[1::-1] + _ITEM[:1:-1]) > MOST_ITEMS


def _as_list(value: object) -> Sequence[object]:
    if value is None:
        return ()
    return value if isinstance(value, list | tuple | MultiValue) else (value,)


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _strip(value: str) -> str:
    return value.strip(" \0\t\r\n")
