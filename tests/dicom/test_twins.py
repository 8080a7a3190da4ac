"""One table of broken and odd inputs through both ways in: the client, and the reader offline and at the server.

Both must accept, or both must refuse with the same code; no message quotes a path, and what cannot be read at all is
refused by the client itself, before anything is sent.
"""

from __future__ import annotations

import gzip
import os
import socket
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedSRStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from glioserve_client import DicomStudy, Volume, VolumeStudy
from glioserve_client.deidentify import deidentify
from glioserve_client.request import encode
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.files import archive, folder, part10
from glioserve_dicom.files.folder import StudyFiles, study_files
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from glioserve_dicom.volumes import arrays, nifti
from glioserve_dicom.volumes.arrays import volume_of_array, volume_of_nifti
from support.studies.encodings import bare, edited, encoded, without_preamble, zipped
from support.studies.pitfalls import STORED, files, scan

MARKER = "Zyxquist"
"""A patient's name, in every name of a file and folder here."""
CUT, NOT_DICOM, EMPTY = ErrorCode.TRUNCATED_FILE, ErrorCode.NOT_DICOM, ErrorCode.EMPTY_STUDY
LARGE, ARCHIVE, NOT_MR = ErrorCode.STUDY_TOO_LARGE, ErrorCode.INVALID_ARCHIVE, ErrorCode.NOT_MR
PIXELS, UNDECODABLE = ErrorCode.UNSUPPORTED_PIXELS, ErrorCode.UNDECODABLE_PIXELS
INVALID, MISSING, COLOUR = ErrorCode.INVALID_ATTRIBUTE, ErrorCode.MISSING_ATTRIBUTE, ErrorCode.COLOUR_IMAGE
PATIENTS, STUDIES = ErrorCode.MULTIPLE_PATIENTS, ErrorCode.MULTIPLE_STUDIES
VOLUME, AFFINE, VOXELS = ErrorCode.INVALID_VOLUME, ErrorCode.INVALID_AFFINE, ErrorCode.UNSUPPORTED_VOXELS
NON_FINITE, EXTREME = ErrorCode.NON_FINITE_VOXELS, ErrorCode.EXTREME_INTENSITY
NEVER_SENT = {CUT, NOT_DICOM, EMPTY, LARGE, ARCHIVE, NOT_MR}
"""Codes that the client itself finds, whatever the server would."""

Outcome = ErrorCode | None


@dataclass(frozen=True)
class Row:
    """An input and what both sides make of it: a code, or None where they accept it."""

    make: Callable[[], list[bytes]]
    code: Outcome = None
    in_folder: Outcome | str = "the same"
    """Outcome where the files lie in a folder instead of being named."""


# --- what both ways do ------------------------------------------------------------------------------------------------
def outcome(way: Callable[[], object]) -> Outcome:
    """The code of a refusal, whose message and traceback quote no name; None where there is none."""
    refusal = None
    try:
        way()
    except GlioserveError as error:
        refusal = error
    if refusal is None:
        return None
    assert MARKER not in "".join(traceback.format_exception(refusal))
    assert MARKER not in repr(refusal)
    return refusal.code


def at_the_server(found: list[bytes] | StudyFiles, *, accept_identified: bool = True) -> None:
    for stack in stacks_of(read(found, accept_identified=accept_identified)):
        assemble(stack, Modality.T1)


def by_the_client(study: Callable[[], DicomStudy]) -> None:
    sendable = study()
    assert MARKER not in repr(sendable)
    encode(sendable)
    sent = [file for file in sendable.files if not file.reason_not_sent]
    contents = list(deidentify(sent).contents)
    try:
        at_the_server(contents, accept_identified=False)
    except GlioserveError as error:
        if error.code in NEVER_SENT:
            pytest.fail(f"the client sent what it should have refused: {error}")
        raise


def write(contents: Iterable[bytes], place: Path) -> Path:
    place.mkdir(exist_ok=True)
    for number, content in enumerate(contents):
        (place / f"{MARKER} {number:03d}").write_bytes(content)
    return place


# --- files ------------------------------------------------------------------------------------------------------------
def plus(*more: bytes) -> Callable[[], list[bytes]]:
    """The sound scan and one file more."""
    return lambda: [*files(scan()), *more]


def last(change: Callable[[bytes], bytes]) -> Callable[[], list[bytes]]:
    """The scan with its last file changed."""

    def make() -> list[bytes]:
        made = files(scan())
        return [*made[:-1], change(made[-1])]

    return make


