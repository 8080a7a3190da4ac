"""Every known trap of DICOM series, one row each: read right, told apart, or refused with its own code.

The ids are the rows of docs/inputs.md; a test of the documentation holds the two lists to each other.
"""

from __future__ import annotations

import copy
import zipfile

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    KeyObjectSelectionDocumentStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    RawDataStorage,
    RLELossless,
    generate_uid,
)

from glioserve_client import DicomStudy
from glioserve_client.deidentify import deidentify
from glioserve_contract import GlioserveError, Modality
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from glioserve_dicom.volumes.geometry import Geometry, apply
from support.studies.encodings import (
    LOSSLESS,
    NATIVE,
    bare,
    edited,
    encoded,
    enhanced,
    jpeg_baseline,
    jpeg_values,
    without_preamble,
    zipped,
)
from support.studies.pitfalls import (
    CORONAL,
    GEOMETRY,
    SAGITTAL,
    SIZE,
    STORED,
    documented_rows,
    files,
    other_pixels,
    same_series,
    scan,
)
from support.studies.scans import part10

MOSAIC = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]

# --- read right: (files, expected signal [z, y, x], its geometry) ---


def exactly(made, expected=STORED, geometry=GEOMETRY):
    return lambda: (made(), expected, geometry)


def per_slice_rescale():
    def scale(dataset, index):
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + 0.25 * index, 10 * index
        dataset.RealWorldValueMappingSequence = [Dataset()]  # other units: not to be used

    return files(edited(scan(), scale))


def rescaled():
    index = np.arange(SIZE[2])[:, None, None]
    return STORED * (1 + 0.25 * index) + 10 * index


def signed_pixels():
    def edit(dataset, index):
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
        dataset.PixelData = (STORED[index].astype("<i2") - 2000).tobytes()

    return files(edited(scan(), edit))


def junk_in_unused_bits():
    def edit(dataset, index):
        dataset.PixelData = (STORED[index] | 0xA000).astype("<u2").tobytes()

    return files(edited(scan(), edit))


def eight_bits():
    def edit(dataset, index):
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = (STORED[index] >> 4).astype(np.uint8).tobytes()

    return files(edited(scan(), edit))


def lossy():
    made = [jpeg_baseline(d) for d in scan(STORED // 16)]
    return made, np.stack([jpeg_values(f) for f in made]), GEOMETRY


def copies_in_another_syntax():
    datasets = scan()
    return [*files(datasets), *(encoded(d, JPEG2000Lossless) for d in datasets[2:5])]


def enhanced_shuffled():
    datasets = scan()
    order = np.random.default_rng(1).permutation(len(datasets))
    return files([enhanced([datasets[i] for i in order])])


def enhanced_rescaled():
    def scale(dataset, index):
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + 0.25 * index, 10 * index

    return files([enhanced(edited(scan(), scale))])


def no_frame_of_reference():
    dataset = enhanced(scan())
    del dataset.FrameOfReferenceUID
    return files([dataset])


def with_groups(shared=None, per_frame=None, **header):
    """Classic images that carry functional groups, which the standard allows and does not need."""

    def edit(dataset, _):
        dataset.NumberOfFrames = 1
        for keyword, groups in (
            ("SharedFunctionalGroupsSequence", shared),
            ("PerFrameFunctionalGroupsSequence", per_frame),
        ):
            if groups is not None:
                setattr(dataset, keyword, copy.deepcopy(groups))

    return files(edited(scan(**header), edit))


def one_tile(dataset, _):
    """United Imaging's and Siemens' private attributes of an image that is not a mosaic."""
    dataset.private_block(0x0065, "Image Private Header", create=True).add_new(0x51, "SQ", [Dataset()])
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 1)


def private_group():
    group = Dataset()
    group.private_block(0x0019, "HITACHI", create=True).add_new(1, "LO", "x")
    return group


def classic_with_groups_of_another_place():
    whole = enhanced(edited(scan(geometry=CORONAL), lambda d, _: setattr(d, "EchoTime", 99)))
    return with_groups(whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence[:1])


def enhanced_with_attributes_of_another_place():
    whole = enhanced(scan())
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "EchoTime"):
        setattr(whole, keyword, scan(geometry=CORONAL)[0][keyword].value)
    return files([whole])


