"""The client sends nothing of a file's pixels but the image; the server refuses a stranger's file that has more."""

import struct
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from glioserve_client import DicomStudy, GliomaClient, errors
from glioserve_client.deidentify import deidentify
from glioserve_client.dicomfile import read_dicom_file
from glioserve_dicom.files.part10 import parse
from glioserve_dicom.pixels.jpeg import clean_jpeg
from glioserve_dicom.pixels.native import layout_of
from glioserve_dicom.pixels.only import beside_pixels
from glioserve_dicom.read import read
from glioserve_dicom.slices.decode import decode, stored_words
from glioserve_dicom.slices.frames import Frame
from support.results.answers import small_answer
from support.server.fake_server import Answer, FakeServer
from support.studies.dicom_files import file_bytes, mr_dataset
from support.studies.encodings import encoded, enhanced

SECRET = b"ZYXQUIST^WILHELMINA "
MANY = SECRET * 200
COMPRESSED = (RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGBaseline8Bit)
ROWS, COLUMNS = 40, 36
FRAME_BYTES = 2 * ROWS * COLUMNS
STORED = np.random.default_rng(0).integers(0, 4096, (ROWS, COLUMNS)).astype(np.uint16)


def image(**attributes: object) -> Dataset:
    layout = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "Rows": ROWS, "Columns": COLUMNS}
    return mr_dataset(STORED, **{**layout, **attributes})


def codestream(syntax: UID) -> bytes:
    """One frame of :data:`STORED`, lossless where the syntax is."""
    if syntax == JPEGBaseline8Bit:
        stream = BytesIO()
        Image.fromarray((STORED >> 4).astype(np.uint8)).save(stream, "JPEG", quality=95)
        return stream.getvalue()
    file = pydicom.dcmread(BytesIO(encoded(image(), syntax)))
    return get_frame(file.PixelData, 0, number_of_frames=1)


STREAMS = {syntax: codestream(syntax) for syntax in COMPRESSED}


def compressed(syntax: UID, pixels: bytes, **attributes: object) -> bytes:
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7} if syntax == JPEGBaseline8Bit else {}
    dataset = image(**{**eight, **attributes})
    dataset.PixelData = pixels
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return file_bytes(dataset, syntax)


def items(*contents: bytes, table: bytes = b"") -> bytes:
    """Fragments behind an offset table."""
    padded = [c + b"\0" * (len(c) % 2) for c in (table, *contents)]
    return b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(c)) + c for c in padded)


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">HH", marker, len(payload) + 2) + payload


def native(extra: bytes = b"", **attributes: object) -> bytes:
    dataset = image(**attributes)
    dataset.PixelData += extra
    return file_bytes(dataset)


def in_high_bits(syntax: UID) -> bytes:
    """The secret in the four bits above BitsStored, two pixels a character."""
    dataset = image()
    nibbles = [n for c in SECRET for n in (c >> 4, c & 15)]
    words = STORED.copy().ravel()
    words[: len(nibbles)] |= np.array(nibbles, np.uint16) << 12
    dataset.PixelData = words.astype("<u2").tobytes()
    if syntax == RLELossless:
        sixteen = deepcopy(dataset)
        sixteen.BitsStored, sixteen.HighBit = 16, 15
        stream = get_frame(pydicom.dcmread(BytesIO(encoded(sixteen, syntax))).PixelData, 0, number_of_frames=1)
        return compressed(syntax, items(stream))
    return file_bytes(dataset, syntax)


def high_bits(words: bytes) -> bytes:
    """Return what :func:`in_high_bits` put there."""
    nibbles = np.frombuffer(words, "<u2") >> 12
    return bytes((nibbles[0::2] << 4 | nibbles[1::2]).astype(np.uint8))


@dataclass(frozen=True)
class Place:
    """A file with the secret in one place, and what the server calls it."""

    make: Callable[[], bytes]
    finding: str


def jpeg(syntax: UID, marker: int) -> Callable[[], bytes]:
    stream = STREAMS[syntax]
    return lambda: compressed(syntax, items(stream[:2] + segment(marker, SECRET) + stream[2:]))


