"""A marker on the patient's left comes out on the patient's left, from every way of acquiring the series.

DICOM in, the real server, heat map out, overlay drawn: nothing between is mocked but the network's opinion.
"""

import numpy as np
import pytest

from glioserve_client import DicomStudy, GliomaClient
from glioserve_client.outputs import overlay_of
from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import Geometry, apply
from glioserve_preprocess.tensor.grid import sample
from glioserve_registry.layout.repository import add_version, assemble
from support.models.bright_spot import bright_spot_recipe, write_bright_spot
from support.server.triton import running_server
from support.studies.scans import T1CE_HEADER, part10, series

pytestmark = pytest.mark.triton

QUICK = [("axial", False), ("sagittal", True), ("coronal", False)]
"""Acquisitions that ``make test`` looks at: every axis, straight and oblique."""
AXES = {
    # name: directions of rows (x), columns (y) and slices (z) in LPS
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "axial, rows turned": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (-1, 0, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}
OBLIQUE_DEG = 20
MARKER_MM = 7.0


@pytest.fixture(scope="module")
def marker_client(tmp_path_factory, offline):
    build = tmp_path_factory.mktemp("bright-spot")
    write_bright_spot(build / "model", bright_spot_recipe(offline.recipe))
    assemble(build / "repository")
    add_version(build / "repository", build / "model")
    with running_server(build / "repository") as server, GliomaClient(server.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def marked_head(phantom):
    """A head whose lesion is gone and whose brightest brain voxels are a ball left of, behind and above its middle."""
    volume = phantom.volume(Modality.T1CE)
    mask = phantom.brain_mask(Modality.T1CE, volume.geometry)
    z, y, x = np.indices(volume.geometry.shape)
    points = apply(volume.geometry.lps_from_voxel, np.stack([x.ravel(), y.ravel(), z.ravel()], 1).astype(float))
    marker = points[mask.ravel() > 0].mean(axis=0) + np.array([35.0, 20.0, 15.0])
    voxels = np.where(mask > 0, np.minimum(volume.voxels, np.median(volume.voxels[mask > 0]) * 1.2), volume.voxels)
    near = (np.linalg.norm(points - marker, axis=1) < MARKER_MM).reshape(volume.geometry.shape)
    return np.where(near, volume.voxels.max() * 1.5, voxels).astype(np.float32), volume.geometry, marker


def acquire(voxels, geometry, axes, oblique):
    """The head on 40 slices of 5 mm along the given axes, as DICOM bytes."""
    directions = np.array(axes, float).T
    if oblique:
        a = np.deg2rad(OBLIQUE_DEG)
        turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        directions = turn @ np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]) @ directions
    size, spacing = np.array([144, 144, 44]), np.array([1.8, 1.8, 5.0])
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    middle = apply(geometry.lps_from_voxel, (np.array([geometry.size_voxels]) - 1) / 2)[0]
    affine[:3, 3] = middle - affine[:3, :3] @ ((size - 1) / 2)
    target = Geometry(tuple(int(n) for n in size), affine)
    stored = np.clip(sample(voxels, geometry, target, np.eye(4)) * (3000 / voxels.max()), 0, 4095)
    return [part10(d) for d in series(np.rint(stored), target, **T1CE_HEADER)], target


@pytest.mark.parametrize(
    ("axes", "oblique"),
    [
        pytest.param(
            axes,
            oblique,
            id=f"{name}-{'oblique' if oblique else 'straight'}",
            marks=() if (name, oblique) in QUICK else pytest.mark.long,
        )
        for name, axes in AXES.items()
        for oblique in (False, True)
    ],
)
def test_the_marker_is_followed_to_heat_map_and_overlay(marker_client, marked_head, axes, oblique, tmp_path):
    voxels, geometry, marker = marked_head
    contents, target = acquire(voxels, geometry, axes, oblique)
    study = DicomStudy.from_bytes(contents)
    prediction = marker_client.predict(study)

    peak = np.array(prediction.report.heatmap.peak_lps_mm)
    # The map has one voxel in 16 mm and the reference's slices are 5 mm apart.
    assert np.linalg.norm(peak - marker) < 12.0
    heat = prediction.heatmap
    assert heat.voxels.shape == target.shape
    index = np.array(np.unravel_index(heat.voxels.argmax(), heat.voxels.shape))[::-1]
    np.testing.assert_allclose(apply(heat.lps_from_voxel, index[np.newaxis].astype(float))[0], peak, atol=1e-3)

    overlay, warnings = overlay_of(prediction, study)
    assert warnings == ()
    pixels = np.asarray(overlay.image.convert("RGB")).astype(int)
    shown = overlay.pixels_of(peak)
    assert shown
    for panel, (column, row) in shown:
        red, green, _ = pixels[round(row), round(column)]
        assert red > green + 60, f"no heat where the peak is, on {panel}"
    middle = np.append(np.array([peak[0] - 70.0]), peak[1:])  # a point of the same slice on the patient's right
    for panel, (column, _) in overlay.pixels_of(peak):
        for other, (mirror, _) in overlay.pixels_of(middle):
            if other is panel and not oblique and panel.edge_letters[1].startswith("L"):
                assert column > mirror  # radiological display: the patient's left is on the viewer's right
