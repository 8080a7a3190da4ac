"""One compressed frame as its markers describe it, and what was found beside the image in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TEXT = re.compile(
    rb"[A-Za-z0-9^ ,.=_/-]{12}|[0-9]{8}|([ -~]\0){5}|(\0[ -~]){5}"
    rb"|([ -~]{6}|([ -~]\0){3}|(\0[ -~]){3})\0{0,2}\Z|[A-Za-z0-9^]{5}.{0,8}\Z",
    re.DOTALL,
)
"""Bytes that compressed data hardly ever has by chance: a long run of letters, a long number, words of two bytes a
letter (UTF-16), any text at its end and a word near it."""
_END_BYTES = 4096
"""Length of the end that is looked at: within the data, a text would spoil the image."""

COMMENTS = "comments or application segments in a codestream"
UNUSED_PARTS = "parts of a codestream that no pixel needs"
BEHIND_CODESTREAM = "bytes behind the end of a codestream"

_ENCODERS_OWN = re.compile(
    rb"\x00\x01(Created by OpenJPEG version |Kakadu-)?v?[0-9]{1,3}(\.[0-9]{1,3}){1,3}\x00?"
    rb"|JFIF\x00[\x00-\x02]{3}.{4}\x00\x00|Adobe\x00[\x64\x65].{2}\x00\x00[\x00-\x02]",
    re.DOTALL,
)
"""Marks that encoders leave of themselves: versions, the pixel's aspect, the colours' transform."""


def is_encoders_own(payload: bytes) -> bool:
    """Return whether a comment or application segment is one that an encoder writes whatever the image is."""
    return _ENCODERS_OWN.fullmatch(payload) is not None


def reads_as_text(data: bytes) -> bool:
    """Return whether the end of compressed data may be text, which its decoder never reaches."""
    return _TEXT.search(data[-_END_BYTES:]) is not None


@dataclass(frozen=True)
class Codestream:
    """A codestream built anew from what a decoder needs of it."""

    content: bytes
    rows: int
    columns: int
    components: int
    precision: int
    """Bits of a sample, the most of all components."""
    beside: frozenset[str]
    """Parts that were left out, as the constants of this module name them."""
    doubtful: bool = False
    """True where the compressed data may hold more than the image, which only decoding leaves behind."""
