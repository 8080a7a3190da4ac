"""A study whose pixels stay on the disk: the same bytes are sent, and files that changed are told."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
)

from glioserve_client import DicomStudy, GliomaClient, RetryPolicy, errors
from glioserve_client.deidentify import Pseudonyms, deidentify
from glioserve_client.testing import FakeTransport, answer, failure
from glioserve_contract import ErrorCode
from glioserve_dicom.files.stored import StoredBytes
from glioserve_dicom.pixels.parts import Masked
from support.studies.dicom_files import file_bytes, mr_dataset
from support.studies.encodings import encoded, zipped

PIXELS = np.arange(35, dtype=np.uint16).reshape(5, 7) * 1800
SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
TRAIL = b"\0\0behind the last pixel of the file"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every coding; unused bits above BitsStored; one in an archive; one that is not an image."""
    twelve = {"BitsStored": 12, "HighBit": 11}
    files = {f"{number}.dcm": file_bytes(mr_dataset(PIXELS), syntax) for number, syntax in enumerate(SYNTAXES)}
    files["masked.dcm"] = file_bytes(mr_dataset(PIXELS, **twelve))
    files["jpeg.dcm"] = encoded(mr_dataset(PIXELS), JPEGLosslessSV1)
    files["some.zip"] = zipped([file_bytes(mr_dataset(PIXELS))])
    files["other.dcm"] = file_bytes(mr_dataset(PIXELS, SOPClassUID="1.2.840.10008.5.1.4.1.1.2"))
    study = tmp_path / "study"
    study.mkdir()
    for name, content in files.items():
        (study / name).write_bytes(content)
    return study


def both(folder: Path) -> tuple[DicomStudy, DicomStudy]:
    return DicomStudy.from_directory(folder, in_memory=True), DicomStudy.from_directory(folder)


def test_the_same_bytes_are_sent(folder: Path) -> None:
    memory, disk = both(folder)
    assert [f.content for f in disk.files] == [f.content for f in memory.files]
    stays = {f.name: not isinstance(f.source, bytes) for f in disk.files}
    # What was inflated or unpacked has no place on the disk.
    assert {name for name, on_disk in stays.items() if not on_disk} == {"3.dcm", next(n for n in stays if "zip" in n)}
    sent = [[f for f in study.files if not f.reason_not_sent] for study in (memory, disk)]
    made = [deidentify(files, Pseudonyms(b"k" * 32)) for files in sent]
    assert made[0].contents == made[1].contents
    left = [p for file in made[1].files for p in file if isinstance(p, StoredBytes)]
    masked = [p for file in made[1].files for p in file if isinstance(p, Masked) and isinstance(p.words, StoredBytes)]
    assert (len(left), len(masked)) == (3, 1)


def test_a_call_reads_them_again_at_each_attempt(folder: Path) -> None:
    memory, disk = both(folder)
    for identified in (False, True):
        transport = FakeTransport(failure(ErrorCode.UNAVAILABLE), answer("recurrence"))
        at_once = RetryPolicy(first_pause_s=0)
        with GliomaClient("fake:1", transport=transport, identified=identified, retry=at_once) as client:
            client.predict(disk)
            client.predict(memory)
        first, second, other = (list(request.inputs["INSTANCES"]) for request in transport.requests)
        assert first == second
        assert len(first) == len(other) == 7  # all but the image of another modality
        assert not identified or first == other


def test_a_pickled_study_is_in_memory(folder: Path) -> None:
    memory, disk = both(folder)
    again = pickle.loads(pickle.dumps(disk))
    assert [f.source for f in again.files] == [f.content for f in memory.files]


def test_a_folder_that_goes_is_kept_in_memory_where_that_is_asked_for(folder: Path) -> None:
    paths = [folder / "0.dcm", folder / "1.dcm"]
    kept, left = (DicomStudy.from_files(paths, in_memory=in_memory) for in_memory in (True, False))
    for path in paths:
        path.unlink()
    transport = FakeTransport(answer("recurrence"))
    with GliomaClient("fake:1", transport=transport) as client:
        client.predict(kept)
        with pytest.raises(errors.TruncatedFileError, match="gone from the disk"):
            client.predict(left)
    assert len(transport.requests) == 1


def changed(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2] + b"zz")


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(TRAIL)


def replaced(path: Path) -> None:
    stamp = path.stat()
    other = path.with_suffix(".other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [changed, longer, replaced, Path.unlink, lambda p: os.truncate(p, 700)])
@pytest.mark.parametrize("prepared", [False, True], ids=["before it is prepared", "between preparing and sending"])
def test_a_file_that_is_not_the_same_is_not_sent(folder: Path, change, prepared: bool) -> None:
    study = DicomStudy.from_directory(folder)
    if prepared:
        study.deidentified()
    change(folder / "1.dcm")
    transport = FakeTransport(answer("recurrence"))
    with GliomaClient("fake:1", transport=transport) as client, pytest.raises(errors.TruncatedFileError) as caught:
        client.predict(study)
    assert "since the study was read" in str(caught.value)
    assert str(folder) not in str(caught.value)
    assert transport.requests == []
