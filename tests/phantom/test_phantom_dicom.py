"""The phantom's DICOM study: valid files, told apart by their headers, with the geometry that they were made with."""

from __future__ import annotations

import csv
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset

from glioserve_cli.main import main
from glioserve_cli.training.phantom import add_arguments, run
from glioserve_contract import Modality
from glioserve_dicom.identity import IDENTIFYING_ATTRIBUTES, PATIENT_PSEUDONYM
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import dicom_files, write_study
from glioserve_phantom.headers import VENDORS
from glioserve_phantom.truth import write_truth
from glioserve_preprocess.series.selection import choose_series
from support.studies.phantoms import small_phantom

Study = list[FileDataset]


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return dicom_files(small_phantom(2))


@pytest.fixture(scope="module")
def study(files: list[bytes]) -> Study:
    return [pydicom.dcmread(BytesIO(f)) for f in files]


def by_series(study: Study) -> dict[str, Study]:
    series: dict[str, Study] = {}
    for ds in study:
        series.setdefault(ds.SeriesInstanceUID, []).append(ds)
    return series


def test_files_are_part_10_with_one_patient_and_study(study: Study) -> None:
    assert len({ds.SOPInstanceUID for ds in study}) == len(study)
    assert len({ds.StudyInstanceUID for ds in study}) == len({ds.PatientID for ds in study}) == 1
    for ds in study:
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert ds.SOPClassUID.name == "MR Image Storage"
        assert ds.pixel_array.shape == (ds.Rows, ds.Columns)
        assert "T" not in str(ds.get("SeriesTime"))
    assert len(by_series(study)) == 6


def test_the_type_1_and_2_attributes_of_the_mr_object_are_there(study: Study) -> None:
    needed = (
        "PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyDate StudyTime "
        "ReferringPhysicianName StudyID AccessionNumber Modality SeriesInstanceUID SeriesNumber FrameOfReferenceUID "
        "PositionReferenceIndicator Manufacturer InstanceNumber PixelSpacing ImageOrientationPatient "
        "ImagePositionPatient SliceThickness SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated "
        "BitsStored HighBit PixelRepresentation PixelData ImageType ScanningSequence SequenceVariant ScanOptions "
        "MRAcquisitionType RepetitionTime EchoTime SOPClassUID SOPInstanceUID"
    ).split()
    for ds in study[::20]:
        assert [k for k in needed if k not in ds] == []


def test_the_identity_is_fictitious_and_there_to_be_removed(study: Study) -> None:
    ds = study[0]
    assert "Fictitious" in str(ds.PatientName)
    assert ds.PatientIdentityRemoved == "NO"
    assert sum(bool(ds.get(k)) for k in IDENTIFYING_ATTRIBUTES) >= 8


def test_deidentified_files_are_taken_by_a_strict_server() -> None:
    files = dicom_files(small_phantom(2), identified=False, distractors=False)
    instances = read(files, accept_identified=False)
    assert PATIENT_PSEUDONYM.fullmatch(instances.datasets[0].PatientID)
    assert len(instances.datasets) == len(files)


@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.long) for seed in (20, 21))])
def test_headers_tell_the_sequences_apart(seed: int) -> None:
    phantom = small_phantom(seed)
    chosen = choose_series(read(dicom_files(phantom), accept_identified=True), tuple(Modality), 32).chosen
    for modality in Modality:
        slices = phantom.acquisitions[modality].geometry.size_voxels[2]
        assert chosen[modality].slices == slices
        assert chosen[modality].score(modality) >= 0.9


def test_the_seeds_cover_all_vendors() -> None:
    seen = {VENDORS[make_phantom(s, spacing_mm=4.0).subject.seed % len(VENDORS)] for s in range(12)}
    assert seen == set(VENDORS)


