"""Stand-ins for what is not sent: pseudonyms, relative times, a yes, words and codes of closed lists."""

from datetime import datetime, timedelta
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioserve_client.deidentify import Pseudonyms, deidentify
from glioserve_client.dicomfile import read_dicom_file
from glioserve_dicom.identity import PATIENT_PSEUDONYM
from support.studies.dicom_files import dicom_file, file_bytes, mr_dataset, sent


def test_pseudonyms_hold_within_a_request_and_never_again() -> None:
    one, two = mr_dataset(InstanceNumber="1"), mr_dataset(InstanceNumber="2")
    files = [dicom_file(one), dicom_file(two)]
    first, second = deidentify(files), deidentify(files)
    a, b = (pydicom.dcmread(BytesIO(content)) for content in first.contents)
    c = pydicom.dcmread(BytesIO(second.contents[0]))
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert a[keyword].value == b[keyword].value != c[keyword].value, keyword
    assert a.SOPInstanceUID != b.SOPInstanceUID
    assert a.file_meta.MediaStorageSOPInstanceUID == a.SOPInstanceUID
    assert PATIENT_PSEUDONYM.fullmatch(a.PatientID)
    assert a.SeriesInstanceUID.is_valid
    assert first.original_series_uids == {a.SeriesInstanceUID: "1.2.840.99999.1.7"}
    with pytest.raises(TypeError):
        first.original_series_uids["x"] = "y"


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ({"PatientID": "1"}, {"PatientID": "2"}, False),
        ({"PatientID": "1", "PatientName": "A"}, {"PatientID": "1 ", "PatientName": "B"}, True),
        ({"PatientID": None, "PatientName": "A"}, {"PatientID": None, "PatientName": "B"}, False),
        ({"PatientID": None, "PatientName": None}, {"PatientID": "", "PatientName": None}, True),
        ({"PatientID": "A"}, {"PatientID": None, "PatientName": "A"}, False),
    ],
)
def test_two_patients_stay_two(one: dict[str, str], two: dict[str, str], same: bool) -> None:
    result = deidentify([dicom_file(mr_dataset(**one)), dicom_file(mr_dataset(**two))])
    a, b = (pydicom.dcmread(BytesIO(content)).PatientID for content in result.contents)
    assert PATIENT_PSEUDONYM.fullmatch(a)
    assert PATIENT_PSEUDONYM.fullmatch(b)
    assert (a == b) is same


def test_a_key_makes_pseudonyms_repeatable_and_another_does_not() -> None:
    assert Pseudonyms(b"k" * 32).uid("1.2") == Pseudonyms(b"k" * 32).uid("1.2") != Pseudonyms(b"l" * 32).uid("1.2")
    assert Pseudonyms().uid("1.2") != Pseudonyms().uid("1.2")


def test_times_are_told_from_the_studys_first_over_midnight() -> None:
    first = mr_dataset()  # its SeriesTime, 23:59:40, is the study's first
    after = mr_dataset(AcquisitionDate="20240301", AcquisitionTime="000010.5", SeriesTime=None, ContentTime="000011")
    after.ContentDate = "20240301"
    a, b = (pydicom.dcmread(BytesIO(c)) for c in deidentify([dicom_file(first), dicom_file(after)]).contents)
    assert (a.SeriesTime, a.AcquisitionTime) == ("000000.000000", "000010.250000")
    assert (b.AcquisitionTime, b.ContentTime) == ("000030.500000", "000031.000000")
    assert "SeriesTime" not in b


def test_times_without_dates_go_on_over_midnight() -> None:
    no_dates = dict.fromkeys(("AcquisitionDate", "SeriesDate", "StudyDate", "ContentDate", "SeriesTime"))
    clocks = ("235500", "000300", "001000")
    files = [dicom_file(mr_dataset(**{**no_dates, "AcquisitionTime": clock})) for clock in clocks]
    told = [pydicom.dcmread(BytesIO(content)).AcquisitionTime[:6] for content in deidentify(files).contents]
    assert told == ["000000", "000800", "001500"]


