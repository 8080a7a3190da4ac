"""Series that no volume can be made of as they are: what the study is told of them, and that others are not harmed."""

import numpy as np
import pytest

from glioserve_client import DicomStudy
from glioserve_client.deidentify import deidentify
from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_preprocess.series.selection import choose_series
from support.encodings import edited
from support.pitfalls import files, scan

T1 = Modality.T1


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
    alone = volume_of(way(scan()))
    assert np.array_equal(volume_of(way([*MOSAICS[maker](), *scan()])).voxels, alone.voxels)
