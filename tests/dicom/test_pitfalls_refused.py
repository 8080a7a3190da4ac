"""Every known trap of DICOM series that cannot be read right, one row each: refused with its own code.

The ids are the rows of docs/inputs.md; a test of the documentation holds the two lists to each other.
"""

from __future__ import annotations

import zipfile
from io import BytesIO

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless

from glioserve_client import DicomStudy
from glioserve_client.deidentify import deidentify
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.files import archive
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from support.studies.encodings import edited, encoded, enhanced, zipped
from support.studies.pitfalls import (
    GEOMETRY,
    SIZE,
    SPACING_MM,
    STORED,
    documented_rows,
    files,
    other_pixels,
    same_series,
    scan,
)

MOSAIC = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]


def without(*gone):
    return lambda: files([d for i, d in enumerate(scan()) if i not in gone])


def with_header(**header):
    return lambda: files(scan(**header))


def edit_all(edit):
    return lambda: files(edited(scan(), edit))


def edit_one(index, **attributes):
    def edit(dataset, i):
        if i == index:
            for keyword, value in attributes.items():
                setattr(dataset, keyword, value)

    return edit_all(edit)


def drop(keyword):
    return edit_all(lambda d, i: delattr(d, keyword) if i == 3 else None)


def shifted(vector_per_slice):
    def edit(dataset, index):
        _move(dataset, vector_per_slice(index))

    return edit_all(edit)


def _move(dataset, by_mm):
    dataset.ImagePositionPatient = [f"{v:.6f}" for v in np.array(dataset.ImagePositionPatient, float) + by_mm]


def along(axis, mm):
    return GEOMETRY.lps_from_voxel[:3, axis] / SPACING_MM[axis] * mm


def two_in_one_place():
    return files(same_series(scan(), scan(other_pixels()))[: SIZE[2] + 3])


def copy_elsewhere():
    """The same pixels at the same depth, but moved in-plane: no copy."""
    moved = edited(scan(), lambda d, _: _move(d, along(0, 3)))
    return files(same_series(scan(), moved[2:4]))


def turned_fan():
    """Each image a degree further: no stack."""

    def edit(dataset, index):
        turn = np.radians(index)
        dataset.ImageOrientationPatient = [f"{v:.8f}" for v in (np.cos(turn), np.sin(turn), 0, 0, 0, -1)]

    return files(edited(scan(), edit))


def slightly_turned():
    """The last slice, by a third of a degree: left out, the stack would be one short without a word."""
    across, down = np.array(scan()[7].ImageOrientationPatient, float).reshape(2, 3)
    turn = np.radians(1 / 3)
    turned = np.cos(turn) * across + np.sin(turn) * np.cross(across, down)
    return edit_one(7, ImageOrientationPatient=[f"{v:.8f}" for v in (*turned, *down)])()


def in_colour():
    def edit(dataset, _):
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = bytes(3 * SIZE[0] * SIZE[1])

    return files(edited(scan(), edit))


def float_pixels():
    def edit(dataset, index):
        del dataset.PixelData
        dataset.FloatPixelData = STORED[index].astype("<f4").tobytes()
        dataset.BitsAllocated = 32

    return files(edited(scan(), edit))


def wide_pixels():
    def edit(dataset, index):
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31
        dataset.PixelData = STORED[index].astype("<u4").tobytes()

    return files(edited(scan(), edit))


def many_frames_without_groups():
    dataset = enhanced(scan())
    del dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence
    return files([dataset])


def frames_without(group):
    dataset = enhanced(scan())
    for holder in (*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence):
        if group in holder:
            delattr(holder, group)
    return files([dataset])


def truncated_pixels():
    made = files(scan())
    return [*made[:3], made[3][:-10], *made[4:]]


def truncated_fragments():
    made = [encoded(d, RLELossless) for d in scan()]
    return [*made[:3], made[3][:-20], *made[4:]]


