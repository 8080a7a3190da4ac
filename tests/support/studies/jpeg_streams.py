"""Small encoders of the JPEG processes that no library at hand writes: lossless with every predictor, and 12 bits."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))
"""Row-major places of the coefficients in the order of the stream."""
_END = b"\xff\xd9"


def lossless(
    pixels: npt.NDArray[Any], *, precision: int = 16, predictor: int = 1, shift: int = 0, rows_of_interval: int = 0
) -> bytes:
    """Process 14: ``pixels`` [rows, columns], of which the lowest ``shift`` bits are lost."""
    rows, columns = pixels.shape
    image = (pixels.astype(np.int64) >> shift).tolist()
    symbols: list[tuple[int, int] | None] = []
    for y in range(rows):
        starts = y == 0 or bool(rows_of_interval and y % rows_of_interval == 0)
        if y and starts:
            symbols.append(None)
        for x in range(columns):
            a, b = image[y][x - 1] if x else 0, image[y - 1][x] if y else 0
            c = image[y - 1][x - 1] if x and y else 0
            if starts or x == 0:
                guess = (1 << (precision - shift - 1) if x == 0 else a) if starts else b
            else:
                guess = {1: a, 2: b, 3: c, 4: a + b - c, 5: a + ((b - c) >> 1), 6: b + ((a - c) >> 1), 7: (a + b) >> 1}[
                    predictor
                ]
            difference = (image[y][x] - guess) & 0xFFFF
            symbols.append((_size(_signed(difference)), _signed(difference)))
    used = sorted({s[0] for s in symbols if s})
    return b"".join(
        [
            b"\xff\xd8",
            _frame(0xC3, precision, rows, columns),
            _huffman(0, used),
            _segment(0xDD, struct.pack(">H", rows_of_interval * columns)) if rows_of_interval else b"",
            _segment(0xDA, bytes([1, 1, 0, predictor, 0, shift])),
            _coded(symbols, used, used),
            _END,
        ]
    )


def transformed(
    pixels: npt.NDArray[Any], *, precision: int = 12, step: int = 1, blocks_of_interval: int = 0, wide: bool = False
) -> bytes:
    """Processes 1, 2 and 4: the cosine transform, every coefficient quantised by ``step``."""
    rows, columns = pixels.shape
    padded = np.pad(pixels.astype(float), ((0, -rows % 8), (0, -columns % 8)), mode="edge") - (1 << (precision - 1))
    symbols: list[tuple[int, int, int] | None] = []
    last = count = 0
    for y in range(0, padded.shape[0], 8):
        for x in range(0, padded.shape[1], 8):
            if blocks_of_interval and count and count % blocks_of_interval == 0:
                symbols.append(None)
                last = 0
            levels = np.rint(BASIS @ padded[y : y + 8, x : x + 8] @ BASIS.T / step).astype(int).ravel()[ZIGZAG].tolist()
            symbols.append((0, _size(levels[0] - last), levels[0] - last))
            last = levels[0]
            zeros = 0
            for level in levels[1:]:
                if level == 0:
                    zeros += 1
                    continue
                symbols += [(1, 0xF0, 0)] * (zeros // 16)
                symbols.append((1, (zeros % 16) << 4 | _size(level), level))
                zeros = 0
            if zeros:
                symbols.append((1, 0, 0))
            count += 1
    dc = sorted({s[1] for s in symbols if s and s[0] == 0})
    ac = sorted({s[1] for s in symbols if s and s[0] == 1})
    quantiser = struct.pack(">64H", *[step] * 64) if wide else bytes([step] * 64)
    return b"".join(
        [
            b"\xff\xd8",
            _segment(0xDB, bytes([wide << 4]) + quantiser),
            _frame(0xC0 if precision == 8 else 0xC1, precision, rows, columns),
            _huffman(0, dc),
            _huffman(1, ac),
            _segment(0xDD, struct.pack(">H", blocks_of_interval)) if blocks_of_interval else b"",
            _segment(0xDA, bytes([1, 1, 0, 0, 63, 0])),
            _coded([s and (s[1], s[2]) for s in symbols], dc, ac, [s[0] if s else 0 for s in symbols]),
            _END,
        ]
    )


BASIS = np.array([[np.cos((2 * x + 1) * u * np.pi / 16) * (0.5 if u else 8**-0.5) for x in range(8)] for u in range(8)])
"""The forward cosine transform of 8 samples [coefficient, sample]."""


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _frame(marker: int, precision: int, rows: int, columns: int) -> bytes:
    return _segment(marker, struct.pack(">BHHBBBB", precision, rows, columns, 1, 1, 0x11, 0))


def _huffman(kind: int, symbols: list[int]) -> bytes:
    """A table in which every symbol has a code of as many bits as the number of them needs, none of ones alone."""
    counts = bytearray(16)
    counts[_width(symbols) - 1] = len(symbols)
    return _segment(0xC4, bytes([kind << 4]) + bytes(counts) + bytes(symbols))


def _width(symbols: list[int]) -> int:
    return len(symbols).bit_length()


def _size(value: int) -> int:
    return abs(value).bit_length()


def _signed(difference: int) -> int:
    return difference if difference <= 0x8000 else difference - 0x10000


def _coded(symbols: list[Any], first: list[int], second: list[int], tables: list[int] | None = None) -> bytes:
    """Codes and their bits, a restart marker at each None."""
    out, bits, restarts = bytearray(), "", 0

    def flush() -> None:
        padded = bits + "1" * (-len(bits) % 8)
        for i in range(0, len(padded), 8):
            byte = int(padded[i : i + 8], 2)
            out.append(byte)
            if byte == 0xFF:
                out.append(0)

    for n, symbol in enumerate(symbols):
        if symbol is None:
            flush()
            bits = ""
            out += bytes([0xFF, 0xD0 + restarts % 8])
            restarts += 1
            continue
        code, value = symbol
        table = second if tables and tables[n] else first
        bits += f"{table.index(code):0{_width(table)}b}"
        size = _size(value)
        if size and size < 16:  # a difference of 32768 has no bits of its own
            bits += f"{value if value > 0 else value + (1 << size) - 1:0{size}b}"
    flush()
    return bytes(out)
