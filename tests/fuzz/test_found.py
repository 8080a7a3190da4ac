"""Failures that the fuzz test found, each made small: none of it may come back."""

import contextlib
import gc
import logging
import sys
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from fuzz import entries, sources
from fuzz.mutations import archives, crowds
from fuzz.mutations.attributes import rewritten, set_raw
from glioserve_client import DicomStudy, VolumeStudy
from glioserve_client import Volume as ClientVolume
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_dicom.files import bounded
from glioserve_dicom.files import part10 as part10_module
from glioserve_dicom.files.archive import unpack
from glioserve_dicom.files.folder import given_files
from glioserve_dicom.forms import is_numeric_text
from glioserve_dicom.read import read
from glioserve_dicom.slices.frames import MAX_FRAMES
from glioserve_dicom.volumes.arrays import volume_of_array
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from glioserve_preprocess.brain.extraction import find_brain
from glioserve_preprocess.pipeline import preprocess_dicom
from glioserve_preprocess.series.reconstructions import in_acquisitions
from glioserve_preprocess.series.selection import choose_series, judge_study
from support.studies.scans import part10


def calls_of(function):
    """Calls of Python functions: what a run costs, told without a clock."""
    count = 0

    def counted(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(counted)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def chosen(files):
    """Calls that telling a study's stacks and sequences apart takes; which error it ends in is not the matter here."""
    instances = read(files, accept_identified=True)

    def choose():
        with pytest.raises(GlioserveError):
            choose_series(instances, (Modality.T1, Modality.T1CE), 1)

    return calls_of(choose)


CROWDS = {
    "series": lambda n: crowds.files_of(n, 2, ["SeriesInstanceUID"]),
    "enhanced series": lambda n: crowds.files_of(n, 2, ["SeriesInstanceUID"], header="t1ce"),
    "unreadable series": lambda n: crowds.files_of(n, 1, ["SeriesInstanceUID"], broken=True),
    "runs of one protocol": lambda n: crowds.files_of(n, 2, ["SeriesInstanceUID", "AcquisitionTime"]),
    "stacks and strays": lambda n: [
        *crowds.files_of(n, 4, ["EchoNumbers"]),
        *crowds.files_of(n // 2, 1, ["EchoTime", "SOPInstanceUID"]),
    ],
    "frames of many stacks": lambda n: [crowds.object_of(n, 2, "stack")],
}


@pytest.mark.long
@pytest.mark.parametrize("crowd", CROWDS)
def test_work_grows_as_the_study_does(crowd):
    few, many = (chosen(CROWDS[crowd](n)) for n in (160, 320))
    assert many < 2.3 * few


@pytest.mark.parametrize(
    "attributes", [{}, {"acquisition_number": ""}, {"image_type": ("ORIGINAL", "PRIMARY", "M", "NORM")}]
)
def test_acquisitions_of_thousands_of_stacks_cost_little_more_than_their_number(attributes):
    """All start together, with equal timings: each pair of 8,000 of them was looked at, for 150 seconds."""
    files = crowds.files_of(4, 1, ["EchoNumbers", "ContrastBolusAgent"])
    plain = judge_study(read(files, accept_identified=True), (Modality.T1, Modality.T1CE), 1).candidates
    other = [replace(c, acquisition=replace(c.acquisition, **attributes)) for c in plain]
    few, many = (calls_of(lambda n=n: in_acquisitions([*plain, *other] * n)) for n in (50, 100))
    assert many < 2.3 * few


def test_decoders_say_nothing_of_damaged_streams(caplog):
    """Their log lines come from loggers below pydicom's own, which no filter on that one reaches."""
    source = sources.classic("JPEG lossless")

    def damage(dataset):
        dataset.PixelData = dataset.PixelData.replace(b"\xff\xd8", bytes(2), 1)  # the stream's own start

    files = [rewritten(f, damage) for f in source.files]
    with caplog.at_level(logging.DEBUG), pytest.raises(GlioserveError) as caught:
        preprocess_dicom(files, source.recipe, accept_identified=True)
    assert caught.value.code is ErrorCode.UNDECODABLE_PIXELS
    assert not caplog.records


@pytest.mark.parametrize(
    ("at", "value"), [(108, b"\x00\x00\xb4\x43"), (254, b"\x63\x00")], ids=["vox_offset", "sform_code"]
)
def test_nibabel_says_nothing_of_damaged_headers(tmp_path, caplog, at, value):
    content = sources.nifti(1, False)[0]
    (tmp_path / "t1.nii").write_bytes(content[:at] + value + content[at + len(value) :])
    with caplog.at_level(logging.DEBUG), contextlib.suppress(GlioserveError):
        VolumeStudy.from_nifti({Modality.T1: tmp_path / "t1.nii"})
    assert not caplog.records


def test_other_formats_are_not_tried_on_a_file(tmp_path):
    """Some of nibabel's readers leave the file open, and Python then says which: warnings are errors here."""
    path = tmp_path / f"{sources.MARKER}.mgh"
    path.write_bytes(sources.nifti(1, False)[0])
    with pytest.raises(GlioserveError) as caught:
        VolumeStudy.from_nifti({Modality.T1: path})
    assert caught.value.code is ErrorCode.INVALID_VOLUME
    del caught
    gc.collect()


def test_a_study_shows_nothing_of_its_files():
    def edit(dataset):
        set_raw(dataset, "SOPClassUID", "UI", f"1.2.{sources.MARKER}".encode())

    study = DicomStudy.from_bytes([rewritten(sources.classic("explicit little endian").files[0], edit)])
    assert study.files[0].clocks_us
    assert sources.MARKER not in repr(study)
    assert str(study.files[0].clocks_us[0]) not in repr(study)


def test_an_archive_takes_its_memory_once():
    size = 40 << 20
    bomb = archives.packed([bytes(size)])
    tracemalloc.start()
    try:
        for _, content in unpack(bomb, "File 1"):
            assert len(content) == size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * size


def test_archives_that_are_refused_leave_nothing():
    """Each refusal is kept until all files are read; what was unpacked until then is not."""
    size = 40 << 20
    bomb = archives.one_member(archives.zeros(size, b""), size)  # its checksum is wrong
    tracemalloc.start()
    try:
        study = given_files([bomb] * 4)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [file.problem.code for file in study.files] == [ErrorCode.INVALID_ARCHIVE] * 4
    assert peak < 1.5 * size
    assert left < 1 << 20


def test_lines_of_pixels_are_no_slices():
    (images,) = sources.datasets(Modality.T1)

    def edit(dataset):
        dataset.Rows, dataset.PixelData = 1, dataset.PixelData[: 2 * dataset.Columns]

    files = [rewritten(part10(image), edit) for image in images]
    with pytest.raises(GlioserveError) as caught:
        preprocess_dicom(files, sources.recipe_of(Modality.T1), accept_identified=True)
    assert caught.value.code is ErrorCode.INVALID_ATTRIBUTE


@pytest.mark.parametrize("row", [(0, 0), (0, 3)], ids=["axis", "origin"])
def test_numbers_near_the_end_of_double_precision_are_refused_without_a_warning(row):
    volume = sources.head(Modality.T1)
    affine = volume.geometry.lps_from_voxel.copy()
    affine[row] = 1e300
    for make in (lambda v, a: volume_of_array(Modality.T1, v, a), ClientVolume):
        with pytest.raises(GlioserveError) as caught:
            make(volume.voxels, affine)
        assert caught.value.code is ErrorCode.INVALID_AFFINE


@pytest.mark.parametrize("entry", [entries.offline, entries.client])
def test_a_deflated_file_that_inflates_without_end_is_stopped(entry):
    content = sources.classic("deflated").files[0]
    start = archives.end_of_meta(content)
    whole = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    bomb = content[:start] + archives.zeros(300 << 20, whole)
    assert len(bomb) < 2 << 20
    tracemalloc.start()
    try:
        with pytest.raises(GlioserveError) as caught:
            entry([bomb], sources.PAIR)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.code is ErrorCode.STUDY_TOO_LARGE
    assert peak < 600 << 20


def test_a_head_is_not_looked_for_in_a_cubic_metre():
    affine = np.diag([50.0, 50.0, 50.0, 1.0])
    volume = SequenceVolume(
        Modality.T1CE, np.random.default_rng(0).random((19, 19, 19), dtype=np.float32), Geometry((19,) * 3, affine)
    )
    with pytest.raises(GlioserveError) as caught:
        find_brain(volume, (), {}, BrainExtraction())
    assert caught.value.code is ErrorCode.BRAIN_NOT_FOUND
    assert "857 litres" in caught.value.detail


BROKEN_OFF = {
    "before the pixels": lambda content: content[:900] + bytes(20 << 20),
    "behind the pixels": lambda content: content + bytes(20 << 20),
    "in a sequence": lambda content: content[:900] + b"\x40\0\x75\x02SQ\0\0" + b"\xff" * 4 + ITEM + bytes(20 << 20),
    "in fragments": lambda content: (
        content[:900] + b"\xe0\x7f\x10\0OB\0\0" + b"\xff" * 4 + (ITEM[:4] + bytes(4)) * (3 << 20)
    ),
}
ITEM = b"\xfe\xff\x00\xe0" + b"\xff" * 4


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("entry", [entries.offline, entries.client])
@pytest.mark.parametrize("where", BROKEN_OFF)
def test_where_a_copy_broke_off_zeros_are_not_read_one_by_one(where, entry, deflated, monkeypatch):
    monkeypatch.setattr(bounded, "MOST_READS", 1000)
    monkeypatch.setattr(part10_module, "MOST_READS", 1000)
    content = BROKEN_OFF[where](sources.classic("explicit little endian").files[0])
    if deflated:
        start = archives.end_of_meta(content)
        other = sources.classic("deflated").files[0]
        packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        content = other[: archives.end_of_meta(other)] + packer.compress(content[start:]) + packer.flush()

    def refused():
        with pytest.raises(GlioserveError) as caught:
            entry([content], sources.PAIR)
        assert caught.value.code is ErrorCode.TRUNCATED_FILE

    assert calls_of(refused) < 100_000


def test_the_longest_object_is_within_the_bound():
    content = crowds.object_of(500, 2, "stack")
    file = bounded.BoundedReads(content)
    pydicom.dcmread(file)
    assert (bounded.MOST_READS - file._left) * MAX_FRAMES / 500 < bounded.MOST_READS / 2


@pytest.mark.parametrize("keyword", ["ReferencedImageSequence", "PerFrameFunctionalGroupsSequence"])
@pytest.mark.parametrize("way", [entries.server, entries.client])
def test_a_million_items_are_refused_or_left_out_unparsed(keyword, way):
    items = (ITEM[:4] + bytes(4)) * 1_000_000

    def edit(dataset):
        set_raw(dataset, keyword, "SQ", items)

    files = [rewritten(content, edit) for content in sources.classic("explicit little endian").files[:1]]

    def refused():
        with pytest.raises(GlioserveError):
            way(files, sources.PAIR)

    assert calls_of(refused) < 100_000


def test_a_header_of_a_huge_image_takes_no_memory():
    """Sixty bytes of RLE cannot be four thousand million pixels."""

    def edit(dataset):
        dataset.Rows = dataset.Columns = 65535

    (content,) = [rewritten(sources.classic("RLE").files[0], edit)]
    tracemalloc.start()
    try:
        with pytest.raises(GlioserveError):
            entries.client([content], sources.PAIR)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [b" " * 60_000 + b"x", b"\\" * 60_000 + b"x", b"1e" * 30_000, b"1\\" * 30_000 + b"x"])
def test_no_text_of_a_number_is_tried_in_many_ways(value):
    """A pattern that goes back over what it has matched would take minutes."""
    assert not is_numeric_text(value)
