"""Bytes to instances: each kind of bad file has its code, and no message carries a value of the patient's."""

import sys

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.identity import IDENTIFYING_ATTRIBUTES
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from support.encodings import encoded, zipped
from support.scans import STUDY_UID, T1_HEADER, oblique, part10, series


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
    """A value of the attribute that would identify somebody."""
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


def test_nothing_of_a_files_values_is_warned_or_logged(datasets, caplog):
    """Warnings are errors in this suite; what remains is pydicom's log."""
    files = [part10(d).replace(STUDY_UID.encode(), (STUDY_UID[:-5] + "x.y.z").encode()) for d in datasets]
    files = [f.replace(b"CS\x04\x00SE  ", b"CS\x04\x00se\xff ") for f in files]
    with caplog.at_level("DEBUG"):
        stacks_of(read(files, accept_identified=False))
    assert caplog.text == ""


@pytest.mark.parametrize("threads", [1, 8])
def test_threads_change_nothing(threads, monkeypatch):
    module = sys.modules[assemble.__module__]
    monkeypatch.setattr(module, "THREADS", threads)
    stored = np.random.default_rng(3).integers(0, 4000, (12, 32, 40)).astype(np.uint16)
    made = series(stored, oblique((40, 32, 12), (1.0, 1.0, 4.0)), **T1_HEADER)
    (found,) = stacks_of(read([encoded(d, JPEG2000Lossless) for d in made], accept_identified=False))
    assert np.array_equal(assemble(found, Modality.T1).voxels, stored)
