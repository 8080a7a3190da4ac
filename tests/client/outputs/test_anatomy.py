"""The reference series is found by its pseudonym and put on the heat map's grid, or said to be missing."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRBigEndian, JPEG2000Lossless, RLELossless

from glioserve_client import DicomStudy, ErrorCode, Modality, Prediction, Volume, VolumeStudy
from glioserve_client.outputs.anatomy import NoAnatomy, reference_anatomy
from glioserve_client.request import encode
from glioserve_contract.install import install_advice
from glioserve_contract.records.preprocess import SeriesRecord
from support.results.answers import blob, outputs_of, report_of
from support.studies.dicom_files import file_bytes, mr_dataset, series_files
from support.studies.heads import ORIENTATIONS, head_grid, head_volume

SPACING_MM = (9.0, 8.0, 14.0)
REFERENCE, OTHER = "1.2.840.99999.1.13", "1.2.840.99999.1.2"


def volume_of(orientation: str = "axial") -> tuple[np.ndarray, np.ndarray]:
    shape, affine = head_grid(ORIENTATIONS[orientation], SPACING_MM)
    return np.rint(head_volume(shape, affine) / 2) * 2, affine


def answer_to(study: DicomStudy | VolumeStudy, shape: tuple[int, ...], affine: np.ndarray) -> Prediction:
    """The answer that a server gives on this grid, knowing only the pseudonyms that it was sent."""
    uids = encode(study).original_series_uids
    pseudonym = next((sent for sent, original in uids.items() if original == REFERENCE), "")
    heat = blob(shape, affine, (0, 0, 0), 20.0)
    report = report_of(heat, affine, series_uids={Modality.T1CE: pseudonym})
    return Prediction.from_outputs(outputs_of(report, heat), heatmap=True, request_id="r", original_series_uids=uids)


def files_of(voxels: np.ndarray, affine: np.ndarray, **options: object) -> list[bytes]:
    return series_files(voxels, affine, SeriesInstanceUID=REFERENCE, **options)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_dicom_in_any_order_beside_other_series_is_put_on_the_grid(orientation: str) -> None:
    voxels, affine = volume_of(orientation)
    files = files_of(voxels, affine, slope=2.0, intercept=-4.0)
    files += series_files(np.zeros_like(voxels), affine, SeriesInstanceUID=OTHER)
    shuffled = [files[i] for i in np.random.default_rng(5).permutation(len(files))]
    study = DicomStudy.from_bytes(shuffled)
    anatomy = reference_anatomy(study, answer_to(study, voxels.shape, affine))
    assert anatomy.problem is None
    np.testing.assert_allclose(anatomy.voxels, voxels, atol=1e-3)


def test_a_grid_whose_slices_run_the_other_way_is_met() -> None:
    voxels, affine = volume_of()
    study = DicomStudy.from_bytes(files_of(voxels, affine))
    flipped = affine.copy()
    flipped[:3, 3] += flipped[:3, 2] * (len(voxels) - 1)
    flipped[:3, 2] *= -1
    anatomy = reference_anatomy(study, answer_to(study, voxels.shape, flipped))
    np.testing.assert_allclose(anatomy.voxels, voxels[::-1], atol=1e-3)


def test_a_volume_study_shows_its_own_reference() -> None:
    voxels, affine = volume_of("oblique sagittal")
    study = VolumeStudy({Modality.T1CE: Volume(voxels, affine), Modality.T1: Volume(voxels * 0, affine)})
    anatomy = reference_anatomy(study, answer_to(study, voxels.shape, affine))
    np.testing.assert_array_equal(anatomy.voxels, voxels.astype(np.float32))


def test_nan_outside_the_field_of_view_is_shown_as_the_darkest_voxel() -> None:
    voxels, affine = volume_of()
    outside = voxels.astype(np.float32) + 7
    outside[-3:] = np.nan
    study = VolumeStudy({Modality.T1CE: Volume(outside, affine)})
    anatomy = reference_anatomy(study, answer_to(study, voxels.shape, affine))
    np.testing.assert_array_equal(anatomy.voxels[:-3], outside[:-3])
    assert (anatomy.voxels[-3:] == outside[:-3].min()).all()


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, RLELossless])
def test_syntaxes_of_the_base_installation_are_decoded(syntax: str) -> None:
    voxels, affine = volume_of()
    if syntax == RLELossless:
        files = []
        for content in files_of(voxels, affine):
            dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
            dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
            files.append(file_bytes(dataset, RLELossless))
    else:
        files = files_of(voxels, affine, transfer_syntax=syntax)
    study = DicomStudy.from_bytes(files)
    anatomy = reference_anatomy(study, answer_to(study, voxels.shape, affine))
    np.testing.assert_allclose(anatomy.voxels, voxels, atol=1e-3)


def test_a_file_that_is_there_twice_is_one_slice() -> None:
    voxels, affine = volume_of()
    files = files_of(voxels, affine)
    study = DicomStudy.from_bytes([*files, files[3]])
    np.testing.assert_allclose(reference_anatomy(study, answer_to(study, voxels.shape, affine)).voxels, voxels)


def test_inverted_grey_is_turned_back() -> None:
    voxels, affine = volume_of()
    study = DicomStudy.from_bytes(files_of(voxels, affine, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(reference_anatomy(study, answer_to(study, voxels.shape, affine)).voxels, 65535 - voxels)


def test_an_enhanced_image_is_read_frame_by_frame() -> None:
    voxels, affine = volume_of("coronal")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / spacing
    shared, orientation, measures, dataset_frames = Dataset(), Dataset(), Dataset(), []
    orientation.ImageOrientationPatient = [*directions[:, 0], *directions[:, 1]]
    measures.PixelSpacing = [spacing[1], spacing[0]]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    for number in range(len(voxels)):
        frame, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [f"{v:.6f}" for v in (affine @ (0, 0, number, 1))[:3]]
        values.RescaleSlope, values.RescaleIntercept = str(number + 1), "0"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [values]
        dataset_frames.append(frame)
    dataset = mr_dataset(
        voxels.astype(np.uint16),
        SOPClassUID=EnhancedMRImageStorage,
        NumberOfFrames=str(len(voxels)),
        SeriesInstanceUID=REFERENCE,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
    )
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], dataset_frames
    study = DicomStudy.from_bytes([file_bytes(dataset)])
    anatomy = reference_anatomy(study, answer_to(study, voxels.shape, affine))
    np.testing.assert_allclose(anatomy.voxels, voxels * np.arange(1, len(voxels) + 1)[:, None, None])


def problem_of(
    study: DicomStudy | VolumeStudy, shape: tuple[int, ...], affine: np.ndarray
) -> tuple[NoAnatomy, ErrorCode | None, str]:
    anatomy = reference_anatomy(study, answer_to(study, shape, affine))
    assert anatomy.voxels is None
    assert anatomy.problem is not None
    return anatomy.problem.reason, anatomy.problem.code, str(anatomy.problem)


def test_what_cannot_be_shown_is_said_and_never_raised() -> None:
    voxels, affine = volume_of()
    files = files_of(voxels, affine)
    whole = DicomStudy.from_bytes(files)
    unreadable = NoAnatomy.UNREADABLE
    for study, code, words in (
        (DicomStudy.from_bytes(files[:4] + files[5:]), ErrorCode.MISSING_SLICE, "1 missing"),
        (DicomStudy.from_bytes(files[:1]), ErrorCode.TOO_FEW_SLICES, "slice"),
    ):
        reason, found, sentence = problem_of(study, voxels.shape, affine)
        assert (reason, found) == (unreadable, code)
        assert words in sentence
    shifted = affine.copy()
    shifted[0, 3] += 4
    assert problem_of(whole, voxels.shape, shifted)[:2] == (NoAnatomy.ELSEWHERE, None)
    other = DicomStudy.from_bytes(series_files(voxels, affine, SeriesInstanceUID=OTHER))
    assert problem_of(other, voxels.shape, affine)[:2] == (NoAnatomy.NOT_SENT, None)
    unlocated = [*files[:-1], file_bytes(mr_dataset(SeriesInstanceUID=REFERENCE, ImagePositionPatient=None))]
    found = problem_of(DicomStudy.from_bytes(unlocated), voxels.shape, affine)
    assert found[:2] == (unreadable, ErrorCode.MISSING_ATTRIBUTE)
    compressed = []
    for content in files:
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
        dataset.PixelData = pydicom.encaps.encapsulate([b"no codestream at all"])
        dataset["PixelData"].is_undefined_length = True
        compressed.append(file_bytes(dataset, JPEG2000Lossless))
    reason, code, sentence = problem_of(DicomStudy.from_bytes(compressed), voxels.shape, affine)
    assert (reason, code) == (unreadable, ErrorCode.UNDECODABLE_PIXELS)
    assert install_advice("dicom") in sentence
    volumes = VolumeStudy({Modality.T1: Volume(voxels, affine)})
    assert problem_of(volumes, voxels.shape, affine)[0] is NoAnatomy.NOT_SENT


def with_series(answer: Prediction, series: tuple[SeriesRecord, ...]) -> Prediction:
    preprocess = replace(answer.report.preprocess, series=series)
    return replace(answer, report=replace(answer.report, preprocess=preprocess))


def test_of_two_echoes_the_one_that_the_report_names_is_shown() -> None:
    voxels, affine = volume_of()
    first = files_of(voxels, affine, EchoTime="10", EchoNumbers="1")
    second = files_of(voxels[::-1], affine, EchoTime="90", EchoNumbers="2")
    study = DicomStudy.from_bytes([*first, *second])
    answer = answer_to(study, voxels.shape, affine)
    for part, shown in (("echo 1", voxels), ("echo 2", voxels[::-1])):
        series = tuple(replace(s, part=part) for s in answer.report.preprocess.series)
        anatomy = reference_anatomy(study, with_series(answer, series))
        np.testing.assert_allclose(anatomy.voxels, shown, atol=1e-3)
    assert problem_of(study, voxels.shape, affine)[0] is NoAnatomy.AMBIGUOUS


def test_a_volume_that_came_in_two_series_is_made_whole() -> None:
    voxels, affine = volume_of()
    files = files_of(voxels, affine)
    other = series_files(voxels, affine, SeriesInstanceUID=OTHER)
    half = len(files) // 2
    study = DicomStudy.from_bytes([*files[:half], *other[half:]])
    answer = answer_to(study, voxels.shape, affine)
    series = tuple(replace(s, part="joined with 1 other series") for s in answer.report.preprocess.series)
    anatomy = reference_anatomy(study, with_series(answer, series))
    np.testing.assert_allclose(anatomy.voxels, voxels, atol=1e-3)


def test_no_study_is_no_anatomy_and_no_heat_map_is_no_hindrance() -> None:
    voxels, affine = volume_of()
    study = DicomStudy.from_bytes(files_of(voxels, affine))
    prediction = answer_to(study, voxels.shape, affine)
    assert reference_anatomy(None, prediction).voxels is None
    np.testing.assert_array_equal(reference_anatomy(study, replace(prediction, heatmap=None)).voxels, voxels)
