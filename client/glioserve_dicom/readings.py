"""Read a header's free text whatever its encoding was: what its characters may have been, and one kind of dash.

The reader decodes as UTF-8, else as Latin-1 (:mod:`glioserve_dicom.files.attributes`). Many files state no
SpecificCharacterSet, or another than they are written in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LEGACY_ENCODINGS = (
    "gb18030",
    "shift_jis",
    "euc_kr",
    "big5",
    "iso8859_5",
    "cp1251",
    "iso8859_7",
    "iso8859_9",
    "koi8_r",
)
"""Tried on bytes that were read as Latin-1 for want of a SpecificCharacterSet that says better."""
_DASH = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d\u00ad]")


def plain_dashes(text: str) -> str:
    """Return text with every kind of hyphen, dash and minus as ``-``."""
    return _DASH.sub("-", text)


def readings(text: str) -> Iterator[str]:
    """Return what a text may have been: itself, then, if it was read as Latin-1, its bytes in other encodings."""
    yield _unescaped(text)
    if text.isascii():
        return
    try:
        content = text.encode("latin-1")
    except UnicodeEncodeError:
        return
    for encoding in _LEGACY_ENCODINGS:
        yield content.decode(encoding, "replace")


def _unescaped(text: str) -> str:
    """Decode ISO 2022 text (PS3.5 6.1.2.5)."""
    if "\x1b$" not in text or not text.isascii():
        return text
    return text.encode("ascii").decode("iso2022_jp_2", "ignore")
