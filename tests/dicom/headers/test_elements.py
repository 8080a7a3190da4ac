"""Elements as bytes: what pydicom's own writer would have written, for raw elements and for all others."""

import warnings
from io import BytesIO

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.tag import Tag

from glioserve_dicom.files.elements import data_set_bytes, meta_bytes, text_element

CODINGS = pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])


def written(dataset: Dataset, implicit: bool, little: bool) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = implicit, little
    write_dataset(out, dataset)
    return out.getvalue()


def sample(implicit: bool, little: bool) -> Dataset:
    """Attributes of every kind, read raw: odd lengths, empty ones, a long text, a sequence, an ambiguous VR."""
    made = Dataset()
    made.SOPClassUID, made.SeriesDescription, made.EchoTime = "1.2.840.10008.5.1.4.1.1.4", "t1", "9.5"
    made.PixelSpacing, made.Rows, made.SmallestImagePixelValue = [1.0, 0.5], 7, b"\1\0"
    made.PatientName, made.ImageComments = "", "c" * 3001
    made["SmallestImagePixelValue"].VR = "US"
    made["SmallestImagePixelValue"].value = 1
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "12", "odd"
    made.AnatomicRegionSequence = [item]
    made.add_new(0x00287FE0, "UT", "u" * 70_001)  # of a VR with four bytes of length
    content = written(made, implicit, little)
    return read_dataset(BytesIO(content), implicit, little)


@CODINGS
def test_a_data_set_is_written_as_pydicom_writes_it(implicit: bool, little: bool) -> None:
    raw = sample(implicit, little)
    raw.set_original_encoding(implicit, little, "iso8859")
    assert any(isinstance(raw.get_item(tag), RawDataElement) for tag in raw.keys())  # noqa: SIM118
    expected = written(raw, implicit, little)
    assert data_set_bytes(raw, implicit, little) == expected
    parsed = sample(implicit, little)
    for _ in parsed.iterall():  # each is converted
        pass
    assert data_set_bytes(parsed, implicit, little) == expected


def test_a_value_too_long_for_its_vr_is_left_to_pydicom() -> None:
    dataset = Dataset()
    tag = Tag(0x00081030)
    dataset[tag] = RawDataElement(tag, "LO", 70_000, b"x" * 70_000, 0, False, True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert data_set_bytes(dataset, False, True) == written(dataset, False, True)


@CODINGS
@pytest.mark.parametrize(
    ("keyword", "text"),
    [("SeriesDescription", "odd"), ("SeriesInstanceUID", "2.25.1"), ("ImageType", "ORIGINAL\\PRIMARY"),
     ("AcquisitionTime", "000001.500000"), ("PatientID", "PSN-0")],
)  # fmt: skip
def test_a_text_is_what_pydicom_makes_of_it(keyword: str, text: str, implicit: bool, little: bool) -> None:
    ours, theirs = Dataset(), Dataset()
    tag, vr = Tag(keyword), pydicom.datadict.dictionary_VR(keyword)
    ours[tag] = text_element(tag, vr, text, implicit, little)
    setattr(theirs, keyword, text)
    assert data_set_bytes(ours, implicit, little) == written(theirs, implicit, little)


def test_a_meta_header_is_pydicoms() -> None:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.3", "1.2.34"
    meta.TransferSyntaxUID, meta.ImplementationClassUID = "1.2.840.10008.1.2.1", "2.25.1"
    meta.ImplementationVersionName = "ODD"
    out = DicomBytesIO()
    write_file_meta_info(out, meta)
    uids = [(0x02, b"1.2.3"), (0x03, b"1.2.34"), (0x10, b"1.2.840.10008.1.2.1"), (0x12, b"2.25.1")]
    elements = [(0x01, "OB", b"\0\1"), *((number, "UI", uid) for number, uid in uids), (0x13, "SH", b"ODD")]
    assert meta_bytes(elements) == out.getvalue()
