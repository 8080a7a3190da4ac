"""A study's folder as it lies on a disk: images, junk, archives."""

import os

import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom import read as read_module
from glioserve_dicom.files import folder
from glioserve_dicom.files.folder import study_files
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from support.studies.encodings import without_preamble, zipped
from support.studies.pitfalls import STORED, files, scan


@pytest.fixture
def study(tmp_path):
    (tmp_path / "a").mkdir()
    for number, content in enumerate(files(scan())):
        (tmp_path / "a" / f"{number:08X}").write_bytes(content)  # no extension, as archives name them
    return tmp_path


def voxels(path):
    found = study_files(path)
    (stack,) = stacks_of(read(found, accept_identified=True))
    return assemble(stack, Modality.T1).voxels, sorted(skipped.reason for skipped in found.skipped)


def test_names_and_other_files_do_not_matter(study):
    (study / "README.txt").write_text("Read me")
    (study / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    (study / ".DS_Store").write_bytes(b"junk")
    os.mkfifo(study / "pipe")
    found, others = voxels(study)
    assert (found == STORED).all()
    assert others == ["not DICOM", "not DICOM", "not a regular file"]
    warnings = read(study_files(study), accept_identified=True).warnings
    assert warnings == ("Left aside: 2 not DICOM, 1 not a regular file.",)


def test_a_zip_archive_alone_and_in_a_folder(tmp_path):
    made = files(scan())
    (tmp_path / "study.zip").write_bytes(zipped(made[:5]))
    with pytest.raises(GlioserveError):
        voxels(tmp_path / "nothing")
    assert len(voxels(tmp_path / "study.zip")[0]) == 5
    for number, content in enumerate(made[5:]):
        (tmp_path / f"IM{number}").write_bytes(without_preamble(content))
    assert (voxels(tmp_path)[0] == STORED).all()


def test_an_interrupted_copy_is_an_error(study):
    (study / "a" / "last").write_bytes(bytes(4096))
    with pytest.raises(GlioserveError) as caught:
        voxels(study)
    assert caught.value.code is ErrorCode.TRUNCATED_FILE


def test_a_folder_that_is_no_study(study, monkeypatch):
    monkeypatch.setattr(folder, "MAX_FOLDER_FILES", 3)
    with pytest.raises(GlioserveError) as caught:
        study_files(study)
    assert caught.value.code is ErrorCode.STUDY_TOO_LARGE


def test_a_file_that_cannot_be_read_is_named_by_its_number(study):
    (study / "a" / "00000003").unlink()
    (study / "a" / "00000003").symlink_to(study / "gone")
    with pytest.raises(GlioserveError) as caught:
        read(study_files(study), accept_identified=True)
    assert caught.value.code is ErrorCode.TRUNCATED_FILE
    assert "File 4 of 8" in str(caught.value)


def test_numbers_in_messages_count_the_files_of_the_folder(study):
    (study / "A README").write_text("Read me")
    content = (study / "a" / "00000003").read_bytes()
    (study / "a" / "00000003").write_bytes(content[:-10])
    with pytest.raises(GlioserveError, match="File 5 of 9"):
        read(study_files(study), accept_identified=True)


def test_a_folder_that_cannot_be_listed_is_an_error(study, monkeypatch):
    """Its images would be missing in silence."""
    listed = os.scandir

    def refusing(path):
        if str(path).endswith("a"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(GlioserveError, match="cannot be listed: Permission denied") as caught:
        study_files(study)
    assert caught.value.code is ErrorCode.TRUNCATED_FILE
    assert str(study) not in str(caught.value)


def test_a_linked_folder_is_listed_and_not_followed(study):
    (study / "b").symlink_to(study / "a")
    (study / "a" / "loop").symlink_to(study)
    found = study_files(study)
    assert len(found.files) == 8
    assert [(s.name, s.reason) for s in found.skipped] == [
        ("b", "a linked folder"),
        (f"a{os.sep}loop", "a linked folder"),
    ]


def test_objects_beside_the_images_do_not_count_against_a_requests_limit(study, monkeypatch):
    """The client leaves them out of the request, so offline they must not refuse the study either."""
    other = scan()[0]
    other.SOPClassUID = SecondaryCaptureImageStorage
    for number in range(3):
        (study / f"other {number}").write_bytes(files([other])[0])
    monkeypatch.setattr(read_module, "MAX_INSTANCES", 8)
    assert len(read(study_files(study), accept_identified=True).instances) == 8
    monkeypatch.setattr(read_module, "MAX_INSTANCES", 7)
    with pytest.raises(GlioserveError) as caught:
        read(study_files(study), accept_identified=True)
    assert caught.value.code is ErrorCode.STUDY_TOO_LARGE
