"""Zip archives: damaged, nested, encrypted, with sizes that lie, and bombs."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np

from fuzz.mutations import byte_level
from fuzz.sources import MARKER, classic

Random = np.random.Generator
_ONCE = (1980, 1, 1, 0, 0, 0)


def packed(files: Sequence[bytes], method: int = zipfile.ZIP_DEFLATED, prefix: str = f"{MARKER}/IM") -> bytes:
    """The same bytes every time."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for number, content in enumerate(files):
            archive.writestr(zipfile.ZipInfo(f"{prefix}{number:05d}", _ONCE), content, method)
    return stream.getvalue()


def mutated(rng: Random, files: Sequence[bytes]) -> tuple[list[bytes], str]:
    """The study as one archive or two, damaged."""
    way = WAYS[rng.integers(len(WAYS))]
    return way(rng, files), way.__name__.strip("_").replace("_", " ")


def _sound(rng: Random, files: Sequence[bytes]) -> list[bytes]:
    half = len(files) // 2
    return [packed(files[:half]), packed(files[half:], zipfile.ZIP_STORED), packed([], prefix="empty")]


def _bytes_damaged(rng: Random, files: Sequence[bytes]) -> list[bytes]:
    way = byte_level.SINGLE[rng.integers(len(byte_level.SINGLE))]
    return [way(rng, packed(files, zipfile.ZIP_STORED if rng.random() < 0.5 else zipfile.ZIP_DEFLATED))]


def _directory_damaged(rng: Random, files: Sequence[bytes]) -> list[bytes]:
    """Damage the place where sizes, offsets and names stand."""
    whole = packed(files)
    start = whole.find(b"PK\x01\x02")
    way = byte_level.SINGLE[rng.integers(len(byte_level.SINGLE))]
    return [whole[:start] + way(rng, whole[start:])]


def _sizes_lie(rng: Random, files: Sequence[bytes]) -> list[bytes]:
    whole = bytearray(packed(files))
    at = -1
    while (at := whole.find(b"PK\x01\x02", at + 1)) >= 0:
        if rng.random() < 0.3:
            value = byte_level.INTERESTING[rng.integers(len(byte_level.INTERESTING))]
            offset = at + int(rng.choice([8, 10, 16, 20, 24, 28, 42]))
            whole[offset : offset + 4] = value.to_bytes(4, "little")
    return [bytes(whole)]


def _nested(rng: Random, files: Sequence[bytes]) -> list[bytes]:
    inner = packed(files)
    for _ in range(int(rng.integers(1, 4))):
        inner = packed([inner, *files[:2]])
    return [inner]


def _encrypted_or_odd(rng: Random, files: Sequence[bytes]) -> list[bytes]:
    """Other methods of packing, and the flag of encryption."""
    methods = (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    if rng.random() < 0.6:
        return [packed(files, methods[rng.integers(2)])]
    whole = bytearray(packed(files))
    at = whole.find(b"PK\x01\x02")
    whole[at + 8] |= 1
    return [bytes(whole)]


def _odd_names(rng: Random, files: Sequence[bytes]) -> list[bytes]:
    names = ("../../" + MARKER, "/etc/passwd", "a" * 60000, MARKER + "\u202e.dcm", ".hidden", "C:\\x", "x/", "")
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, content in enumerate(files):
            name = f"{number}" if rng.random() < 0.9 else names[rng.integers(len(names))] + str(number)
            archive.writestr(zipfile.ZipInfo(name, _ONCE), content)
    return [stream.getvalue()]


def _with_junk(rng: Random, files: Sequence[bytes]) -> list[bytes]:
    junk = [rng.bytes(int(rng.integers(0, 5000))) for _ in range(5)]
    damaged, _ = byte_level.mutated(rng, files)
    return [packed([*damaged, *junk])]


def _dicom_too(rng: Random, files: Sequence[bytes]) -> list[bytes]:
    """A DICOM file whose preamble is an archive's start, and an archive beside loose files."""
    odd = b"PK\x03\x04" + files[0][4:]
    return [odd, *files[1:5], packed(files[5:])]


def _bomb(rng: Random, files: Sequence[bytes]) -> list[bytes]:
    """Zeros, with or without DICOM's prefix, up to and beyond what a request may hold."""
    size = int(rng.choice([1 << 20, 300 << 20, 1000 << 20, 1100 << 20], p=[0.3, 0.3, 0.2, 0.2]))
    content = zeros(size, files[0][: int(rng.choice([0, 132, 1000]))])
    return [one_member(content, size)]


def _many_bombs(rng: Random, files: Sequence[bytes]) -> list[bytes]:
    """Each within the limit."""
    size = 200 << 20
    content = zeros(size, files[0][:132])
    return [one_member(content, size)] * int(rng.choice([2, 4, 8]))


def _many_members(rng: Random, files: Sequence[bytes]) -> list[bytes]:
    count = int(rng.choice([3000, 9000, 40000]))
    return [packed([b"" if rng.random() < 0.5 else files[0][:150]] * count, zipfile.ZIP_STORED)]


def zeros(size: int, start: bytes) -> bytes:
    """``size`` bytes as a deflated stream, never held whole."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    pieces = [packer.compress(start)]
    block, left = bytes(1 << 20), size - len(start)
    while left > 0:
        pieces.append(packer.compress(block[:left]))
        left -= len(block)
    return b"".join([*pieces, packer.flush()])


def one_member(stream: bytes, size: int) -> bytes:
    """An archive around a deflated stream; its checksum is wrong, which shows only at the very end."""
    name = b"IM1"
    local = b"PK\x03\x04" + b"\x14\0\0\0\x08\0\0\0\x21\0" + bytes(4) + len(stream).to_bytes(4, "little")
    local += size.to_bytes(4, "little") + len(name).to_bytes(2, "little") + bytes(2) + name
    entry = b"PK\x01\x02\x14\0\x14\0\0\0\x08\0\0\0\x21\0" + bytes(4) + len(stream).to_bytes(4, "little")
    entry += size.to_bytes(4, "little") + len(name).to_bytes(2, "little") + bytes(12 + 4) + name
    start = len(local) + len(stream)
    end = b"PK\x05\x06" + bytes(4) + b"\x01\0\x01\0" + len(entry).to_bytes(4, "little") + start.to_bytes(4, "little")
    return local + stream + entry + end + bytes(2)


def deflated_bomb(rng: Random) -> tuple[list[bytes], str]:
    """A deflated DICOM file that inflates without end, in the pixels or in the headers."""
    content = classic("deflated").files[0]
    size = int(rng.choice([100 << 20, 900 << 20, 1100 << 20]))
    inner = zlib.decompress(content[end_of_meta(content) :], -15)
    cut = int(rng.choice([len(inner), 200]))
    element = b"\x21\0\x10\x10UN\0\0" + (size if rng.random() < 0.5 else 0xFFFFFFFF).to_bytes(4, "little")
    return [content[: end_of_meta(content)] + zeros(size, inner[:cut] + element)], f"deflated file of {size >> 20} MiB"


def end_of_meta(content: bytes) -> int:
    """Return where the data set begins."""
    return 144 + int.from_bytes(content[140:144], "little")


WAYS = (
    *(_sound, _bytes_damaged, _bytes_damaged, _bytes_damaged, _directory_damaged, _directory_damaged, _sizes_lie),
    *(_sizes_lie, _nested, _encrypted_or_odd, _odd_names, _with_junk, _with_junk, _dicom_too, _bomb, _many_bombs),
    _many_members,
)
