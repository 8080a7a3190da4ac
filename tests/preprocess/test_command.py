"""``glioserve preprocess`` on NIfTI files: the same patient, every step as a file, and a replay of the record."""

import json
import shutil

import nibabel
import numpy as np
import pytest

from glioserve_cli.main import main
from glioserve_contract import Modality, from_dict
from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_dicom.volumes.geometry import apply
from glioserve_preprocess.files import save_recipe
from support.studies.geometries import reordered

ORDERS = {
    Modality.T1: ((0, 1, 2), (True, False, False)),
    Modality.T1CE: ((2, 0, 1), (False, True, False)),
    Modality.T2: ((1, 0, 2), (False, False, False)),
}
"""Mirrored, sagittal and transposed storage: left-handed axes among them."""
LPS_FROM_RAS = np.diag([-1.0, -1, 1, 1])


def save(volume, path):
    """Whole numbers with a scale, as scanners' converters write them."""
    stored = np.rint(volume.voxels).astype(np.int16)
    image = nibabel.Nifti1Image(stored.transpose(), LPS_FROM_RAS @ volume.geometry.lps_from_voxel)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


@pytest.fixture(scope="module")
def folder(phantom_volumes, recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("offline")
    for modality, volume in phantom_volumes.items():
        save(reordered(volume, *ORDERS[modality]), folder / f"{modality}.nii.gz")
    save_recipe(recipe, folder / "recipe.json")
    assert main(arguments(folder, "out")) == 0
    return folder


def arguments(folder, out, *more):
    volumes = [part for m in ORDERS for part in ("--volume", f"{m}={folder / f'{m}.nii.gz'}")]
    return ["preprocess", *volumes, "--recipe", str(folder / "recipe.json"), "--out", str(folder / out), *more]


def read(path):
    """(voxels [x, y, z], lps_from_voxel), by another reader than the one that wrote them."""
    image = nibabel.load(path)
    return np.asarray(image.dataobj), LPS_FROM_RAS @ image.affine


def test_nifti_goes_in_as_arrays_do(folder, phantom_volumes, recipe):
    record = from_dict(PreprocessRecord, json.loads((folder / "out" / "preprocess.json").read_text()))
    assert record.quality.verdict == "ok"
    assert [s.modality for s in record.series] == list(recipe.channels)
    assert record.provenance.image_sha256.startswith("sha256:")
    channels = [read(folder / "out" / f"input_{m}.nii.gz")[0] for m in recipe.channels]
    assert all(c.shape == (48, 48, 48) and c.min() == 0 and c.max() == 1 for c in channels)


def test_the_mask_lies_on_the_references_own_stored_grid(folder):
    """The same brain at the same places as the mask beside it, on the very grid of the file that was sent."""
    stored, lps_from_stored = read(folder / "out" / "reference_brain_mask.nii.gz")
    sent, lps_from_sent = read(folder / "t1ce.nii.gz")
    assert stored.shape == sent.shape
    np.testing.assert_allclose(lps_from_stored, lps_from_sent, atol=1e-4)
    canonical, lps_from_canonical = read(folder / "out" / "brain_mask.nii.gz")
    assert stored.sum() == canonical.sum() > 10_000
    ours = apply(lps_from_stored, np.argwhere(stored).astype(float))
    there = np.rint(apply(np.linalg.inv(lps_from_canonical), ours)).astype(int)
    assert canonical[tuple(there.T)].all()
    assert (sent[stored > 0] > 0).mean() > 0.95


def test_a_record_is_replayed_to_the_bit(folder, capsys):
    record = folder / "out" / "preprocess.json"
    assert main(arguments(folder, "again", "--replay", str(record))) == 0
    assert "replay: the recorded input, to the bit" in capsys.readouterr().out


def test_a_replay_of_another_study_is_refused(folder, capsys):
    (folder / "other").mkdir(exist_ok=True)
    for name in (*(f"{m}.nii.gz" for m in ORDERS), "recipe.json"):
        shutil.copy(folder / name, folder / "other" / name)
    image = nibabel.load(folder / "t2.nii.gz")
    voxels = np.asarray(image.dataobj).astype(np.int16)
    voxels[20, 20, 20] += 1
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), folder / "other" / "t2.nii.gz")
    record = folder / "out" / "preprocess.json"
    assert main(arguments(folder / "other", "out", "--replay", str(record))) == 1
    assert "[GLIO-1704] The t2 volume has other voxels." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "token"),
    [
        ([], "GLIO-1101"),
        (["STUDY", "--volume", "t1=a.nii"], "GLIO-1102"),
        (["no such folder"], "GLIO-1103"),
        (["--volume", "t1=a.nii", "--volume", "t1=b.nii"], "GLIO-1106"),
        (["--volume", "t1=missing.nii"], "GLIO-1106"),
    ],
)
def test_what_is_not_one_study_is_refused(folder, capsys, given, token):
    assert main(["preprocess", *given, "--recipe", str(folder / "recipe.json"), "--out", str(folder / "x")]) == 1
    assert token in capsys.readouterr().err
    assert not (folder / "x").exists()


@pytest.mark.parametrize("volume", ["t1", "t9=a.nii", "t1="])
def test_a_volume_that_names_no_sequence_is_wrong_usage(volume, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["preprocess", "--volume", volume, "--recipe", "r", "--out", "o"])
    assert caught.value.code == 2
    assert "NAME=FILE" in capsys.readouterr().err


def test_a_record_without_its_mask_cannot_be_replayed(folder, tmp_path, capsys):
    shutil.copy(folder / "out" / "preprocess.json", tmp_path / "preprocess.json")
    assert main(arguments(folder, "more", "--replay", str(tmp_path / "preprocess.json"))) == 1
    assert "GLIO-1704" in capsys.readouterr().err
    assert not (folder / "more").exists(), "refused before the work"
