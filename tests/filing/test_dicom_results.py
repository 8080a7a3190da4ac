"""The DICOM results of an answer: filed in the study's place, true to the heat map, and read by other programs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from glioserve_client import DicomStudy, Modality, Prediction, Volume, VolumeStudy, write_outputs
from glioserve_client.filing import HOT_THRESHOLD, DicomResults, make_results
from glioserve_client.filing.codes import Concept
from glioserve_client.filing.fhir import write_fhir
from glioserve_contract import NOT_FOR_CLINICAL_USE, ErrorCode, GlioserveError
from support.debian import program, with_libraries
from support.results.filed import IDENTITY, LEFT_LPS_MM, REFERENCE, SPACING_MM, asked, head_files
from support.studies.dicom_files import series_files
from support.studies.encodings import enhanced
from support.studies.scans import part10


@dataclass(frozen=True)
class Filed:
    """An answer, the study that it belongs to, and its results as files."""

    prediction: Prediction
    study: DicomStudy
    results: DicomResults
    folder: Path

    def read(self, name: str) -> Dataset:
        return pydicom.dcmread(self.folder / name)


@pytest.fixture(scope="module", params=["axial", "oblique sagittal"])
def filed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Filed:
    study, prediction = asked(*head_files(request.param))
    results = make_results(prediction, study)
    folder = tmp_path_factory.mktemp("filed")
    results.write(folder)
    return Filed(prediction, study, results, folder)


def place_of(frame: Dataset, shared: Dataset, row: float, column: float) -> npt.NDArray[np.float64]:
    """The point of a frame's pixel by PS3.3 C.7.6.2.1.1, from functional groups alone."""
    position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_mm, column_mm = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    return position + orientation[:3] * column_mm * column + orientation[3:] * row_mm * row


def test_left_is_left_in_the_parametric_map(filed: Filed) -> None:
    dataset = filed.read("heatmap.dcm")
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frame, row, column = np.unravel_index(int(dataset.pixel_array.argmax()), dataset.pixel_array.shape)
    peak = place_of(dataset.PerFrameFunctionalGroupsSequence[frame], shared, row, column)
    expected = filed.prediction.report.heatmap.peak_lps_mm  # type: ignore[union-attr]
    np.testing.assert_allclose(peak, expected, atol=1e-2)
    assert peak[0] > 20  # L is positive, and the place is left


def test_left_is_left_in_the_segmentation(filed: Filed) -> None:
    dataset = filed.read("hot_region.dcm")
    shared, mask = dataset.SharedFunctionalGroupsSequence[0], np.atleast_3d(dataset.pixel_array)
    mask = mask.reshape(-1, dataset.Rows, dataset.Columns)
    groups = dataset.PerFrameFunctionalGroupsSequence
    points = [place_of(groups[f], shared, r, c) for f, r, c in np.argwhere(mask)]
    np.testing.assert_allclose(np.mean(points, axis=0), LEFT_LPS_MM, atol=5.0)
    assert len(points) == int((filed.prediction.heatmap.voxels >= HOT_THRESHOLD).sum())  # type: ignore[union-attr]


def test_slices_of_the_map_are_those_of_the_series_in_order(filed: Filed) -> None:
    dataset = filed.read("heatmap.dcm")
    positions = [g.PlanePositionSequence[0].ImagePositionPatient for g in dataset.PerFrameFunctionalGroupsSequence]
    sent = {tuple(np.round(np.array(f.instance.dataset.ImagePositionPatient, float), 3)) for f in filed.study.files}
    assert {tuple(np.round(np.array(p, float), 3)) for p in positions} == sent
    steps = np.diff(np.array(positions, float), axis=0)
    assert (steps @ steps[0] > 0).all()


def test_values_of_the_map_are_those_of_the_answer(filed: Filed) -> None:
    stored = np.sort(filed.read("heatmap.dcm").pixel_array.ravel())
    np.testing.assert_array_equal(stored, np.sort(filed.prediction.heatmap.voxels.ravel()))  # type: ignore[union-attr]


def test_results_are_of_the_patient_and_the_study_and_refer_to_the_images(filed: Filed) -> None:
    source = filed.study.files[0].instance.dataset
    images = {f.instance.dataset.SOPInstanceUID for f in filed.study.files}
    for name, result in filed.results.by_name.items():
        dataset = filed.read(name)
        for keyword in (*IDENTITY, "StudyInstanceUID"):
            assert str(dataset[keyword].value) == str(source[keyword].value), (name, keyword)
        assert dataset.SeriesInstanceUID not in {REFERENCE, source.SeriesInstanceUID}
        assert result.SOPInstanceUID not in images
    uids = [d.SOPInstanceUID for d in filed.results.by_name.values()]
    assert len(set(uids)) == len(uids) == 4
    named = str(filed.results.parametric_map) + str(filed.results.segmentation)
    assert all(uid in named for uid in images)