@pytest.mark.parametrize("seed", [2, pytest.param(20, marks=pytest.mark.long)])
def test_what_is_read_back_is_what_was_scanned(seed: int) -> None:
    phantom = small_phantom(seed)
    chosen = choose_series(read(dicom_files(phantom), accept_identified=True), tuple(Modality), 32).chosen
    for modality in Modality:
        volume = assemble(chosen[modality].stack, modality)
        scanned = phantom.volume(modality)
        # The reader may take the stack from the other end, so compare places, not indices.
        corner = scanned.geometry.lps_from_voxel @ np.array([5, 9, 7, 1.0])
        x, y, z = np.rint((volume.geometry.voxel_from_lps @ corner)[:3]).astype(int)
        np.testing.assert_allclose(volume.geometry.lps_from_voxel @ [x, y, z, 1], corner, atol=1e-2)
        assert volume.voxels.shape == scanned.voxels.shape
        assert volume.voxels[z, y, x] == pytest.approx(scanned.voxels[7, 9, 5], abs=0.51)
        np.testing.assert_allclose(np.sort(volume.voxels.ravel()), np.sort(np.rint(scanned.voxels).ravel()), atol=0.01)


def test_the_contrast_agent_is_told_of_the_contrast_scan_alone(study: Study) -> None:
    told = {ds.SeriesDescription for ds in study if ds.get("ContrastBolusAgent")}
    types = {tuple(ds.ImageType)[:2] for ds in study if ds.get("ContrastBolusAgent")}
    assert types == {("ORIGINAL", "PRIMARY"), ("DERIVED", "SECONDARY")}
    assert len(told) == 2


def test_study_on_disk(tmp_path: Path, files: list[bytes]) -> None:
    assert write_study(small_phantom(2), tmp_path / "study") == len(files)
    written = sorted((tmp_path / "study").iterdir())
    assert [f.read_bytes() for f in written] == files
    numbers = [pydicom.dcmread(f, stop_before_pixels=True).InstanceNumber for f in written[:30]]
    assert numbers != sorted(numbers)


def test_truth_on_disk(tmp_path: Path) -> None:
    phantom = small_phantom(2)
    write_truth(phantom, tmp_path / "truth.json")
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert truth["diagnosis"] == phantom.diagnosis
    lesion = sitk.ReadImage(str(tmp_path / "truth_lesion.nii.gz"))
    where = np.argwhere(sitk.GetArrayFromImage(lesion))[:, ::-1].mean(axis=0)
    centre = lesion.TransformContinuousIndexToPhysicalPoint(where.tolist())
    assert np.linalg.norm(np.array(centre) - truth["lesion_centre_lps_mm"]["t1ce"]) < 5
    matrix = np.array(truth["moving_lps_from_t1ce_lps"]["t2"])
    moved = matrix @ [*truth["lesion_centre_lps_mm"]["t1ce"], 1]
    np.testing.assert_allclose(moved[:3], truth["lesion_centre_lps_mm"]["t2"], atol=1e-9)


@pytest.mark.slow
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    out, truth = tmp_path / "study", tmp_path / "t" / "truth.json"
    args = parser.parse_args([str(out), "--seed", "9", "--label", "necrosis", "--truth", str(truth)])
    assert run(args) == 0
    assert "necrosis" in capsys.readouterr().out
    assert json.loads(truth.read_text())["diagnosis"] == "necrosis"
    assert len(list(out.iterdir())) > 4 * 32


@pytest.mark.slow
def test_a_cohort_is_studies_and_a_table_of_labels(tmp_path: Path) -> None:
    assert main(["phantom", str(tmp_path / "cohort"), "--seed", "4", "--cohort", "2"]) == 0
    with (tmp_path / "cohort" / "cohort.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["study"] for row in rows] == ["phantom-4", "phantom-5"]
    for seed, row in zip((4, 5), rows, strict=True):
        assert row["label"] == make_phantom(seed).diagnosis
        assert len(list((tmp_path / "cohort" / row["study"]).rglob("*.dcm"))) > 90
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cohort").rglob("*.dcm")}
    assert main(["phantom", str(tmp_path / "cohort"), "--seed", "4", "--cohort", "2"]) == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cohort").rglob("*.dcm")} == before
