"""Bytes to instances: each kind of bad file has its code, and no message carries a value of the patient's."""

import struct
import sys
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, generate_uid

from glioserve_client.deidentify import deidentify
from glioserve_client.dicomfile import read_dicom_file
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.identity import IDENTIFYING_ATTRIBUTES
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from support.studies.encodings import LOSSLESS, NATIVE, encoded, zipped
from support.studies.scans import STUDY_UID, T1_HEADER, oblique, part10, series


@pytest.fixture
def datasets():
    stored = np.random.default_rng(0).integers(0, 4000, (3, 6, 5))
    return series(stored, oblique((5, 6, 3), (1.0, 1.0, 4.0)), **T1_HEADER)


def refused(files, code, *, accept_identified=False):
    with pytest.raises(GlioserveError) as caught:
        read(files, accept_identified=accept_identified)
    assert caught.value.code is code
    return str(caught.value)


def test_a_good_study_is_read(datasets):
    instances = read([part10(d) for d in datasets], accept_identified=False)
    assert [d.InstanceNumber for d in instances.datasets] == [1, 2, 3]
    assert instances.warnings == ()


def test_no_files():
    refused([], ErrorCode.EMPTY_STUDY)


@pytest.mark.parametrize("content", [b"", b"\0" * 77, b"\0" * 200, b"\0" * 128 + b"DIC"])
def test_what_an_interrupted_copy_leaves(datasets, content):
    message = refused([part10(datasets[0]), content], ErrorCode.TRUNCATED_FILE)
    assert "File 2 of 2" in message


@pytest.mark.parametrize("content", [b"hello", b"%PDF-1.4" + b"x" * 500])
def test_not_dicom(datasets, content):
    message = refused([part10(datasets[0]), content], ErrorCode.NOT_DICOM)
    assert "File 2 of 2" in message


@pytest.mark.parametrize("cut", [1, 40, 61])
def test_a_truncated_file(datasets, cut):
    refused([part10(datasets[0])[:-cut], part10(datasets[1])], ErrorCode.TRUNCATED_FILE)


def test_a_file_without_pixels(datasets):
    del datasets[1].PixelData
    refused([part10(d) for d in datasets], ErrorCode.TRUNCATED_FILE)


def test_two_patients(datasets):
    datasets[2].PatientID = "PSN-00000000"
    refused([part10(d) for d in datasets], ErrorCode.MULTIPLE_PATIENTS)


def test_two_studies(datasets):
    datasets[2].StudyInstanceUID = generate_uid()
    refused([part10(d) for d in datasets], ErrorCode.MULTIPLE_STUDIES)


def test_ct_is_no_mr(datasets):
    for dataset in datasets:
        dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
    assert "3 CT Image Storage" in refused([part10(d) for d in datasets], ErrorCode.NOT_MR)


def test_other_objects_are_left_aside_and_named(datasets):
    datasets[0].SOPClassUID = CTImageStorage
    instances = read([part10(d) for d in datasets], accept_identified=False)
    assert len(instances.datasets) == 2
    assert instances.warnings == ("Left aside: 1 CT Image Storage.",)


def filled(keyword):
    """A value of the attribute that would identify a person."""
    vr = pydicom.datadict.dictionary_VR(keyword)
    if vr == "SQ":
        item = Dataset()
        item.PatientID = "SECRET1"
        return [item]
    return {"DA": "19600101", "TM": "101010", "AS": "060Y", "DS": "71.5", "DT": "20000101101010"}.get(vr, "SECRET1")


@pytest.mark.parametrize("keyword", IDENTIFYING_ATTRIBUTES)
def test_an_identifying_attribute_is_refused_by_name_and_never_by_value(datasets, keyword):
    setattr(datasets[1], keyword, filled(keyword))
    message = refused([part10(d) for d in datasets], ErrorCode.IDENTIFIED_DICOM)
    assert keyword in message
    assert "SECRET1" not in message
    read([part10(d) for d in datasets], accept_identified=True)


def test_identity_hides_at_no_depth(datasets):
    inner, outer = Dataset(), Dataset()
    inner.PatientName = "SECRET1"
    outer.ReferencedImageSequence = [inner]
    datasets[0].ReferencedStudySequence = [outer]
    assert "PatientName" in refused([part10(d) for d in datasets], ErrorCode.IDENTIFIED_DICOM)


@pytest.mark.parametrize("patient_id", ["", "4711", "PSN-XYZ", "PSN-0123456789abcdef-4711"])
def test_a_patient_id_must_be_a_pseudonym(datasets, patient_id):
    for dataset in datasets:
        dataset.PatientID = patient_id
    message = refused([part10(d) for d in datasets], ErrorCode.IDENTIFIED_DICOM)
    assert "4711" not in message