def behind_main_header(marker: int, payload: bytes) -> Callable[[], bytes]:
    stream = STREAMS[JPEG2000Lossless]
    at = stream.index(b"\xff\x90")
    return lambda: compressed(JPEG2000Lossless, items(stream[:at] + segment(marker, payload) + stream[at:]))


def in_tile_part(marker: int, payload: bytes) -> Callable[[], bytes]:
    stream, added = STREAMS[JPEG2000Lossless], segment(marker, payload)
    sot, sod = stream.index(b"\xff\x90"), stream.index(b"\xff\x93")
    length = int.from_bytes(stream[sot + 6 : sot + 10], "big") + len(added)
    opened = stream[: sot + 6] + length.to_bytes(4, "big") + stream[sot + 10 : sod]
    return lambda: compressed(JPEG2000Lossless, items(opened + added + stream[sod:]))


def in_jp2_boxes(before: bytes, behind: bytes = b"") -> Callable[[], bytes]:
    boxes = boxed(b"jP  ", b"\r\n\x87\n") + boxed(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    whole = boxes + before + boxed(b"jp2c", STREAMS[JPEG2000Lossless]) + behind
    return lambda: compressed(JPEG2000Lossless, items(whole))


def boxed(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def in_rle_header() -> bytes:
    stream = bytearray(STREAMS[RLELossless])
    stream[44:64] = SECRET
    return compressed(RLELossless, items(bytes(stream)))


def between_rle_segments() -> bytes:
    stream = STREAMS[RLELossless]
    second = int.from_bytes(stream[8:12], "little")
    moved = stream[:8] + (second + len(SECRET)).to_bytes(4, "little") + stream[12:second] + SECRET + stream[second:]
    return compressed(RLELossless, items(moved))


def before_scan(syntax: UID, *segments: bytes) -> Callable[[], bytes]:
    """Segments behind the frame header."""
    stream = STREAMS[syntax]
    at = stream.index(b"\xff\xda")
    return lambda: compressed(syntax, items(stream[:at] + b"".join(segments) + stream[at:]))


def behind_scan(syntax: UID, extra: bytes) -> Callable[[], bytes]:
    stream = STREAMS[syntax]
    assert stream.rstrip(b"\0").endswith(b"\xff\xd9")
    return lambda: compressed(syntax, items(stream.rstrip(b"\0")[:-2] + extra + b"\xff\xd9"))


def second_scan(syntax: UID) -> Callable[[], bytes]:
    """The component a second time, of which a decoder has enough by then."""
    stream = STREAMS[syntax]
    start = stream.index(b"\xff\xda")
    return behind_scan(syntax, stream[start : start + 10] + SECRET)


def spare_codes() -> bytes:
    """Codes of a lossless table for more bits than any difference has."""
    stream = STREAMS[JPEGLosslessSV1]
    at = stream.index(b"\xff\xc4") + 4
    length = int.from_bytes(stream[at - 2 : at], "big")
    table = bytearray(stream[at : at + length - 2])
    assert table[0] == 0
    assert len(table) == length - 2 == 17 + sum(table[1:17])
    room = 12
    table[16] += room  # the longest codes
    opened = stream[: at - 2] + (length + room).to_bytes(2, "big") + bytes(table) + SECRET[:room]
    return compressed(JPEGLosslessSV1, items(opened + stream[at + length - 2 :]))


def spare_tile_part() -> bytes:
    stream = STREAMS[JPEG2000Lossless].rstrip(b"\0")
    assert stream.endswith(b"\xff\xd9")
    part = struct.pack(">3HI2B", 0xFF90, 10, 0, 14 + len(SECRET), 1, 1) + b"\xff\x93" + SECRET
    return compressed(JPEG2000Lossless, items(stream[:-2] + part + b"\xff\xd9"))


def behind_last_packet() -> bytes:
    stream = STREAMS[JPEG2000Lossless].rstrip(b"\0")
    sot = stream.index(b"\xff\x90")
    length = int.from_bytes(stream[sot + 6 : sot + 10], "big") + len(SECRET)
    longer = stream[: sot + 6] + length.to_bytes(4, "big") + stream[sot + 10 : -2] + SECRET + stream[-2:]
    return compressed(JPEG2000Lossless, items(longer))


def two_frames(syntax: UID, *fragments: bytes, **attributes: object) -> bytes:
    dataset = enhanced([image(), image()], EnhancedMRImageStorage, **attributes)
    dataset.PixelData = items(*fragments)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return file_bytes(dataset, syntax)


def one_bit() -> bytes:
    """A secret bit behind the last of 35 pixels of one bit, and the secret behind that."""
    dataset = image(Rows=5, Columns=7, BitsAllocated=1, BitsStored=1, HighBit=0)
    dataset.PixelData = b"\xff" * 5 + b"\0" + SECRET
    return file_bytes(dataset)


def eight_bits_big_endian() -> bytes:
    dataset = image(Rows=3, Columns=3, BitsAllocated=8, BitsStored=8, HighBit=7)
    dataset.PixelData = bytes(range(1, 10)) + b"!" + SECRET
    return file_bytes(dataset, ExplicitVRBigEndian)


JPEGS = {"JPEG lossless": JPEGLosslessSV1, "JPEG": JPEGBaseline8Bit, "JPEG-LS": JPEGLSLossless}
LEVELS = STREAMS[JPEG2000Lossless].partition(b"\xff\x52")[2][7]
"""Decomposition levels of the JPEG 2000 stream."""
COMMENTS, BEHIND = "comments or application segments", "bytes behind the end of a codestream"
SPARE, UNUSED = "fragments beyond the frames", "parts of a codestream that no pixel needs"
PLACES = {
    "behind the last pixel": Place(lambda: native(SECRET), "bytes behind the last pixel"),
    "far behind the last pixel": Place(lambda: native(SECRET * 10_000), "bytes behind the last pixel"),
    "a frame beyond NumberOfFrames": Place(
        lambda: native(MANY[:FRAME_BYTES], NumberOfFrames="1"), "bytes behind the last pixel"
    ),
    "rows below Rows": Place(
        lambda: file_bytes(mr_dataset(np.frombuffer(bytes(20) + SECRET * 7, "<u2").reshape(8, 10), Rows=1, Columns=10)),
        "bytes behind the last pixel",
    ),
    "bits above BitsStored": Place(lambda: in_high_bits(ExplicitVRLittleEndian), "bits above BitsStored"),
    "bits above BitsStored, big endian": Place(lambda: in_high_bits(ExplicitVRBigEndian), "bits above BitsStored"),
    "bits above BitsStored, implicit VR": Place(lambda: in_high_bits(ImplicitVRLittleEndian), "bits above BitsStored"),
    "bits above BitsStored, signed": Place(
        lambda: native(PixelRepresentation=1).replace(STORED.tobytes(), MANY[:FRAME_BYTES]),
        "bits above BitsStored",
    ),
    "single bits": Place(one_bit, "bytes behind the last pixel"),
    "bytes in big-endian words": Place(eight_bits_big_endian, "bytes behind the last pixel"),
    **{f"{n}: comment": Place(jpeg(s, 0xFFFE), COMMENTS) for n, s in JPEGS.items()},
    **{f"{n}: APP1": Place(jpeg(s, 0xFFE1), COMMENTS) for n, s in JPEGS.items()},
    **{f"{n}: APP8": Place(jpeg(s, 0xFFE8), COMMENTS) for n, s in JPEGS.items()},
    **{f"{n}: reserved": Place(jpeg(s, 0xFFF5), COMMENTS) for n, s in JPEGS.items()},
    "JPEG lossless: a table that no scan uses": Place(
        lambda: compressed(
            JPEGLosslessSV1,
            items(
                STREAMS[JPEGLosslessSV1][:2] + segment(0xFFDB, b"\3" + SECRET.ljust(64)) + STREAMS[JPEGLosslessSV1][2:]
            ),
        ),
        UNUSED,
    ),
    **{
        f"{n}: behind EOI": Place(lambda s=s: compressed(s, items(STREAMS[s] + SECRET)), BEHIND)
        for n, s in {**JPEGS, "JPEG 2000": JPEG2000Lossless}.items()
    },
    **{
        f"{n}: a spare fragment": Place(lambda s=s: compressed(s, items(STREAMS[s], SECRET)), found)
        for n, s, found in [(n, s, BEHIND) for n, s in JPEGS.items()] + [("RLE", RLELossless, SPARE)]
    },
    **{f"{n}: a second scan": Place(second_scan(s), UNUSED) for n, s in JPEGS.items()},
    **{
        f"{n}: a restart interval that another replaces": Place(
            before_scan(s, *[segment(0xFFDD, SECRET[i : i + 2]) for i in range(0, 20, 2)], segment(0xFFDD, b"\0\0")),
            UNUSED,
        )
        for n, s in JPEGS.items()
    },
    **{f"{n}: arithmetic coding's": Place(before_scan(s, segment(0xFFCC, SECRET)), UNUSED) for n, s in JPEGS.items()},
    **{f"{n}: lines": Place(behind_scan(s, segment(0xFFDC, SECRET)), UNUSED) for n, s in JPEGS.items()},
    "JPEG-LS: parameters that others replace": Place(
        before_scan(JPEGLSLossless, segment(0xFFF8, b"\1" + SECRET[:10]), segment(0xFFF8, b"\1" + bytes(10))), UNUSED
    ),
    "JPEG lossless: parameters of JPEG-LS": Place(
        before_scan(JPEGLosslessSV1, segment(0xFFF8, b"\1" + SECRET[:10])), UNUSED
    ),
    "JPEG lossless: codes that no stream can use": Place(spare_codes, UNUSED),
    "JPEG 2000: a quantisation that another replaces": Place(
        behind_main_header(0xFF5C, STREAMS[JPEG2000Lossless].partition(b"\xff\x5c")[2][2:3] + SECRET), UNUSED
    ),
    "JPEG 2000: behind a component's region": Place(behind_main_header(0xFF5E, b"\0\0\0" + SECRET), UNUSED),
    "JPEG 2000: behind a component's coding": Place(
        behind_main_header(
            0xFF53,
            b"\0"
            + STREAMS[JPEG2000Lossless].partition(b"\xff\x52")[2][2:3]
            + STREAMS[JPEG2000Lossless].partition(b"\xff\x52")[2][7:12]
            + SECRET,
        ),
        UNUSED,
    ),
    "JPEG 2000: a tile's part beyond the last": Place(spare_tile_part, UNUSED),
    "JPEG 2000: a spare fragment before": Place(
        lambda: compressed(JPEG2000Lossless, items(SECRET, STREAMS[JPEG2000Lossless])), SPARE
    ),
    "JPEG 2000: comment": Place(behind_main_header(0xFF64, b"\0\1" + SECRET), COMMENTS),
    "JPEG 2000: unknown segment": Place(behind_main_header(0xFF6A, SECRET), COMMENTS),
    "JPEG 2000: comment of a tile-part": Place(in_tile_part(0xFF64, b"\0\1" + SECRET), COMMENTS),
    "JPEG 2000: a box of text": Place(in_jp2_boxes(boxed(b"xml ", SECRET)), COMMENTS),
    "JPEG 2000: a box of one's own": Place(in_jp2_boxes(boxed(b"uuid", bytes(16) + SECRET)), COMMENTS),
    "JPEG 2000: a box behind": Place(in_jp2_boxes(b"", boxed(b"url ", bytes(4) + SECRET)), COMMENTS),
    "JPEG 2000: a long box": Place(in_jp2_boxes(struct.pack(">I4sQ", 1, b"free", 16 + len(SECRET)) + SECRET), COMMENTS),
    "JPEG 2000: steps' reserved bits": Place(in_tile_part(0xFF5C, b"\0" + SECRET[: 3 * LEVELS + 1]), UNUSED),
    "RLE: unused words of the header": Place(in_rle_header, UNUSED),
    "RLE: behind the last segment": Place(
        lambda: compressed(RLELossless, items(STREAMS[RLELossless] + SECRET)), BEHIND
    ),
    "RLE: between segments": Place(between_rle_segments, BEHIND),
    "RLE: bits above BitsStored": Place(lambda: in_high_bits(RLELossless), "bits above BitsStored"),
    "offset table": Place(
        lambda: compressed(JPEG2000Lossless, items(STREAMS[JPEG2000Lossless], table=SECRET)), "an offset table"
    ),
    "two frames: a third": Place(
        lambda: two_frames(JPEGLSLossless, *[STREAMS[JPEGLSLossless]] * 2, STREAMS[JPEGLSLossless][:-2] + SECRET),
        SPARE,
    ),
    "two frames: a fragment between": Place(
        lambda: two_frames(JPEG2000Lossless, STREAMS[JPEG2000Lossless], SECRET, STREAMS[JPEG2000Lossless]), BEHIND
    ),
}


def on_the_wire(content: bytes) -> tuple[bytes, bytes]:
    """The files that a server receives, as one, and the first of them."""
    study = DicomStudy.from_bytes([content])
    with FakeServer(Answer(small_answer())) as server, GliomaClient(server.url) as client:
        client.predict(study)
    received = [bytes(file) for file in server.requests[0].inputs["INSTANCES"]]
    return b"".join(received), received[0]


UTF_16 = SECRET.decode().encode("utf-16-le")
HIDDEN = {
    **{f"{n}: behind the last sample": behind_scan(s, SECRET) for n, s in JPEGS.items()},
    **{f"{n}: long ago": behind_scan(s, SECRET + bytes(200)) for n, s in JPEGS.items()},
    **{f"{n}: two bytes a letter": behind_scan(s, SECRET[:1] + UTF_16 + bytes(20)) for n, s in JPEGS.items()},
    **{f"{n}: two bytes a letter, at the end": behind_scan(s, UTF_16[:10]) for n, s in JPEGS.items()},
    **{f"{n}: a short name": behind_scan(s, SECRET[:8] + b"\1\2\3") for n, s in JPEGS.items()},
    **{
        f"JPEG 2000: {m:x} of a tile": in_tile_part(m, b"\0\1" + SECRET)
        for m in (0xFF52, 0xFF53, 0xFF5C, 0xFF5D, 0xFF5E)
    },
    "JPEG 2000: steps of a tile": in_tile_part(0xFF5C, b"\2" + MANY[: 2 * (3 * LEVELS + 1)]),
    "JPEG 2000: precincts of a tile": in_tile_part(
        0xFF52, b"\1\0\0\1\0" + bytes((LEVELS,)) + b"\4\4\0\1" + MANY[: LEVELS + 1]
    ),
    "JPEG 2000: capabilities": behind_main_header(0xFF50, (0x2000_0000 | 0x1FF).to_bytes(4, "big") + SECRET),
    "JPEG 2000: behind the last packet": behind_last_packet,
    "JPEG 2000: packet headers": behind_main_header(0xFF61, b"\0" + SECRET),
}
"""Places within compressed data, of which only a decoder knows that no pixel needs them."""


@pytest.mark.parametrize("name", HIDDEN)
def test_what_decoders_never_reach_is_not_sent(name: str) -> None:
    content = HIDDEN[name]()
    planted = (SECRET[:8], UTF_16[:8], SECRET[: LEVELS + 1])
    assert any(secret in content for secret in planted)
    wire, _ = on_the_wire(content)
    assert not any(secret in wire for secret in planted)


@pytest.mark.parametrize("syntax", ["1.2.840.9999977777.1313371337", "1.2.3.19410203"])
def test_an_unknown_transfer_syntax_is_not_sent_beside_a_sound_codestream(syntax: str) -> None:
    content = compressed(JPEG2000Lossless, items(STREAMS[JPEG2000Lossless]))
    stated = JPEG2000Lossless.encode()
    wire, _ = on_the_wire(content.replace(stated, syntax.encode().ljust(len(stated), b"\0")[: len(stated)]))
    assert b"99777" not in wire
    assert b"19410203" not in wire


def pixels_of(content: bytes) -> np.ndarray:
    instance = parse(content, "File 1")
    layout = layout_of(instance.dataset)
    assert layout is not None
    return stored_words(instance, layout, 0)


@pytest.mark.parametrize("name", PLACES)
def test_nothing_beside_the_image_is_on_the_wire(name: str) -> None:
    content = PLACES[name].make()
    wire, first = on_the_wire(content)
    swapped = np.frombuffer(SECRET, np.uint16).byteswap().tobytes()
    planted = (SECRET, SECRET[:10], swapped)
    in_pieces = name.startswith("RLE") or "restart" in name
    assert in_pieces or any(s in content or s in high_bits_anywhere(content) for s in planted)
    assert not any(secret in wire for secret in (SECRET.strip(), swapped, b"ZYXQUIST"))
    assert SECRET.strip() not in high_bits_anywhere(first)
    assert not beside_pixels(parse(first, "File 1"))
    read([first], accept_identified=False)


def high_bits_anywhere(content: bytes) -> bytes:
    element = parse(content, "File 1").pixels
    even = bytes(element[: len(element) // 4 * 4])
    return high_bits(even) + high_bits(np.frombuffer(even, ">u2").astype("<u2").tobytes())


@pytest.mark.parametrize("name", PLACES)
def test_a_stranger_with_something_beside_the_image_is_refused(name: str) -> None:
    """A file that a client in another language de-identified, but for its pixels."""
    content = PLACES[name].make()
    head = deidentify([read_dicom_file(content, "", "File 1")]).contents[0]
    instance = parse(content, "File 1")
    stranger = pydicom.dcmread(BytesIO(head))
    stranger.PixelData = bytes(instance.pixels[:-8] if instance.encapsulated else instance.pixels)
    stranger["PixelData"].VR = "OB" if instance.encapsulated else "OW"
    stranger["PixelData"].is_undefined_length = instance.encapsulated
    stranger.file_meta.TransferSyntaxUID = UID(instance.transfer_syntax)
    buffer = BytesIO()
    stranger.save_as(buffer)
    with pytest.raises(errors.IdentifiedDicomError) as caught:
        read([buffer.getvalue()], accept_identified=False)
    assert PLACES[name].finding in caught.value.detail
    assert "ZYX" not in str(caught.value)
    read([buffer.getvalue()], accept_identified=True)


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_a_compressed_image_arrives_with_the_same_numbers(syntax: UID) -> None:
    sixteen = {"BitsStored": 16, "HighBit": 15} if syntax == JPEGLosslessSV1 else {}  # as its encoder writes
    before = compressed(syntax, items(STREAMS[syntax]), **sixteen)
    _, after = on_the_wire(before)
    assert np.array_equal(pixels_of(after), pixels_of(before))
    again = pydicom.dcmread(BytesIO(after))
    if syntax == RLELossless:
        assert again.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    else:
        assert again.file_meta.TransferSyntaxUID == syntax
        assert again.PixelData.startswith(struct.pack("<HHI", 0xFFFE, 0xE000, 0))


def test_frames_in_several_fragments_become_one_fragment_each() -> None:
    stream = STREAMS[JPEG2000Lossless]
    halves = [stream[:40], stream[40:]]
    dataset = pydicom.dcmread(BytesIO(two_frames(JPEG2000Lossless, *halves, *halves)))
    first = pydicom.dcmread(BytesIO(on_the_wire(two_frames(JPEG2000Lossless, *halves, *halves))[1]))
    assert first.NumberOfFrames == dataset.NumberOfFrames == 2
    assert np.array_equal(first.pixel_array, np.stack([STORED, STORED]))


def test_the_bits_of_a_codestream_that_are_more_than_bitsstored_are_cleared_or_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = image(BitsStored=16, HighBit=15)
    words = STORED | np.uint16(0xA000)
    dataset.PixelData = words.tobytes()
    wide = get_frame(pydicom.dcmread(BytesIO(encoded(dataset, JPEG2000Lossless))).PixelData, 0, number_of_frames=1)
    content = compressed(JPEG2000Lossless, items(wide))
    _, after = on_the_wire(content)
    assert np.array_equal(pixels_of(after), STORED)
    monkeypatch.setattr("glioserve_dicom.pixels.only.has_decoder", lambda _: False)
    with pytest.raises(errors.UndecodablePixelsError, match=r"more than 12 bits.*\[dicom\]"):
        deidentify([read_dicom_file(content, "", "File 1")])


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("cut", [0.1, 0.5, 0.95])
def test_a_damaged_codestream_is_found_damaged_by_the_server_and_not_sent(syntax: UID, cut: float) -> None:
    stream = STREAMS[syntax][: int(len(STREAMS[syntax]) * cut)]
    content = compressed(syntax, items(stream + SECRET))
    wire, first = on_the_wire(content)
    assert SECRET.strip() not in wire
    with pytest.raises(Exception):  # noqa: B017 - what decoders raise
        pixels_of(first)


@pytest.mark.parametrize("rows", [0, 11, 13])
def test_a_codestream_of_another_size_is_not_sent(rows: int) -> None:
    content = compressed(JPEGLSLossless, items(STREAMS[JPEGLSLossless]), Rows=rows)
    wire, _ = on_the_wire(content)
    assert STREAMS[JPEGLSLossless][-20:-4] not in wire


def test_pixels_that_the_headers_do_not_describe_are_not_sent() -> None:
    for attributes in ({"Rows": None}, {"BitsAllocated": 12}, {"BitsStored": 20}, {"HighBit": 3}):
        dataset = image(**attributes)
        dataset.PixelData = MANY
        assert SECRET not in on_the_wire(file_bytes(dataset))[0]


def test_pixels_in_a_sequence_are_not_sent() -> None:
    """An icon, or what an archive put into a functional group."""
    dataset = image()
    for keyword in ("IconImageSequence", "SharedFunctionalGroupsSequence", "ModalityLUTSequence"):
        item = Dataset()
        item.PixelData = SECRET
        item["PixelData"].VR = "OB"
        item.LUTExplanation = "Zyxquist"
        setattr(dataset, keyword, [item])
    wire, _ = on_the_wire(file_bytes(dataset))
    assert SECRET not in wire


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_an_image_of_other_pixels_is_refused_before_it_is_sent(keyword: str) -> None:
    dataset = image()
    del dataset.PixelData
    setattr(dataset, keyword, SECRET * 4)
    with pytest.raises(errors.UnsupportedPixelsError):
        DicomStudy.from_bytes([file_bytes(dataset)])


@pytest.mark.parametrize("syntax", ["1.2.840.9999977777.1.1", "1.2.840.10008.1.2.4.95", ExplicitVRLittleEndian])
def test_an_unknown_way_of_compression_is_sent_as_pixels_that_cannot_be_decoded(syntax: str) -> None:
    content = compressed(JPEG2000Lossless, items(MANY))
    stated = JPEG2000Lossless.encode()
    assert content.count(stated) == 1
    wire, first = on_the_wire(content.replace(stated, syntax.encode().ljust(len(stated), b"\0")))
    assert SECRET.strip() not in wire
    assert b"9999977777" not in wire
    with pytest.raises(errors.UndecodablePixelsError):
        decode(Frame(parse(first, "File 1")), np.empty((ROWS, COLUMNS), np.float32))


def test_what_other_encoders_write_is_cut_with_care() -> None:
    """Restart markers, fill bytes before a marker and several scans belong to the image."""
    stream = BytesIO()
    picture = np.random.default_rng(1).integers(0, 255, (64, 64)).astype(np.uint8)
    Image.fromarray(picture).save(stream, "JPEG", progressive=True, restart_marker_blocks=4)
    before = stream.getvalue()
    at = before.index(b"\xff\xc4")
    filled = before[:at] + b"\xff\xff" + before[at:]
    clean = clean_jpeg(filled)
    assert clean is not None
    assert np.array_equal(np.asarray(Image.open(BytesIO(clean.content))), np.asarray(Image.open(BytesIO(before))))
    assert clean.beside == frozenset()  # JFIF's own segment is the encoder's


def test_a_signed_image_keeps_its_numbers() -> None:
    signed = (STORED.astype(np.int32) - 2048).astype(np.int16)
    dataset = image(PixelRepresentation=1)
    dataset.PixelData = signed.astype("<i2").tobytes()
    content = file_bytes(dataset)
    assert not beside_pixels(parse(content, "File 1"))  # copies of the sign say nothing
    _, after = on_the_wire(content)
    assert np.array_equal(pixels_of(after), signed)
