"""The geometry gate: a complete rectangular stack becomes a volume, anything else its code."""

import copy

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import RLELossless

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from glioserve_dicom.volumes.geometry import apply
from support.studies.scans import T1_HEADER, oblique, part10, series, stacks

SIZE, SPACING_MM = (7, 5, 6), (0.9, 1.1, 4.5)


def stack(seed=0, **header):
    stored = np.random.default_rng(seed).integers(0, 4000, SIZE[::-1])
    geometry = oblique(SIZE, SPACING_MM, seed)
    datasets = series(stored, geometry, **{**T1_HEADER, **header})
    for dataset in datasets:
        part10(dataset)  # gives it its file meta
    return stored, geometry, datasets


def assembled(datasets):
    found = stacks(datasets)
    assert len(found) == 1
    return assemble(found[0], Modality.T1)


def refused(datasets, code):
    with pytest.raises(GlioserveError) as caught:
        assembled(datasets)
    assert caught.value.code is code
    return str(caught.value)


@given(st.integers(0, 2**16), st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_any_file_order_and_orientation_gives_each_voxel_its_place(seed, random):
    stored, geometry, datasets = stack(seed)
    random.shuffle(datasets)
    volume = assembled(datasets)
    index = np.array([[2, 1, 4]])
    place = apply(geometry.lps_from_voxel, index.astype(float))
    x, y, z = np.rint(apply(volume.geometry.voxel_from_lps, place)[0]).astype(int)
    assert volume.voxels[z, y, x] == stored[4, 1, 2]
    np.testing.assert_allclose(volume.geometry.spacing_mm, SPACING_MM, rtol=1e-4)
    np.testing.assert_allclose(apply(volume.geometry.lps_from_voxel, np.array([[x, y, z]], float)), place, atol=1e-3)


def test_exact_copies_are_dropped():
    stored, _, datasets = stack()
    volume = assembled([*datasets, datasets[2]])
    assert np.array_equal(volume.voxels, stored)


def test_two_images_at_one_place():
    _, _, datasets = stack()
    other = copy.deepcopy(datasets[2])
    other.PixelData = bytes(reversed(datasets[2].PixelData))
    refused([*datasets, other], ErrorCode.DUPLICATE_SLICE)


@pytest.mark.parametrize("gone", [1, 2, 4])
def test_a_missing_slice(gone):
    _, _, datasets = stack()
    del datasets[gone]
    refused(datasets, ErrorCode.MISSING_SLICE)


def test_a_single_slice():
    refused(stack()[2][:1], ErrorCode.TOO_FEW_SLICES)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("Rows", 4),
        ("PixelSpacing", [1.0, 2.0]),
    ],
)
def test_mixed_geometry(keyword, value):
    _, _, datasets = stack()
    setattr(datasets[3], keyword, value)
    assert keyword in refused(datasets, ErrorCode.MIXED_GEOMETRY)


def test_gantry_tilt():
    _, geometry, datasets = stack()
    for index, dataset in enumerate(datasets):
        shifted = np.array(dataset.ImagePositionPatient) + geometry.lps_from_voxel[:3, 1] * 0.4 * index
        dataset.ImagePositionPatient = list(shifted)
    refused(datasets, ErrorCode.SHEARED_GEOMETRY)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows"])
def test_a_missing_attribute_is_named(keyword):
    _, _, datasets = stack()
    delattr(datasets[0], keyword)
    assert keyword in refused(datasets, ErrorCode.MISSING_ATTRIBUTE)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, ErrorCode.MOSAIC),
        ({"SamplesPerPixel": 3}, ErrorCode.COLOUR_IMAGE),
    ],
    ids=["mosaic", "colour"],
)
def test_objects_that_are_not_read(header, code):
    datasets = stack(**header)[2]
    for dataset in datasets:
        dataset.PixelData = dataset.PixelData * 3
    refused(datasets, code)


def test_each_slice_has_its_own_rescale():
    stored, _, datasets = stack()
    for index, dataset in enumerate(datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + index, 10 * index
    volume = assembled(datasets)
    for index in range(len(datasets)):
        np.testing.assert_allclose(volume.voxels[index], stored[index] * (1.0 + index) + 10 * index)


def test_monochrome1_is_inverted():
    stored, _, datasets = stack(PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(assembled(datasets).voxels, 4095.0 - stored)


def test_rle_reads_as_uncompressed_does():
    stored, _, datasets = stack()
    for dataset in datasets:
        dataset.compress(RLELossless, generate_instance_uid=False)
    assert np.array_equal(assembled(datasets).voxels, stored)


def test_pixels_that_cannot_be_decoded():
    _, _, datasets = stack()
    for dataset in datasets:
        dataset.compress(RLELossless, generate_instance_uid=False)
    datasets[3].PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
    refused(datasets, ErrorCode.UNDECODABLE_PIXELS)


def test_an_unknown_transfer_syntax():
    known, unknown = b"1.2.840.10008.1.2.1\0", b"1.2.826.10008.1.2.1\0"
    files = [part10(d).replace(known, unknown) for d in stack()[2]]
    (found,) = stacks_of(read(files, accept_identified=True))
    with pytest.raises(GlioserveError) as caught:
        assemble(found, Modality.T1)
    assert caught.value.code is ErrorCode.UNDECODABLE_PIXELS
    assert "File 1 of 6: pixels in an unknown transfer syntax" in str(caught.value)
