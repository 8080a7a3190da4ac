"""Series whose identifiers were rewritten, and mosaics: read where that is safe, else refused for what they are."""

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.uid import generate_uid

from glioserve_client import DicomStudy
from glioserve_client.deidentify import deidentify
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from glioserve_preprocess.series.selection import choose_series
from support.studies.encodings import edited, enhanced
from support.studies.pitfalls import STORED, files, other_pixels, scan
from support.studies.scans import FLAIR_HEADER, T2_HEADER

T1, T2, FLAIR = Modality.T1, Modality.T2, Modality.FLAIR


def offline(datasets):
    return read(files(datasets), accept_identified=True)


def by_the_client(datasets):
    return read(deidentify(DicomStudy.from_bytes(files(datasets)).files).contents, accept_identified=False)


BOTH_WAYS = pytest.mark.parametrize("way", [offline, by_the_client])


def volume_of(instances, min_slices=5):
    return assemble(choose_series(instances, (T1,), min_slices).chosen[T1].stack, T1)


def mosaic(image_type, *, placed=True):
    def edit(dataset, _):
        if not placed:
            del dataset.ImagePositionPatient

    return edited(scan(ImageType=["ORIGINAL", "PRIMARY", "M", image_type], SeriesNumber=3)[:1], edit)


MOSAICS = {"Siemens": lambda: mosaic("MOSAIC"), "United Imaging": lambda: mosaic("VFRAME", placed=False)}


@BOTH_WAYS
@pytest.mark.parametrize("maker", MOSAICS)
def test_an_anatomical_mosaic_is_refused_by_its_own_code(maker, way):
    with pytest.raises(GlioserveError) as caught:
        volume_of(way(MOSAICS[maker]()))
    assert caught.value.code is ErrorCode.MOSAIC
    assert "dcm2niix" in str(caught.value)


@BOTH_WAYS
@pytest.mark.parametrize("maker", MOSAICS)
def test_a_mosaic_beside_a_good_series_does_no_harm(maker, way):
    good = scan(**T2_HEADER)
    bad = edited(MOSAICS[maker](), lambda d, _: [setattr(d, keyword, value) for keyword, value in T2_HEADER.items()])
    chosen = choose_series(way([*bad, *good]), (T2,), 5).chosen[T2]
    assert assemble(chosen.stack, T2).voxels.shape == STORED.shape


# --- identifiers that an anonymiser rewrote ---


def own(*keywords):
    """An edit that gives every file its own value of these UIDs."""

    def edit(dataset, _):
        for keyword in keywords:
            setattr(dataset, keyword, generate_uid())

    return edit


def same(**values):
    return lambda dataset, _: [setattr(dataset, keyword, value) for keyword, value in values.items()]


def without(*keywords):
    return lambda dataset, _: [delattr(dataset, keyword) for keyword in keywords if keyword in dataset]


def both(*edits):
    return lambda dataset, index: [edit(dataset, index) for edit in edits]


def sequences():
    """Three sequences of one grid, in one frame of reference."""
    return (
        scan(SeriesNumber=2),
        scan(other_pixels(7), **{**T2_HEADER, "SeriesNumber": 3}),
        scan(other_pixels(8), **{**FLAIR_HEADER, "SeriesNumber": 4}),
    )


SAME_UID = generate_uid()
REWRITTEN = {
    "a series UID a file": own("SeriesInstanceUID"),
    "a series UID and a frame of reference a file": own("SeriesInstanceUID", "FrameOfReferenceUID"),
    "a series UID a file, no frame of reference": both(own("SeriesInstanceUID"), without("FrameOfReferenceUID")),
    "a series UID a file, no number": both(own("SeriesInstanceUID"), without("SeriesNumber")),
    "a frame of reference a file": own("FrameOfReferenceUID"),
    "no series UID": without("SeriesInstanceUID"),
    "no series UID, no frame of reference": without("SeriesInstanceUID", "FrameOfReferenceUID"),
    "an empty series UID": same(SeriesInstanceUID=""),
    "one series UID for the study": same(SeriesInstanceUID=SAME_UID),
    "one UID for the study's files": same(SOPInstanceUID=SAME_UID),
    "one UID for everything": same(SOPInstanceUID=SAME_UID, SeriesInstanceUID=SAME_UID, FrameOfReferenceUID=SAME_UID),
}