def items_of(container: Dataset) -> list[Dataset]:
    """All content items below, in order."""
    found: list[Dataset] = []
    for item in container.get("ContentSequence", ()):
        found += [item, *items_of(item)]
    return found


def values(report: Dataset, concept: Concept) -> list[object]:
    found = []
    for item in items_of(report):
        name = item.get("ConceptNameCodeSequence")
        if name and (name[0].CodeValue, name[0].CodingSchemeDesignator) == (concept.code, concept.scheme):
            if item.ValueType == "NUM":
                found.append(float(item.MeasuredValueSequence[0].NumericValue))
            elif item.ValueType == "CODE":
                found.append(item.ConceptCodeSequence[0].CodeValue)
            else:
                found.append(item.TextValue)
    return found


def test_the_report_says_what_the_answer_says(filed: Filed) -> None:
    report = filed.read("report.dcm")
    assert values(report, Concept.P_RECURRENCE) == [pytest.approx(0.87, abs=1e-6)]
    assert values(report, Concept.P_NECROSIS) == [pytest.approx(0.13, abs=1e-6)]
    assert values(report, Concept.THRESHOLD) == [0.5]
    assert Concept.RECURRENCE.code in values(report, Concept.FINDING)
    assert values(report, Concept.QUALITY) == [Concept.QUALITY_OK.code]
    assert NOT_FOR_CLINICAL_USE in values(report, Concept.COMMENT)
    texts = [item.TextValue for item in items_of(report) if item.ValueType == "TEXT"]
    assert any(filed.prediction.model.digest in text for text in texts)
    hot_voxels = int((filed.prediction.heatmap.voxels >= HOT_THRESHOLD).sum())  # type: ignore[union-attr]
    assert values(report, Concept.VOLUME) == [pytest.approx(hot_voxels * np.prod(SPACING_MM), rel=1e-3)]


def test_each_result_states_what_hot_means(filed: Filed) -> None:
    for name, keyword in (("heatmap.dcm", "ContentDescription"), ("overlay.dcm", "ImageComments")):
        assert "Grad-CAM" in filed.read(name)[keyword].value
    assert "not a probability" in filed.read("hot_region.dcm").SegmentSequence[0].SegmentDescription
    assert any("not a probability" in str(text) for text in values(filed.read("report.dcm"), Concept.COMMENT))


def test_the_same_answer_has_the_same_uids_and_another_has_others() -> None:
    files, shape, affine = head_files()
    study, prediction = asked(files, shape, affine)
    again, repeated = asked(list(reversed(files)), shape, affine)
    _, changed = asked(files, shape, affine, score=0.31)
    uids = [
        {name: (d.SeriesInstanceUID, d.SOPInstanceUID) for name, d in make_results(p, s).by_name.items()}
        for p, s in ((prediction, study), (repeated, again), (replace(changed, request_id="other"), study))
    ]
    assert uids[0] == uids[1]
    assert not set(uids[0].values()) & set(uids[2].values())


def test_an_abstention_is_filed_with_its_reasons_and_supersedes_the_earlier_report() -> None:
    files, shape, affine = head_files()
    study, first = asked(files, shape, affine)
    _, second = asked(files, shape, affine, abstained_because=("similarity_t1 is 0.1 nat",))
    earlier = make_results(first, study).report
    later = make_results(second, study, supersedes=[earlier]).report
    assert Concept.NO_LABEL.code in values(later, Concept.FINDING)
    assert values(later, Concept.QUALITY) == [Concept.QUALITY_REVIEW.code]
    assert "similarity_t1 is 0.1 nat" in values(later, Concept.COMMENT)
    predecessors = later.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert [p.ReferencedSOPInstanceUID for p in predecessors] == [earlier.SOPInstanceUID]


def test_the_frames_of_an_enhanced_object_are_referred_to_one_by_one() -> None:
    files, shape, affine = head_files()
    classic = [pydicom.dcmread(pydicom.filebase.DicomBytesIO(content)) for content in files]
    study, prediction = asked([part10(enhanced(classic))], shape, affine)
    results = make_results(prediction, study)
    uid = study.files[0].instance.dataset.SOPInstanceUID
    peak = next(i for i in items_of(results.report) if i.ValueType == "IMAGE")
    reference = peak.ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == uid
    frame = int(reference.ReferencedFrameNumber)
    position = classic[frame - 1].ImagePositionPatient
    assert float(position[2]) == pytest.approx(prediction.report.heatmap.peak_lps_mm[2], abs=0.01)  # type: ignore[union-attr, index]
    assert results.parametric_map.NumberOfFrames == shape[0]


def test_an_empty_heat_map_has_no_segmentation() -> None:
    files, shape, affine = head_files()
    study, prediction = asked(files, shape, affine)
    empty = np.zeros_like(prediction.heatmap.voxels)  # type: ignore[union-attr]
    results = make_results(replace(prediction, heatmap=replace(prediction.heatmap, voxels=empty)), study)  # type: ignore[type-var]
    assert results.segmentation is None
    assert set(results.by_name) == {"report.dcm", "heatmap.dcm", "overlay.dcm"}
    assert values(results.report, Concept.VOLUME) == []