def every(change: Callable[[Dataset], bytes]) -> Callable[[], list[bytes]]:
    return lambda: [change(dataset) for dataset in scan()]


def header(**attributes: object) -> Callable[[], list[bytes]]:
    """Every file with these attributes; None takes one away."""

    def edit(dataset: Dataset, _: int) -> None:
        for keyword, value in attributes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return lambda: files(edited(scan(), edit))


def last_header(**attributes: object) -> Callable[[], list[bytes]]:
    return lambda: [*files(scan()[:-1]), header(**attributes)()[-1]]


def end_of_meta(content: bytes) -> int:
    return 132 + 12 + int.from_bytes(content[140:144], "little")


def other_object(sop_class: str) -> bytes:
    dataset = scan()[0]
    dataset.SOPClassUID = sop_class
    return files([dataset])[0]


def report() -> bytes:
    """A structured report: no pixels."""
    dataset = scan()[0]
    dataset.SOPClassUID = EnhancedSRStorage
    del dataset.PixelData
    dataset.ImageComments = "findings " * 20
    return files([dataset])[0]


def without_meta_element(content: bytes, tag: bytes) -> bytes:
    """A Part 10 file whose meta header lacks an explicit element of two bytes' length."""
    at = content.index(tag, 132)
    length = 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    group_length = int.from_bytes(content[140:144], "little") - length
    shorter = content[:at] + content[at + length :]
    return shorter[:140] + group_length.to_bytes(4, "little") + shorter[144:]


SYNTAX, MEDIA_CLASS = b"\x02\x00\x10\x00UI", b"\x02\x00\x02\x00UI"


def no_class(content: bytes) -> bytes:
    dataset = pydicom.dcmread(BytesIO(content))
    del dataset.SOPClassUID
    stream = BytesIO()
    dataset.save_as(stream)
    return without_meta_element(stream.getvalue(), MEDIA_CLASS)


def float_pixels(keyword: str, dtype: str, bits: int) -> Callable[[], list[bytes]]:
    def edit(dataset: Dataset, index: int) -> None:
        del dataset.PixelData
        setattr(dataset, keyword, STORED[index].astype(dtype).tobytes())
        dataset.BitsAllocated = bits

    return lambda: files(edited(scan(), edit))


def rle_without(count: int) -> Callable[[], list[bytes]]:
    def make() -> list[bytes]:
        made = [encoded(dataset, RLELossless) for dataset in scan()]
        return [*made[:-1], made[-1][:-count]]

    return make


def nonsense_codestream(content: bytes) -> bytes:
    dataset = pydicom.dcmread(BytesIO(content))
    dataset.PixelData = encapsulate([b"no codestream at all"])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    stream = BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def bare_codestream(content: bytes) -> bytes:
    whole = nonsense_codestream(content)
    return whole[end_of_meta(whole) :]


def mislabelled(content: bytes) -> bytes:
    """A meta header that states explicit VR before elements in implicit VR."""
    implicit = encoded(scan()[-1], ImplicitVRLittleEndian)
    return content[: end_of_meta(content)] + implicit[end_of_meta(implicit) :]


def deflated(change: Callable[[bytes], bytes]) -> Callable[[], list[bytes]]:
    def make() -> list[bytes]:
        made = [encoded(dataset, DeflatedExplicitVRLittleEndian) for dataset in scan()]
        return [*made[:-1], change(made[-1])]

    return make


def inflating(content: bytes) -> bytes:
    """The file with 300 MiB of zeros behind its pixels, in a few hundred kilobytes."""
    start = end_of_meta(content)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = [packer.compress(zlib.decompress(content[start:], -zlib.MAX_WBITS))]
    packed += [packer.compress(bytes(1 << 20)) for _ in range(300)]
    return content[:start] + b"".join(packed) + packer.flush()


