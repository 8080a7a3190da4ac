"""Reading a study: nothing that may be a slice is left out without a word, and nothing reads for ever."""

import contextlib
import os
import zipfile
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from glioserve_client import DicomStudy, Modality, Volume, VolumeStudy, errors
from glioserve_client.deidentify import deidentify
from glioserve_client.dicomfile import read_dicom_file
from glioserve_client.request import encode
from glioserve_dicom.files import folder as folder_module
from glioserve_dicom.volumes import arrays
from support.studies.dicom_files import file_bytes, mr_dataset
from support.studies.heads import ORIENTATIONS, head_grid

WHOLE = file_bytes(mr_dataset())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "series one").mkdir()
    for number in range(3):
        (tmp_path / "series one" / f"IM{number}").write_bytes(file_bytes(mr_dataset()))
    return tmp_path


def test_a_folder_is_read_to_its_depth_without_hidden_and_foreign_files(folder: Path) -> None:
    for name in (".DS_Store", ".hidden/IM9", "__MACOSX/IM9"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(WHOLE)
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    (folder / "README.txt").write_text("Read me")
    study = DicomStudy.from_directory(folder)
    assert [file.name for file in study.files] == [f"series one{os.sep}IM{n}" for n in range(3)]
    assert {(s.name, s.reason) for s in study.skipped} == {("Thumbs.db", "not DICOM"), ("README.txt", "not DICOM")}


def test_images_that_a_dicomdir_lists_and_that_are_not_there_are_told(tmp_path: Path) -> None:
    """A disc was copied in part: that the last slices of a series are missing would not be noticed."""
    directory, records = Dataset(), []
    for number in range(4):
        (tmp_path / f"IM{number}").write_bytes(file_bytes(mr_dataset(SOPInstanceUID=f"1.2.3.{number}")))
        records.append(record := Dataset())
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", f"IM{number}"
        record.ReferencedSOPClassUIDInFile, record.ReferencedSOPInstanceUIDInFile = MRImageStorage, f"1.2.3.{number}"
    directory.SOPClassUID, directory.SOPInstanceUID = MediaStorageDirectoryStorage, "1.2.4"
    directory.DirectoryRecordSequence = [Dataset(), *records]
    (tmp_path / "DICOMDIR").write_bytes(file_bytes(directory))
    assert DicomStudy.from_directory(tmp_path).skipped == ()
    for number in (2, 3):
        (tmp_path / f"IM{number}").unlink()
    (tmp_path / "IM0").rename(tmp_path / "renamed.dcm")  # the listed place is not what counts
    for study in (
        DicomStudy.from_directory(tmp_path),
        DicomStudy.from_directory(tmp_path / "DICOMDIR"),
        DicomStudy.from_bytes([path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]),
    ):
        assert [file.reason for file in study.skipped] == ["listed by the DICOMDIR and not there"] * 2
        assert "2 file(s) not sent: listed by the DICOMDIR and not there." in encode(study).warnings


@pytest.mark.parametrize("records", [None, [], [Dataset()]])
def test_a_dicomdir_that_lists_nothing_is_left_aside(records: list[Dataset] | None) -> None:
    directory = Dataset()
    directory.SOPClassUID, directory.SOPInstanceUID = MediaStorageDirectoryStorage, "1.2.3"
    if records is not None:
        directory.DirectoryRecordSequence = records
    assert DicomStudy.from_bytes([file_bytes(directory), WHOLE]).skipped == ()


def test_from_files_refuses_what_is_not_dicom(folder: Path) -> None:
    (folder / "README.txt").write_text("Read me")
    with pytest.raises(errors.NotDicomError) as caught:
        DicomStudy.from_files([folder / "series one" / "IM0", folder / "README.txt"])
    assert caught.value.path == folder / "README.txt"
    assert "README" not in str(caught.value)
    assert "File 2 of 2" in str(caught.value)


def test_one_where_a_list_is_needed(folder: Path) -> None:
    path = folder / "series one" / "IM0"
    for one in (str(path), path):
        with pytest.raises(TypeError, match="list of paths"):
            DicomStudy.from_files(one)
    with pytest.raises(TypeError, match=r"from_bytes\(\[content\]\)"):
        DicomStudy.from_bytes(WHOLE)


def test_no_folder_no_files_no_dicom(tmp_path: Path) -> None:
    with pytest.raises(errors.EmptyStudyError, match="no such folder"):
        DicomStudy.from_directory(tmp_path / "missing")
    with pytest.raises(errors.EmptyStudyError):
        DicomStudy.from_directory(tmp_path)
    (tmp_path / "README").write_text("x")
    with pytest.raises(errors.EmptyStudyError, match="1 others"):
        DicomStudy.from_directory(tmp_path)
    with pytest.raises(errors.EmptyStudyError):
        DicomStudy.from_files([])
    with pytest.raises(errors.EmptyStudyError):
        DicomStudy.from_bytes([])


@pytest.mark.parametrize("content", [b"", bytes(77), bytes(4096)], ids=["empty", "part of a preamble", "zeros"])
def test_what_an_interrupted_copy_leaves_is_an_error_in_a_folder_too(folder: Path, content: bytes) -> None:
    (folder / "series one" / "IM3").write_bytes(content)
    with pytest.raises(errors.TruncatedFileError) as caught:
        DicomStudy.from_directory(folder)
    assert caught.value.path == folder / "series one" / "IM3"


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("meta", [True, False])
def test_a_file_without_preamble_is_read_and_sent_as_part_10(folder: Path, implicit: bool, meta: bool) -> None:
    """The file has its meta header, or is the bare data set that some archives keep."""
    dataset = mr_dataset()
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    whole = file_bytes(dataset, syntax)
    start = 132 if meta else 132 + 12 + int.from_bytes(whole[140:144], "little")
    (folder / "IM9").write_bytes(whole[start:])
    study = DicomStudy.from_directory(folder)
    file = next(f for f in study.files if f.name == "IM9")
    sent = deidentify([file]).contents[0]
    again = pydicom.dcmread(BytesIO(sent))
    assert sent[128:132] == b"DICM"
    assert again.file_meta.TransferSyntaxUID == syntax
    assert again.file_meta.MediaStorageSOPClassUID == again.SOPClassUID == dataset.SOPClassUID
    assert again.ImagePositionPatient == dataset.ImagePositionPatient
    assert again.PixelData == dataset.PixelData


def test_a_bare_data_set_that_does_not_say_how_it_is_compressed() -> None:
    dataset = mr_dataset()
    dataset.PixelData = encapsulate([b"a codestream...."])
    dataset["PixelData"].is_undefined_length = True
    content = file_bytes(dataset, JPEG2000Lossless)
    bare = content[132 + 12 + int.from_bytes(content[140:144], "little") :]
    with pytest.raises(errors.UndecodablePixelsError, match="compressed"):
        DicomStudy.from_bytes([bare])


def test_a_bare_data_set_cut_anywhere_is_an_error() -> None:
    bare = WHOLE[132 + 12 + int.from_bytes(WHOLE[140:144], "little") :]
    for length in range(8, len(bare) - 1, 7):
        with pytest.raises((errors.TruncatedFileError, errors.NotDicomError)):
            DicomStudy.from_bytes([bare[:length]])


@given(st.integers(0, 2**32 - 1))
def test_a_spoilt_header_ends_in_a_code_and_quotes_nothing(seed: int) -> None:
    """Warnings, which pydicom gives with the value, are errors in this suite."""
    rng = np.random.default_rng(seed)
    content = bytearray(WHOLE)
    for at in rng.integers(128, 900, rng.integers(1, 12)):
        content[at] = rng.integers(256)
    with contextlib.suppress(errors.StudyError):  # and nothing else
        study = DicomStudy.from_bytes([bytes(content)])
        sent = deidentify([f for f in study.files if not f.reason_not_sent])
        assert all(c[128:132] == b"DICM" for c in sent.contents)


def archive(contents: dict[str, bytes]) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in contents.items():
            packed.writestr(name, content)
    return stream.getvalue()


def test_zip_archives_are_opened_wherever_they_are(folder: Path) -> None:
    packed = archive({"A/IM2": WHOLE, "A/IM1": WHOLE, "A/viewer.exe": b"MZ", "__MACOSX/A/._IM1": WHOLE})
    (folder / "study.zip").write_bytes(packed)
    for study in (
        DicomStudy.from_bytes([packed]),
        DicomStudy.from_files([folder / "study.zip"]),
        DicomStudy.from_directory(folder / "study.zip"),
    ):
        assert [f.name.split("/")[-1] for f in study.files] == ["IM1", "IM2"]
        assert [s.reason for s in study.skipped] == ["not DICOM"]
    assert len(DicomStudy.from_directory(folder).files) == 3 + 2
    assert len(DicomStudy.from_bytes([packed, WHOLE, packed]).files) == 5


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (archive({"inner.zip": archive({"IM1": WHOLE})}), errors.InvalidArchiveError),
        (archive({"IM1": WHOLE})[:-30], errors.InvalidArchiveError),
        (archive({"IM1": WHOLE[:-9]}), errors.TruncatedFileError),
        (archive({"README": b"x"}), errors.EmptyStudyError),
        (archive({}), errors.EmptyStudyError),
    ],
    ids=["nested", "cut", "a cut file in it", "no DICOM in it", "empty"],
)
def test_a_bad_archive_is_refused(content: bytes, error: type[Exception], tmp_path: Path) -> None:
    (tmp_path / "Zyxquist.zip").write_bytes(content)
    with pytest.raises(error) as caught:
        DicomStudy.from_files([tmp_path / "Zyxquist.zip"])
    assert "Zyxquist" not in str(caught.value)


