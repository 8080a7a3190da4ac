"""Nothing that identifies the patient is in the bytes that leave, and everything that the pipeline needs is."""

import logging
import re
from io import BytesIO

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_dict, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from glioserve_client import errors
from glioserve_client.deidentify import DEIDENTIFICATION_METHOD, deidentify
from glioserve_client.dicomfile import read_dicom_file
from glioserve_dicom import negation
from glioserve_dicom.forms import has_form
from glioserve_dicom.identity import IDENTIFYING_ATTRIBUTES, KEPT_ATTRIBUTES, Treatment
from glioserve_dicom.words import DESCRIPTION_WORDS, kept_words
from support.studies.dicom_files import PATIENT, dicom_file, file_bytes, mr_dataset, sent

NAME = "Zyxquist"
MARKS = {negation.WITH_AGENT, negation.WITHOUT_AGENT, "fatonly", "t1map", "subtraction"}
TURNED = (
    negation.AGENT_WORDS | negation.BEFORE_WORDS | negation.AFTER_WORDS | negation.WITH_WORDS | negation.NO_WORDS
) | (negation.TECHNIQUE_WORDS | {"iv", "w", "f", "op", "in", "c", "images"})
TEXT_OF_VR = {
    **dict.fromkeys("AE LO LT PN SH ST UC UR UT".split(), NAME),
    "CS": NAME.upper(),
    "DA": "19410203",
    "DT": "19410203111213.141516",
    "TM": "111213.141516",
    "AS": "083Y",
    "UI": "1.2.840.9999977777.1313371337",
    "DS": "1313371337.75",
    "IS": "1313371337",
}
SECRETS = (
    b"zyxquist",
    b"19410203",
    b"111213",
    b"083Y",
    b"9999977777",  # long: fresh UIDs are of random digits
    b"1313371337",
    b"20240229",
    b"MRN-7788991",
    b"wilhelmina",
    b"pydicom",
)


def overfull(dataset: Dataset, depth: int = 2) -> None:
    """Every attribute of the DICOM dictionary that is not kept, with something telling in it; sequences too."""
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if keyword in KEPT_ATTRIBUTES or keyword in dataset or keyword == "SpecificCharacterSet":
            continue
        if tag >> 16 in (0x0000, 0x0002, 0xFFFA, 0xFFFC, 0xFFFE):
            continue
        if vr in TEXT_OF_VR:
            dataset.add_new(tag, vr, TEXT_OF_VR[vr])
        elif vr == "SQ" and depth:
            item = Dataset()
            for name in ("PatientName", "PatientID", "StudyDate", "OperatorsName", "ContrastBolusAgent"):
                item.add_new(name, dictionary_VR(name), TEXT_OF_VR[dictionary_VR(name)])
            if depth > 1 and keyword == "RequestAttributesSequence":
                overfull(item, depth - 1)
            dataset.add_new(tag, vr, [item])
    block = dataset.private_block(0x0029, f"{NAME} HEADER", create=True)
    block.add_new(0x01, "LO", NAME)
    block.add_new(0x02, "OB", NAME.encode() * 50)


def test_the_allow_list_keeps_nothing_that_the_server_refuses() -> None:
    assert not set(KEPT_ATTRIBUTES) & set(IDENTIFYING_ATTRIBUTES)


def test_every_name_of_both_lists_is_a_dicom_keyword() -> None:
    assert not [name for name in (*KEPT_ATTRIBUTES, *IDENTIFYING_ATTRIBUTES) if name not in keyword_dict]


