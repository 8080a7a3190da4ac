"""NIfTI files: every voxel at its place whatever the header says it in, or a reason in a code."""

import gzip
import random
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from glioserve_client import GlioserveError, Modality, VolumeStudy, errors
from glioserve_client.request import encode
from glioserve_client.study import Volume
from glioserve_dicom.volumes import nifti as nifti_module

SHAPE = (5, 6, 7)
"""[x, y, z], as NIfTI has it."""
VOXELS = np.random.default_rng(3).integers(-50, 200, SHAPE).astype(np.int16)
RAS = np.array([[-2.0, 0, 0, 40], [0, 2.5, 0, -30], [0, 0, 3, -60], [0, 0, 0, 1]])
LPS = np.diag([-1.0, -1, 1, 1]) @ RAS


def rotation(degrees: float) -> np.ndarray:
    angle, matrix = np.deg2rad(degrees), np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def read(image: nibabel.Nifti1Image, folder: Path, name: str = "t1.nii") -> Volume:
    nibabel.save(image, folder / name)
    return VolumeStudy.from_nifti({Modality.T1: folder / name}).volumes[Modality.T1]


def with_forms(
    sform: np.ndarray | None, qform: np.ndarray | None, codes: tuple[int, int] = (1, 1)
) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(VOXELS, RAS)
    image.header.set_sform(sform, codes[0] if sform is not None else 0)
    image.header.set_qform(qform, codes[1] if qform is not None else 0)
    return nibabel.Nifti1Image(VOXELS, None, image.header)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", ">u2", "i4", "u4", "i8", "u8", "<f4", ">f4", "f8", ">f8"])
@pytest.mark.parametrize("name", ["t1.nii", "t1.nii.gz", "t1.img"])
def test_every_real_type_in_every_byte_order(tmp_path: Path, dtype: str, name: str) -> None:
    stored = np.abs(VOXELS) % 100
    header = nibabel.Nifti1Header(endianness=">" if ">" in dtype else "<")
    header.set_data_dtype(dtype)
    kind = nibabel.Nifti1Pair if name.endswith(".img") else nibabel.Nifti1Image
    image = kind(stored.astype(dtype), RAS, header)
    assert_array_equal(read(image, tmp_path, name).voxels, stored.transpose())


def test_nifti2_is_read_too(tmp_path: Path) -> None:
    image = nibabel.Nifti2Image(VOXELS, RAS)
    assert_array_equal(read(image, tmp_path).voxels, VOXELS.transpose())


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("unknown", 1), ("meter", 1000), ("micron", 0.001)])
def test_lengths_come_in_their_unit(tmp_path: Path, unit: str, factor: float) -> None:
    scaled = RAS.copy()
    scaled[:3] /= factor
    image = nibabel.Nifti1Image(VOXELS, scaled)
    image.header.set_xyzt_units(unit)
    assert_allclose(read(image, tmp_path).lps_from_voxel, LPS, rtol=1e-5)


def test_metres_that_are_millimetres_are_noticed(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS, RAS)
    image.header.set_xyzt_units("meter")
    with pytest.raises(errors.InvalidAffineError, match=r"t1: .*2000"):
        read(image, tmp_path)


def test_one_form_is_enough_and_the_sform_goes_first(tmp_path: Path) -> None:
    turned = rotation(5) @ RAS
    assert_allclose(read(with_forms(RAS, None), tmp_path).lps_from_voxel, LPS, atol=1e-4)
    assert_allclose(read(with_forms(None, RAS), tmp_path).lps_from_voxel, LPS, atol=1e-4)
    assert_allclose(read(with_forms(RAS, turned), tmp_path).lps_from_voxel, LPS, atol=1e-4)
    assert_allclose(read(with_forms(RAS, turned, (4, 1)), tmp_path).lps_from_voxel, LPS, atol=1e-4)


@pytest.mark.parametrize(
    ("sform", "qform", "why"),
    [
        (RAS, np.diag([-1.0, 1, 1, 1]) @ RAS, "which way"),
        (RAS, rotation(60) @ RAS, "which way"),
        (RAS @ np.diag([1.05, 1, 1, 1]), RAS, "measure"),
        (np.diag([0.0, 0, 0, 1]), RAS, "not an invertible"),
    ],
    ids=["mirrored", "turned too far", "stretched", "singular"],
)
def test_forms_that_contradict_each_other_are_refused(
    tmp_path: Path, sform: np.ndarray, qform: np.ndarray, why: str
) -> None:
    with pytest.raises(errors.InvalidAffineError, match=why):
        read(with_forms(sform, qform), tmp_path)


def test_neither_form_is_a_guess_that_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidAffineError, match="t1: Neither sform nor qform"):
        read(with_forms(None, None), tmp_path)


