"""The second opinion by voxels: its grid, its model, and what it says of heads of known kind."""

from concurrent.futures import ThreadPoolExecutor
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.sequences import PixelKind
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume, canonical, canonical_view
from glioserve_preprocess.opinion.coarse import GRID_SHAPE, coarse_head
from glioserve_preprocess.opinion.model import (
    OPINION_DIGEST,
    OPINION_MODEL,
    load_opinion_model,
    opinion_model_digest,
)
from glioserve_preprocess.opinion.network import PixelOpinion, opinion_of
from support.studies.heads import ORIENTATIONS, head_grid, head_volume

KIND_OF = {
    Modality.T1: PixelKind.T1,
    Modality.T1CE: PixelKind.T1CE,
    Modality.T2: PixelKind.T2,
    Modality.FLAIR: PixelKind.FLAIR,
}
NIFTI = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "tcga-fg-6692" / "nifti"
FG_6692 = {Modality.T1: "t1", Modality.T1CE: "t1c", Modality.T2: "t2", Modality.FLAIR: "fla"}


def volume_of(voxels, spacing_mm=(1.0, 1.0, 1.0), directions=None):
    z, y, x = voxels.shape
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if directions is None else directions) * np.array(spacing_mm)
    return SequenceVolume(Modality.T1, np.asarray(voxels, dtype=np.float32), Geometry((x, y, z), affine))


def turned(volume, order, flips):
    """The same voxels at the same places, stored with axes (z, y, x) in another order and direction."""
    array, affine = volume.voxels.transpose(order), volume.geometry.lps_from_voxel
    columns = [affine[:3, 2 - axis].copy() for axis in order]
    origin = affine[:3, 3].copy()
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis)
            origin += columns[axis] * (array.shape[axis] - 1)
            columns[axis] = -columns[axis]
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack(columns[::-1], axis=1)
    matrix[:3, 3] = origin
    z, y, x = array.shape
    return SequenceVolume(volume.modality, np.ascontiguousarray(array), Geometry((x, y, z), matrix))


@pytest.fixture(scope="module")
def head():
    shape, affine = head_grid(ORIENTATIONS["axial"], (0.9, 1.1, 2.0))
    z, y, x = shape
    return SequenceVolume(Modality.T1, head_volume(shape, affine), Geometry((x, y, z), affine))


def test_the_digest_is_that_of_the_packaged_files():
    graph, sidecar = OPINION_MODEL.read_bytes(), OPINION_MODEL.with_suffix(".json").read_bytes()
    assert opinion_model_digest(graph, sidecar) == OPINION_DIGEST
    assert len(graph) <= 2_000_000
    assert OPINION_DIGEST in OPINION_MODEL.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["graph", "card", "missing"])
def test_another_model_is_refused(tmp_path, damage):
    graph = tmp_path / OPINION_MODEL.name
    graph.write_bytes(OPINION_MODEL.read_bytes() + (b"x" if damage == "graph" else b""))
    card = OPINION_MODEL.with_suffix(".json").read_bytes()
    if damage != "missing":
        graph.with_suffix(".json").write_bytes(card.replace(b"0.", b"0.0", 1) if damage == "card" else card)
    with pytest.raises(GlioserveError) as caught:
        load_opinion_model(graph, OPINION_DIGEST)
    assert caught.value.code is ErrorCode.INVALID_OPINION_MODEL


@pytest.mark.parametrize(
    ("old", "new"), [(b'"temperature": ', b'"temperature": -'), (b'"PD"', b'"T2"'), (b"{", b"["), (b'"name"', b'"nom"')]
)
def test_a_card_that_does_not_fit_is_refused_even_with_its_digest(tmp_path, old, new):
    graph = tmp_path / OPINION_MODEL.name
    graph.write_bytes(OPINION_MODEL.read_bytes())
    card = OPINION_MODEL.with_suffix(".json").read_bytes().replace(old, new, 1)
    graph.with_suffix(".json").write_bytes(card)
    with pytest.raises(GlioserveError) as caught:
        load_opinion_model(graph, opinion_model_digest(graph.read_bytes(), card))
    assert caught.value.code is ErrorCode.INVALID_OPINION_MODEL


def test_shares_sum_to_one_and_are_the_same_every_time(head):
    first = opinion_of(head)
    with ThreadPoolExecutor(4) as pool:
        others = list(pool.map(opinion_of, [head] * 8))
    assert set(first.shares) == set(PixelKind)
    assert sum(first.shares.values()) == pytest.approx(1)
    assert all(o.shares == first.shares for o in others)


def test_axes_in_any_order_and_direction_give_the_same_grid(head):
    wanted = coarse_head(head)
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        other = turned(head, order, flips)
        assert np.array_equal(canonical(other).voxels, head.voxels)
        assert np.array_equal(coarse_head(other), wanted), (order, flips)