def test_identity_is_found_behind_the_pixels_and_in_archives(datasets):
    content = part10(datasets[0])
    element = b"\x10\x00\x10\x00PN\x08\x00SECRET1 "
    assert "PatientName" in refused([content + element, part10(datasets[1])], ErrorCode.IDENTIFIED_DICOM)
    datasets[0].PatientName = "SECRET1"
    assert "PatientName" in refused([zipped([part10(d) for d in datasets])], ErrorCode.IDENTIFIED_DICOM)


def test_identity_is_found_in_private_sequences_and_in_implicit_vr(datasets):
    item = Dataset()
    item.PatientName = "SECRET1"
    datasets[0].private_block(0x2005, "MAKER", create=True).add_new(0x10, "SQ", [item])
    assert "PatientName" in refused([part10(datasets[0])], ErrorCode.IDENTIFIED_DICOM)
    datasets[1].ReferencedImageSequence = [item]
    assert "PatientName" in refused([encoded(datasets[1], ImplicitVRLittleEndian)], ErrorCode.IDENTIFIED_DICOM)


TOLD = {
    "ContentCreatorName": "SECRET1^A",
    "PersonName": "SECRET1",
    "CurrentPatientLocation": "SECRET1",
    "SpecialNeeds": "SECRET1",
    "ScheduledProcedureStepStartDate": "20240229",
    "RouteOfAdmissions": "SECRET1",
    "RetrieveURL": "http://SECRET1",
    "OverlayDescription": "SECRET1",
    "StackID": "SECRET1",
}


@pytest.mark.parametrize("keyword", [k for k in TOLD if pydicom.datadict.tag_for_keyword(k)])
def test_names_dates_and_free_texts_are_refused_wherever_they_stand(datasets, keyword):
    setattr(datasets[1], keyword, TOLD[keyword])
    message = refused([part10(d) for d in datasets], ErrorCode.IDENTIFIED_DICOM)
    assert keyword in message
    assert "SECRET1" not in message
    read([part10(d) for d in datasets], accept_identified=True)


ELEMENTS = {
    "a PN that says it is a code": ("ContentCreatorName", b"\x70\0\x84\0CS\x08\0SECRET1 "),
    "a PN that says it is a number": ("ContentCreatorName", b"\x70\0\x84\0US\x08\0SECRET1 "),
    "a name as a number": ("RepetitionTime (not of its form)", b"\x18\0\x80\0DS\x08\0SECRET1 "),
    "a birth date as a number": ("FlipAngle (not of its form)", b"\x18\0\x14\x13DS\x0a\x001941-02-03"),
    "another number": ("PercentSampling (not a number)", b"\x18\0\x93\0DS\x08\0SECRET1 "),
    "a time": ("AcquisitionTime (not a time)", b"\x08\0\x32\0TM\x08\0SECRET1 "),
    "a UID": ("DimensionOrganizationUID (not a UID)", b"\x20\0\x64\x91UI\x08\0SECRET1 "),
    "the series": ("SeriesInstanceUID (not a UID)", b"\x20\0\x0e\0UI\x08\0SECRET1 "),
    "an image's type": ("ImageType (terms beyond the list)", b"\x08\0\x08\0CS\x10\0ORIGINAL\\SECRET1"),
    "the part of the body": ("BodyPartExamined (terms beyond the list)", b"\x18\0\x15\0CS\x08\0SECRET1 "),
    "another code": ("QualityControlImage (terms beyond DICOM's)", b"\x28\0\0\x03CS\x08\0SECRET1 "),
    "the position": ("PatientPosition (not of its form)", b"\x18\0\0\x51CS\x08\0SECRET1 "),
    "the maker": ("Manufacturer (terms beyond the list)", b"\x08\0\x70\0LO\x10\0SIEMENS SECRET1 "),
    "a coil of a person": ("ReceiveCoilName (not about", b"\x18\0\x50\x12SH\x0a\0SECRET1^A "),
    "a coil's date": ("ReceiveCoilName (not about", b"\x18\0\x50\x12SH\x0e\0COIL 19410203 "),
    "an unknown element that says it is a code": ("unknown attributes", b"\x18\0\xfe\xffCS\x08\0SECRET1 "),
    "a table": ("LUTData", b"\x28\0\x06\x30US\x08\0SECRET1 "),
    "a second one": ("attributes that are there twice", b"\x18\0\x81\0DS\x02\x0010"),
    "a few bytes": ("bytes behind the data set", b"SECRET1"),
    "a curve": ("CurveData", b"\0\x50\0\x30OW\0\0\x08\0\0\0SECRET1 "),
    "an overlay of an odd group": ("private attributes", b"\x01\x60\0\x30OW\0\0\x08\0\0\0SECRET1 "),
    "offsets": ("ExtendedOffsetTable", b"\xe0\x7f\x01\0OV\0\0\x08\0\0\0SECRET1 "),
}


