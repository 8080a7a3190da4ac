"""Find the frames among the fragments of encapsulated pixels (PS3.5 A.4)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import accumulate

_HEAD_BYTES = 8
"""Length of an item's tag and length."""


def fragments_of(pixels: memoryview) -> tuple[memoryview, list[memoryview]]:
    """Return the offset table and the fragments of encapsulated pixels, as views."""
    found = []
    at = 0
    while at + _HEAD_BYTES <= len(pixels):
        group, element, length = struct.unpack_from("<HHI", pixels, at)
        if (group, element) != (0xFFFE, 0xE000):
            break
        found.append(pixels[at + _HEAD_BYTES : at + _HEAD_BYTES + length])
        at += _HEAD_BYTES + length
    return (found[0], found[1:]) if found else (pixels[:0], [])


def frames_of(
    table: memoryview, fragments: Sequence[memoryview], count: int, begins: Callable[[bytes], bool]
) -> list[tuple[int, int]]:
    """Return the span of each frame among the fragments; empty where they cannot be told apart.

    They are told apart by their number, else by the offset table, else by where a codestream begins.

    Args:
        table: the basic offset table, empty where there is none.
        fragments: the fragments in their order.
        count: number of frames.
        begins: whether a fragment with these first bytes begins a codestream.
    """
    if len(fragments) == count:
        return [(number, number + 1) for number in range(count)]
    starts = _starts_by_table(table, fragments, count) if count > 1 else []
    starts = starts or [number for number, fragment in enumerate(fragments) if begins(bytes(fragment[:16]))]
    spans = list(zip(starts, [*starts[1:], len(fragments)], strict=False))
    return spans[:count] if len(spans) >= count else []


def places_of(fragments: Sequence[memoryview]) -> list[int]:
    """Return where each fragment's item begins behind the offset table, as that table counts, and where all end."""
    return list(accumulate((_HEAD_BYTES + len(fragment) for fragment in fragments), initial=0))


def _starts_by_table(table: memoryview, fragments: Sequence[memoryview], count: int) -> list[int]:
    """Return the number of each frame's first fragment; empty where the table does not fit the fragments."""
    if len(table) != 4 * count:
        return []
    number_at = {place: number for number, place in enumerate(places_of(fragments))}
    starts = [number_at.get(offset, -1) for offset in struct.unpack(f"<{count}I", table)]
    fits = starts[0] == 0 and starts == sorted(set(starts)) and starts[-1] < len(fragments)
    return starts if fits else []