def lying_stream():
    """A codestream that claims to be 40,000 pixels wide, to make a decoder allocate them."""
    made = [encoded(d, JPEG2000Lossless) for d in scan()]
    at = made[3].index(b"\xff\x4f\xff\x51") + 8
    return [*made[:3], made[3][:at] + (40_000).to_bytes(4, "big") * 2 + made[3][at + 8 :], *made[4:]]


def encrypted():
    archive = bytearray(zipped(files(scan())))
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = archive.find(start)
        while at >= 0:
            archive[at + flags] |= 1
            at = archive.find(start, at + 4)
    return [bytes(archive)]


def bomb():
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("IM1", "w") as file:
        for _ in range(3):
            file.write(bytes(1 << 20))
    return [stream.getvalue()]


def spoilt_archive():
    archive = bytearray(zipped(files(scan())))
    archive[len(archive) // 2] ^= 0xFF
    return [bytes(archive)]


def mosaic_of_united_imaging():
    """Tiles in one image without a position; each has its own in a private sequence."""

    def edit(dataset, _):
        del dataset.ImagePositionPatient
        dataset.Manufacturer = "UIH"
        block = dataset.private_block(0x0065, "Image Private Header", create=True)
        block.add_new(0x50, "DS", "24")
        block.add_new(0x51, "SQ", [Dataset() for _ in range(24)])

    return files(edited(scan(ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"]), edit))


def siemens_tiles(dataset, _):
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 36)


REFUSED = {
    "missing slice": (without(3), ErrorCode.MISSING_SLICE),
    "missing slices": (without(2, 3, 6), ErrorCode.MISSING_SLICE),
    "single slice": (without(*range(1, 8)), ErrorCode.TOO_FEW_SLICES),
    "irregular spacing": (shifted(lambda i: along(2, 0.4 * i * i)), ErrorCode.IRREGULAR_SPACING),
    "uneven by a tenth": (shifted(lambda i: along(2, 0.45 * (i > 3))), ErrorCode.IRREGULAR_SPACING),
    "slices too far apart": (shifted(lambda i: along(2, 60 * i)), ErrorCode.IRREGULAR_SPACING),
    "field of view over 1 m": (with_header(PixelSpacing=[30, 30]), ErrorCode.INVALID_AFFINE),
    "gantry tilt": (shifted(lambda i: along(1, 0.7 * i)), ErrorCode.SHEARED_GEOMETRY),
    "conflicting duplicates": (two_in_one_place, ErrorCode.DUPLICATE_SLICE),
    "a copy at another place": (copy_elsewhere, ErrorCode.DUPLICATE_SLICE),
    "turned slices": (turned_fan, ErrorCode.MIXED_GEOMETRY),
    "one slice slightly turned": (slightly_turned, ErrorCode.MIXED_GEOMETRY),
    "one slice of another pixel size": (edit_one(7, PixelSpacing=[2, 2]), ErrorCode.MIXED_GEOMETRY),
    "one slice of another echo": (edit_one(7, EchoTime=80), ErrorCode.MIXED_GEOMETRY),
    "mosaic": (with_header(ImageType=MOSAIC), ErrorCode.MOSAIC),
    "mosaic of United Imaging": (mosaic_of_united_imaging, ErrorCode.MOSAIC),
    "mosaic by private attributes alone": (lambda: files(edited(scan(), siemens_tiles)), ErrorCode.MOSAIC),
    "enhanced, one mosaic": (lambda: files([enhanced(scan(ImageType=MOSAIC)[:1])]), ErrorCode.MOSAIC),
    "colour": (in_colour, ErrorCode.COLOUR_IMAGE),
    "palette colour": (with_header(PhotometricInterpretation="PALETTE COLOR"), ErrorCode.COLOUR_IMAGE),
    "unknown photometric interpretation": (with_header(PhotometricInterpretation="GREY"), ErrorCode.INVALID_ATTRIBUTE),
    "float pixels": (float_pixels, ErrorCode.UNSUPPORTED_PIXELS),
    "32-bit pixels": (wide_pixels, ErrorCode.UNSUPPORTED_PIXELS),
    "pixels not in the low bits": (with_header(HighBit=15), ErrorCode.UNSUPPORTED_PIXELS),
    "modality LUT": (with_header(ModalityLUTSequence=[Dataset()]), ErrorCode.UNSUPPORTED_PIXELS),
    "frames without functional groups": (many_frames_without_groups, ErrorCode.UNSUPPORTED_OBJECT),
    "frames fewer than declared": (
        lambda: files([enhanced(scan(), NumberOfFrames=7)]),
        ErrorCode.INVALID_ATTRIBUTE,
    ),
    "frames without position": (lambda: frames_without("PlanePositionSequence"), ErrorCode.MISSING_ATTRIBUTE),
    "frames without orientation": (lambda: frames_without("PlaneOrientationSequence"), ErrorCode.MISSING_ATTRIBUTE),
    "empty functional group": (
        lambda: files([_with_empty_group(enhanced(scan()))]),
        ErrorCode.MISSING_ATTRIBUTE,
    ),
    "no position": (drop("ImagePositionPatient"), ErrorCode.MISSING_ATTRIBUTE),
    "no orientation": (drop("ImageOrientationPatient"), ErrorCode.MISSING_ATTRIBUTE),
    "no pixel spacing": (drop("PixelSpacing"), ErrorCode.MISSING_ATTRIBUTE),
    "no rows": (drop("Rows"), ErrorCode.MISSING_ATTRIBUTE),
    "truncated native pixels": (
        lambda: [f[: -10 if i == 3 else None] for i, f in enumerate(files(scan()))],
        ErrorCode.TRUNCATED_FILE,
    ),
    "truncated compressed pixels": (truncated_fragments, ErrorCode.TRUNCATED_FILE),
    "damaged codestream": (lying_stream, ErrorCode.UNDECODABLE_PIXELS),
    "zip archive in a zip archive": (lambda: [zipped([zipped(files(scan()))])], ErrorCode.INVALID_ARCHIVE),
    "encrypted zip archive": (encrypted, ErrorCode.INVALID_ARCHIVE),
    "damaged zip archive": (spoilt_archive, ErrorCode.INVALID_ARCHIVE),
    "zip bomb": (bomb, ErrorCode.STUDY_TOO_LARGE),
    "zip archive without DICOM": (lambda: [zipped([])], ErrorCode.EMPTY_STUDY),
}


def _with_empty_group(dataset):
    dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence = []
    return dataset


def assemble_all(made):
    for found in stacks_of(read(made, accept_identified=True)):
        assemble(found, Modality.T1)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, monkeypatch):
    made, code = REFUSED[name]
    if name == "zip bomb":
        monkeypatch.setattr(archive, "MAX_REQUEST_BYTES", 2 << 20)
    sent = made()
    with pytest.raises(GlioserveError) as caught:
        assemble_all(sent)
    assert caught.value.code is code


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_client_sends_is_refused_too(name, monkeypatch):
    """The client itself or the server refuses them, with the same code."""
    made, code = REFUSED[name]
    if name == "zip bomb":
        monkeypatch.setattr(archive, "MAX_REQUEST_BYTES", 2 << 20)
    files_made = made()

    def send():
        sent = [f for f in DicomStudy.from_bytes(files_made).files if not f.reason_not_sent]
        for found in stacks_of(read(deidentify(sent).contents, accept_identified=False)):
            assemble(found, Modality.T1)

    with pytest.raises(GlioserveError) as caught:
        send()
    assert caught.value.code is code


def test_the_documentation_has_a_row_and_the_code_of_each():
    documented = {row: code.strip("`") for row, code, _ in documented_rows("Refused")}
    assert documented == {row: code.token for row, (_, code) in REFUSED.items()}
