"""Images tell which of two T1-weighted volumes is enhanced: phantoms of fresh seeds, and a real patient."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from glioserve_contract import Modality
from glioserve_dicom.volumes.arrays import volume_of_array
from glioserve_dicom.volumes.geometry import SequenceVolume, canonical
from glioserve_preprocess.registration.register import register
from glioserve_preprocess.series.enhancement import Enhancement, compare_enhancement
from support.studies.phantoms import small_phantom

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))  # its modules are scripts, no package
from series.answers import RIGHT
from series.bench_enhancement import ABSTAINED, KINDS, judged_pair

FG_6692 = Path(__file__).resolve().parents[4] / "shared" / "data" / "tcga-fg-6692" / "nifti"
SEEDS = range(300, 312)
HEADS = [*SEEDS[:2], *(pytest.param(seed, marks=pytest.mark.long) for seed in SEEDS[2:])]


def both_orders(native: SequenceVolume, enhanced: SequenceVolume) -> tuple[Enhancement, Enhancement]:
    """The answer to (native, enhanced) and to (enhanced, native)."""
    enhanced_from_native = register(native, enhanced).moving_lps_from_reference_lps
    forth = compare_enhancement(native, enhanced, enhanced_from_native)
    return forth, compare_enhancement(enhanced, native, np.linalg.inv(enhanced_from_native))


def pair(seed: int) -> tuple[SequenceVolume, SequenceVolume]:
    phantom = small_phantom(seed)
    return canonical(phantom.volume(Modality.T1)), canonical(phantom.volume(Modality.T1CE))


@pytest.mark.parametrize("seed", HEADS)
def test_phantoms(seed: int) -> None:
    forth, back = both_orders(*pair(seed))
    assert forth.first_is_enhanced is False
    assert back.first_is_enhanced is True
    assert min(forth.confidence, back.confidence) > 0.5


@pytest.mark.parametrize("modality", [Modality.T1, Modality.T1CE])
@pytest.mark.parametrize("seed", [SEEDS[0], *(pytest.param(seed, marks=pytest.mark.long) for seed in SEEDS[1:4])])
def test_the_same_contrast_twice_is_alike(seed: int, modality: Modality) -> None:
    """Another noise, a head that registration left half a millimetre off, another gain and a coil's shading."""
    volume = canonical(small_phantom(seed).volume(modality))
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.02 * np.percentile(volume.voxels, 95), volume.voxels.shape)
    shading = np.linspace(0.8, 1.2, volume.voxels.shape[0])[:, None, None]
    again = replace(volume, voxels=np.abs((volume.voxels + noise) * 3.7 * shading).astype(np.float32))
    off = np.eye(4)
    off[:3, 3] = (0.4, -0.3, 0.3)
    found = compare_enhancement(volume, again, off)
    assert found.ambiguous
    assert found.alike


def test_a_suppressed_scalp_does_not_make_the_native_one_look_enhanced() -> None:
    """Fat saturation darkens the scalp in the enhanced series: bright in the native one alone. At worst a tie."""
    native, enhanced = pair(SEEDS[0])
    transform = register(native, enhanced).moving_lps_from_reference_lps
    head = ndimage.binary_fill_holes(enhanced.voxels > 0.15 * np.percentile(enhanced.voxels, 98))
    depth_mm = ndimage.distance_transform_edt(head, sampling=enhanced.geometry.spacing_mm[::-1])
    share = np.where(depth_mm < 9, np.float32(0.2), np.float32(1))
    found = compare_enhancement(native, replace(enhanced, voxels=enhanced.voxels * share), transform)
    assert found.first_is_enhanced is not True
    assert found.second_excess > found.first_excess


def test_coils_that_shade_the_two_too_differently_leave_it_open() -> None:
    native, enhanced = pair(SEEDS[0])
    transform = register(native, enhanced).moving_lps_from_reference_lps
    steep = np.geomspace(1, 10, enhanced.voxels.shape[1], dtype=np.float32)[None, :, None]
    found = compare_enhancement(native, replace(enhanced, voxels=enhanced.voxels * steep), transform)
    assert found.ambiguous
    assert not found.alike


AT_ONCE = (
    "no agent, other inflow",
    "T1 3D gradient echo, no agent, inflow of none and all",
    "no agent, upper part in both",
)


@pytest.mark.parametrize("kind", AT_ONCE)
def test_inflowing_blood_is_too_thin_to_be_an_agent(kind: str) -> None:
    outcome = judged_pair(kind, 60_000)
    assert (outcome.used, outcome.alone) == (ABSTAINED, ABSTAINED)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [k for k in KINDS if "no agent" in k and k not in AT_ONCE])
def test_without_an_agent_nothing_is_called_enhanced(kind: str) -> None:
    """Coils, slabs, slices and techniques differ; ``make bench NAME=enhancement`` has twelve heads of each kind."""
    assert judged_pair(kind, 60_000).used == ABSTAINED


def test_gradient_echoes_before_and_after_the_agent_are_told() -> None:
    assert judged_pair("T1 3D gradient echo, before and after", 60_000).used == RIGHT


def test_slabs_that_share_little_of_the_head_are_not_compared() -> None:
    native, enhanced = pair(SEEDS[0])
    upper = native.geometry.shape[0] * 3 // 5
    cut = np.where(np.arange(enhanced.geometry.shape[0])[:, None, None] > upper, enhanced.voxels, np.float32(0))
    found = compare_enhancement(
        native, replace(enhanced, voxels=cut), register(native, enhanced).moving_lps_from_reference_lps
    )
    assert not found.compared


def test_images_without_a_head_say_nothing() -> None:
    empty = volume_of_array(Modality.T1, np.zeros((12, 12, 12), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    assert compare_enhancement(empty, empty, np.eye(4)) == Enhancement(None, 0.0, 0.0, 0.0, compared=False)


@pytest.mark.skipif(not FG_6692.is_dir(), reason="the real patient's study (../shared/data) is not here")
def test_a_real_patient() -> None:
    forth, back = both_orders(nifti("t1.nii.gz"), nifti("t1c.nii.gz"))
    assert forth.first_is_enhanced is False
    assert back.first_is_enhanced is True


@pytest.mark.skipif(not FG_6692.is_dir(), reason="the real patient's study (../shared/data) is not here")
@pytest.mark.parametrize("name", ["t1.nii.gz", "t1c.nii.gz"])
def test_a_real_patient_against_itself(name: str) -> None:
    volume = nifti(name)
    off = np.eye(4)
    off[:3, 3] = (0.4, -0.3, 0.3)
    assert compare_enhancement(volume, volume, off).alike


def nifti(name: str) -> SequenceVolume:
    image = sitk.ReadImage(str(FG_6692 / name))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return canonical(volume_of_array(Modality.T1, sitk.GetArrayFromImage(image), affine))
