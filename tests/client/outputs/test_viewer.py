"""The volumes of the page: each voxel at its place, in few enough bytes. test_viewer_pages.py looks at them."""

import base64
import zlib
from dataclasses import replace

import numpy as np
import pytest

from glioserve_client import Modality, VolumeStudy
from glioserve_client.outputs.anatomy import Anatomy, reference_anatomy
from glioserve_client.outputs.packing import PackedVolume, pack, packed_to_fit
from glioserve_client.outputs.viewer import Viewer, make_viewer
from support.results.viewers import case
from support.studies.heads import LESION_LPS_MM, MARKER_LPS_MM, ORIENTATIONS


def viewer_of(orientation: str = "axial", **options: object) -> Viewer:
    prediction, study = case(orientation, **options)
    viewer = make_viewer(prediction, study, reference_anatomy(study, prediction))
    assert viewer is not None
    return viewer


def unpacked(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """Unpack an image as the page's script does it, in other words."""
    differences = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return (np.cumsum(differences.astype(np.int64)) % 256).astype(np.uint8).reshape(shape)


def brightest_lps_mm(viewer: Viewer, volume: PackedVolume) -> np.ndarray:
    """The middle of the brightest voxels, as the patient has it."""
    bright = np.argwhere(volume.levels >= volume.levels.max() - 2)[:, ::-1]
    box = np.linalg.inv(volume.voxel_from_box) @ (*bright.mean(axis=0), 1.0)
    return (viewer.lps_from_box @ box)[:3]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_sequence_shows_the_marker_where_the_patient_has_it(orientation: str) -> None:
    """Also the T1, whose voxels lie elsewhere: the report's registration brings it back."""
    viewer = viewer_of(orientation)
    assert [volume.name for volume in viewer.sequences] == ["t1", "t1ce"]
    assert viewer.problems == ()
    for volume in (*viewer.sequences, viewer.heat):
        assert np.linalg.norm(brightest_lps_mm(viewer, volume) - MARKER_LPS_MM) < 3, volume.name
    start = (viewer.lps_from_box @ (*viewer.start_mm, 1.0))[:3]
    assert np.linalg.norm(start - MARKER_LPS_MM) < 4  # the voxel that holds it
    # Columns run to the left, rows to posterior, slices to the head, whatever the files' order.
    assert (np.diag(viewer.lps_from_box)[:3] > 0.9).all()
    assert [viewer.edges["axial"][k][0] for k in range(4)] == list("RLAP")
    assert [viewer.edges["coronal"][k][0] for k in range(4)] == list("RLHF")
    assert [viewer.edges["sagittal"][k][0] for k in range(4)] == list("APHF")


def test_levels_are_the_intensities_and_come_back_from_their_text() -> None:
    prediction, study = case()
    viewer = make_viewer(prediction, study, reference_anatomy(study, prediction))
    (volume,) = (v for v in viewer.sequences if v.name == "t1ce")
    again = unpacked(viewer.packed["t1ce"], volume.levels.shape)
    np.testing.assert_array_equal(again, volume.levels)
    (x, y, z), (nx, ny, nz) = volume.first, volume.levels.shape[::-1]
    truth = study.volumes[Modality.T1CE].voxels[z : z + nz, y : y + ny, x : x + nx]
    found = volume.low + again * (volume.high - volume.low) / 255
    step = (volume.high - volume.low) / 255
    np.testing.assert_allclose(found, np.clip(truth, volume.low, volume.high), atol=step / 2 + 1e-3)
    assert volume.low <= volume.window[0] < volume.window[1] <= volume.high
    assert volume.count == study.volumes[Modality.T1CE].voxels.shape[::-1]


def test_the_setup_has_numbers_and_names_of_sequences_only() -> None:
    texts = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            texts.extend(value)
            for item in value.values():
                walk(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)
        elif isinstance(value, str):
            texts.append(value)
        else:
            assert value is None or isinstance(value, (int, float))

    setup = viewer_of().setup(Modality.T1CE)
    walk(setup)
    fields = {"size", "voxel_from_box", "first", "count", "low", "high", "window"}
    assert set(texts) == {*setup, *fields, "t1", "t1ce", "heat"}
    assert setup["first"] == "t1ce"


def test_a_page_that_would_be_too_large_is_thinned_and_its_voxels_stay_where_they_are() -> None:
    viewer = viewer_of("oblique axial", spacing_mm=(2.5, 2.5, 4.0))
    volumes = [*viewer.sequences, viewer.heat]
    most = sum(len(text) for text in viewer.packed.values()) // 3
    thin, texts, spacing_mm = packed_to_fit(volumes, most)
    assert 0.8 * most < sum(map(len, texts)) <= most
    for before, after, text in zip(volumes, thin, texts, strict=True):
        np.testing.assert_array_equal(unpacked(text, after.levels.shape), after.levels)
        assert (after.spacing_mm > spacing_mm * 0.9).all()
        assert np.linalg.norm(centre_of_light(before) - centre_of_light(after)) < 0.1
    assert packed_to_fit(volumes, 10 * most)[2] is None


def centre_of_light(volume: PackedVolume) -> np.ndarray:
    """The mean position of the levels, in mm of the box."""
    weights = volume.levels.astype(np.float64)
    index = np.array([(np.indices(weights.shape)[k] * weights).sum() for k in (2, 1, 0)]) / weights.sum()
    return (np.linalg.inv(volume.voxel_from_box) @ (*index, 1.0))[:3]


def test_what_lies_outside_the_box_is_not_packed() -> None:
    size_mm = np.array([10.0, 20.0, 30.0])
    affine = np.eye(4)
    affine[:3, 3] = -0.5  # the box's corner is the first voxel's
    voxels = np.arange(8 * 25 * 40, dtype=np.float32).reshape(40, 25, 8)
    inside = pack("t1", voxels, affine, size_mm, (0.0, 1.0), (0.0, 8000.0))
    assert inside.levels.shape == (30, 20, 8)
    assert (inside.first, inside.count) == ((0, 0, 0), (8, 25, 40))
    affine[2, 3] = 45.0
    assert pack("t1", voxels, affine, size_mm, (0.0, 1.0), (0.0, 8000.0)) is None


def test_sequences_that_cannot_be_shown_are_named() -> None:
    prediction, study = case()
    alone = VolumeStudy({Modality.T1CE: study.volumes[Modality.T1CE]})
    viewer = make_viewer(prediction, alone, reference_anatomy(alone, prediction))
    assert [volume.name for volume in viewer.sequences] == ["t1ce"]
    assert viewer.problems == ("The t1 series is not shown: the study given is not the one that was sent.",)
    preprocess = replace(prediction.report.preprocess, provenance=None)  # as from a server of contract 1.0
    older = replace(prediction, report=replace(prediction.report, preprocess=preprocess))
    viewer = make_viewer(older, study, reference_anatomy(study, older))
    assert [volume.name for volume in viewer.sequences] == ["t1ce"]
    assert viewer.problems == ("The t1 series is not shown: its place is not reported.",)


def test_images_are_shown_without_a_heat_map_and_a_heat_map_without_images() -> None:
    prediction, study = case(hot_lps_mm=LESION_LPS_MM)
    no_heat = replace(prediction, heatmap=None, report=replace(prediction.report, heatmap=None))
    viewer = make_viewer(no_heat, study, reference_anatomy(study, no_heat))
    assert viewer.heat is None
    assert set(viewer.packed) == {"t1", "t1ce"}
    np.testing.assert_allclose(viewer.start_mm, viewer.size_mm / 2)
    no_study = make_viewer(prediction, None, reference_anatomy(None, prediction))
    assert no_study.sequences == ()
    assert set(no_study.packed) == {"heat"}
    assert no_study.setup(Modality.T1CE)["first"] is None
    assert make_viewer(no_heat, None, Anatomy(None)) is None
