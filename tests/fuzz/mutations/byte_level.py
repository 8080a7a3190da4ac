"""Files that a disk, a network or a bad program has damaged: no thought of what their bytes mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fuzz.sources import MARKER

Random = np.random.Generator
INTERESTING = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
TOKENS = (
    MARKER.encode(),
    b"SQ\0\0\xff\xff\xff\xff",
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
    b"\xfe\xff\x0d\xe0\0\0\0\0",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"\xe0\x7f\x10\0OW\0\0",
    b"\x08\0\x05\0CS\x0e\0ISO 2022 IR 87 ",
    b"DICM",
    b"PK\x03\x04",
    b"1.2.840.10008.1.2.1.99",
    b"1.2.840.10008.1.2.4.90",
    b"1.2.840.10008.1.2.2",
    b"\\",
    b"\0" * 64,
)


def flipped(rng: Random, content: bytes) -> bytes:
    """One to eight bits."""
    changed = bytearray(content)
    for at in _places(rng, content, int(rng.integers(1, 9))):
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def overwritten(rng: Random, content: bytes) -> bytes:
    """A run of random, equal or telling bytes."""
    at = _place(rng, content)
    length = int(rng.integers(1, 64))
    kind = rng.integers(3)
    new = rng.bytes(length) if kind == 0 else bytes([rng.integers(256)]) * length if kind == 1 else _token(rng)
    return content[:at] + new + content[at + len(new) :]


def truncated(rng: Random, content: bytes) -> bytes:
    """Cut anywhere, most often near an end."""
    kind = rng.integers(4)
    at = int(rng.integers(len(content) + 1))
    if kind == 0:
        at = min(at, int(rng.integers(0, 400)))
    elif kind == 1:
        at = max(0, len(content) - int(rng.integers(0, 16)))
    return content[:at]


def broken_off(rng: Random, content: bytes) -> bytes:
    """Zeros from somewhere on, as an interrupted copy leaves them; some files were meant to be large."""
    at = _place(rng, content)
    meant = len(content) - at if rng.random() < 0.9 else int(rng.integers(1 << 20, 64 << 20))
    return content[:at] + bytes(meant)


def inserted(rng: Random, content: bytes) -> bytes:
    """Bytes that move all that follows."""
    at = _place(rng, content)
    new = _token(rng) if rng.random() < 0.6 else rng.bytes(int(rng.integers(1, 300)))
    return content[:at] + new + content[at:]


def removed(rng: Random, content: bytes) -> bytes:
    """Remove a run of bytes."""
    at = _place(rng, content)
    return content[:at] + content[at + int(rng.integers(1, 200)) :]


def length_changed(rng: Random, content: bytes) -> bytes:
    """A telling number where a length, a count or a size may stand."""
    width = int(rng.choice([2, 4]))
    at = max(0, _place(rng, content) - width)
    value = INTERESTING[rng.integers(len(INTERESTING))] % (1 << (8 * width))
    return content[:at] + value.to_bytes(width, "little" if rng.random() < 0.8 else "big") + content[at + width :]


def repeated(rng: Random, content: bytes) -> bytes:
    """A piece twice, or many times."""
    at = _place(rng, content)
    piece = content[at : at + int(rng.integers(1, 300))]
    return content[:at] + piece * int(rng.choice([2, 3, 50])) + content[at + len(piece) :]


SINGLE: tuple[Callable[[Random, bytes], bytes], ...] = (
    flipped,
    overwritten,
    truncated,
    broken_off,
    inserted,
    removed,
    length_changed,
    repeated,
)


def spliced(rng: Random, one: bytes, other: bytes) -> bytes:
    """The start of one file and the end of another, not always at the same place."""
    at = _place(rng, one)
    behind = at if rng.random() < 0.5 else _place(rng, other)
    return one[:at] + other[behind:]


def mutated(rng: Random, files: Sequence[bytes]) -> tuple[list[bytes], str]:
    """The study with one to all of its files damaged in one or two ways; and what was done."""
    changed = list(files)
    count = int(rng.choice([1, 1, 2, 5, len(files)]))
    chosen = rng.choice(len(files), min(count, len(files)), replace=False)
    if rng.random() < 0.15:
        for number in chosen:
            changed[number] = spliced(rng, files[number], files[rng.integers(len(files))])
        return changed, f"{len(chosen)} files spliced"
    ways = [SINGLE[rng.integers(len(SINGLE))] for _ in range(int(rng.choice([1, 1, 1, 2])))]
    alike = rng.integers(2**32) if rng.random() < 0.5 else None  # the same damage in each
    for number in chosen:
        own = rng if alike is None else np.random.default_rng(alike)
        for way in ways:
            changed[number] = way(own, changed[number])
    return changed, f"{len(chosen)} files {' and '.join(w.__name__ for w in ways)}"


def _places(rng: Random, content: bytes, count: int) -> list[int]:
    return [_place(rng, content) for _ in range(count)] if content else []


def _place(rng: Random, content: bytes) -> int:
    """Headers are short and pixels long: half of the damage is done to the headers."""
    if not content:
        return 0
    end = len(content) if rng.random() < 0.4 else min(len(content), 1100)
    return int(rng.integers(end))


def _token(rng: Random) -> bytes:
    return TOKENS[rng.integers(len(TOKENS))]
