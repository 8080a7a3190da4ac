"""Write data elements as bytes (PS3.5 7.1): those that were never parsed cost a copy, and pydicom writes the others."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONGEST_SHORT = 0xFFFF
_META_GROUP = 0x0002


def data_set_bytes(dataset: Dataset, implicit: bool, little: bool) -> bytes:
    """Return a data set's elements in the order of their tags, as pydicom would have written them."""
    parts = []
    for tag in sorted(dataset.keys(), key=int):
        element = dataset.get_item(tag)
        if isinstance(element, RawDataElement) and element.length != _UNDEFINED_LENGTH:
            written = _element_bytes(element.tag, element.VR, element.value or b"", implicit, little)
            if written is not None:
                parts.append(written)
                continue
        out = DicomBytesIO()
        out.is_implicit_VR, out.is_little_endian = implicit, little
        write_data_element(out, dataset[tag])
        parts.append(out.getvalue())
    return b"".join(parts)


def text_element(tag: BaseTag, vr: str, text: str, implicit: bool, little: bool) -> RawDataElement:
    """Return an element of ASCII text as it is written, padded to an even length. Raises UnicodeEncodeError."""
    value = text.encode("ascii")
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return RawDataElement(tag, None if implicit else vr, len(value), value, 0, implicit, little)


def meta_bytes(elements: Iterable[tuple[int, str, bytes]]) -> bytes:
    """Return a file's meta header, its length first (PS3.10 7.1).

    Args:
        elements: number within group 0002, VR and value of each, in their order; values are padded here.
    """
    parts = []
    for number, vr, value in elements:
        padded = value + (b"\0" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
        part = _element_bytes(Tag(_META_GROUP, number), vr, padded, implicit=False, little=True)
        assert part is not None
        parts.append(part)
    body = b"".join(parts)
    return struct.pack("<HH2sHI", _META_GROUP, 0, b"UL", 4, len(body)) + body


def _element_bytes(tag: int, vr: str | None, value: bytes, implicit: bool, little: bool) -> bytes | None:
    """Return an element's bytes; None where its VR does not fit explicit coding, which pydicom judges."""
    order = "<" if little else ">"
    group, number, length = tag >> 16, tag & 0xFFFF, len(value)
    if implicit:
        return struct.pack(f"{order}HHI", group, number, length) + value
    if vr is None or len(vr) != 2:
        return None
    if vr in EXPLICIT_VR_LENGTH_32:
        return struct.pack(f"{order}HH2s2xI", group, number, vr.encode("ascii"), length) + value
    if length > _LONGEST_SHORT:
        return None
    return struct.pack(f"{order}HH2sH", group, number, vr.encode("ascii"), length) + value
