"""Scanners' own files: the same voxels at the same physical points as independent readers find, or refused for a
stated reason.

Readers: highdicom and GDCM (by SimpleITK) in this process, dcm2niix as a program. What they cannot judge is said where
it is left out.
"""

from __future__ import annotations

import os
import subprocess
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from glioserve_client import DicomStudy
from glioserve_client.deidentify import deidentify
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.files.folder import study_files
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from glioserve_dicom.volumes.geometry import apply

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DICOM = DATA / "dicom"
SIEMENS = DICOM / "siemens_t1_2d_sag" / "3_t1_fl2d_sag"
PHILIPS = DICOM / "philips_t1" / "501_T1W_FFE_Sno_CS4"
PHILIPS_ENHANCED = DICOM / "philips_t1" / "201_T1W_TSE_Sno_CSno_CSAIno"
EMRI = sorted((DICOM / "pydicom_emri").glob("*.dcm"))
FOLDERS = {"Siemens 2D FLASH, sagittal": SIEMENS, "Philips FFE": PHILIPS, "Philips TSE, enhanced": PHILIPS_ENHANCED}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the optional data in ../shared/data")


def stacks_in(folder):
    return stacks_of(read(study_files(folder), accept_identified=True))


def volume_of(folder):
    (found,) = stacks_in(folder)
    return assemble(found, Modality.T1)


def images(folder):
    """The folder's images without Philips' raw data, in the order of their names."""
    paths = (p for p in sorted(folder.iterdir()) if not p.name.endswith("_Raw.dcm"))
    return [p for p in paths if p.suffix == ".dcm"]


def assert_same(volume, voxels, lps_from_voxel, *, rtol=1e-6, atol_mm=2e-3):
    """``voxels`` [x, y, z] of another reader are ours, each at the place where we have it."""
    index = np.indices(voxels.shape).reshape(3, -1).T.astype(np.float64)
    found = apply(volume.geometry.voxel_from_lps, apply(lps_from_voxel, index))
    nearest = np.rint(found)
    off_mm = np.abs((found - nearest) * volume.geometry.spacing_mm).max()
    assert off_mm < atol_mm
    assert sorted(volume.geometry.size_voxels) == sorted(voxels.shape)
    x, y, z = nearest.astype(int).T
    np.testing.assert_allclose(volume.voxels[z, y, x], voxels.ravel(), rtol=rtol, atol=1e-3)
    assert voxels.max() > voxels.min()


@pytest.mark.parametrize("name", FOLDERS)
def test_highdicom_reads_the_same(name):
    highdicom = pytest.importorskip("highdicom")
    datasets = [pydicom.dcmread(p) for p in images(FOLDERS[name])]
    if len(datasets) == 1:
        theirs = highdicom.Image.from_dataset(datasets[0]).get_volume(apply_real_world_transform=False)
    else:
        theirs = highdicom.get_volume_from_series(datasets, apply_real_world_transform=False)
    # theirs is [slice, row, column] with an affine to LPS in that order
    affine = theirs.affine @ np.eye(4)[:, [2, 1, 0, 3]]
    assert_same(volume_of(FOLDERS[name]), np.asarray(theirs.array).transpose(2, 1, 0), affine)


@pytest.mark.parametrize("name", FOLDERS)
def test_gdcm_reads_the_same(name):
    paths = [str(p) for p in images(FOLDERS[name])]
    if len(paths) > 1:
        paths = list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(FOLDERS[name])))
        image = sitk.ReadImage(paths)
    else:
        image = sitk.ReadImage(paths[0])
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    assert_same(volume_of(FOLDERS[name]), sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine, rtol=1e-5)


@pytest.mark.parametrize("name", FOLDERS)
def test_dcm2niix_reads_the_same(name, tmp_path):
    """Voxels are equal, and up to Philips' unit where dcm2niix applies the private "precise" scale."""
    pytest.importorskip("dcm2niix")
    from dcm2niix import bin as program

    command = [program, "-z", "n", "-m", "n", "-b", "n", "-f", "out", "-o", str(tmp_path), str(FOLDERS[name])]
    subprocess.run(command, check=True, capture_output=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    (written,) = tmp_path.glob("*.nii")
    image = nibabel.load(written)
    lps_from_voxel = np.diag([-1.0, -1, 1, 1]) @ image.affine
    voxels = np.asarray(image.dataobj, dtype=np.float64)
    volume = volume_of(FOLDERS[name])
    if "Philips" in name:
        voxels = voxels * (float(volume.voxels.max()) / voxels.max())
    assert_same(volume, voxels, lps_from_voxel, rtol=1e-4)


@pytest.mark.parametrize("name", FOLDERS)
def test_what_the_client_sends_reads_the_same(name):
    ours = volume_of(FOLDERS[name])
    sent = [f for f in DicomStudy.from_directory(FOLDERS[name]).files if not f.reason_not_sent]
    (found,) = stacks_of(read(deidentify(sent).contents, accept_identified=False))
    theirs = assemble(found, Modality.T1)
    assert np.array_equal(ours.voxels, theirs.voxels)
    assert np.array_equal(ours.geometry.lps_from_voxel, theirs.geometry.lps_from_voxel)


def test_philips_raw_data_is_left_aside_and_named():
    instances = read(study_files(PHILIPS_ENHANCED), accept_identified=True)
    assert instances.warnings == ("Left aside: 1 Raw Data Storage.",)


@pytest.mark.parametrize("path", EMRI, ids=lambda p: p.stem)
def test_enhanced_files_without_functional_groups_are_refused(path):
    """Nothing in them says where a frame lies, nor how far apart two are; highdicom refuses them too."""
    (found,) = stacks_of(read([path.read_bytes()], accept_identified=True))
    with pytest.raises(GlioserveError) as caught:
        assemble(found, Modality.T1)
    assert caught.value.code is ErrorCode.UNSUPPORTED_OBJECT


@pytest.mark.parametrize("path", EMRI, ids=lambda p: p.stem)
def test_their_pixels_read_as_gdcms_in_every_syntax_once_frames_are_placed(path):
    dataset = pydicom.dcmread(path)
    place(dataset)
    stream = BytesIO()
    dataset.save_as(stream)
    (found,) = stacks_of(read([stream.getvalue()], accept_identified=True))
    volume = assemble(found, Modality.T1)
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert volume.voxels.shape == (10, 64, 64)
    assert np.array_equal(volume.voxels, theirs.reshape(10, 64, 64))


def place(dataset):
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, orientation.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence, dataset.SeriesInstanceUID = [shared], generate_uid()
    frames = []
    for number in range(10):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 1.2 * number]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames


def test_a_patients_dicom_is_the_patients_nifti():
    """Four sequences and a localiser in one flat folder, against the volumes that they were made of."""
    nifti = DATA / "tcga-fg-6692" / "nifti"
    found = stacks_in(DATA / "tcga-fg-6692" / "dicom")
    assert sorted(s.slices for s in found) == [1, 1, 1, 26, 26, 26, 26]  # the localiser: one image in each plane
    volumes = [assemble(s, Modality.T1) for s in found if s.slices > 1]
    for name in ("t1", "t1c", "t2", "fla"):
        image = nibabel.load(nifti / f"{name}.nii.gz")
        lps_from_voxel = np.diag([-1.0, -1, 1, 1]) @ image.affine
        voxels = np.asarray(image.dataobj, dtype=np.float64)
        (same,) = (v for v in volumes if abs(v.voxels.mean() - voxels.mean()) < 1)
        assert_same(same, voxels, lps_from_voxel, rtol=1e-4)
