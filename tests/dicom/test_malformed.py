"""Headers that lie: each attribute that reading needs, with values that its definition does not allow."""

import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from support.studies.encodings import encoded, enhanced
from support.studies.pitfalls import files, scan

INVALID, MISSING, CUT = ErrorCode.INVALID_ATTRIBUTE, ErrorCode.MISSING_ATTRIBUTE, ErrorCode.TRUNCATED_FILE
COLOUR, PIXELS = ErrorCode.COLOUR_IMAGE, ErrorCode.UNSUPPORTED_PIXELS

# keyword, VR as written, value, code
CASES = [
    *(("PixelSpacing", "LO", v, INVALID) for v in (["a", "1"], "1", ["1", "2", "3"], ["0", "0"], ["-1", "1"])),
    *(("PixelSpacing", "LO", v, INVALID) for v in (["nan", "1"], ["1e400", "1"], ["1_0", "1"], ["1", ""])),
    ("PixelSpacing", "LO", "", MISSING),
    ("PixelSpacing", "SQ", [Dataset()], INVALID),
    *(("ImagePositionPatient", "LO", v, INVALID) for v in (["nan", "0", "0"], ["1", "2"], ["1e9", "0", "0"])),
    *(("ImagePositionPatient", "LO", v, INVALID) for v in (["inf", "0", "0"], "L", ["1", "2", "3", "4"])),
    *(("ImageOrientationPatient", "LO", v, INVALID) for v in (["0"] * 6, ["1", "0", "0"] * 2, ["1"] * 5)),
    *(("ImageOrientationPatient", "LO", v, INVALID) for v in (["nan"] * 6, ["2", "0", "0", "0", "2", "0"])),
    ("ImageOrientationPatient", "LO", ["1e300"] * 6, INVALID),
    ("ImageOrientationPatient", "LO", ["1", "0", "0", "0.0015", "1", "0"], INVALID),
    ("Rows", "LO", "ten", INVALID),
    ("Rows", "US", 0, INVALID),
    ("Rows", "US", [36, 36], INVALID),
    ("Rows", "US", 65535, CUT),
    ("Columns", "US", 65535, CUT),
    ("Columns", "OB", b"\x28\0\0", INVALID),
    ("SamplesPerPixel", "US", 3, CUT),
    ("PhotometricInterpretation", "CS", "GREY", INVALID),
    *(("PhotometricInterpretation", "CS", v, COLOUR) for v in ("ARGB", "CMYK", "YBR_FULL_422", "PALETTE COLOR")),
    ("PhotometricInterpretation", "CS", "", MISSING),
    *(("BitsAllocated", "US", v, PIXELS) for v in (0, 1, 12)),
    *(("BitsStored", "US", v, PIXELS) for v in (0, 17)),
    ("PixelRepresentation", "US", 7, INVALID),
    *(("RescaleSlope", "LO", v, INVALID) for v in ("0", "nan", "steep", "1e300", ["1", "2"])),
    *(("RescaleIntercept", "LO", v, INVALID) for v in ("inf", "low", "1e300")),
    *(("NumberOfFrames", "LO", v, INVALID) for v in ("0", "-1", "x", "1.5")),
    *(("NumberOfFrames", "IS", v, CUT) for v in ("2", "999999999")),
    *(("EchoTime", "LO", v, INVALID) for v in ("short", "nan")),
]


def assemble_all(sent):
    for found in stacks_of(read(sent, accept_identified=True)):
        assemble(found, Modality.T1)


def refused(sent, code):
    with pytest.raises(GlioserveError) as caught:
        assemble_all(sent)
    assert caught.value.code is code
    return str(caught.value)


@pytest.mark.parametrize(("keyword", "vr", "value", "code"), CASES, ids=lambda v: str(v)[:24])
def test_a_malformed_attribute_is_refused_by_name(keyword, vr, value, code):
    datasets = scan()
    if keyword in ("RescaleSlope", "RescaleIntercept"):
        for dataset in datasets:
            dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    datasets[4][keyword] = DataElement(tag_for_keyword(keyword), vr, value, validation_mode=pydicom.config.IGNORE)
    with pydicom.config.disable_value_validation():
        message = refused(files(datasets), code)
    if code is INVALID and vr != "SQ":
        assert keyword in message
    assert "nan" not in message  # a value may be the patient's


@pytest.mark.parametrize(
    ("group", "keyword", "value"),
    [
        ("PlanePositionSequence", "ImagePositionPatient", ["nan", "0", "0"]),
        ("PlanePositionSequence", "ImagePositionPatient", ["1", "2"]),
        ("PixelValueTransformationSequence", "RescaleSlope", "0"),
        ("PixelValueTransformationSequence", "RescaleSlope", "x"),
        ("MREchoSequence", "EffectiveEchoTime", "x"),
    ],
)
def test_a_malformed_functional_group_is_refused_by_name(group, keyword, value):
    dataset = enhanced(scan())
    item = dataset.PerFrameFunctionalGroupsSequence[4][group].value[0]
    item[keyword] = DataElement(tag_for_keyword(keyword), "LO", value, validation_mode=pydicom.config.IGNORE)
    assert keyword in refused(files([dataset]), INVALID)


GROUPS = ["PlanePositionSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]


@pytest.mark.parametrize("group", GROUPS)
def test_a_functional_group_that_is_no_sequence(group):
    dataset = enhanced(scan())
    holder = dataset if group in dataset else dataset.PerFrameFunctionalGroupsSequence[4]
    holder[group] = DataElement(tag_for_keyword(group), "OB", b"\xfe\xff\x00\xe0\xff\xff\xff\x7fjunk")
    assert group in refused(files([dataset]), INVALID)


def test_absurd_rows_of_a_compressed_image_cost_no_memory():
    datasets = scan()
    made = [encoded(d, pydicom.uid.RLELossless) for d in datasets]
    for index, content in enumerate(made):
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
        dataset.Rows = dataset.Columns = 16000
        made[index] = encoded_again(dataset)
    assert "voxels" in refused(made, ErrorCode.STUDY_TOO_LARGE)


def encoded_again(dataset):
    stream = pydicom.filebase.DicomBytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def test_a_malformed_series_beside_a_good_one_does_no_harm():
    bad = scan()
    for dataset in bad:
        dataset.PixelSpacing = [0, 0]
    found = stacks_of(read(files([*scan(), *bad]), accept_identified=True))
    assert sorted(s.problem is None for s in found) == [False, True]