def test_archives_share_the_bounds_of_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = archive({f"IM{n}": WHOLE for n in range(3)})
    monkeypatch.setattr(folder_module, "MAX_FOLDER_FILES", 5)
    with pytest.raises(errors.StudyTooLargeError):
        DicomStudy.from_bytes([packed, packed])


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_is_truncated(length: int) -> None:
    with pytest.raises(errors.TruncatedFileError):
        read_dicom_file(WHOLE[:length], "", "File 1 of 1")


def test_every_cut_within_the_header_is_truncated() -> None:
    for length in range(min(len(WHOLE), 1100)):
        with pytest.raises(errors.TruncatedFileError):
            read_dicom_file(WHOLE[:length], "", "File 1 of 1")


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.NotDicomError, match="regular"):
        DicomStudy.from_files([tmp_path / "pipe"])
    (tmp_path / "IM1").write_bytes(WHOLE)
    study = DicomStudy.from_directory(tmp_path)
    assert len(study.files) == 1
    assert [s.reason for s in study.skipped] == ["not a regular file"]


def test_an_unreadable_file_is_named_to_the_caller_only(folder: Path) -> None:
    (folder / "Zyxquist").symlink_to(folder / "nowhere")
    with pytest.raises(errors.TruncatedFileError, match="No such file") as caught:
        DicomStudy.from_directory(folder)
    assert caught.value.path == folder / "Zyxquist"
    assert "Zyxquist" not in str(caught.value)