@given(seconds=st.integers(0, 43_199), microseconds=st.integers(0, 999_999))
def test_relative_times_are_exact(seconds: int, microseconds: int) -> None:
    start = datetime(2024, 2, 29, 22, 15, 3)  # noqa: DTZ001 - scanners have no zone
    later = start + timedelta(seconds=seconds, microseconds=microseconds)
    files = [
        dicom_file(mr_dataset(AcquisitionDate=f"{t:%Y%m%d}", AcquisitionTime=f"{t:%H%M%S.%f}", SeriesTime=None))
        for t in (start, later)
    ]
    again = pydicom.dcmread(BytesIO(deidentify(files).contents[1])).AcquisitionTime
    told = timedelta(hours=int(again[:2]), minutes=int(again[2:4]), seconds=float(again[4:]))
    assert abs(told - (later - start)) < timedelta(microseconds=2)


def test_a_time_that_is_none_or_a_day_off_is_left_out() -> None:
    far = mr_dataset(SeriesDate="20240401", AcquisitionTime=None)
    nonsense = file_bytes(mr_dataset(SeriesTime="123454", AcquisitionTime=None)).replace(b"123454", b"noon??")
    files = [dicom_file(mr_dataset()), dicom_file(far), read_dicom_file(nonsense, "", "File 3 of 3")]
    _, b, c = (pydicom.dcmread(BytesIO(content)) for content in deidentify(files).contents)
    assert "SeriesTime" not in b
    assert "SeriesTime" not in c


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        ("MAGNEVIST 12ml", "YES"),
        ("Gd given by Dr Zyxquist", "YES"),
        ("NO", "NO"),
        ("none ", "NO"),
        ("", None),
        (None, None),
    ],
)
def test_a_contrast_agent_is_told_as_yes_or_no_or_not_at_all(agent: str | None, told: str | None) -> None:
    assert sent(mr_dataset(ContrastBolusAgent=agent)).get("ContrastBolusAgent") == told


@pytest.mark.parametrize(
    ("keyword", "value", "told"),
    [
        ("Manufacturer", "GE MEDICAL SYSTEMS", "GE"),
        ("Manufacturer", "Philips Healthcare", "PHILIPS"),
        ("Manufacturer", "Zyxquist Imaging", None),
        ("ImageType", ["ORIGINAL", "PRIMARY", "ZYXQUIST", "M"], ["ORIGINAL", "PRIMARY", "OTHER1", "M"]),
        ("ScanningSequence", ["SE", "ZYXQUIST", "IR"], ["SE", "IR"]),
        ("ScanOptions", "ZYXQUIST", None),
        ("MRAcquisitionType", "3D", "3D"),
        ("SeriesDescription", "T1 +C AX Décès Zyxquist", "t1 +c ax"),
        ("SequenceName", "*tse2d1_15", "tse2d"),
    ],
)
def test_codes_and_words_are_of_the_closed_lists(keyword: str, value: object, told: object) -> None:
    again = sent(mr_dataset(SpecificCharacterSet="ISO_IR 100", **{keyword: value}))
    found = again.get(keyword)
    assert (list(found) if isinstance(told, list) else found) == told


def test_a_file_without_an_instance_uid_still_gets_one_of_its_own() -> None:
    dataset = mr_dataset()
    content = file_bytes(dataset)
    bare = pydicom.dcmread(BytesIO(content))
    del bare.SOPInstanceUID
    buffer = BytesIO()
    bare.save_as(buffer)
    again = pydicom.dcmread(BytesIO(deidentify([read_dicom_file(buffer.getvalue(), "", "File 1 of 1")]).contents[0]))
    assert "SOPInstanceUID" not in again
    assert again.file_meta.MediaStorageSOPInstanceUID.startswith("2.25.")