def test_every_kept_attribute_has_a_rule_for_its_form() -> None:
    """An attribute added to the allow-list is silently left out until its row says what it may hold."""
    examples = {
        "Modality": b"MR",
        "PatientPosition": b"HFS",
        "PhotometricInterpretation": b"MONOCHROME2 ",
        "InversionRecovery": b"YES",
        "ContrastBolusAgentAdministered": b"NO",
        "EchoPlanarPulseSequence": b"NO",
        "PhaseContrast": b"NO",
        "TimeOfFlightContrast": b"YES",
        "StackID": b"1 ",
        "SOPClassUID": b"1.2.840.10008.5.1.4.1.1.4\0",
        "ImageOrientationPatient": b"1\\0\\0\\0\\1\\0",
    }
    plain = {
        "DS": b"1",
        "IS": b"1",
        "US": bytes(2),
        "US or SS": bytes(2),
        "UL": bytes(4),
        "FD": bytes(8),
        "FL": bytes(4),
    }
    for keyword, treatment in KEPT_ATTRIBUTES.items():
        vr = dictionary_VR(keyword)
        if treatment is Treatment.KEEP and vr != "SQ" and keyword not in ("PixelData", "PatientIdentityRemoved"):
            assert has_form(examples.get(keyword, plain.get(vr, b"")), keyword, vr), keyword


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_no_secret_of_an_overfull_file_is_sent(syntax: str) -> None:
    dataset = mr_dataset(SeriesDescription=f"T1 AX {NAME} post", ProtocolName=f"{NAME}_t1", StudyDate=None)
    overfull(dataset)
    assert all(name in dataset for name in IDENTIFYING_ATTRIBUTES)
    content = file_bytes(dataset, syntax, preamble=(b"II*\0 " + NAME.encode()).ljust(128))
    assert NAME.upper().encode() in content[128:400]  # the file meta names a station
    result = deidentify([read_dicom_file(content, NAME, "File 1 of 1")])
    plain = _inflated(result.contents[0])
    for secret in SECRETS:
        assert secret not in plain.lower(), secret
    assert NAME not in repr(result)
    again = pydicom.dcmread(BytesIO(result.contents[0]))
    assert not [name for name in IDENTIFYING_ATTRIBUTES if name in again]
    assert set(again.dir()) <= {*KEPT_ATTRIBUTES, "DeidentificationMethod"}
    assert again.DeidentificationMethod == DEIDENTIFICATION_METHOD
    assert again.PatientIdentityRemoved == "YES"
    assert again.preamble == bytes(128)
    assert again.file_meta.TransferSyntaxUID == syntax
    assert again.SeriesDescription == "t1 ax post"


def _inflated(content: bytes) -> bytes:
    again = pydicom.dcmread(BytesIO(content))
    if again.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        again.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        buffer = BytesIO()
        again.save_as(buffer)
        return buffer.getvalue()
    return content


SYLLABLES = st.text("bcdfghjklmnprstvwz", min_size=3, max_size=5).filter(
    lambda text: not kept_words(text)
)  # "nkm" is one


@given(words=st.lists(st.one_of(SYLLABLES, st.sampled_from(sorted(DESCRIPTION_WORDS))), min_size=1, max_size=6))
def test_only_the_vocabulary_survives_in_descriptions(words: list[str]) -> None:
    description = " ".join(words)[:64]
    again = sent(mr_dataset(SeriesDescription=description, ProtocolName=description, SequenceName=None))
    known = {w for w in re.findall(r"[a-z0-9]+", description) if w in DESCRIPTION_WORDS}
    for keyword in ("SeriesDescription", "ProtocolName"):
        kept = set(str(again.get(keyword, "")).split())
        assert kept <= known | MARKS
        assert kept >= known - TURNED  # a negation that is not about an agent is left out with what it negates


@given(person=st.text(min_size=1, max_size=20), number=st.text("0123456789-ABC", min_size=4, max_size=12))
def test_no_patients_name_or_number_is_sent_whatever_they_are(person: str, number: str) -> None:
    name = person.replace("\\", "").replace("=", "").strip() or "x"
    content = file_bytes(
        mr_dataset(PatientName=f"{NAME}^{name}", PatientID=f"{NAME}{number}", SpecificCharacterSet="ISO_IR 192")
    )
    result = deidentify([read_dicom_file(content, "", "File 1 of 1")]).contents[0]
    assert NAME.encode() not in result
    assert f"{NAME}{number}".encode() not in result


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_kept_values_and_pixels_arrive_unchanged(syntax: str) -> None:
    dataset = mr_dataset(PixelPaddingValue=0, RescaleSlope="1.5", NumberOfFrames="1", EchoNumbers="1")
    before = pydicom.dcmread(BytesIO(file_bytes(dataset, syntax)))
    after = sent(dataset, transfer_syntax=syntax)
    kept = [k for k, treatment in KEPT_ATTRIBUTES.items() if treatment is Treatment.KEEP and k in before]
    assert len(kept) > 20
    for keyword in kept:
        if keyword != "PatientIdentityRemoved":
            assert after[keyword].value == before[keyword].value, keyword
            assert after[keyword].VR == before[keyword].VR, keyword


