"""Parts of a file or message, written into one buffer when it is needed: pixels are copied once, masked on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np

from glioserve_dicom.files.stored import StoredBytes, StoredFile, offset_in


@dataclass(frozen=True)
class Masked:
    """Words of which only some bits are written."""

    words: bytes | memoryview | StoredBytes
    dtype: np.dtype[np.unsignedinteger[Any]]
    mask: int

    def __len__(self) -> int:
        return len(self.words)

    def write(self, out: memoryview) -> None:
        """Write the words, the other bits cleared, into ``out`` of the same length."""
        target = np.frombuffer(out, self.dtype)
        if isinstance(self.words, StoredBytes):
            self.words.write(out)
        source = target if isinstance(self.words, StoredBytes) else np.frombuffer(self.words, self.dtype)
        np.bitwise_and(source, self.dtype.type(self.mask), out=target)


Part = bytes | memoryview | Masked | StoredBytes


def size_of(parts: Sequence[Part]) -> int:
    """Return how many bytes the parts are together."""
    return sum(map(len, parts))


def joined(parts: Sequence[Part]) -> bytes:
    """Return the parts as one, with no second copy on the way."""
    whole = BytesIO(bytes(size_of(parts)))
    with whole.getbuffer() as out:
        write_parts(parts, out)
    return whole.getvalue()


def write_parts(parts: Sequence[Part], out: memoryview) -> None:
    """Write the parts one after another into ``out``, which is as long as they are together."""
    at = 0
    for part in parts:
        end = at + len(part)
        if isinstance(part, Masked | StoredBytes):
            part.write(out[at:end])
        else:
            out[at:end] = part
        at = end


def left_on_disk(parts: Sequence[Part], content: bytes, file: StoredFile) -> tuple[Part, ...]:
    """Return the parts with those that are views into a file's ``content`` as places in that file."""

    def left(view: bytes | memoryview | StoredBytes) -> bytes | memoryview | StoredBytes:
        offset = offset_in(content, view) if isinstance(view, memoryview) else None
        return view if offset is None else StoredBytes(file, offset, len(view))

    return tuple(replace(p, words=left(p.words)) if isinstance(p, Masked) else left(p) for p in parts)
