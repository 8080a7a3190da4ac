"""Lost signal inside the brain asks for a review; dark fluid, cavities and empty surroundings do not."""

import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from glioserve_contract import Modality
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_dicom.volumes.geometry import canonical
from glioserve_phantom.dicom import dicom_files
from glioserve_preprocess.brain.coverage import coverage_checks
from glioserve_preprocess.brain.extraction import find_brain, spread_points_lps_mm
from glioserve_preprocess.pipeline import preprocess_dicom, preprocess_volumes

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))  # its modules are scripts, no package
from brain.coverage_spoilt import LOOKALIKES, LOSSES, spoilt
from registration.cases import real_study

SEQUENCES = (Modality.T1CE, Modality.T2)


@pytest.fixture(scope="module")
def brains(phantom, phantom_volumes):
    """Canonical volume, true mask and points of each sequence."""
    found = {}
    for modality in SEQUENCES:
        volume = canonical(phantom_volumes[modality])
        mask = phantom.brain_mask(modality, volume.geometry) > 0
        found[modality] = volume, mask, spread_points_lps_mm(mask, volume.geometry)
    return found


@pytest.fixture(scope="module")
def real_brain():
    """FG-6692's T1ce, which is not a phantom's, with the brain that is found in it."""
    real = real_study()
    if real is None:
        pytest.skip("needs the optional data in ../shared/data")
    volume = canonical(real.volumes[Modality.T1CE])
    brain = find_brain(volume, [], {}, BrainExtraction())
    return volume, brain.mask > 0, brain.widest_lps_mm


def flagged(volume, points_lps_mm):
    checks = coverage_checks(volume, points_lps_mm)
    return {c.name.removeprefix(f"{volume.modality}_") for c in checks if c.verdict == "review"}


@pytest.mark.parametrize("modality", SEQUENCES)
@pytest.mark.parametrize("kind", LOSSES)
def test_lost_signal_asks_for_a_review(brains, modality, kind):
    volume, mask, points = brains[modality]
    found = flagged(spoilt(volume, mask, kind, np.random.default_rng(7)), points)
    assert found & {"signal_coverage", "blank_slices"}
    assert "brain_coverage" not in found


@pytest.mark.parametrize("modality", SEQUENCES)
@pytest.mark.parametrize("kind", LOOKALIKES)
def test_what_only_looks_like_it_does_not(brains, modality, kind):
    volume, mask, points = brains[modality]
    assert flagged(spoilt(volume, mask, kind, np.random.default_rng(7)), points) == set()


@pytest.mark.parametrize("kind", [*LOSSES, *LOOKALIKES])
def test_a_real_patients_sequence(real_brain, kind):
    volume, mask, points = real_brain
    found = flagged(spoilt(volume, mask, kind, np.random.default_rng(3)), points)
    assert bool(found) == (kind in LOSSES)


@pytest.mark.parametrize("modality", [Modality.T1CE, Modality.T2])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("fill", [0.0, 1e6, -1000.0])
def test_one_plane_of_one_value_along_any_axis(brains, modality, axis, fill):
    volume, mask, points = brains[modality]
    voxels = volume.voxels.copy()
    voxels[(slice(None),) * axis + (int(np.argwhere(mask)[:, axis].mean()),)] = fill
    assert "blank_slices" in flagged(replace(volume, voxels=voxels), points)


@pytest.mark.parametrize(("factor", "offset"), [(1e-6, 0.0), (1e6, 0.0), (1.0, 5000.0), (1.0, -5000.0)])
def test_units_and_offsets_of_the_signal_do_not_matter(brains, factor, offset):
    volume, _, points = brains[Modality.T1CE]
    voxels = (volume.voxels * factor + offset).astype(np.float32)
    assert flagged(replace(volume, voxels=voxels), points) == set()
    voxels[len(voxels) // 2 :] = voxels.min()
    assert flagged(replace(volume, voxels=voxels), points) >= {"signal_coverage", "blank_slices"}


def test_a_field_of_view_that_ends_in_the_brain_is_not_lost_signal(brains):
    volume, _, points = brains[Modality.T1CE]
    cut = np.ascontiguousarray(volume.voxels[: int(len(volume.voxels) * 0.6)])
    size = (*volume.geometry.size_voxels[:2], len(cut))
    partial = replace(volume, voxels=cut, geometry=replace(volume.geometry, size_voxels=size))
    assert flagged(partial, points) == {"brain_coverage"}


def test_a_sequence_elsewhere_covers_nothing(brains):
    volume, _, points = brains[Modality.T1CE]
    (only,) = coverage_checks(volume, points + 1000)
    assert (only.name, only.value, only.verdict) == ("t1ce_brain_coverage", 0.0, "review")


@pytest.fixture(scope="module")
def asked_files(phantom):
    """The study without its localiser and its reformat."""
    return dicom_files(phantom, identified=False, distractors=False)


def blanked(files, belongs, low, high):
    """The files of a study, in which the images of one series between two shares of its stack are zero."""
    sets = [pydicom.dcmread(BytesIO(f)) for f in files]
    mine = [d for d in sets if belongs(d)]
    mine.sort(key=lambda d: float(np.dot(_normal(d), d.ImagePositionPatient)))
    for d in mine[int(len(mine) * low) : int(len(mine) * high)]:
        d.PixelData = bytes(len(d.PixelData))
    written = []
    for d in sets:
        buffer = BytesIO()
        pydicom.dcmwrite(buffer, d)
        written.append(buffer.getvalue())
    return written


def _normal(d):
    row, column = np.array(d.ImageOrientationPatient, dtype=float).reshape(2, 3)
    return np.cross(row, column)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        pytest.param(0.0, 0.66, id="two thirds", marks=pytest.mark.long),
        pytest.param(0.45, 0.55, id="the middle"),
        pytest.param(0.5, 1.0, id="the upper half", marks=pytest.mark.long),
    ],
)
def test_a_study_whose_reference_is_blank_in_part_gets_no_label(asked_files, recipe, low, high):
    sent = blanked(asked_files, lambda d: bool(d.get("ContrastBolusAgent")), low, high)
    quality = preprocess_dicom(sent, recipe, accept_identified=False).record.quality
    assert quality.verdict == "review"
    assert {c.name for c in quality.checks if c.verdict == "review"} >= {"t1ce_blank_slices"}


def test_volumes_are_looked_at_too(brains, phantom_volumes, recipe):
    volume, mask, _ = brains[Modality.T2]
    lost = spoilt(volume, mask, "one slice zero", np.random.default_rng(1))
    quality = preprocess_volumes({**phantom_volumes, Modality.T2: lost}, recipe).record.quality
    assert [c.name for c in quality.checks if c.verdict == "review"] == ["t2_blank_slices"]
    names = {c.name for c in quality.checks}
    assert names >= {f"{m}_{n}" for m in recipe.channels for n in ("brain_coverage", "signal_coverage", "blank_slices")}