def test_enhanced_images_keep_their_functional_groups_and_nothing_else_in_them() -> None:
    dataset = mr_dataset(np.zeros((2, 4, 4), np.uint16), SOPClassUID=EnhancedMRImageStorage, NumberOfFrames="2")
    shared, measures, timing = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [0.5, 0.5]
    measures.SliceThickness = "2"
    timing.RepetitionTime = "500"
    shared.PixelMeasuresSequence = [measures]
    shared.MRTimingAndRelatedParametersSequence = [timing]
    shared.PatientName = f"{NAME}^Nested"
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for number in range(2):
        frame, content, position = Dataset(), Dataset(), Dataset()
        content.FrameAcquisitionDateTime = "19410203111213"
        content.FrameComments = NAME
        content.StackID = "1" if number else NAME
        content.InStackPositionNumber = number + 1
        position.ImagePositionPatient = [0, 0, number]
        frame.FrameContentSequence = [content]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        content_sent = deidentify([dicom_file(dataset, transfer_syntax=syntax)]).contents[0]
        assert not [secret for secret in SECRETS if secret in content_sent.lower()]
        again = pydicom.dcmread(BytesIO(content_sent))
        assert again.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.5]
        assert again.SharedFunctionalGroupsSequence[0].MRTimingAndRelatedParametersSequence[0].RepetitionTime == 500
        positions = [f.PlanePositionSequence[0].ImagePositionPatient[2] for f in again.PerFrameFunctionalGroupsSequence]
        assert positions == [0, 1]
        second = again.PerFrameFunctionalGroupsSequence[1].FrameContentSequence[0]
        assert set(second.dir()) == {"StackID", "InStackPositionNumber"}
        assert again.PerFrameFunctionalGroupsSequence[0].FrameContentSequence[0].StackID == "OTHER1"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("SeriesNumber", b"12345678"), ("RepetitionTime", b"12345678"), ("PatientPosition", b"HFSHFSHF")],
)
def test_a_name_in_a_numbers_or_codes_place_is_left_out(keyword: str, value: bytes) -> None:
    content = file_bytes(mr_dataset(**{keyword: value.decode()}))
    spoilt = content.replace(value, NAME.encode())
    assert spoilt != content
    result = deidentify([read_dicom_file(spoilt, "", "File 1 of 1")]).contents[0]
    assert NAME.encode() not in result
    assert keyword not in pydicom.dcmread(BytesIO(result))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("FlipAngle", "1941-02-03"),
        ("SliceThickness", "4711 0800 555"),
        ("RepetitionTime", "9" * 400),
        ("EffectiveEchoTime", b"ZYXQUIST"),
        ("InversionTimes", b"ZYXQUIST" * 20),
        ("DiffusionBValue", b"MRN-7788"),
        ("DimensionIndexValues", b"ZYXQUIST" * 20),
        ("InStackPositionNumber", b"ZYXQ"),
    ],
)
def test_a_text_of_digits_or_bytes_is_no_number(keyword: str, value: str | bytes) -> None:
    vr = dictionary_VR(keyword)
    raw = value.encode().ljust(len(value) + len(value) % 2) if isinstance(value, str) else value
    dataset = mr_dataset()
    dataset[keyword] = RawDataElement(Tag(keyword), vr, len(raw), raw, 0, False, True)
    content = file_bytes(dataset)
    assert raw in content
    assert raw.strip() not in deidentify([read_dicom_file(content, "", "File 1 of 1")]).contents[0]