def placed_by_groups_alone():
    """One frame a file, of the classic class, as a splitter of enhanced objects that copies the groups leaves it."""
    made = [enhanced([d], MRImageStorage) for d in scan()]
    return files(made)


def split_by(owner):
    """One acquisition whose images came under as many series UIDs as ``owner`` gives."""
    uids = {}
    return files(
        edited(scan(), lambda d, i: setattr(d, "SeriesInstanceUID", uids.setdefault(owner(i), generate_uid())))
    )


def beside_others():
    others = []
    for storage in (
        EnhancedSRStorage,
        GrayscaleSoftcopyPresentationStateStorage,
        KeyObjectSelectionDocumentStorage,
        RawDataStorage,
        CTImageStorage,
    ):
        other = copy.deepcopy(scan()[0])
        other.SOPClassUID, other.SOPInstanceUID, other.SeriesInstanceUID = storage, generate_uid(), generate_uid()
        del other.PixelData
        others.append(other)
    return files([*scan(), *others])


def with_dicomdir():
    directory = scan()[0]
    directory.SOPClassUID = MediaStorageDirectoryStorage
    for keyword in ("PixelData", "SeriesInstanceUID", "StudyInstanceUID"):
        delattr(directory, keyword)
    return [part10(directory), *files(scan())]


def elements_behind_the_pixels():
    return files(edited(scan(), lambda d, _: setattr(d, "DataSetTrailingPadding", bytes(32))))


def in_two_archives():
    made = files(scan())
    return [zipped(made[:3]), zipped(made[3:], zipfile.ZIP_STORED)]