def test_a_view_of_the_canonical_volume_is_no_copy(head):
    other = turned(head, (2, 0, 1), (True, False, True))
    view = canonical_view(other)
    assert np.shares_memory(view.voxels, other.voxels)
    assert np.array_equal(view.voxels, canonical(other).voxels)


@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5, 5.0), (1.0, 1.0, 1.0), (0.4, 0.4, 6.5), (2.0, 2.0, 2.0)])
def test_the_grid_shows_the_head_where_it_is_at_any_spacing(spacing_mm):
    """The marker of the test head lies left, anterior and superior of its middle, brighter than all else."""
    shape, affine = head_grid(ORIENTATIONS["axial"], spacing_mm)
    z, y, x = shape
    grid = coarse_head(SequenceVolume(Modality.T1, head_volume(shape, affine), Geometry((x, y, z), affine)))
    assert grid.shape == (2, *GRID_SHAPE)
    marker = np.argwhere(grid[1] > 0.8 * grid[1].max()).mean(axis=0)
    middle = np.array([np.flatnonzero(grid[0].max(axis=a) > 0.3).mean() for a in ((1, 2), (0, 2), (0, 1))])
    offset_mm = (marker - middle) * 3
    assert offset_mm == pytest.approx([24, -28, 38], abs=9)


def test_thin_bright_lines_survive_in_the_maxima():
    voxels = np.full((120, 160, 160), 100.0)
    voxels[:, 80, 80] = 1000  # one voxel of 1 mm
    grid = coarse_head(volume_of(voxels + np.random.default_rng(0).normal(0, 3, voxels.shape)))
    inside = grid[:, 20:40, 30:50, 22:42]
    assert inside[1].max() > 2 * inside[0].max() or inside[1].max() == 3


def test_a_field_wider_and_higher_than_the_grid_keeps_the_top_of_the_head():
    voxels = np.zeros((150, 100, 140))  # 300 x 200 x 280 mm
    voxels[20:140, 25:75, 50:90] = 500  # 240 mm high, its top at 280 mm
    grid = coarse_head(volume_of(voxels, (2.0, 2.0, 2.0)))
    rows = np.flatnonzero(grid[0].max(axis=(1, 2)) > 0.5)
    assert rows[0] == 0
    assert 59 <= rows[-1] <= 61  # some cells of air above it


@pytest.mark.parametrize(
    "voxels",
    [
        np.zeros((30, 64, 64)),
        np.full((30, 64, 64), 812.0),
        np.full((30, 64, 64), np.nan),
        np.ones((1, 1, 1)),
        np.arange(6.0).reshape(1, 1, 6),
        np.random.default_rng(0).random((3, 3, 40)),
    ],
    ids=["zeros", "constant", "not a number", "one voxel", "a line", "a rod"],
)
def test_what_shows_nothing_is_not_answered(voxels):
    opinion = opinion_of(volume_of(voxels))
    assert opinion.kind is None
    assert set(opinion.shares.values()) == {1 / len(PixelKind)}


def test_voxels_that_are_not_numbers_are_not_the_end(head):
    voxels = head.voxels.copy()
    voxels[:2] = np.nan
    assert np.isfinite(coarse_head(SequenceVolume(head.modality, voxels, head.geometry))).all()


def test_an_opinion_is_sure_from_its_threshold():
    shares = dict.fromkeys(PixelKind, 0.0) | {PixelKind.T1: 0.7, PixelKind.T1CE: 0.3}
    thresholds = dict.fromkeys(PixelKind, 0.7)
    assert PixelOpinion(shares, thresholds).kind is PixelKind.T1
    unsure = PixelOpinion(shares, thresholds | {PixelKind.T1: 0.8})
    assert unsure.kind is None
    assert unsure.likeliest is PixelKind.T1
    assert unsure.confidence == 0.7


def test_a_phantoms_sequences_are_never_taken_for_another(phantom):
    for modality, kind in KIND_OF.items():
        assert opinion_of(phantom.volume(modality)).kind in (None, kind), modality


@pytest.mark.skipif(not NIFTI.is_dir(), reason="needs the optional data in ../shared/data")
@pytest.mark.parametrize("modality", FG_6692)
def test_a_real_patients_sequences_are_never_taken_for_another(modality):
    image = nibabel.load(NIFTI / f"{FG_6692[modality]}.nii.gz")
    voxels = np.ascontiguousarray(np.asarray(image.dataobj, dtype=np.float32).T)
    z, y, x = voxels.shape
    geometry = Geometry((x, y, z), np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)
    assert opinion_of(SequenceVolume(modality, voxels, geometry)).kind in (None, KIND_OF[modality])