def test_a_value_representation_lost_on_the_way_is_restored() -> None:
    content = file_bytes(mr_dataset(EchoTime="12.125"))
    tag = tag_for_keyword("EchoTime").to_bytes(4, "big")
    element = tag[1::-1] + tag[3:1:-1] + b"DS\x06\x0012.125"
    unknown = tag[1::-1] + tag[3:1:-1] + b"UN\x00\x00\x06\x00\x00\x0012.125"
    assert element in content
    again = pydicom.dcmread(
        BytesIO(deidentify([read_dicom_file(content.replace(element, unknown), "", "File 1")]).contents[0])
    )
    assert (again["EchoTime"].VR, again.EchoTime) == ("DS", 12.125)


def test_nothing_is_warned_or_logged_of_a_files_values(caplog: pytest.LogCaptureFixture) -> None:
    """Warnings are errors in this suite; what remains is pydicom's log."""
    content = file_bytes(mr_dataset(RepetitionTime="12345678", AcquisitionDate="20240229"))
    spoilt = content.replace(b"12345678", NAME.encode()).replace(b"1.2.840.99999.1", b"1.2.8ZYXQUIST.1")
    with caplog.at_level(logging.DEBUG):
        deidentify([read_dicom_file(spoilt, "", "File 1 of 1")])
    assert NAME.lower() not in caplog.text.lower()


def test_another_threads_pydicom_may_still_log(caplog: pytest.LogCaptureFixture) -> None:
    deidentify([dicom_file(mr_dataset())])
    logging.getLogger("pydicom").warning("mine")
    assert "mine" in caplog.text


def test_pixels_that_are_not_what_their_syntax_says_are_a_typed_error() -> None:
    dataset = mr_dataset()
    dataset.PixelData = encapsulate([b"a codestream...."])
    dataset["PixelData"].is_undefined_length = True
    content = file_bytes(dataset, JPEG2000Lossless)
    start = content.index(b"\xe0\x7f\x10\x00")
    spoilt = content[:start] + content[start:].replace(b"\xfe\xff\x00\xe0", b"\xfe\xff\x00\xe1", 1)
    with pytest.raises(errors.TruncatedFileError):
        deidentify([read_dicom_file(spoilt, "", "File 1 of 1")])


def test_the_patient_used_here_is_really_in_the_files() -> None:
    content = file_bytes(mr_dataset())
    assert all(value.encode() in content for value in PATIENT.values())


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"ContrastBolusAgent": "MAGNEVIST"}, "YES"),
        ({"ContrastBolusAgent": "ohne"}, "NO"),
        ({"ContrastBolusAgent": ""}, None),
        ({"ContrastBolusVolume": "7.5", "ContrastBolusTotalDose": "7.5"}, "YES"),
    ],
)
def test_of_the_agent_only_yes_or_no_is_sent(attributes: dict[str, str], expected: str | None) -> None:
    again = sent(mr_dataset(**attributes))
    assert again.get("ContrastBolusAgent") == expected
    assert "ContrastBolusVolume" not in again


def test_the_start_of_an_enhanced_image_is_sent_as_a_relative_time() -> None:
    datasets = [
        mr_dataset(
            AcquisitionTime=None, SeriesTime=None, AcquisitionDateTime=f"2024022923{minute}00.5", SOPInstanceUID=u
        )
        for minute, u in (("10", "1.2.3.1"), ("42", "1.2.3.2"))
    ]
    result = deidentify([dicom_file(d) for d in datasets])
    times = [pydicom.dcmread(BytesIO(c)).AcquisitionTime for c in result.contents]
    assert times == ["000000.000000", "003200.000000"]
    assert all("AcquisitionDateTime" not in pydicom.dcmread(BytesIO(c)) for c in result.contents)


def test_chinese_terms_are_sent_as_their_english_words() -> None:
    again = sent(mr_dataset(SpecificCharacterSet="GB18030", SeriesDescription="王小明 矢状位T1增强"))
    assert again.SeriesDescription == "sag t1 enhanced"