@pytest.mark.parametrize("what", ELEMENTS)
def test_no_other_element_carries_a_name_past_the_server(datasets, what):
    finding, element = ELEMENTS[what]
    files = [part10(d) for d in datasets]
    message = refused([files[0], files[1] + element], ErrorCode.IDENTIFIED_DICOM)
    assert finding in message
    assert "SECRET1" not in message
    assert "194" not in message
    read([files[0], files[1] + element], accept_identified=True)


def test_a_pseudonym_is_asked_for_at_every_depth(datasets):
    item, group = Dataset(), Dataset()
    item.PatientID = "SECRET1"
    datasets[0].ReferencedImageSequence = [item]
    assert "PatientID" in refused([part10(d) for d in datasets], ErrorCode.IDENTIFIED_DICOM)
    group.EffectiveEchoTime, item.PatientID = 1.0, "PSN-0123456789"
    group["EffectiveEchoTime"]._value = struct.unpack("<d", b"SECRET1 ")[0]
    datasets[0].ReferencedImageSequence = [group]
    assert "EffectiveEchoTime" in refused([part10(d) for d in datasets], ErrorCode.IDENTIFIED_DICOM)


def test_a_strangers_own_deidentification_passes(datasets):
    """The server takes what PS3.15 Annex E leaves of a scanner's header, beside what the Python client sends."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "12738006", "SCT", "Brain"
    for dataset, maker in zip(datasets, ("Philips Medical Systems", "GE MEDICAL SYSTEMS", "TOSHIBA_MEC"), strict=True):
        dataset.Manufacturer, dataset.ManufacturerModelName = maker, "Signa HDxt"
        dataset.SoftwareVersions = ["5.7.1", "N4_VE11C_LATEST_20160120"]
        dataset.AnatomicRegionSequence = [code]
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M_SE", "OTHER1", "2"]
        dataset.SpecificCharacterSet, dataset.LossyImageCompression, dataset.Laterality = "ISO_IR 100", "00", "L"
        dataset.LongitudinalTemporalInformationModified, dataset.BurnedInAnnotation = "REMOVED", "NO"
        dataset.InPlanePhaseEncodingDirection, dataset.PresentationLUTShape = "ROW", "IDENTITY"
        dataset.PatientOrientation, dataset.SpecificAbsorptionRateDefinition = ["L", "PH"], "IEC_WHOLE_BODY"
        dataset.SynchronizationTrigger, dataset.OperatingModeType = "NO TRIGGER", "STATIC FIELD"
        dataset.WindowCenter, dataset.ImagingFrequency, dataset.PixelBandwidth = "400.5", "127.74", "1.2e2"
        dataset.add_new(0x00280000, "UL", 212)
    read([part10(d) for d in datasets], accept_identified=False)


@pytest.mark.parametrize("keyword", ["SeriesDescription", "ProtocolName", "ContrastBolusAgent"])
@pytest.mark.parametrize("text", ["T1 AX Secret", "Mr Secret", "4711123", "王小明 T1", "given by Dr. Secret"])
def test_free_text_beyond_the_vocabulary_is_refused(datasets, keyword, text):
    datasets[1].SpecificCharacterSet = "ISO_IR 192"
    setattr(datasets[1], keyword, text)
    message = refused([part10(d) for d in datasets], ErrorCode.IDENTIFIED_DICOM)
    assert keyword in message
    assert "ecret" not in message


@pytest.mark.parametrize(
    "text", ["T1 AX POST GAD", "t1_mprage_sag_p2_iso", "*tse2d1_15", "3-plane Loc", "eT1W_TSE", "DWI_b1000"]
)
def test_words_of_the_vocabulary_are_taken_in_a_strangers_spelling(datasets, text):
    datasets[1].SeriesDescription = datasets[1].ProtocolName = text
    datasets[1].ContrastBolusAgent = "Gadobutrol 7.5 ml"
    datasets[1].DeidentificationMethod, datasets[1].ManufacturerModelName = "CTP", "Skyra"
    read([part10(d) for d in datasets], accept_identified=False)


@pytest.mark.parametrize("stated", [None, "", "NO"])
def test_a_stranger_must_state_that_identity_was_removed(datasets, stated):
    del datasets[1].PatientIdentityRemoved
    if stated is not None:
        datasets[1].PatientIdentityRemoved = stated
    assert "PatientIdentityRemoved" in refused([part10(d) for d in datasets], ErrorCode.IDENTIFIED_DICOM)


def test_private_attributes_overlays_and_burnt_in_text_are_refused(datasets):
    def told(edit):
        copies = [pydicom.dcmread(BytesIO(part10(d))) for d in datasets]
        edit(copies[1])
        return refused([part10(d) for d in copies], ErrorCode.IDENTIFIED_DICOM)

    assert "private" in told(lambda d: d.private_block(0x2005, "MAKER", create=True).add_new(0x10, "DS", "1"))
    assert "BurnedInAnnotation" in told(lambda d: setattr(d, "BurnedInAnnotation", "YES"))
    assert "OverlayData" in told(lambda d: d.add_new(0x60003000, "OW", b"SECRET1 "))
    assert "SpectroscopyData" in told(lambda d: setattr(d, "SpectroscopyData", b"SECRET1 "))

    def icon(dataset):
        item = Dataset()
        item.PixelData = b"SECRET1 "
        item["PixelData"].VR = "OW"
        dataset.IconImageSequence = [item]

    assert "PixelData" in told(icon)


def test_identity_beside_the_data_set_is_refused(datasets):
    content = part10(datasets[1])
    spoilt = b"SECRET1 ".ljust(128, b"\0") + content[128:]
    assert "preamble" in refused([part10(datasets[0]), spoilt], ErrorCode.IDENTIFIED_DICOM)
    again = pydicom.dcmread(BytesIO(content))
    again.file_meta.SourceApplicationEntityTitle = "SECRET1"
    buffer = BytesIO()
    again.save_as(buffer)
    message = refused([part10(datasets[0]), buffer.getvalue()], ErrorCode.IDENTIFIED_DICOM)
    assert "SourceApplicationEntityTitle" in message


def test_nothing_of_a_files_values_is_warned_or_logged(datasets, caplog):
    """Warnings are errors in this suite; what remains is pydicom's log."""
    files = [part10(d).replace(STUDY_UID.encode(), (STUDY_UID[:-5] + "x.y.z").encode()) for d in datasets]
    files = [f.replace(b"CS\x04\x00SE  ", b"CS\x04\x00se\xff ") for f in files]
    with caplog.at_level("DEBUG"):
        assert "x.y.z" not in refused(files, ErrorCode.IDENTIFIED_DICOM)
        stacks_of(read(files, accept_identified=True))
    assert caplog.text == ""


