"""JPEG and JPEG-LS by our own decoders: exact where lossless, the exact transform where lossy, and never a crash."""

from __future__ import annotations

import struct
import tracemalloc
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import (
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.codec import jpeg
from glioserve_dicom.codec.jpeg import UnsupportedStreamError, decode_jpeg
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from support.studies.encodings import edited, encoded, set_codestream
from support.studies.jpeg_streams import lossless, transformed
from support.studies.pitfalls import STORED, scan
from support.studies.scans import part10

ROWS, COLUMNS = 23, 31
PRECISIONS = (2, 8, 10, 12, 15, 16)


def image(kind, bits, shape=(ROWS, COLUMNS)):
    rng, most = np.random.default_rng(bits), (1 << bits) - 1
    if kind == "noise":
        return rng.integers(0, most + 1, shape).astype(np.uint16)
    if kind == "extremes":  # differences of 32768 at 16 bits, and of the longest codes
        return (rng.integers(0, 2, shape) * np.where(rng.random(shape) < 0.5, most, (most + 1) // 2)).astype(np.uint16)
    wave = 0.5 + 0.4 * np.sin(np.add.outer(np.arange(shape[0]) / 7, np.arange(shape[1]) / 9))
    return np.rint(most * np.where(wave > 0.8, 0.8, wave)).astype(np.uint16)  # smooth, with a plateau of runs


KINDS = ("noise", "extremes", "smooth")


@pytest.mark.parametrize("bits", PRECISIONS)
@pytest.mark.parametrize("predictor", range(1, 8))
def test_lossless_is_exact(bits, predictor):
    for kind in KINDS:
        for shape in ((ROWS, COLUMNS), (1, 17), (9, 1)):
            pixels = image(kind, bits, shape)
            stream = lossless(pixels, precision=bits, predictor=predictor)
            found, precision = decode_jpeg(JPEGLossless, stream, *shape)
            assert precision == bits
            np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("predictor", [1, 5, 7])
def test_restart_intervals_and_the_point_transform(predictor):
    pixels = image("noise", 12)
    for rows in (1, 3, 23):
        stream = lossless(pixels, precision=12, predictor=predictor, rows_of_interval=rows)
        np.testing.assert_array_equal(decode_jpeg(JPEGLossless, stream, ROWS, COLUMNS)[0], pixels)
    stream = lossless(pixels, precision=12, predictor=predictor, shift=3, rows_of_interval=2)
    np.testing.assert_array_equal(decode_jpeg(JPEGLossless, stream, ROWS, COLUMNS)[0], pixels >> 3 << 3)


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize(("step", "error"), [(1, 1), (10, 20), (60, 120)])
def test_the_transform_is_inverted(bits, step, error):
    """Within the quantiser's step of the pixels, whatever the size is, with restarts and wide quantisers too."""
    for shape in ((8, 8), (1, 1), (46, 53)):
        pixels = image("noise", bits, shape)
        for more in ({}, {"blocks_of_interval": 3}, {"wide": True}):
            stream = transformed(pixels, precision=bits, step=step, **more)
            found, precision = decode_jpeg(JPEGExtended12Bit, stream, *shape)
            assert precision == bits
            assert np.abs(found.astype(int) - pixels).max() <= error


@pytest.mark.parametrize(
    "options", [{}, {"optimize": True}, {"restart_marker_blocks": 3}, {"restart_marker_rows": 1}, {"comment": "x"}]
)
@pytest.mark.parametrize("quality", [5, 50, 95, 100])
def test_baseline_is_within_a_grey_level_of_libjpeg_turbo(quality, options):
    for kind in KINDS:
        stream = BytesIO()
        Image.fromarray(image(kind, 8, (61, 87)).astype(np.uint8)).save(stream, "JPEG", quality=quality, **options)
        found, precision = decode_jpeg(JPEGBaseline8Bit, stream.getvalue(), 61, 87)
        assert precision == 8
        assert np.abs(found.astype(int) - np.asarray(Image.open(stream))).max() <= 1


@pytest.mark.parametrize("near", [0, 1, 3])
@pytest.mark.parametrize("bits", [4, 8, 10, 12, 16])
def test_jpeg_ls_is_what_charls_makes_of_it(bits, near):
    jpeg_ls = pytest.importorskip("jpeg_ls")
    for kind in KINDS:
        pixels = image(kind, bits, (46, 53)).astype(np.uint8 if bits <= 8 else np.uint16)
        stream = bytes(jpeg_ls.encode_array(pixels, lossy_error=near))
        found, _ = decode_jpeg(JPEGLSNearLossless, stream, 46, 53)
        np.testing.assert_array_equal(found, jpeg_ls.decode(np.frombuffer(stream, np.uint8)))
        assert np.abs(found.astype(int) - pixels).max() <= near


# --- through the reader ---


def signal(made):
    (found,) = stacks_of(read(made, accept_identified=True))
    return assemble(found, Modality.T1).voxels


def written(make, syntax, **header):
    """A scan whose pixels ``make(stored [rows, columns])`` writes down."""

    def edit(dataset, index):
        for keyword, value in header.items():
            setattr(dataset, keyword, value)
        part10(dataset)
        set_codestream(dataset, make(STORED[index]), syntax)

    return [part10(dataset) for dataset in edited(scan(), edit)]


def turned(voxels):
    """The stack from the other end."""
    return voxels[::-1]


def assert_same(found, expected):
    assert np.array_equal(found, expected) or np.array_equal(turned(found), expected)


@pytest.mark.parametrize(
    ("make", "syntax"),
    [
        (lambda p: lossless(p, precision=12, predictor=6, rows_of_interval=2), JPEGLossless),
        (lambda p: lossless(p, precision=16), JPEGLosslessSV1),
        (lambda p: lossless(p, precision=12, predictor=4), JPEGLosslessSV1),  # says SV1 and is not
    ],
)
def test_any_lossless_stream_is_read(make, syntax):
    assert_same(signal(written(make, syntax)), STORED)


def test_twelve_bits_are_read():
    found = signal(written(lambda p: transformed(p, step=1), JPEGExtended12Bit))
    assert min(np.abs(f - STORED.astype(float)).max() for f in (found, turned(found))) <= 1


def test_signed_samples_keep_their_sign():
    """The stream has the bits of two's complement; the header says how many count and that they are signed."""
    for bits, wide in ((12, 12), (12, 16), (16, 16)):
        header = {"PixelRepresentation": 1, "BitsStored": bits, "HighBit": bits - 1}
        made = written(
            lambda p, wide=wide: lossless((p.astype(int) - 2000) & ((1 << wide) - 1), precision=wide),
            JPEGLosslessSV1,
            **header,
        )
        assert_same(signal(made), STORED - 2000.0)


def test_bits_above_those_stored_are_cleared():
    assert_same(signal(written(lambda p: lossless(p | 0xA000), JPEGLosslessSV1)), STORED)


def refused(made):
    with pytest.raises(GlioserveError) as caught:
        signal(made)
    assert caught.value.code is ErrorCode.UNDECODABLE_PIXELS
    return caught.value


def test_more_bits_than_the_header_allocates_are_refused():
    refused(
        written(lambda p: lossless(p >> 4, precision=16), JPEGLosslessSV1, BitsAllocated=8, BitsStored=8, HighBit=7)
    )


def test_a_decoder_that_was_not_built_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(jpeg, "FOLDER", tmp_path)
    jpeg.load_decoder.cache_clear()
    with pytest.raises(GlioserveError, match="jpeg_huffman") as caught:
        signal([encoded(d, JPEGLosslessSV1) for d in scan()])
    assert caught.value.code is ErrorCode.MISSING_LIBRARY
    jpeg.load_decoder.cache_clear()


# --- streams that lie ---

GOOD = lossless(image("noise", 12), precision=12, predictor=5, rows_of_interval=4)
GREY = transformed(image("noise", 12), precision=12, blocks_of_interval=2)


def replaced(stream, marker, offset, value):
    """The stream with other bytes behind a marker."""
    at = stream.index(bytes([0xFF, marker])) + offset
    return stream[:at] + value + stream[at + len(value) :]


LIES = {
    "empty": b"",
    "no start": GOOD[2:],
    "no more than the start": GOOD[:2],
    "cut in the tables": GOOD[:30],
    "cut in the data": GOOD[: len(GOOD) // 2],
    "end in the middle": GOOD[: len(GOOD) // 2] + b"\xff\xd9",
    "restart left out": GOOD.replace(b"\xff\xd1", b""),
    "restarts out of turn": GOOD.replace(b"\xff\xd1", b"\xff\xd5"),
    "restart interval of no whole rows": replaced(GOOD, 0xDD, 4, b"\0\x05"),
    "no predictor": replaced(GOOD, 0xDA, 7, b"\0"),
    "predictor 8": replaced(GOOD, 0xDA, 7, b"\x08"),
    "shift of all bits": replaced(GOOD, 0xDA, 9, b"\x0c"),
    "17 bits": replaced(GOOD, 0xC3, 4, b"\x11"),
    "no bits": replaced(GOOD, 0xC3, 4, b"\0"),
    "more rows": replaced(GOOD, 0xC3, 5, struct.pack(">H", ROWS + 1)),
    "most rows": replaced(GOOD, 0xC3, 5, b"\xff\xff\xff\xff"),
    "no rows": replaced(GOOD, 0xC3, 5, b"\0\0"),
    "other component": replaced(GOOD, 0xDA, 5, b"\x07"),
    "table that is not there": replaced(GOOD, 0xDA, 6, b"\x30"),
    "table 15": replaced(GOOD, 0xDA, 6, b"\xf0"),
    "segment past the end": replaced(GOOD, 0xC4, 2, b"\xff\xff"),
    "segment shorter than its length": replaced(GOOD, 0xC4, 2, b"\0\x01"),
    "too many codes": replaced(GOOD, 0xC4, 5, b"\xff" * 16),
    "codes of one bit that overlap": replaced(GOOD, 0xC4, 5, b"\x03"),
    "frame twice": GOOD[:2] + GOOD[2:15] + GOOD[2:],
    "no frame": GOOD[:2] + GOOD[15:],
    "no quantiser": GREY[:2] + GREY[2 + 69 :],
    "blocks past the block": replaced(GREY, 0xC4, 21, b"\xf1"),
    "spectral selection": replaced(GREY, 0xDA, 8, b"\x07"),
    "image within an image": GOOD[:2] + GOOD,
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_an_error(name):
    with pytest.raises(ValueError, match="stream"):
        decode_jpeg(JPEGLossless, LIES[name], ROWS, COLUMNS)


def test_the_good_streams_of_the_lies_are_good():
    for stream in (GOOD, GREY):
        decode_jpeg(JPEGLossless, stream, ROWS, COLUMNS)


@pytest.mark.parametrize("marker", [0xC2, 0xC5, 0xC9, 0xCB])
def test_processes_that_dicom_retired_are_unsupported(marker):
    with pytest.raises(UnsupportedStreamError):
        decode_jpeg(JPEGLossless, GOOD.replace(b"\xff\xc3", bytes([0xFF, marker])), ROWS, COLUMNS)


def test_a_colour_stream_is_unsupported():
    with pytest.raises(UnsupportedStreamError):
        decode_jpeg(JPEGLossless, replaced(GOOD, 0xC3, 9, b"\x03"), ROWS, COLUMNS)


def test_a_progressive_stream_under_the_baseline_syntax_is_read_by_pillow():
    """It breaks the standard, and libjpeg's users write it."""

    def progressive(pixels):
        stream = BytesIO()
        Image.fromarray((pixels >> 4).astype(np.uint8)).save(stream, "JPEG", quality=95, progressive=True)
        return stream.getvalue()

    header = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    found = signal(written(progressive, JPEGBaseline8Bit, **header))
    assert min(np.abs(f - (STORED >> 4)).max() for f in (found, turned(found))) <= 12


STREAMS = {
    "lossless": (JPEGLossless, GOOD),
    "extended": (JPEGExtended12Bit, GREY),
    "JPEG-LS": (JPEGLSLossless, None),
    "JPEG-LS, near-lossless": (JPEGLSNearLossless, None),
}


@pytest.mark.parametrize("name", STREAMS)
def test_damage_is_an_answer_or_an_error(name):
    """Mutations by seed, in this process: the decoders' memory was checked with the sanitizers of the compiler too."""
    syntax, stream = STREAMS[name]
    if stream is None:
        jpeg_ls = pytest.importorskip("jpeg_ls")
        stream = bytes(jpeg_ls.encode_array(image("smooth", 12), lossy_error=2 if "near" in name else 0))
    rng, outcomes = np.random.default_rng(0), set()
    for _ in range(3000):
        changed = bytearray(stream)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(2, len(changed) if rng.random() < 0.5 else 80))
            way = rng.integers(4)
            if way == 0:
                changed[at] ^= 1 << int(rng.integers(8))
            elif way == 1:
                changed[at] = int(rng.choice([0, 1, 127, 128, 255]))
            elif way == 2:
                del changed[at : at + int(rng.integers(1, 20))]
            else:
                changed[at:at] = rng.integers(0, 256, 9, dtype=np.uint8).tobytes()
        try:
            decode_jpeg(syntax, bytes(changed), ROWS, COLUMNS)
            outcomes.add("decoded")
        except UnsupportedStreamError:
            outcomes.add("unsupported")
        except ValueError:
            outcomes.add("refused")
    assert {"decoded", "refused"} <= outcomes


def test_a_decoder_takes_the_image_and_no_more():
    """A stream may say any size; the memory is that of the header's."""
    stream = replaced(GOOD, 0xC3, 5, b"\xff\xff\xff\xff")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="another size"):
            decode_jpeg(JPEGLossless, stream, ROWS, COLUMNS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