def test_files_that_lack_what_every_result_has_are_filed_with_it_empty() -> None:
    files, shape, affine = head_files()
    stripped = []
    for content in files:
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
        for keyword in "PatientSex PatientBirthDate StudyTime StudyID AccessionNumber ReferringPhysicianName".split():
            if keyword in dataset:
                del dataset[keyword]
        buffer = pydicom.filebase.DicomBytesIO()
        dataset.save_as(buffer)
        stripped.append(buffer.getvalue())
    study, prediction = asked(stripped, shape, affine)
    report = make_results(prediction, study).report
    assert report.PatientSex in (None, "")
    assert report.AccessionNumber in (None, "")


def refusal(prediction: Prediction, study: object) -> str:
    with pytest.raises(GlioserveError) as refused:
        make_results(prediction, study)  # type: ignore[arg-type]
    assert refused.value.code is ErrorCode.NOT_FILED
    assert IDENTITY["PatientID"] not in str(refused.value)
    return refused.value.detail


def test_what_cannot_be_filed_is_refused_with_the_reason() -> None:
    files, shape, affine = head_files()
    study, prediction = asked(files, shape, affine)
    volumes = VolumeStudy({Modality.T1CE: Volume(np.ones(shape, np.float32), affine)})
    assert "no images" in refusal(prediction, volumes)
    assert "heatmap=True" in refusal(replace(prediction, heatmap=None), study)
    other = DicomStudy.from_bytes(series_files(np.zeros(shape), affine, SeriesInstanceUID="1.2.840.99999.1.2"))
    assert "does not name a series of this study" in refusal(prediction, other)
    nowhere, answer = asked(*head_files(FrameOfReferenceUID=""))
    assert "FrameOfReferenceUID" in refusal(answer, nowhere)


def test_a_study_without_a_series_that_was_used_is_not_the_one_that_was_sent() -> None:
    files, shape, affine = head_files()
    t2 = "1.2.840.99999.1.14"
    others = series_files(np.zeros(shape), affine, SeriesInstanceUID=t2, **IDENTITY)
    study, prediction = asked([*files, *others], shape, affine)
    pseudonym = next(sent for sent, original in prediction.original_series_uids.items() if original == t2)
    first, *rest = prediction.report.preprocess.series
    used = (first, replace(first, modality=Modality.T2, series_instance_uid=pseudonym), *rest)
    preprocess = replace(prediction.report.preprocess, series=used)
    answer = replace(prediction, report=replace(prediction.report, preprocess=preprocess))
    assert len(make_results(answer, study).by_name) == 4
    assert "no image of the t2 series" in refusal(answer, DicomStudy.from_bytes(files))


@pytest.mark.parametrize("study", [None, "study", VolumeStudy, Path("study")])
def test_what_is_no_study_has_no_results(study: object) -> None:
    _, prediction = asked(*head_files())
    with pytest.raises(TypeError, match="a study is needed, not"):
        make_results(prediction, study)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the answer of predict comes first"):
        make_results(prediction.report, study)  # type: ignore[arg-type]


def test_results_are_not_written_to_the_folder_that_the_process_happens_to_be_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study, prediction = asked(*head_files())
    for write in (
        lambda: make_results(prediction, study).write(""),
        lambda: write_outputs(prediction, "", study),
        lambda: write_fhir({}, ""),
    ):
        with pytest.raises(ValueError, match="the folder's name is empty"):
            write()
    assert list(tmp_path.iterdir()) == []


def test_without_highdicom_the_message_names_the_extra() -> None:
    script = (
        "import sys; sys.modules['highdicom'] = None\n"
        "from glioserve_contract import GlioserveError\n"
        "try:\n    import glioserve_client.filing\n"
        "except GlioserveError as e:\n    print(e.code.token, e.detail)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.startswith("GLIO-5110")
    assert "[dicom]" in run.stdout


@pytest.mark.parametrize("name", ["report.dcm", "heatmap.dcm", "hot_region.dcm", "overlay.dcm"])
def test_an_independent_validator_finds_no_error(filed: Filed, name: str) -> None:
    validator = program("dicom3tools", "dciodvfy")
    run = subprocess.run([validator, filed.folder / name], capture_output=True, text=True, timeout=60, check=False)
    lines = (run.stdout + run.stderr).splitlines()
    assert [line for line in lines if line.startswith("Error")] == []
    assert len(lines) > 0


def test_dcmtk_reads_the_report(filed: Filed) -> None:
    dsrdump, environment = with_libraries("get_dsrdump")
    command = [dsrdump, "+Pl", filed.folder / "report.dcm"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    assert "Comprehensive 3D SR Document" in run.stdout
    assert NOT_FOR_CLINICAL_USE[:60] in run.stdout
    assert codes.DCM.Device.meaning in run.stdout
