"""The stages joined: the same patient gives the same tensor, however the scanner's files come."""

import json
import random

import numpy as np
import pytest

from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError, Modality, from_dict
from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_dicom.volumes.geometry import apply, geometry_of_record
from glioserve_preprocess.files import save_recipe
from glioserve_preprocess.pipeline import preprocess_dicom, preprocess_volumes
from support.studies.geometries import reordered


@pytest.fixture(scope="session")
def files(phantom_files):
    return phantom_files


@pytest.fixture(scope="module")
def result(files, recipe):
    return preprocess_dicom(files, recipe, accept_identified=False)


@pytest.fixture(scope="module")
def base(phantom_volumes, recipe):
    """The same patient by volumes."""
    return preprocess_volumes(phantom_volumes, recipe)


def test_the_input_is_what_the_network_expects(result, recipe):
    assert result.image.shape == (3, 48, 48, 48)
    assert result.image.dtype == np.float32
    assert result.image.min() == 0
    assert result.image.max() == 1
    assert (result.image[:, result.brain_mask == 0] == 0).all()
    assert [s.modality for s in result.record.series] == list(recipe.channels)
    assert result.record.reference is Modality.T1CE
    assert list(result.record.timings_s) == ["read", "series", "assemble", "register", "brain", "grid", "normalise"]


def test_the_grid_is_centred_on_the_brain(result):
    z, y, x = np.argwhere(result.brain_mask).mean(axis=0)
    np.testing.assert_allclose((x, y, z), 23.5, atol=0.5)


def test_channels_lie_on_each_other(result, phantom):
    """The lesion's centre, known in each sequence's own space, is one place on the network's grid."""
    network = geometry_of_record(result.record.network_grid)
    true = np.array([phantom.lesion_centre_lps_mm(Modality.T1CE)])
    for registration in result.record.registrations:
        there = apply(np.array(registration.moving_lps_from_reference_lps), true)[0]
        np.testing.assert_allclose(there, phantom.lesion_centre_lps_mm(registration.modality), atol=1.0)
    voxel = apply(network.voxel_from_lps, true)[0]
    assert (voxel > 0).all()
    assert (voxel < 47).all()


@pytest.mark.long
def test_file_order_does_not_matter(files, result, recipe):
    shuffled = list(files)
    random.Random(5).shuffle(shuffled)
    again = preprocess_dicom(shuffled, recipe, accept_identified=False)
    np.testing.assert_allclose(again.image, result.image, atol=1e-4)


@pytest.mark.parametrize(
    ("order", "flips"),
    [((0, 1, 2), (True, False, False)), ((2, 0, 1), (False, True, True))],
    ids=["mirrored rows", "sagittal"],
)
def test_stored_axes_do_not_matter(base, phantom_volumes, recipe, order, flips):
    turned = preprocess_volumes({m: reordered(v, order, flips) for m, v in phantom_volumes.items()}, recipe)
    np.testing.assert_allclose(turned.image, base.image, atol=1e-4)
    assert np.array_equal(turned.brain_mask, base.brain_mask)


def test_volumes_answer_as_dicom_does(base, result):
    """DICOM stores 12-bit pixels, so the two differ by rounding, and by what rounding does to a mask's border."""
    inside = (base.brain_mask & result.brain_mask) > 0
    assert np.abs(base.image - result.image)[:, inside].mean() < 0.01
    assert base.record.series[0].reasons == ("named by the caller",)


def test_a_sequence_outside_the_recipe_never_changes_the_answer(base, phantom, phantom_volumes, recipe):
    more = preprocess_volumes({**phantom_volumes, Modality.FLAIR: phantom.volume(Modality.FLAIR)}, recipe)
    assert np.array_equal(more.image, base.image)
    assert more.record.warnings == ("The flair volume is not in the recipe; left out.",)


def test_too_few_slices_are_refused_under_the_papers_rule(phantom_volumes, recipe):
    with pytest.raises(GlioserveError) as caught:
        preprocess_volumes(phantom_volumes, recipe.with_min_slices(200))
    assert caught.value.code is ErrorCode.TOO_FEW_SLICES


@pytest.mark.long
def test_the_offline_command_writes_every_step(files, recipe, tmp_path, capsys):
    study = tmp_path / "study"
    study.mkdir()
    for number, content in enumerate(files):
        (study / f"{number}").write_bytes(content)
    save_recipe(recipe, tmp_path / "recipe.json")
    arguments = ["preprocess", str(study), "--recipe", str(tmp_path / "recipe.json"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    written = {p.name for p in (tmp_path / "out").iterdir()}
    sequences = [f"{m}.nii.gz" for m in ("t1", "t1ce", "t2")]
    assert written == {
        "preprocess.json", "brain_mask.nii.gz", "reference_brain_mask.nii.gz", "input_brain_mask.nii.gz",
        *(f"registered_{s}" for s in sequences), *(f"input_{s}" for s in sequences),
    }  # fmt: skip
    record = from_dict(PreprocessRecord, json.loads((tmp_path / "out" / "preprocess.json").read_text()))
    assert record.quality.verdict == "ok"
    assert "register" in capsys.readouterr().out


class EndedError(Exception):
    """Error that a caller's check raises."""


@pytest.fixture(scope="module")
def steps(files, recipe):
    """Return how often a study's caller is asked whether to go on, and the result of one that always says yes."""
    asked = []
    result = preprocess_dicom(files, recipe, accept_identified=False, threads=1, check=lambda: asked.append(1))
    return len(asked), result


def test_the_caller_is_asked_before_every_stage_and_within_the_long_ones(steps, result, recipe):
    asked, done = steps
    searches = 2 * (len(recipe.channels) - 1)
    assert asked >= len(done.record.timings_s) + len(recipe.channels) + searches
    np.testing.assert_array_equal(done.image, result.image)


LONG_SHARES = (0.25, 0.75, 1)


@pytest.mark.parametrize("share", [0, 0.5, *(pytest.param(share, marks=pytest.mark.long) for share in LONG_SHARES)])
def test_a_study_ends_where_its_caller_says_so(files, recipe, steps, share):
    """Nothing on the way takes the caller's error for one of its own, and no later step is asked about."""
    last = max(1, round(share * steps[0]))
    asked = []

    def check():
        asked.append(1)
        if len(asked) >= last:
            raise EndedError

    with pytest.raises(EndedError):
        preprocess_dicom(files, recipe, accept_identified=False, threads=1, check=check)
    assert len(asked) <= last + 2 * len(recipe.channels)  # searches that were begun ask once more each


def test_a_study_of_volumes_ends_likewise(phantom_volumes, recipe):
    def check():
        raise GlioserveError(ErrorCode.DEADLINE_PASSED)

    with pytest.raises(GlioserveError) as caught:
        preprocess_volumes(phantom_volumes, recipe, check=check)
    assert caught.value.code is ErrorCode.DEADLINE_PASSED