def packed(contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", method) as packing:
        for name, content in contents.items():
            packing.writestr(name, content)
    return stream.getvalue()


def zip_of(*more: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    contents = {f"{MARKER}/{number:03d}": content for number, content in enumerate([*files(scan()), *more])}
    return packed(contents, method)


def encrypted() -> bytes:
    content = bytearray(zip_of())
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(start)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(start, at + 4)
    return bytes(content)


def spoilt(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def png() -> bytes:
    stream = BytesIO()
    Image.new("L", (8, 8)).save(stream, "PNG")
    return stream.getvalue()


ELEMENT_CUT = b"\xfc\xff\xfc\xffOB\0\0\x40\0\0\0" + b"short"
NOISE = np.random.default_rng(1).integers(1, 256, 4000, dtype=np.uint8).tobytes()

FILES = {
    "a sound scan": Row(lambda: files(scan())),
    "no file": Row(list, EMPTY),
    # what an interrupted copy leaves
    "an empty file": Row(plus(b""), CUT),
    "part of a preamble": Row(plus(bytes(77)), CUT),
    "a bare preamble": Row(plus(bytes(128)), CUT),
    "a preamble and half its prefix": Row(plus(bytes(128) + b"DI"), CUT),
    "nothing but zeros": Row(plus(bytes(4096)), CUT),
    "a preamble and its prefix": Row(last(lambda c: c[:132]), CUT),
    "a preamble and part of the meta header": Row(last(lambda c: c[:200]), CUT),
    "a preamble and the meta header": Row(last(lambda c: c[: end_of_meta(c)]), CUT),
    "an odd preamble and part of the meta header": Row(last(lambda c: b"II*\0" + c[4:200]), CUT),
    "a header that ends between elements": Row(last(lambda c: c[: c.index(b"\x20\x00\x37\x00DS")]), CUT),
    "a header that ends within an element": Row(last(lambda c: c[: c.index(b"\x20\x00\x37\x00DS") + 20]), CUT),
    "native pixels that end early": Row(last(lambda c: c[:-10]), CUT),
    "fewer native pixels than rows and columns need": Row(last_header(PixelData=bytes(100)), CUT),
    "more rows than pixels": Row(last_header(Rows=4000), CUT),
    "compressed pixels that end early": Row(rle_without(20), CUT),
    "compressed pixels without their delimiter": Row(rle_without(8), CUT),
    "an element behind the pixels that ends early": Row(last(lambda c: c + ELEMENT_CUT), CUT),
    "zeros behind the pixels": Row(last(lambda c: c + bytes(1 << 12))),
    "a deflated file that ends early": Row(deflated(lambda c: c[:-40]), CUT),
    "a damaged deflated file": Row(deflated(lambda c: c[: end_of_meta(c)] + b"\xff" * 400), CUT),
    "a deflated file that inflates without end": Row(deflated(inflating), LARGE),
    "a report that ends early": Row(lambda: [*files(scan()), report()[: report().index(b"findings") + 20]], CUT),
    "a bare data set that ends early": Row(lambda: [*files(scan()), bare(scan()[-1])[:-10]], CUT),
    # what is not DICOM
    "noise": Row(plus(NOISE), NOT_DICOM, None),
    "zeros and then noise": Row(plus(bytes(128) + NOISE), NOT_DICOM, None),
    "text": Row(plus(b"Read me"), NOT_DICOM, None),
    "a PDF": Row(plus(b"%PDF-1.4\n" + NOISE), NOT_DICOM, None),
    "a PNG": Row(lambda: [*files(scan()), png()], NOT_DICOM, None),
    "a compressed DICOM file": Row(lambda: [gzip.compress(c, mtime=0) for c in files(scan())], NOT_DICOM, EMPTY),
    "one byte": Row(plus(b"\x08"), NOT_DICOM, None),
    "what begins as a bare data set and is none": Row(plus(b"\x08\x00\x05\x00CS\x02\x00xx" + NOISE), CUT),
    # archives
    "an archive": Row(lambda: [zip_of()]),
    "an archive with other files": Row(lambda: [zipped(files(scan()))]),
    "an archive in an archive": Row(lambda: [packed({"inner.zip": zip_of()})], ARCHIVE),
    "an encrypted archive": Row(lambda: [encrypted()], ARCHIVE),
    "a damaged archive": Row(lambda: [spoilt(zip_of())], ARCHIVE),
    "an archive that ends early": Row(lambda: [zip_of()[:-30]], ARCHIVE),
    "an archive packed by another method": Row(lambda: [zip_of(method=zipfile.ZIP_BZIP2)], ARCHIVE),
    "an empty archive": Row(lambda: [packed({})], EMPTY),
    "an archive without DICOM": Row(lambda: [packed({f"{MARKER}.txt": b"Read me"})], EMPTY),
    "an archive of hidden files": Row(lambda: [packed({".IM1": files(scan())[0]})], EMPTY),
    "an archive with a file that ends early": Row(lambda: [zip_of(files(scan())[0][:-9])], CUT),
    "an archive with an empty file": Row(lambda: [zip_of(b"")], CUT),
    "an archive with zeros": Row(lambda: [zip_of(bytes(4096))], CUT),
    "an archive beside files": Row(lambda: [*files(scan())[:4], packed(dict(enumerate_names(files(scan())[4:])))]),
    # other objects
    "a DICOMDIR beside the images": Row(lambda: [*files(scan()), other_object(MediaStorageDirectoryStorage)]),
    "a report beside the images": Row(lambda: [*files(scan()), report()]),
    "a secondary capture beside the images": Row(lambda: [*files(scan()), other_object(SecondaryCaptureImageStorage)]),
    "no image but a secondary capture": Row(lambda: [other_object(SecondaryCaptureImageStorage)], NOT_MR),
    "CT images": Row(header(SOPClassUID=CTImageStorage), NOT_MR),
    "objects of a private class": Row(header(SOPClassUID="1.2.826.0.1.3680043.9.9999.1"), NOT_MR),
    # pixels
    "float pixels": Row(float_pixels("FloatPixelData", "<f4", 32), PIXELS),
    "double float pixels": Row(float_pixels("DoubleFloatPixelData", "<f8", 64), PIXELS),
    "an image without pixels": Row(last_header(PixelData=None), CUT),
    "an image with empty pixels": Row(last_header(PixelData=b""), CUT),
    "a codestream that is none": Row(last(nonsense_codestream), UNDECODABLE),
    "a bare codestream": Row(last(bare_codestream), UNDECODABLE),
    "a codestream without a transfer syntax": Row(
        last(lambda c: without_meta_element(nonsense_codestream(c), SYNTAX)), UNDECODABLE
    ),
    # encodings
    "no transfer syntax": Row(lambda: [without_meta_element(c, SYNTAX) for c in files(scan())]),
    "no class in meta header and data set": Row(last(no_class), CUT),
    "implicit VR": Row(every(lambda d: encoded(d, ImplicitVRLittleEndian))),
    "explicit VR, big endian": Row(every(lambda d: encoded(d, ExplicitVRBigEndian))),
    "deflated": Row(deflated(lambda c: c)),
    "run-length encoded": Row(every(lambda d: encoded(d, RLELossless))),
    "bare data sets in implicit VR": Row(every(bare)),
    "bare data sets in explicit VR": Row(every(lambda d: bare(d, implicit=False))),
    "bare data sets, big endian": Row(
        lambda: [c[end_of_meta(c) :] for c in (encoded(d, ExplicitVRBigEndian) for d in scan())]
    ),
    "no preamble": Row(lambda: [without_preamble(c) for c in files(scan())]),
    "implicit VR that states explicit VR": Row(last(mislabelled)),
    # contents
    "the same file twice": Row(lambda: (lambda made: [*made, made[0]])(files(scan()))),
    "two patients": Row(last_header(PatientID="PSN-00000000"), PATIENTS),
    "two studies": Row(last_header(StudyInstanceUID=generate_uid()), STUDIES),
}


def enumerate_names(contents: list[bytes]) -> Iterable[tuple[str, bytes]]:
    return ((f"{MARKER} {number:03d}", content) for number, content in enumerate(contents))


@pytest.mark.parametrize("name", FILES)
def test_files_in_memory(name: str) -> None:
    row = FILES[name]
    contents = row.make()
    assert outcome(lambda: by_the_client(lambda: DicomStudy.from_bytes(contents))) is row.code
    assert outcome(lambda: at_the_server(contents)) is row.code


@pytest.mark.parametrize("name", FILES)
def test_files_in_a_folder(name: str, tmp_path: Path) -> None:
    row = FILES[name]
    place = write(row.make(), tmp_path / MARKER)
    expected = row.code if row.in_folder == "the same" else row.in_folder
    assert outcome(lambda: by_the_client(lambda: DicomStudy.from_directory(place))) is expected
    assert outcome(lambda: at_the_server(study_files(place))) is expected


@pytest.mark.parametrize("name", [name for name, row in FILES.items() if row.code in NEVER_SENT and name != "no file"])
def test_the_last_file_named_by_itself(name: str, tmp_path: Path) -> None:
    """The file is all of the study: an archive, or what was meant to be a folder."""
    row = FILES[name]
    path = tmp_path / MARKER
    path.write_bytes(row.make()[-1])
    expected = row.code
    assert outcome(lambda: by_the_client(lambda: DicomStudy.from_directory(path))) is expected
    assert outcome(lambda: by_the_client(lambda: DicomStudy.from_files([path]))) is expected
    assert outcome(lambda: at_the_server(study_files(path))) is expected


def raw_value(keyword: str, value: bytes, syntax: str = ExplicitVRLittleEndian) -> list[bytes]:
    """The scan, its last file with these bytes for an attribute."""
    made = files(scan()[:-1])
    dataset = pydicom.dcmread(BytesIO(encoded(scan()[-1], syntax)))
    tag, implicit = Tag(keyword), syntax == ImplicitVRLittleEndian
    vr = None if implicit else dictionary_VR(tag).split(" ")[0]
    dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, implicit, syntax != ExplicitVRBigEndian)
    stream = BytesIO()
    dataset.save_as(stream)
    return [*made, stream.getvalue()]


MALFORMED = {
    ("Rows", b"ten "): INVALID,
    ("Columns", b"ten"): INVALID,
    ("Rows", b""): MISSING,
    ("BitsAllocated", bytes(4)): INVALID,
    ("BitsStored", b"12 b"): INVALID,
    ("PixelRepresentation", b"no  "): INVALID,
    ("SamplesPerPixel", b"one "): INVALID,
    ("NumberOfFrames", b"one "): INVALID,
    ("NumberOfFrames", b"1.0 "): None,
    ("NumberOfFrames", b"1\t\r\n"): None,
    ("PixelSpacing", MARKER.encode()): INVALID,
    ("PixelSpacing", b"1\\1\\1 "): INVALID,
    ("PixelSpacing", b"nan\\1 "): INVALID,
    ("PixelSpacing", b"1e999\\1 "): INVALID,
    ("PixelSpacing", b"1_0\\1_0 "): INVALID,
    ("ImagePositionPatient", b"left\\0\\0 "): INVALID,
    ("ImageOrientationPatient", b"1\\0\\0\\0\\1\\o "): INVALID,
    ("EchoTime", b"late"): INVALID,
    ("SeriesNumber", b"late"): None,
    ("RescaleSlope", b"steep "): INVALID,
    ("RescaleIntercept", b"1,5 "): INVALID,
    ("PhotometricInterpretation", b"GREY"): INVALID,
    ("PhotometricInterpretation", b"CMYK"): COLOUR,
    ("PhotometricInterpretation", b"    "): MISSING,
}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(("keyword", "value"), MALFORMED)
def test_malformed_values(keyword: str, value: bytes, syntax: str) -> None:
    contents = raw_value(keyword, value, syntax)
    expected = MALFORMED[keyword, value]
    assert outcome(lambda: by_the_client(lambda: DicomStudy.from_bytes(contents))) is expected
    assert outcome(lambda: at_the_server(contents)) is expected
    sent = b"".join(deidentify(DicomStudy.from_bytes(contents).files).contents)
    assert MARKER.encode() not in sent


# --- folders ----------------------------------------------------------------------------------------------------------
def populated(place: Path) -> Path:
    return write(files(scan()), place)


def with_pipe(place: Path) -> Path:
    os.mkfifo(populated(place) / f"{MARKER} pipe")
    return place


def only_a_pipe(place: Path) -> Path:
    os.mkfifo(write([], place) / f"{MARKER} pipe")
    return place


def a_pipe(place: Path) -> Path:
    os.mkfifo(place)
    return place


def with_socket(place: Path) -> Path:
    populated(place)
    here = Path.cwd()
    os.chdir(place)  # a socket's path has a short limit
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{MARKER} socket")
    finally:
        os.chdir(here)
    return place


def with_link(target: str, name: str = "link") -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        (populated(place) / f"{MARKER} {name}").symlink_to(target)
        return place

    return make


def with_hidden(place: Path) -> Path:
    populated(place)
    for name in (f".{MARKER}", f"__MACOSX/._{MARKER}", f".hidden/{MARKER}"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(b"")
    return place


def only_hidden(place: Path) -> Path:
    write([], place)
    (place / f".{MARKER}").write_bytes(files(scan())[0])
    return place


def deep(place: Path) -> Path:
    below = place / MARKER / MARKER
    below.mkdir(parents=True)
    write(files(scan()), below)
    return place


def with_archive(content: Callable[[], bytes]) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        (populated(place) / f"{MARKER}.zip").write_bytes(content())
        return place

    return make


FOLDERS: dict[str, tuple[Callable[[Path], Path], Outcome]] = {
    "no such folder": (lambda place: place, EMPTY),
    "an empty folder": (lambda place: write([], place), EMPTY),
    "a folder of hidden files": (only_hidden, EMPTY),
    "a folder of other files": (lambda place: write([b"Read me", png()], place), EMPTY),
    "a pipe beside the images": (with_pipe, None),
    "a folder of a pipe": (only_a_pipe, EMPTY),
    "a pipe for a folder": (a_pipe, NOT_DICOM),
    "a socket beside the images": (with_socket, None),
    "a device beside the images": (with_link("/dev/zero"), None),
    "a link to itself": (with_link(f"{MARKER} link"), CUT),
    "a link to nowhere": (with_link("nowhere"), CUT),
    "a link to its own folder": (with_link("."), None),
    "a link to another folder": (with_link("/usr"), None),
    "a link for a folder, to nowhere": (lambda place: (place.symlink_to("nowhere"), place)[1], CUT),
    "hidden files beside the images": (with_hidden, None),
    "images deep below": (deep, None),
    "an empty archive beside the images": (with_archive(lambda: packed({})), None),
    "an archive of other files beside the images": (with_archive(lambda: packed({"a": b"Read me"})), None),
    "a damaged archive beside the images": (with_archive(lambda: spoilt(zip_of())), ARCHIVE),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(name: str, tmp_path: Path) -> None:
    make, code = FOLDERS[name]
    place = make(tmp_path / MARKER)
    assert outcome(lambda: by_the_client(lambda: DicomStudy.from_directory(place))) is code
    assert outcome(lambda: at_the_server(study_files(place))) is code


def test_nothing_in_a_folder_is_dropped_in_silence(tmp_path: Path) -> None:
    place = with_link("/dev/null", "device")(with_link("/usr")(with_socket(with_pipe(tmp_path / MARKER))))
    (place / f"{MARKER}.txt").write_bytes(b"Read me")
    study = DicomStudy.from_directory(place)
    reasons = sorted(skipped.reason for skipped in study.skipped)
    assert reasons == ["a linked folder", "not DICOM", *["not a regular file"] * 3]
    assert encode(study).warnings == tuple(
        f"{count} file(s) not sent: {reason}."
        for count, reason in ((1, "a linked folder"), (1, "not DICOM"), (3, "not a regular file"))
    )
    (offline,) = read(study_files(place), accept_identified=True).warnings
    assert offline == "Left aside: 1 a linked folder, 1 not DICOM, 3 not a regular file."


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = populated(tmp_path / MARKER)
    content = Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path.name.endswith("003"):
            raise PermissionError(13, "Permission denied", str(path))
        return content(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    assert outcome(lambda: by_the_client(lambda: DicomStudy.from_directory(place))) is CUT
    assert outcome(lambda: at_the_server(study_files(place))) is CUT


@pytest.mark.parametrize(("limit", "value"), [("MAX_FOLDER_FILES", 7), ("MAX_FOLDER_BYTES", 9000)])
def test_a_folder_over_the_limits(limit: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = populated(tmp_path / MARKER)
    monkeypatch.setattr(folder, limit, value)
    assert outcome(lambda: by_the_client(lambda: DicomStudy.from_directory(place))) is LARGE
    assert outcome(lambda: at_the_server(study_files(place))) is LARGE


def test_an_archive_over_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_REQUEST_BYTES", 2 << 10)
    contents = [zip_of()]
    assert outcome(lambda: by_the_client(lambda: DicomStudy.from_bytes(contents))) is LARGE
    assert outcome(lambda: at_the_server(contents)) is LARGE


def test_an_inflated_file_over_a_small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part10, "MAX_INFLATED_BYTES", 100)
    contents = FILES["deflated"].make()
    assert outcome(lambda: by_the_client(lambda: DicomStudy.from_bytes(contents))) is LARGE
    assert outcome(lambda: at_the_server(contents)) is LARGE


# --- arrays -----------------------------------------------------------------------------------------------------------
SOUND = np.random.default_rng(0).normal(100, 30, (6, 7, 8)).astype(np.float32)
GRID = np.diag([1.0, 1.0, 3.0, 1.0])
HALF_NAN = np.where(np.arange(6)[:, None, None] < 3, np.nan, SOUND)


def sheared() -> np.ndarray:
    affine = GRID.copy()
    affine[0, 1] = 0.2
    return affine


def at(row: int, column: int, value: float) -> np.ndarray:
    affine = GRID.copy()
    affine[row, column] = value
    return affine


ARRAYS: dict[str, tuple[object, object, Outcome]] = {
    "a sound volume": (SOUND, GRID, None),
    "nested lists": (SOUND[:2, :2, :2].tolist(), GRID.tolist(), None),
    "booleans": (SOUND > 100, GRID, None),
    "big-endian integers": (SOUND.astype(">i2"), GRID, None),
    "leading and trailing axes of one": (SOUND[None, ..., None], GRID, None),
    "half of it NaN": (HALF_NAN, GRID, None),
    "over half of it NaN": (np.where(SOUND < 103, np.nan, SOUND), GRID, NON_FINITE),
    "all of it NaN": (np.full((4, 4, 4), np.nan), GRID, NON_FINITE),
    "infinite": (np.where(SOUND > 150, np.inf, SOUND), GRID, NON_FINITE),
    "infinite and NaN": (np.where(SOUND > 150, -np.inf, np.nan), GRID, NON_FINITE),
    "huge": (SOUND.astype(np.float64) * 1e300, GRID, EXTREME),
    "huge in single precision": (SOUND * -1e11, GRID, EXTREME),
    "complex": (SOUND.astype(np.complex64), GRID, VOXELS),
    "objects": (SOUND.astype(object), GRID, VOXELS),
    "colours": (np.zeros((4, 4, 4), [("r", "u1"), ("g", "u1")]), GRID, VOXELS),
    "a text": ("no array", GRID, VOXELS),
    "ragged lists": ([[1], [1, 2]], GRID, VOXELS),
    "several volumes": (np.stack([SOUND, SOUND]), GRID, VOXELS),
    "colours on a further axis": (np.zeros((4, 4, 4, 3)), GRID, VOXELS),
    "one slice": (SOUND[:1], GRID, VOLUME),
    "a plane": (SOUND[0], GRID, VOLUME),
    "no voxel": (SOUND[:0], GRID, VOLUME),
    "one number": (np.float32(3), GRID, VOLUME),
    "over the limit": (np.broadcast_to(np.float32(1), (513, 512, 512)), GRID, LARGE),
    "over the limit along one axis": (np.broadcast_to(np.float32(1), (1 << 28, 1, 1)), GRID, LARGE),
    "an affine of three rows": (SOUND, np.eye(3), AFFINE),
    "an affine of lists that are ragged": (SOUND, [[1], [1, 2]], AFFINE),
    "an affine of text": (SOUND, "identity", AFFINE),
    "a complex affine": (SOUND, GRID.astype(np.complex128), AFFINE),
    "an affine with NaN": (SOUND, at(0, 3, np.nan), AFFINE),
    "an affine with an infinite axis": (SOUND, at(1, 1, np.inf), AFFINE),
    "an affine with a huge axis": (SOUND, at(0, 0, 1e300), AFFINE),
    "an affine with another last row": (SOUND, at(3, 3, 2.0), AFFINE),
    "an affine that is not invertible": (SOUND, at(2, 2, 0.0), AFFINE),
    "a sheared affine": (SOUND, sheared(), AFFINE),
    "an affine in metres": (SOUND, np.diag([0.001, 0.001, 0.003, 1.0]), AFFINE),
    "an affine in microns": (SOUND, np.diag([1000.0, 1000.0, 3000.0, 1.0]), AFFINE),
    "a field of view over a metre": (np.ones((30, 4, 4)), np.diag([1.0, 1.0, 40.0, 1.0]), AFFINE),
    "a grid far away": (SOUND, at(0, 3, 1e6), AFFINE),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name: str) -> None:
    voxels, affine, code = ARRAYS[name]
    assert outcome(lambda: VolumeStudy({Modality.T1: Volume(voxels, affine)})) is code  # type: ignore[arg-type]
    assert outcome(lambda: volume_of_array(Modality.T1, voxels, affine)) is code  # type: ignore[arg-type]


def test_both_make_the_same_volume_of_an_array() -> None:
    for voxels, affine, code in ARRAYS.values():
        if code is None:
            mine = Volume(voxels, affine)  # type: ignore[arg-type]
            theirs = volume_of_array(Modality.T1, voxels, affine)  # type: ignore[arg-type]
            np.testing.assert_array_equal(mine.voxels, theirs.voxels)
            np.testing.assert_array_equal(mine.lps_from_voxel, theirs.geometry.lps_from_voxel)


# --- NIfTI files ------------------------------------------------------------------------------------------------------
NIFTI_VOXELS = SOUND.transpose()
RAS = np.diag([-1.0, -1.0, 3.0, 1.0])
TURNED = RAS[:, [1, 0, 2, 3]]


def image(
    voxels: np.ndarray = NIFTI_VOXELS, sform: np.ndarray | None = RAS, qform: np.ndarray | None = None
) -> nibabel.Nifti1Image:
    made = nibabel.Nifti1Image(voxels, RAS)
    made.set_sform(sform, 0 if sform is None else 1)
    made.set_qform(qform, 0 if qform is None else 1)
    return made


def in_unit(unit: str) -> bytes:
    made = image()
    made.header.set_xyzt_units(unit)
    return made.to_bytes()


def patched(offset: int, value: bytes) -> bytes:
    content = image().to_bytes()
    return content[:offset] + value + content[offset + len(value) :]


NIFTI: dict[str, tuple[Callable[[], bytes | None], Outcome]] = {
    "a sound file": (lambda: image().to_bytes(), None),
    "a qform alone": (lambda: image(sform=None, qform=RAS).to_bytes(), None),
    "both that agree": (lambda: image(qform=RAS).to_bytes(), None),
    "both that point other ways": (lambda: image(qform=TURNED).to_bytes(), AFFINE),
    "both of other voxel sizes": (lambda: image(qform=RAS * [2, 2, 2, 1]).to_bytes(), AFFINE),
    "neither": (lambda: image(sform=None).to_bytes(), AFFINE),
    "a sheared sform": (lambda: image(sform=sheared()).to_bytes(), AFFINE),
    "an sform with NaN": (lambda: image(sform=at(0, 3, np.nan)).to_bytes(), AFFINE),
    "millimetres that state metres": (lambda: in_unit("meter"), AFFINE),
    "an unknown unit": (lambda: patched(123, b"\x07"), AFFINE),
    "a further axis of one": (lambda: image(SOUND.transpose()[..., None]).to_bytes(), None),
    "several volumes": (lambda: image(np.stack([SOUND.transpose()] * 2, -1)).to_bytes(), VOXELS),
    "complex": (lambda: image(SOUND.transpose().astype(np.complex64)).to_bytes(), VOXELS),
    "a plane": (lambda: image(SOUND.transpose()[..., 0]).to_bytes(), VOLUME),
    "one slice": (lambda: image(SOUND.transpose()[..., :1]).to_bytes(), VOLUME),
    "infinite": (lambda: image(np.where(SOUND > 150, np.inf, SOUND).transpose()).to_bytes(), NON_FINITE),
    "all NaN": (lambda: image(np.full((4, 4, 4), np.nan)).to_bytes(), NON_FINITE),
    "huge": (lambda: image(SOUND.transpose().astype(np.float64) * 1e300).to_bytes(), EXTREME),
    "a field of view over a metre": (
        lambda: image(np.ones((4, 4, 30)), np.diag([1.0, 1.0, 40.0, 1.0])).to_bytes(),
        AFFINE,
    ),
    "voxels that end early": (lambda: image().to_bytes()[:-100], VOLUME),
    "a header that ends early": (lambda: image().to_bytes()[:200], VOLUME),
    "an empty file": (lambda: b"", VOLUME),
    "zeros": (lambda: bytes(4096), VOLUME),
    "noise": (lambda: NOISE, VOLUME),
    "DICOM": (lambda: files(scan())[0], VOLUME),
    "no such file": (lambda: None, VOLUME),
}


@pytest.mark.parametrize("name", NIFTI)
def test_nifti_files(name: str, tmp_path: Path) -> None:
    make, code = NIFTI[name]
    path = tmp_path / f"{MARKER}.nii"
    if (content := make()) is not None:
        path.write_bytes(content)
    assert outcome(lambda: VolumeStudy.from_nifti({Modality.T1: path})) is code
    assert outcome(lambda: volume_of_nifti(Modality.T1, path)) is code


@pytest.mark.parametrize("kind", ["pipe", "folder", "another name", "cut gzip"])
def test_what_is_no_nifti_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"{MARKER}.nii"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "another name":
        path = path.with_suffix(".mgz")
        path.write_bytes(image().to_bytes())
    else:
        path = path.with_suffix(".nii.gz")
        path.write_bytes(gzip.compress(image().to_bytes(), mtime=0)[:-60])
    assert outcome(lambda: VolumeStudy.from_nifti({Modality.T1: path})) is VOLUME
    assert outcome(lambda: volume_of_nifti(Modality.T1, path)) is VOLUME


def test_a_nifti_file_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"{MARKER}.nii"
    path.write_bytes(image().to_bytes()[:400])  # no voxel is there to be read
    monkeypatch.setattr(nifti, "MAX_VOLUME_VOXELS", 30)
    monkeypatch.setattr(arrays, "MAX_VOLUME_VOXELS", 30)
    assert outcome(lambda: VolumeStudy.from_nifti({Modality.T1: path})) is LARGE
    assert outcome(lambda: volume_of_nifti(Modality.T1, path)) is LARGE


def test_the_table_is_long() -> None:
    assert len(FILES) + len(FOLDERS) + len(ARRAYS) + len(NIFTI) >= 150
