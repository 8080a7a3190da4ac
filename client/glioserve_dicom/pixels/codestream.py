"""One compressed frame as its markers describe it, and what was found beside the image in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

COMMENTS = "comments or application segments in a codestream"
UNUSED_PARTS = "parts of a codestream that no pixel needs"
BEHIND_CODESTREAM = "bytes behind the end of a codestream"

_ENCODERS_OWN = re.compile(
    rb"\x00\x01Created by OpenJPEG version [0-9.]{1,12}\x00?|\x00\x01(Kakadu-)?v?[0-9.]{1,12}"
    rb"|JFIF\x00[\x00-\x02]{3}.{4}\x00\x00|Adobe.{7}",
    re.DOTALL,
)
"""Marks that encoders leave of themselves: versions, the pixel's aspect, the colours' transform."""


def is_encoders_own(payload: bytes) -> bool:
    """Return whether a comment or application segment is one that an encoder writes whatever the image is."""
    return _ENCODERS_OWN.fullmatch(payload) is not None


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
