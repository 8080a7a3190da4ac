"""Bound how often a parser reads from a DICOM file's bytes, and how many items it makes of a sequence.

A parser reads every element by itself. Where a copy broke off and left zeros, each eight of them are an element, and a
hundred megabytes would keep it busy for a minute.
"""

from __future__ import annotations

from io import BytesIO

MOST_READS = 1_200_000
"""Most reads, some three seconds' worth; an enhanced image of the most frames that are read takes less than half of
it."""
MOST_ITEMS = 160_000
"""Most items of a sequence and of those within it, some five seconds' worth: nearly twenty for each of the most
frames."""


class BoundedReads(BytesIO):
    """A file in memory that raises ValueError at the read after :data:`MOST_READS`."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._left = MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read ``size`` bytes, or all that are left."""
        self._left -= 1
        if self._left < 0:
            raise ValueError("more elements than any DICOM file has")
        return super().read(size)
