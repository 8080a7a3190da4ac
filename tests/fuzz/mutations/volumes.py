"""Volumes instead of DICOM: arrays and affines that are odd or absurd, and NIfTI files that are damaged."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from fuzz.mutations import byte_level
from fuzz.sources import MARKER, PAIR, head, nifti
from glioserve_client import Volume as ClientVolume
from glioserve_client import VolumeStudy
from glioserve_contract import Modality
from glioserve_dicom.volumes.arrays import volume_of_array
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from glioserve_preprocess.overrides import Overrides
from glioserve_preprocess.pipeline import Preprocessed, preprocess_volumes

Random = np.random.Generator
_DTYPES = "bool int8 uint8 int16 >i2 uint16 int32 >i4 int64 uint64 float16 float32 >f4 float64 complex64 S4 O".split()
Given = dict[Modality, tuple[object, object]]
"""Voxels and affine, as a caller might have them."""


def of_arrays(rng: Random) -> tuple[Callable[[], Preprocessed], str]:
    """A pair of volumes with one to three oddities, by the client's classes or straight to the server's."""
    given: Given = {m: (head(m).voxels.copy(), head(m).geometry.lps_from_voxel.copy()) for m in PAIR.channels}
    ways = [WAYS[rng.integers(len(WAYS))] for _ in range(int(rng.choice([1, 1, 2, 3])))]
    for way in ways:
        modality = list(given)[rng.integers(len(given))] if given else Modality.T1
        if modality in given:
            way(rng, given, modality)
    by_client = rng.random() < 0.4
    said = f"{', '.join(w.__name__.strip('_') for w in ways)} by {'client' if by_client else 'server'}"
    return (lambda: _by_client(given)) if by_client else (lambda: _by_server(given)), said


def _by_client(given: Given) -> Preprocessed:
    study = VolumeStudy({m: ClientVolume(voxels, affine) for m, (voxels, affine) in given.items()})  # type: ignore[arg-type]
    return _by_server({m: (v.voxels, v.lps_from_voxel) for m, v in study.volumes.items()})


def _by_server(given: Given, parameters: str | None = None) -> Preprocessed:
    """Send volumes as the model server takes its tensors: FP32 and FP64 arrays of any shape, nothing else."""
    volumes = {m: volume_of_array(m, np.asarray(v), np.asarray(a)) for m, (v, a) in given.items()}
    return preprocess_volumes(Overrides.of_parameters(parameters).renamed(volumes), PAIR, threads=1)


def with_parameters(parameters: str | None) -> Preprocessed:
    """Sound volumes, any parameters."""
    return _by_server({m: (head(m).voxels, head(m).geometry.lps_from_voxel) for m in PAIR.channels}, parameters)


def _voxels(given: Given, modality: Modality) -> npt.NDArray[Any]:
    return np.asarray(given[modality][0])


def _put(given: Given, modality: Modality, voxels: object = None, affine: object = None) -> None:
    old = given[modality]
    given[modality] = (old[0] if voxels is None else voxels, old[1] if affine is None else affine)


def _shape(rng: Random, given: Given, modality: Modality) -> None:
    voxels = _voxels(given, modality)
    if voxels.ndim != 3 or not voxels.size:
        return
    z, y, x = (int(n) for n in rng.integers(0, 4, 3) * rng.integers(0, 12, 3))
    ways = (
        voxels[:z, :y, :x],
        voxels[:2],
        voxels[:, :2],
        voxels[0],
        voxels[None],
        voxels[..., None, None],
        voxels.ravel(),
    )
    more = (np.stack([voxels] * 2), np.zeros((0, 3, 3), np.float32), np.float32(3), voxels[::-1, ::-1], voxels.T)
    _put(given, modality, (*ways, *more)[rng.integers(len(ways) + len(more))])


def _huge(rng: Random, given: Given, modality: Modality) -> None:
    """More voxels than are allowed, at the price of one."""
    shape = ((513, 512, 512), (2, 2, 1 << 26), (1 << 28, 1, 1))[rng.integers(3)]
    _put(given, modality, np.broadcast_to(np.float32(1), shape))


def _dtype(rng: Random, given: Given, modality: Modality) -> None:
    voxels = _voxels(given, modality)
    if voxels.dtype.kind in "fiub":
        with np.errstate(all="ignore"):
            _put(given, modality, np.nan_to_num(voxels).astype(_DTYPES[rng.integers(len(_DTYPES))]))


def _values(rng: Random, given: Given, modality: Modality) -> None:
    voxels = _voxels(given, modality)
    if voxels.dtype.kind not in "fiu" or voxels.ndim != 3 or not voxels.size:
        return
    voxels = voxels.astype(np.float64)
    kind = rng.integers(8)
    if kind == 0:
        voxels = voxels * rng.choice([0.0, -1.0, 1e-9, 1e-30, 1e5, 1e30, 1e300])
    elif kind == 1:
        voxels = voxels + rng.choice([-5000.0, 1e6, 1e11, 1e12, 1e38])
    elif kind == 2:
        voxels = rng.normal(size=voxels.shape)
    elif kind == 3:
        voxels[:] = rng.choice([0.0, 1.0, -7.0, 1e-40])
    elif kind == 4:
        voxels[tuple(int(n) // 2 for n in voxels.shape)] = rng.choice([1e5, 1e11, -1e11, 1e13])
    elif kind == 5:
        voxels = np.where(np.arange(voxels.shape[0])[:, None, None] % 2, voxels, 0)
    elif kind == 6:
        voxels = rng.integers(0, 2, voxels.shape).astype(np.float64)
    else:
        voxels = np.indices(voxels.shape)[rng.integers(3)].astype(np.float64)
    with np.errstate(all="ignore"):
        _put(given, modality, voxels.astype(np.float32) if rng.random() < 0.7 else voxels)


def _nan(rng: Random, given: Given, modality: Modality) -> None:
    voxels = _voxels(given, modality)
    if voxels.dtype.kind not in "fiu" or voxels.ndim != 3 or min(voxels.shape) < 4:
        return
    voxels = voxels.astype(np.float32)
    bad = np.float32(rng.choice([np.nan, np.nan, np.nan, np.inf, -np.inf]))
    kind = rng.integers(6)
    if kind == 0:
        voxels[:, : int(rng.integers(1, voxels.shape[1]))] = bad
    elif kind == 1:
        voxels[rng.random(voxels.shape) < rng.choice([1e-4, 0.2, 0.9])] = bad
    elif kind == 2:
        voxels[tuple(n // 2 for n in voxels.shape)] = bad
    elif kind == 3:
        voxels[:] = bad
    elif kind == 4:
        voxels[voxels < np.nanpercentile(voxels, int(rng.integers(5, 95)))] = bad
    else:
        voxels[0, 0, 0] = bad
    _put(given, modality, voxels)


def _affine(rng: Random, given: Given, modality: Modality) -> None:
    affine = np.array(given[modality][1], dtype=object if rng.random() < 0.02 else np.float64)
    if affine.shape != (4, 4):
        return
    kind = rng.integers(11)
    if kind == 0:
        affine[:3, int(rng.integers(3))] = 0
    elif kind == 1:
        affine[:3, 0] = affine[:3, 1]
    elif kind == 2:
        affine[:3, :3] = affine[:3, :3] @ (np.eye(3) + rng.normal(0, rng.choice([1e-5, 1e-3, 0.2]), (3, 3)))
    elif kind == 3:
        affine[:3] = affine[:3] * rng.choice([1e-3, 0.02, 5, 1e3, 1e300])
    elif kind == 4:
        affine[rng.integers(4), rng.integers(4)] = rng.choice([np.nan, np.inf, -1.0, 1e308, 1e-320])
    elif kind == 5:
        affine[:3, 3] += rng.normal(0, rng.choice([50, 500, 1e6, 1e15]), 3)
    elif kind == 6:
        affine = affine[:, rng.permutation(4)]
    elif kind == 7:
        affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.choice([0.05, 0.3, 6.0, 50.0], 3)
    elif kind == 8:
        affine[:3, int(rng.integers(3))] *= -1
    elif kind == 9:
        affine = (affine[:3], affine.ravel(), affine[None], np.eye(3), np.zeros((4, 4)))[rng.integers(5)]
    else:
        affine[:3, :3] = np.diag(rng.choice([0.05, 0.06, 1.0, 49.0, 50.0], 3))
    _put(given, modality, affine=affine)


def _sequence(rng: Random, given: Given, modality: Modality) -> None:
    kind = rng.integers(4)
    if kind == 0:
        del given[modality]
    elif kind == 1:
        given[Modality.FLAIR] = given[modality]
    elif kind == 2 and len(given) > 1:
        first, second = list(given)[:2]
        given[first], given[second] = given[second], given[first]
    else:
        for other in given:
            given[other] = given[modality]


WAYS = (_shape, _shape, _huge, _dtype, _values, _values, _nan, _nan, _affine, _affine, _affine, _sequence)


def of_nifti(rng: Random) -> tuple[Callable[[], Preprocessed], str]:
    """NIfTI files: bytes damaged, header fields set to telling numbers, other files under that name."""
    version, is_packed = int(rng.choice([1, 1, 2])), bool(rng.random() < 0.4)
    contents = list(nifti(version, is_packed))
    at = int(rng.integers(2))
    kind = int(rng.integers(6))
    if kind == 0:
        way = byte_level.SINGLE[rng.integers(len(byte_level.SINGLE))]
        contents[at], said = way(rng, contents[at]), way.__name__
    elif kind == 1:
        contents[at], said = byte_level.spliced(rng, contents[at], nifti(3 - version, False)[at]), "spliced"
    else:
        plain = gzip.decompress(contents[at]) if is_packed else contents[at]
        changed, said = _header_fields(rng, plain, version)
        contents[at] = gzip.compress(changed, mtime=0) if is_packed else changed
    suffix = (
        (".nii.gz" if is_packed else ".nii") if rng.random() < 0.95 else (".mgh", ".img", ".txt", "")[rng.integers(4)]
    )
    return (lambda: _from_files(contents, suffix)), f"NIfTI-{version}{' packed' if is_packed else ''}: {said}"


def _from_files(contents: list[bytes], suffix: str) -> Preprocessed:
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for modality, content in zip((Modality.T1, Modality.T1CE), contents, strict=True):
            paths[modality] = Path(folder) / f"{MARKER}_{modality}{suffix}"
            paths[modality].write_bytes(content)
        study = VolumeStudy.from_nifti(paths)
        return _by_server({m: (v.voxels, v.lps_from_voxel) for m, v in study.volumes.items()})


_NUMBERS = (0, 1, -1, 2, 3, 7, 16, 32, 255, 1000, 32767, -32768)
_FLOATS = (0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"), 1e-3, 1000.0)


def _header_fields(rng: Random, content: bytes, version: int) -> tuple[bytes, str]:
    """One to three fields of the header, by their own types."""
    dtype = (nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header).template_dtype
    header = np.frombuffer(content[: dtype.itemsize], dtype).copy()
    names = [n for n in dtype.names or () if dtype[n].base.kind in "if"]
    said = []
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        name = names[rng.integers(len(names))]
        flat = header[name].reshape(-1)
        at = int(rng.integers(flat.size))
        pool = _FLOATS if flat.dtype.kind == "f" else _NUMBERS
        value = pool[rng.integers(len(pool))]
        if rng.random() < 0.2:
            flat[at] = np.frombuffer(rng.bytes(flat.itemsize), flat.dtype)[0]
        else:
            flat[at] = value
        header[name] = flat.reshape(header[name].shape)
        said.append(f"{name}[{at}]")
    return header.tobytes() + content[dtype.itemsize :], " and ".join(said)


def degenerate(rng: Random, modality: Modality) -> tuple[SequenceVolume, str]:
    """A volume that passes every check of its own and has no head in it that registration could hold on to."""
    sizes = ((2, 2, 2), (2, 60, 60), (60, 2, 60), (60, 60, 2), (3, 3, 200), (1500, 4, 4), (40, 40, 40), (96, 96, 30))
    spacings = (
        (1.0, 1.0, 1.0),
        (0.05, 0.05, 50.0),
        (50.0, 0.05, 0.05),
        (50.0, 50.0, 50.0),
        (0.05, 0.05, 0.05),
        (4.0, 4.0, 6.0),
    )
    x, y, z = sizes[rng.integers(len(sizes))]
    voxels, said = _content(rng, (z, y, x))
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] if rng.random() < 0.5 else np.eye(3)
    affine[:3, :3] *= spacings[rng.integers(len(spacings))]
    affine[:3, 3] = rng.normal(0, rng.choice([0, 50, 5000]), 3)
    spacing = " x ".join(f"{n:g}" for n in np.linalg.norm(affine[:3, :3], axis=0))
    return SequenceVolume(modality, voxels, Geometry((x, y, z), affine)), f"{said} {x} x {y} x {z} of {spacing} mm"


def _content(rng: Random, shape: tuple[int, int, int]) -> tuple[npt.NDArray[Any], str]:
    kind = int(rng.integers(7))
    voxels = np.zeros(shape, np.float32)
    if kind == 0:
        voxels = rng.normal(size=shape).astype(np.float32)
    elif kind == 1:
        voxels[tuple(n // 2 for n in shape)] = 1000
    elif kind == 2:
        voxels[:] = 7
    elif kind == 3:
        voxels = np.indices(shape).sum(axis=0).astype(np.float32)
    elif kind == 4:
        voxels[0] = 5
    elif kind == 5:
        voxels[:] = (np.indices(shape).sum(axis=0) % 2) * 100
    else:
        voxels = np.exp(rng.normal(0, 8, shape)).astype(np.float32)
    return voxels, ("noise", "one bright voxel", "constant", "a ramp", "one bright slice", "checkers", "wild values")[
        kind
    ]