READ_RIGHT = {
    **{name: exactly(lambda s=s: [encoded(d, s) for d in scan()]) for name, s in {**NATIVE, **LOSSLESS}.items()},
    "JPEG lossless": exactly(lambda: [encoded(d, JPEGLosslessSV1) for d in scan()]),
    "JPEG baseline": lossy,
    "rescale of each slice": exactly(per_slice_rescale, rescaled()),
    "signed pixels": exactly(signed_pixels, STORED - 2000.0),
    "8 bits": exactly(eight_bits, STORED >> 4),
    "junk in unused bits": exactly(junk_in_unused_bits),
    "MONOCHROME1": exactly(lambda: files(scan(PhotometricInterpretation="MONOCHROME1")), 4095.0 - STORED),
    "oblique": exactly(lambda: files(scan())),
    "sagittal": exactly(lambda: files(scan(geometry=SAGITTAL)), geometry=SAGITTAL),
    "coronal": exactly(lambda: files(scan(geometry=CORONAL)), geometry=CORONAL),
    "files in any order": exactly(lambda: files(scan())[::-1]),
    "gaps between slices": exactly(lambda: files(scan(SliceThickness=3, SpacingBetweenSlices=99))),
    "no preamble": exactly(lambda: [without_preamble(f) for f in files(scan())]),
    "no preamble, no meta header": exactly(lambda: [bare(d) for d in scan()]),
    "no preamble, no meta header, explicit VR": exactly(lambda: [bare(d, implicit=False) for d in scan()]),
    "exact copies": exactly(lambda: files(scan()) * 2),
    "exact copies in another syntax": exactly(copies_in_another_syntax),
    "enhanced multi-frame": exactly(lambda: files([enhanced(scan())])),
    "enhanced, frames in any order": exactly(enhanced_shuffled),
    "enhanced, rescale of each frame": exactly(enhanced_rescaled, rescaled()),
    "enhanced, compressed": exactly(lambda: [encoded(enhanced(scan()), RLELossless)]),
    "enhanced, split over files": exactly(
        lambda: files(
            [enhanced(scan()[:4], SeriesInstanceUID="1.2.3"), enhanced(scan()[4:], SeriesInstanceUID="1.2.3")]
        )
    ),
    "enhanced without frame of reference": exactly(no_frame_of_reference),
    "legacy converted enhanced": exactly(lambda: files([enhanced(scan(), LegacyConvertedEnhancedMRImageStorage)])),
    "enhanced with classic attributes": exactly(enhanced_with_attributes_of_another_place),
    "enhanced, unpacked mosaic": exactly(lambda: files([enhanced(scan(ImageType=MOSAIC), ImageType=MOSAIC)])),
    "private attributes of one tile": exactly(lambda: files(edited(scan(), one_tile))),
    "classic with an empty functional group": exactly(lambda: with_groups([Dataset()])),
    "classic with empty functional groups": exactly(lambda: with_groups([], [])),
    "classic with an empty group a frame": exactly(lambda: with_groups([Dataset()], [Dataset()])),
    "classic with private functional groups": exactly(lambda: with_groups([private_group()], [private_group()])),
    "classic with functional groups of another place": exactly(classic_with_groups_of_another_place),
    "classic, placed by functional groups alone": exactly(placed_by_groups_alone),
    "classic, many frames": exactly(lambda: files([enhanced(scan(), MRImageStorage)])),
    "series split over UIDs, interleaved": exactly(lambda: split_by(lambda i: i % 2)),
    "series split over UIDs, adjoining": exactly(lambda: split_by(lambda i: i // 3)),
    "series split over UIDs, one each": exactly(lambda: split_by(lambda i: i)),
    "non-image objects": exactly(beside_others),
    "DICOMDIR": exactly(with_dicomdir),
    "zip archive": exactly(lambda: [zipped(files(scan()))]),
    "several zip archives": exactly(in_two_archives),
    "elements behind the pixels": exactly(elements_behind_the_pixels),
}


def assert_is(volume, expected, geometry, atol=0):
    """The same signal at the same places, from whichever end the stack was taken."""
    z, y, x = (np.array(i) for i in np.indices(expected.shape).reshape(3, -1))
    places = apply(geometry.lps_from_voxel, np.stack([x, y, z], axis=1).astype(float))
    found = apply(volume.geometry.voxel_from_lps, places)
    np.testing.assert_allclose(found, np.rint(found), atol=1e-3)
    u, v, w = np.rint(found).astype(int).T
    assert volume.voxels.shape == expected.shape
    np.testing.assert_allclose(volume.voxels[w, v, u], expected[z, y, x].astype(np.float32), rtol=1e-6, atol=atol)


@pytest.mark.parametrize("name", READ_RIGHT)
def test_read_right(name):
    made, expected, geometry = READ_RIGHT[name]()
    (found,) = stacks_of(read(made, accept_identified=True))
    lossy_levels = 1 if name == "JPEG baseline" else 0  # two decoders may round an inverse cosine transform apart
    assert_is(assemble(found, Modality.T1), np.asarray(expected), geometry, lossy_levels)


# --- told apart: (files, what each part is called, signal of the part that is the sequence) ---


def localiser():
    planes = [
        scan(other_pixels(n)[:1], g, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        for n, g in enumerate((SAGITTAL, CORONAL))
    ]
    return same_series(scan(), *planes)


def two_planes():
    return same_series(scan(geometry=SAGITTAL), scan(other_pixels()[:3], CORONAL))


def with_reformat():
    return same_series(scan(), scan(other_pixels(), ImageType=["DERIVED", "SECONDARY", "MPR"]))


def twice(**differing):
    """One series with two images at every place, set apart by one attribute."""
    keyword, (one, other) = next(iter(differing.items()))
    return same_series(scan(**{keyword: one}), scan(other_pixels(), **{keyword: other}))


def two_sizes():
    small = Geometry((20, 18, 8), GEOMETRY.lps_from_voxel @ np.diag([2, 2, 1, 1]))
    return same_series(scan(), scan(other_pixels()[:, ::2, ::2], small))


def enhanced_stacks():
    whole = enhanced([*scan(), *scan(other_pixels()[:3], SAGITTAL)])
    for n, frame in enumerate(whole.PerFrameFunctionalGroupsSequence):
        frame.FrameContentSequence[0].StackID = "1" if n < SIZE[2] else "2"
        orientation = Dataset()
        source = (scan() if n < SIZE[2] else scan(geometry=SAGITTAL))[0]
        orientation.ImageOrientationPatient = source.ImageOrientationPatient
        frame.PlaneOrientationSequence = [orientation]
    return [whole]


def concatenated_phases():
    """Two phases, each acquired in two interleaved passes with numbers of their own: a pass is not a volume."""

    def number(first):
        return lambda d, i: setattr(d, "AcquisitionNumber", first + i % 2)

    return same_series(
        edited(scan(TemporalPositionIdentifier=1), number(1)),
        edited(scan(other_pixels(), TemporalPositionIdentifier=2), number(3)),
    )


TOLD_APART = {
    "localiser in the series": (localiser, {"type 1, plane 1": 1, "type 1, plane 2": 1, "type 2": 8}),
    "derived images in the series": (with_reformat, {"type 1": 8, "type 2": 8}),
    "mixed orientations": (two_planes, {"plane 1": 8, "plane 2": 3}),
    "two matrix sizes": (two_sizes, {"matrix 1": 8, "matrix 2": 8}),
    "two echoes": (lambda: twice(EchoTime=(10, 80)), {"echo 1": 8, "echo 2": 8}),
    "two echo numbers": (lambda: twice(EchoNumbers=(1, 2)), {"echo 1": 8, "echo 2": 8}),
    "two acquisitions": (lambda: twice(AcquisitionNumber=(1, 2)), {"acquisition 1": 8, "acquisition 2": 8}),
    "two acquisitions of long numbers": (
        lambda: twice(AcquisitionNumber=(20261127, 20261128)),
        {"acquisition 1": 8, "acquisition 2": 8},
    ),
    "two phases": (lambda: twice(TemporalPositionIdentifier=(1, 2)), {"phase 1": 8, "phase 2": 8}),
    "two phases in interleaved passes": (concatenated_phases, {"phase 1": 8, "phase 2": 8}),
    "two inversion times": (lambda: twice(InversionTime=(700, 2500)), {"inversion 1": 8, "inversion 2": 8}),
    "two frames of reference": (
        lambda: twice(FrameOfReferenceUID=("1.2.3", "1.2.4")),
        {"frame of reference 1": 8, "frame of reference 2": 8},
    ),
    "enhanced, two echoes": (lambda: [enhanced(twice(EchoTime=(10, 80)))], {"echo 1": 8, "echo 2": 8}),
    "enhanced, two phases": (
        lambda: [enhanced(twice(TemporalPositionIdentifier=(1, 2)))],
        {"phase 1": 8, "phase 2": 8},
    ),
    "enhanced, two stacks": (enhanced_stacks, {"stack 1": 8, "stack 2": 3}),
}


@pytest.mark.parametrize("name", TOLD_APART)
def test_told_apart(name):
    made, parts = TOLD_APART[name]
    datasets = made()
    found = stacks_of(read(files(datasets), accept_identified=True))
    assert {s.part: s.slices for s in found} == parts
    assert [s.part for s in stacks_of(read(files(datasets[::-1]), accept_identified=True))] == [s.part for s in found]
    whole = next(
        s for s in found if assemble_or_none(s) is not None and sorted_signal(s) == sorted(STORED.ravel().tolist())
    )
    geometry = SAGITTAL if name == "mixed orientations" else GEOMETRY
    assert_is(assemble(whole, Modality.T1), STORED, geometry)


def assemble_or_none(found):
    try:
        return assemble(found, Modality.T1)
    except GlioserveError:
        return None


def sorted_signal(found):
    return sorted(assemble(found, Modality.T1).voxels.ravel().tolist())


def sent(made):
    """Return what the client sends of these files."""
    files_sent = [f for f in DicomStudy.from_bytes(made).files if not f.reason_not_sent]
    return deidentify(files_sent).contents


@pytest.mark.parametrize("name", READ_RIGHT)
def test_what_the_client_sends_is_read_right_too(name):
    made, expected, geometry = READ_RIGHT[name]()
    (found,) = stacks_of(read(sent(made), accept_identified=False))
    assert_is(assemble(found, Modality.T1), np.asarray(expected), geometry, 1 if name == "JPEG baseline" else 0)


@pytest.mark.parametrize("name", TOLD_APART)
def test_what_the_client_sends_is_told_apart_too(name):
    made, parts = TOLD_APART[name]
    found = stacks_of(read(sent(files(made())), accept_identified=False))
    assert sorted(s.slices for s in found) == sorted(parts.values())


@pytest.mark.parametrize(("heading", "table"), [("Read right", READ_RIGHT), ("Told apart", TOLD_APART)])
def test_the_documentation_has_a_row_for_each(heading, table):
    assert {row for row, *_ in documented_rows(heading)} == set(table)
