"""A caller who de-identifies by ``docs/deidentification.json`` alone is answered."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from glioserve_client import errors
from glioserve_dicom.read import read
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import dicom_files

LISTS: Mapping[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "deidentification.json").read_text()
)
UIDS: dict[str, str] = {}


def treated(keyword: str, value: Any, row: Mapping[str, Any]) -> Any:
    """Return what a stranger makes of a value; None where the attribute is left out."""
    values = [str(one) for one in (value if isinstance(value, pydicom.multival.MultiValue) else [value])]
    match row["treatment"]:
        case "keep":
            return value
        case "pseudonym":
            return "PSN-0123456789abcdef" if keyword == "PatientID" else UIDS.setdefault(str(value), generate_uid())
        case "relative_time":
            return "000000"
        case "agent":
            return "YES"
        case "words":
            return " ".join(word for word in re.findall(r"[a-z0-9]+", str(value).lower()) if word in LISTS["words"])
        case "codes":
            codes = re.findall(r"\w+", str(value).upper()) if keyword == "Manufacturer" else values
            known = [
                one if one in row["codes"] else "OTHER1" for one in codes if one in row["codes"] or "others" in row
            ]
            return (" " if keyword == "Manufacturer" else "\\").join(known)
        case "numbered":
            return "1"
    raise AssertionError(row["treatment"])


def built_anew(content: bytes) -> bytes:
    source, made = pydicom.dcmread(BytesIO(content)), Dataset()
    for keyword, row in LISTS["sent"].items():
        if keyword in source and row["vr"] != "SQ":
            setattr(made, keyword, treated(keyword, source[keyword].value, row))
    made.PatientIdentityRemoved, made.PatientID = "YES", "PSN-0123456789abcdef"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    buffer = BytesIO()
    FileDataset(None, made, file_meta=meta, preamble=bytes(128)).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@cache
def identified_files() -> tuple[bytes, ...]:
    return tuple(dicom_files(make_phantom(3, "recurrence", spacing_mm=4.0), identified=True))


def test_a_study_that_is_built_anew_by_the_lists_is_taken() -> None:
    identified = identified_files()
    with pytest.raises(errors.IdentifiedDicomError):
        read(identified, accept_identified=False)
    made = [built_anew(content) for content in identified]
    assert len(read(made, accept_identified=False).instances) == len(identified)


@cache
def small_file() -> bytes:
    """One of the files, its image cut to a few pixels."""
    dataset = pydicom.dcmread(BytesIO(built_anew(identified_files()[0])))
    dataset.Rows = dataset.Columns = 4
    dataset.PixelData = bytes(32)
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def one_with(**attributes: object) -> bytes:
    dataset = pydicom.dcmread(BytesIO(small_file()))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:The value length")  # a maker's file has it all the same
def test_every_word_and_code_of_the_lists_is_taken() -> None:
    words = LISTS["words"]
    files = [one_with(ProtocolName=" ".join(words[start : start + 3])) for start in range(0, len(words), 3)]
    for keyword, row in LISTS["sent"].items():
        files += [one_with(**{keyword: code}) for code in row.get("codes", ())]
    files += [one_with(PatientOrientation=code) for code in LISTS["other_codes"]]
    read(files, accept_identified=False)


def test_every_attribute_that_is_said_to_be_refused_is() -> None:
    values = {"DA": "20240229", "TM": "101112", "DT": "20240229101112", "AS": "083Y", "DS": "70", "CS": "F"}
    for keyword, tag in LISTS["refused"].items():
        vr = pydicom.datadict.dictionary_VR(tag := int(tag, 16))
        value: object = [Dataset()] if vr == "SQ" else values.get(vr, "Zyxquist")
        if vr == "SQ":
            value[0].CodeValue = "1"  # type: ignore[index]
        with pytest.raises(errors.IdentifiedDicomError, match=keyword):
            read([one_with(**{keyword: value})], accept_identified=False)
    assert re.fullmatch(LISTS["patient_id"], "PSN-0123456789abcdef")
