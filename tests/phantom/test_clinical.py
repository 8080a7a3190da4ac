"""Clinical studies of a phantom: contrasts follow the physics, copies stay at their places, truth names every image."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pydicom
import pytest

from glioserve_contract import Modality
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from glioserve_phantom.anatomy import PhantomTissue
from glioserve_phantom.clinical import bystanders, copies
from glioserve_phantom.clinical.agents import GIVEN, NOT_GIVEN, UNKNOWN
from glioserve_phantom.clinical.patient import Conditions, clinical_patient
from glioserve_phantom.clinical.physics import Contrast, tissue_signal
from glioserve_phantom.clinical.series import files_of
from glioserve_phantom.clinical.techniques import MAKERS, TECHNIQUES, draw
from glioserve_preprocess.tensor.grid import sample

SPIN_ECHO = Contrast("spin echo", 500, 10)
T2 = Contrast("spin echo", 4500, 100)
FLAIR = Contrast("inversion spin echo", 9000, 100, 2400)
PREPARED = Contrast("prepared gradient echo", 2300, 3, 900, 8, field_tesla=3)
FLASH = Contrast("gradient echo", 8, 3, flip_angle_deg=15)


def signal(contrast, *tissues):
    table = tissue_signal(contrast)
    return [float(table[PhantomTissue[t]]) for t in tissues]


@pytest.mark.parametrize("contrast", [SPIN_ECHO, PREPARED, FLASH], ids=["spin echo", "prepared", "gradient echo"])
def test_t1_weighting(contrast):
    fat, white, grey, fluid = signal(contrast, "FAT", "WHITE", "GREY", "CSF")
    assert fat > white > grey > fluid > 0


def test_other_weightings():
    fluid, grey, white = signal(T2, "CSF", "GREY", "WHITE")
    assert fluid > grey > white
    oedema, grey, fluid = signal(FLAIR, "OEDEMA", "GREY", "CSF")
    assert oedema > grey > 3 * fluid


@pytest.mark.parametrize("contrast", [SPIN_ECHO, PREPARED, FLASH], ids=["spin echo", "prepared", "gradient echo"])
def test_the_agent_brightens_vessels_and_lesions_and_leaves_brain(contrast):
    before, after = (signal(replace(contrast, agent=a), "VESSEL", "ENHANCING", "WHITE", "GREY") for a in (0, 1))
    assert after[0] > 1.5 * before[0]
    assert after[1] > 1.5 * before[1]
    assert after[2:] == pytest.approx(before[2:], rel=0.15)


def test_blood_flows():
    assert signal(SPIN_ECHO, "VESSEL")[0] < 0.5 * signal(SPIN_ECHO, "GREY")[0]
    still, fresh = (signal(replace(PREPARED, inflow=i), "VESSEL")[0] for i in (0, 1))
    assert fresh > 1.3 * signal(PREPARED, "WHITE")[0] > still


def test_fat_by_its_image():
    everything, suppressed, water = (
        signal(replace(FLASH, fat=image), "FAT", "WHITE") for image in ("all", "suppressed", "water")
    )
    assert everything[0] > everything[1]
    assert max(suppressed[0] / suppressed[1], water[0] / water[1]) < 0.6
    assert (
        signal(replace(FLASH, fat="opposed"), "MARROW")[0] < 0.3 * signal(replace(FLASH, fat="in phase"), "MARROW")[0]
    )
    fat, white = signal(replace(FLASH, fat="fat"), "FAT", "WHITE")
    assert fat > 10 * white


@pytest.fixture(scope="module")
def patient():
    return clinical_patient(7)


def scan(patient, technique="T1 spin echo", maker="SIEMENS", **options):
    rng = np.random.default_rng(3)
    drawn = draw(TECHNIQUES[technique], maker, rng, field_tesla=patient.field_tesla, plane="axial")
    return patient.series("t1", 2, drawn, rng, 180.0, conditions=Conditions(noise=0.005), **options)


def volumes(series):
    """Every stack of the study, assembled."""
    files, _ = files_of("test", series)
    return [assemble(s, Modality.T1) for s in stacks_of(read(files, accept_identified=True))]


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_every_technique_has_headers_at_every_maker(technique, maker):
    drawn = draw(TECHNIQUES[technique], maker, np.random.default_rng(1))
    assert drawn.attributes["Manufacturer"].upper().startswith(maker[:2])
    assert drawn.attributes["RepetitionTime"] > drawn.attributes["EchoTime"] > 0
    assert "{}" not in drawn.attributes["SeriesDescription"]
    assert len(drawn.attributes["ImageType"]) >= 3


def test_a_scan_is_read_as_it_was_measured(patient):
    series = scan(patient)
    (volume,) = volumes([series])
    assert volume.geometry.size_voxels == series.geometry.size_voxels
    assert volume.geometry.lps_from_voxel == pytest.approx(series.geometry.lps_from_voxel, abs=1e-4)
    assert np.abs(volume.voxels - series.voxels.clip(0, 4095)).max() <= 0.5


def test_with_agent_it_is_the_other_sequence_and_says_so(patient):
    series = scan(patient, agent=1.0)
    assert series.shows is Modality.T1CE
    assert series.attributes["ContrastBolusAgent"]
    assert series.attributes["SeriesDescription"].endswith("_KM")
    assert "KM" not in scan(patient, agent=1.0, marked=False).attributes["SeriesDescription"]


def test_a_reformat_shows_the_same_at_the_same_places(patient):
    series = scan(patient)
    copy = copies.reformat(series, 5, plane="sagittal", spacing_mm=5.0)
    back = sample(copy.voxels, copy.geometry, series.geometry, np.eye(4))
    inside = (back > 50) & (series.voxels > 50)
    assert inside.mean() > 0.2
    assert np.corrcoef(back[inside], series.voxels[inside])[0, 1] > 0.85
    assert (copy.shows, copy.preferred, copy.attributes["ImageType"][0]) == (Modality.T1, False, "DERIVED")


def test_the_raw_of_two_reconstructions_is_dark_in_the_middle(patient):
    kept, raw = copies.saved_twice(scan(patient), 6, strength=1.5)
    z, y, x = (n // 2 for n in kept.voxels.shape)
    middle = (slice(z - 2, z + 2), slice(y - 8, y + 8), slice(x - 8, x + 8))
    assert raw.voxels[middle].mean() < 0.5 * kept.voxels[middle].mean()
    assert raw.started_s == kept.started_s
    assert (kept.preferred, raw.preferred) == (True, False)


@pytest.mark.parametrize("one_series", [True, False])
def test_series_that_share_a_uid_are_told_apart_by_the_truth(patient, one_series):
    drawn = draw(TECHNIQUES["T1 3D gradient echo"], "PHILIPS", np.random.default_rng(1))
    images = copies.dixon(patient, drawn, np.random.default_rng(2), 10, 0.0, one_series=one_series)
    files, truth = files_of("test", images)
    uids = {pydicom.dcmread(BytesIO(f), stop_before_pixels=True).SeriesInstanceUID for f in files}
    assert len(uids) == (1 if one_series else 4)
    assert len(truth) == len(files) == sum(len(s.voxels) for s in images)
    assert set(truth.values()) == {f"dixon {image}" for image in ("water", "fat", "in phase", "opposed")}
    assert [s.shows for s in images] == [Modality.T1, None, Modality.T1, None]


def test_two_series_of_one_number_are_refused(patient):
    with pytest.raises(ValueError, match="share a number"):
        files_of("test", [scan(patient), replace(scan(patient), name="other")])


def test_echoes_decay_and_their_mean_square_is_preferred(patient):
    drawn = draw(TECHNIQUES["T1 3D prepared"], "SIEMENS", np.random.default_rng(1))
    *echoes, mean = copies.multi_echo(patient, drawn, np.random.default_rng(2), 10, 0.0)
    assert [e.attributes["EchoTime"] for e in echoes] == [1.64, 3.5, 5.36, 7.22]
    assert [e.preferred for e in [*echoes, mean]] == [False] * 4 + [True]
    assert mean.number not in {e.number for e in echoes}


def test_places_may_be_spoilt(patient):
    series = scan(patient)
    uneven = copies.unevenly_spaced(series, 0.2, np.random.default_rng(1))
    files, _ = files_of("test", [uneven])
    z = np.sort([pydicom.dcmread(BytesIO(f)).ImagePositionPatient[2] for f in files])
    steps = np.diff(z) / np.diff(z).mean()
    assert 0.05 < np.abs(steps - 1).max() < 0.12
    files, _ = files_of("test", [copies.one_uid_per_file(series)])
    assert len({pydicom.dcmread(BytesIO(f)).SeriesInstanceUID for f in files}) == len(files)
    files, _ = files_of("test", [replace(series, position_decimals=1)])
    assert all(len(str(v).partition(".")[2]) <= 1 for v in pydicom.dcmread(BytesIO(files[3])).ImagePositionPatient)


def test_blank_slices_are_zero_and_the_rest_is_not(patient):
    spoilt = copies.blanked(scan(patient), 0.5, 1.0)
    half = len(spoilt.voxels) // 2
    assert not spoilt.voxels[half:].any()
    assert spoilt.voxels[:half].any(axis=(1, 2)).all()


def test_bystanders_stand_for_nothing_but_the_second_echo(patient):
    rng = np.random.default_rng(4)
    maps = bystanders.field_map(patient, "SIEMENS", rng, 10, 0.0)
    scouts = bystanders.three_plane_scout(patient, "GE", rng, 1, description="loc")
    scout = bystanders.thin_scout(patient, "SIEMENS", rng, 2, description="AAHScout")
    assert all(s.shows is None for s in [*maps, *scouts, scout])
    assert "P" in maps[-1].attributes["ImageType"]
    echoes = bystanders.dual_echo(patient, "GE", rng, 20, 0.0, description="PD/T2")
    assert [e.shows for e in echoes] == [None, Modality.T2]
    assert len(volumes(echoes)) == 2


def test_texts_on_agents_are_in_ten_languages_and_of_one_kind_each():
    kinds = (GIVEN, NOT_GIVEN, UNKNOWN)
    assert len({language for texts in kinds for language, _ in texts}) >= 10
    texts = [text for kind in kinds for _, text in kind]
    assert len(set(texts)) == len(texts)