@BOTH_WAYS
@pytest.mark.parametrize("rewritten", REWRITTEN)
def test_rewritten_identifiers_do_not_scatter_a_series(rewritten, way):
    datasets = [d for s in sequences() for d in edited(s, REWRITTEN[rewritten])]
    chosen = choose_series(way(datasets), (T1, T2, FLAIR), 5).chosen
    for modality, stored in ((T1, STORED), (T2, other_pixels(7)), (FLAIR, other_pixels(8))):
        voxels = assemble(chosen[modality].stack, modality).voxels
        assert np.array_equal(voxels, stored) or np.array_equal(voxels, stored[::-1])


@BOTH_WAYS
@pytest.mark.parametrize("rewritten", REWRITTEN)
def test_two_runs_of_one_protocol_stay_two(rewritten, way):
    """Their numbers tell them apart; where those are gone too, nothing is read of either."""
    runs = (scan(SeriesNumber=2), scan(other_pixels(), SeriesNumber=3))
    datasets = [d for s in runs for d in edited(s, REWRITTEN[rewritten])]
    found = stacks_of(way(datasets))
    if "no number" in rewritten:
        assert {s.slices for s in found} == {1}
        return
    volumes = [assemble(s, T1).voxels for s in found]
    assert sorted(v.sum() for v in volumes) == pytest.approx(sorted(float(s.sum()) for s in (STORED, other_pixels())))


@BOTH_WAYS
def test_a_series_uid_for_each_enhanced_file_of_one_frame(way):
    frames = [enhanced([d], SeriesNumber=2) for d in edited(scan(), own("SeriesInstanceUID", "FrameOfReferenceUID"))]
    assert volume_of(way(frames)).voxels.shape == STORED.shape


@BOTH_WAYS
def test_two_echoes_under_a_series_uid_for_each_file(way):
    echoes = [scan(SeriesNumber=2, EchoTime=10), scan(other_pixels(), SeriesNumber=2, EchoTime=80)]
    found = stacks_of(way([d for s in echoes for d in edited(s, own("SeriesInstanceUID", "FrameOfReferenceUID"))]))
    assert [s.slices for s in found] == [8, 8]


@BOTH_WAYS
def test_a_scattered_image_without_a_place_spoils_its_series(way):
    datasets = edited(scan(SeriesNumber=2), own("SeriesInstanceUID", "FrameOfReferenceUID"))
    del datasets[7].ImagePositionPatient
    with pytest.raises(GlioserveError) as caught:
        volume_of(way(datasets))
    assert caught.value.code is ErrorCode.MISSING_ATTRIBUTE


@BOTH_WAYS
def test_what_cannot_be_put_together_is_told_for_what_it_is(way):
    nothing_left = both(own("SeriesInstanceUID", "FrameOfReferenceUID"), without("SeriesNumber"))
    with pytest.raises(GlioserveError) as caught:
        volume_of(way(edited(scan(), nothing_left)))
    assert caught.value.code is ErrorCode.TOO_FEW_SLICES
    assert "1 slice; the recipe needs 5. There are 8 series of one image each" in str(caught.value)
    assert "keep one for each series" in str(caught.value)


def test_a_number_that_is_a_text_counts_for_nothing_both_ways():
    datasets = edited(scan(), own("SeriesInstanceUID", "FrameOfReferenceUID"))
    with pydicom.config.disable_value_validation():
        for dataset in datasets:
            dataset.add(DataElement("SeriesNumber", "LO", "late", validation_mode=pydicom.config.IGNORE))
        assert [len(stacks_of(way(datasets))) for way in (offline, by_the_client)] == [8, 8]


@BOTH_WAYS
def test_a_sequence_that_is_missing_among_scattered_images(way):
    nothing_left = both(own("SeriesInstanceUID", "FrameOfReferenceUID"), without("SeriesNumber"))
    with pytest.raises(GlioserveError) as caught:
        choose_series(way(edited(scan(), nothing_left)), (FLAIR,), 5)
    assert caught.value.code is ErrorCode.MISSING_SEQUENCE
    assert "There are 8 series of one image each" in caught.value.detail


def test_one_slice_is_one_slice():
    with pytest.raises(GlioserveError) as caught:
        volume_of(offline(scan()[:1]))
    assert caught.value.detail == "The t1 series has 1 slice; the recipe needs 5."


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "PatientID"])
def test_an_identifier_of_the_study_in_each_file(keyword):
    datasets = edited(scan(), lambda d, i: setattr(d, keyword, f"1.2.{i + 1}"))
    with pytest.raises(GlioserveError) as caught:
        offline(datasets)
    assert f"Each of 8 files carries a {keyword} of its own" in caught.value.detail