def test_a_folder_that_is_no_study_is_left_before_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "MAX_FOLDER_FILES", 2)
    with pytest.raises(errors.StudyTooLargeError):
        DicomStudy.from_directory(folder)
    monkeypatch.setattr(folder_module, "MAX_FOLDER_FILES", 20)
    monkeypatch.setattr(folder_module, "MAX_FOLDER_BYTES", 2 * len(WHOLE))
    with pytest.raises(errors.StudyTooLargeError):
        DicomStudy.from_directory(folder)


def test_repr_shows_no_name_and_no_pixels(folder: Path) -> None:
    (folder / "Zyxquist.txt").write_text("x")
    study = DicomStudy.from_directory(folder)
    assert "Zyxquist" not in repr(study)
    assert "IM0" not in repr(study)
    assert "Wilhelmina" not in repr(study)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_nifti_keeps_every_voxel_at_its_place(tmp_path: Path, orientation: str) -> None:
    shape, lps_from_voxel = head_grid(ORIENTATIONS[orientation], (20.0, 22.0, 30.0))
    voxels = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    ras_from_voxel = np.diag([-1.0, -1, 1, 1]) @ lps_from_voxel
    nibabel.save(nibabel.Nifti1Image(voxels.transpose(), ras_from_voxel), tmp_path / "t1.nii.gz")
    volume = VolumeStudy.from_nifti({Modality.T1: tmp_path / "t1.nii.gz"}).volumes[Modality.T1]
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.lps_from_voxel, lps_from_voxel, atol=1e-4)
    assert (volume.voxels.dtype, volume.voxels.flags.c_contiguous) == (np.float32, True)


def test_nifti_scaling_and_a_trailing_axis_are_undone(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1)
    image = nibabel.Nifti1Image(stored, np.diag([2.0, 2, 2, 1]))
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, tmp_path / "t2.nii")
    volume = VolumeStudy.from_nifti({Modality.T2: tmp_path / "t2.nii"}).volumes[Modality.T2]
    expected = np.asarray(nibabel.load(tmp_path / "t2.nii").dataobj)[..., 0].transpose()
    np.testing.assert_allclose(volume.voxels, expected)
    assert volume.voxels.shape == (4, 3, 2)