@pytest.mark.parametrize("threads", [1, 8])
def test_threads_change_nothing(threads, monkeypatch):
    module = sys.modules[assemble.__module__]
    monkeypatch.setattr(module, "THREADS", threads)
    stored = np.random.default_rng(3).integers(0, 4000, (12, 32, 40)).astype(np.uint16)
    made = series(stored, oblique((40, 32, 12), (1.0, 1.0, 4.0)), **T1_HEADER)
    (found,) = stacks_of(read([encoded(d, JPEG2000Lossless) for d in made], accept_identified=False))
    assert np.array_equal(assemble(found, Modality.T1).voxels, stored)


@pytest.mark.parametrize("syntax", [*NATIVE.values(), *LOSSLESS.values(), JPEGLosslessSV1], ids=lambda u: u.name)
@pytest.mark.parametrize("signed", [0, 1])
def test_bits_above_bits_stored_are_no_signal_either_way(syntax, signed):
    """Old overlays lie there; the client clears them before it sends, so an offline run must not see them either."""
    drawn = np.random.default_rng(1).integers(0, 2**14, (3, 40, 36))
    files = []
    for dataset in series(drawn, oblique((36, 40, 3), (1.0, 1.0, 4.0)), **T1_HEADER):
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = signed, 16, 15
        file = pydicom.dcmread(BytesIO(encoded(dataset, syntax)))
        file.BitsStored, file.HighBit = 10, 9
        files.append(part10(file))
    low = drawn & 0x3FF
    right = np.where(low >= 512, low - 1024, low) if signed else low
    by_the_client = deidentify([read_dicom_file(content, "", "The file") for content in files]).contents
    for contents in (files, by_the_client):
        instances = read([bytes(c) for c in contents], accept_identified=True)
        np.testing.assert_array_equal(assemble(stacks_of(instances)[0], Modality.T1).voxels, right)