def test_a_sheared_affine_is_refused(tmp_path: Path) -> None:
    sheared = RAS.copy()
    sheared[0, 1] = 0.4
    with pytest.raises(errors.InvalidAffineError, match="right angles"):
        read(with_forms(sheared, None), tmp_path)


@pytest.mark.parametrize(
    ("voxels", "error"),
    [
        (np.zeros((4, 4, 4), np.complex64), errors.UnsupportedVoxelsError),
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), errors.UnsupportedVoxelsError),
        (np.zeros((4, 4, 4, 2), np.float32), errors.UnsupportedVoxelsError),
        (np.zeros((4, 4, 4, 1, 3), np.float32), errors.UnsupportedVoxelsError),
        (np.zeros((4, 4), np.float32), errors.InvalidVolumeError),
        (np.zeros((4, 4, 1), np.float32), errors.InvalidVolumeError),
        (np.full((4, 4, 4), np.inf, np.float32), errors.NonFiniteVoxelsError),
        (np.full((4, 4, 4), np.nan, np.float32), errors.NonFiniteVoxelsError),
        (np.full((4, 4, 4), 1e300), errors.ExtremeIntensityError),
    ],
    ids=["complex", "RGB", "4D", "5D vectors", "2D", "one slice", "infinite", "NaN", "huge"],
)
def test_voxels_that_cannot_be_used_have_their_code(tmp_path: Path, voxels: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error, match="t1: "):
        read(nibabel.Nifti1Image(voxels, RAS), tmp_path)


def test_one_volume_in_four_dimensions_is_one_volume(tmp_path: Path) -> None:
    assert_array_equal(read(nibabel.Nifti1Image(VOXELS[..., None, None], RAS), tmp_path).voxels, VOXELS.transpose())


def test_too_many_voxels_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nifti_module, "MAX_VOLUME_VOXELS", VOXELS.size - 1)
    path = tmp_path / "t1.nii"
    nibabel.save(nibabel.Nifti1Image(VOXELS, RAS), path)
    path.write_bytes(path.read_bytes()[:400])  # no voxel is there to be read
    with pytest.raises(errors.StudyTooLargeError):
        VolumeStudy.from_nifti({Modality.T1: path})


@pytest.mark.parametrize("content", [b"", b"not a NIfTI file at all", gzip.compress(b"x" * 999, mtime=0)])
def test_what_is_not_nifti_is_refused_without_its_path(tmp_path: Path, content: bytes) -> None:
    for name in ("zyxquist.nii", "zyxquist.nii.gz", "zyxquist.mgz", "zyxquist"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(errors.InvalidVolumeError, match="t1: ") as caught:
            VolumeStudy.from_nifti({Modality.T1: tmp_path / name})
        assert "zyxquist" not in str(caught.value)


def test_a_missing_file_and_a_cut_one_are_refused(tmp_path: Path) -> None:
    whole = nibabel.Nifti1Image(VOXELS, RAS).to_bytes()
    for name, content in (("t1.nii", whole[:-100]), ("t1.nii.gz", gzip.compress(whole)[:-60])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(errors.InvalidVolumeError):
            VolumeStudy.from_nifti({Modality.T1: tmp_path / name})
    with pytest.raises(errors.InvalidVolumeError):
        VolumeStudy.from_nifti({Modality.T1: tmp_path / "missing.nii"})


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")  # nibabel's arithmetic on headers of noise
def test_a_damaged_header_is_read_or_refused_by_code(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS, RAS)
    image.header.set_qform(RAS, 1)
    whole, rng, refused = image.to_bytes(), random.Random(17), 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(348)] = rng.randrange(256)
        (tmp_path / "t1.nii").write_bytes(content)
        try:
            volume = VolumeStudy.from_nifti({Modality.T1: tmp_path / "t1.nii"}).volumes[Modality.T1]
            assert np.isfinite(volume.lps_from_voxel).all()
            assert volume.voxels.ndim == 3
        except GlioserveError:
            refused += 1
    assert 50 < refused < 350


def test_the_bits_of_a_nan_say_nothing(tmp_path: Path) -> None:
    voxels = np.ones((5, 6, 7), np.float32)
    voxels.view(np.uint32)[0, 0, :3] = [0x7FC05A59, 0x7FC05851, 0xFFC05549]
    path = tmp_path / "t1.nii"
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    sent = encode(VolumeStudy.from_nifti({Modality.T1: path})).inputs[0].content
    assert np.isnan(np.frombuffer(sent, np.float32)).sum() == 3
    assert set(np.frombuffer(sent, np.uint32)) == {0x7FC00000, 0x3F800000}