@pytest.mark.parametrize(
    ("voxels", "affine", "error"),
    [
        (np.zeros((0, 3, 3)), np.eye(4), errors.InvalidVolumeError),
        (np.zeros((3, 3)), np.eye(4), errors.InvalidVolumeError),
        (np.zeros((3, 3, 1)), np.eye(4), errors.InvalidVolumeError),
        (np.zeros((3, 3, 3, 3)), np.eye(4), errors.UnsupportedVoxelsError),
        (np.zeros((3, 3, 3), np.complex64), np.eye(4), errors.UnsupportedVoxelsError),
        (np.zeros((3, 3, 3), [("r", "u1"), ("g", "u1")]), np.eye(4), errors.UnsupportedVoxelsError),
        ("no array", np.eye(4), errors.UnsupportedVoxelsError),
        ([[1], [1, 2]], np.eye(4), errors.UnsupportedVoxelsError),
        (np.full((3, 3, 3), np.nan), np.eye(4), errors.NonFiniteVoxelsError),
        (np.full((3, 3, 3), -np.inf), np.eye(4), errors.NonFiniteVoxelsError),
        (np.full((3, 3, 3), 1e300), np.eye(4), errors.ExtremeIntensityError),
        (np.full((3, 3, 3), -2e12), np.eye(4), errors.ExtremeIntensityError),
        (np.zeros((3, 3, 3)), np.eye(3), errors.InvalidAffineError),
        (np.zeros((3, 3, 3)), np.diag([1.0, 1, 0, 1]), errors.InvalidAffineError),
        (np.zeros((3, 3, 3)), np.full((4, 4), np.inf), errors.InvalidAffineError),
        (np.zeros((3, 3, 3)), np.eye(4) + np.eye(4, k=1) * 0.2, errors.InvalidAffineError),
        (np.zeros((3, 3, 3)), np.diag([1.0, 1, 1, 2]), errors.InvalidAffineError),
    ],
)
def test_a_bad_volume_or_affine_is_refused(voxels: object, affine: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        Volume(voxels, affine)


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u1", "<i2", ">i2", ">u2", "u4", "i8", "u8", "e", ">f4", "f8", ">f8", "g"]
)
def test_any_real_type_and_byte_order_is_taken_as_it_is(dtype: str) -> None:
    mine = np.arange(60).reshape(3, 4, 5).astype(dtype)
    np.testing.assert_array_equal(Volume(mine, np.eye(4)).voxels, mine.astype(np.float32))
    strided = Volume(mine.transpose(2, 0, 1)[::-1], np.eye(4)).voxels
    np.testing.assert_array_equal(strided, mine.transpose(2, 0, 1)[::-1].astype(np.float32))
    assert strided.flags.c_contiguous


def test_further_axes_of_one_are_dropped() -> None:
    mine = np.arange(60.0).reshape(3, 4, 5)
    for more in (mine[np.newaxis], mine[..., np.newaxis], mine[np.newaxis, ..., np.newaxis]):
        np.testing.assert_array_equal(Volume(more, np.eye(4)).voxels, mine)


def test_nan_goes_to_the_server_which_judges_it() -> None:
    mine = np.ones((4, 4, 4))
    mine[:2] = np.nan
    assert np.isnan(Volume(mine, np.eye(4)).voxels).sum() == 32
    mine[2, 0, 0] = np.nan
    with pytest.raises(errors.NonFiniteVoxelsError, match="52% NaN"):
        Volume(mine, np.eye(4))


def test_a_volume_is_a_copy_that_nobody_changes() -> None:
    mine = np.zeros((2, 3, 4), dtype=np.float32)
    volume = Volume(mine, np.eye(4))
    mine[0, 0, 0] = 9
    assert volume.voxels[0, 0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        volume.voxels[0, 0, 0] = 1
    with pytest.raises(TypeError):
        VolumeStudy({Modality.T1: volume}).volumes[Modality.T2] = volume


def test_a_volume_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_VOLUME_VOXELS", 26)
    with pytest.raises(errors.StudyTooLargeError):
        Volume(np.zeros((3, 3, 3)), np.eye(4))


def test_no_volumes_is_an_empty_study() -> None:
    with pytest.raises(errors.EmptyStudyError):
        VolumeStudy({})
