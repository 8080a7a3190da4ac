"""Pairs meant to break a registration, which its self-check is for, and pairs as scanners give them, which are right.

Phantoms know the truth. That of a real patient's pairs is our own registration of them as they were scanned, which
lies within a millimetre of what the other tools agree on (``make bench NAME=registration``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import permutations

import numpy as np

from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume, apply, canonical
from glioserve_phantom import make_phantom
from glioserve_preprocess.registration.register import register_all
from registration.cases import LEVELS, REFERENCE, Case, RealStudy, phantom_case
from registration.truth import draw_motion, placed

_Change = Callable[[np.random.Generator, Case], Case]


def hard_case(number: int, kind: str) -> Case:
    """Phantom ``number`` moved by the large level's motion, and then spoilt."""
    case = phantom_case(number, "large")
    rng = np.random.default_rng([number, list(KINDS).index(kind), 9])
    spoilt = KINDS[kind](rng, case)
    return replace(spoilt, name=f"{case.name}, {kind}", group=f"hard: {kind}")


def _turned(rng: np.random.Generator, case: Case) -> Case:
    """Another 30 to 60 degrees about an oblique axis through the head."""
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = np.deg2rad(rng.uniform(30, 60))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(4)
    turn[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    assert case.true is not None
    centre = case.true[:3, :3] @ case.points_lps_mm.mean(axis=0) + case.true[:3, 3]
    turn[:3, 3] = centre - turn[:3, :3] @ centre
    geometry = case.moving.geometry
    moved = Geometry(geometry.size_voxels, turn @ geometry.lps_from_voxel)
    return replace(case, moving=replace(case.moving, geometry=moved), true=turn @ case.true)


def _slab(rng: np.random.Generator, case: Case) -> Case:
    """A quarter to a half of the slices, somewhere in the stack."""
    geometry, slices = case.moving.geometry, case.moving.geometry.size_voxels[2]
    kept = max(8, round(slices * rng.uniform(0.25, 0.5)))
    start = int(rng.integers(0, slices - kept + 1))
    affine = geometry.lps_from_voxel.copy()
    affine[:3, 3] += affine[:3, 2] * start
    cut = Geometry((*geometry.size_voxels[:2], kept), affine)
    voxels = np.ascontiguousarray(case.moving.voxels[start : start + kept])
    return replace(case, moving=SequenceVolume(case.moving.modality, voxels, cut))


def _noisy(rng: np.random.Generator, case: Case) -> Case:
    """Rician noise of 20 to 60 % of the brightest tissue."""
    voxels = case.moving.voxels
    sigma = np.float32(rng.uniform(0.2, 0.6) * np.percentile(voxels, 99))
    real, imaginary = (sigma * rng.standard_normal(voxels.shape, dtype=np.float32) for _ in range(2))
    noisy = np.asarray(np.hypot(voxels + real, imaginary), dtype=np.float32)
    return replace(case, moving=replace(case.moving, voxels=noisy))


def _corner(rng: np.random.Generator, case: Case) -> Case:
    """Half of the columns only: one side of the head."""
    geometry, columns = case.moving.geometry, case.moving.geometry.size_voxels[0]
    start = int(rng.integers(0, 2)) * (columns // 2)
    affine = geometry.lps_from_voxel.copy()
    affine[:3, 3] += affine[:3, 0] * start
    cut = Geometry((columns // 2, *geometry.size_voxels[1:]), affine)
    voxels = np.ascontiguousarray(case.moving.voxels[:, :, start : start + columns // 2])
    return replace(case, moving=SequenceVolume(case.moving.modality, voxels, cut))


def _shaded(rng: np.random.Generator, case: Case) -> Case:
    """A coil's shading of up to a factor of several from one side to the other."""
    voxels, strength = case.moving.voxels, rng.uniform(0.3, 0.8)
    field = np.zeros(voxels.shape, dtype=np.float32)
    for axis, count in enumerate(voxels.shape):
        ramp = np.linspace(-1, 1, count, dtype=np.float32) * np.float32(rng.normal() * strength)
        field += ramp.reshape([-1 if a == axis else 1 for a in range(3)])
    return replace(case, moving=replace(case.moving, voxels=np.asarray(voxels * np.exp(field), dtype=np.float32)))


def _mirrored(rng: np.random.Generator, case: Case) -> Case:
    """Left for right, as a wrong affine does: nothing but a failure can come of it."""
    voxels = np.ascontiguousarray(case.moving.voxels[:, :, ::-1])
    return replace(case, moving=replace(case.moving, voxels=voxels), true=None)


def _someone_else(rng: np.random.Generator, case: Case) -> Case:
    """The sequence of another patient: likewise."""
    other = make_phantom(OTHERS_SEED + int(rng.integers(1000))).volume(case.moving.modality)
    return replace(case, moving=other, true=None)


OTHERS_SEED = 90_000
KINDS: Mapping[str, _Change] = {
    "turned": _turned,
    "slab": _slab,
    "noisy": _noisy,
    "one side": _corner,
    "shaded": _shaded,
    "mirrored": _mirrored,
    "another head": _someone_else,
}
"""Ways in which a pair is spoilt; ``mirrored`` and ``another head`` have no right answer (``true`` is None)."""


def realistic_case(number: int, kind: str) -> Case:
    """Phantom ``number``, both of whose sequences are as a poorer scan would have them; the registration is right."""
    case = phantom_case(number, LEVELS[number % 2])
    rng = np.random.default_rng([number, list(REALISTIC).index(kind), 19])
    change = REALISTIC[kind]
    name = f"{case.name}, {kind}"
    reference, moving = change(rng, case.reference), change(rng, case.moving)
    return replace(case, name=name, group=f"realistic: {kind}", reference=reference, moving=moving)


def real_pairs(study: RealStudy) -> Iterator[Case]:
    """Yield every ordered pair of the patient's sequences: as scanned, moved and degraded, mirrored, another's head."""
    volumes = {m: canonical(v) for m, v in study.volumes.items()}
    others = [v for m, v in volumes.items() if m is not REFERENCE]
    to = {r.modality: r.moving_lps_from_reference_lps for r in register_all(volumes[REFERENCE], others)}
    to[REFERENCE] = np.eye(4)
    for number, (one, other) in enumerate(permutations(volumes, 2)):
        reference, moving = volumes[one], volumes[other]
        true, points = to[other] @ np.linalg.inv(to[one]), apply(to[one], study.points_lps_mm)
        case = Case(f"FG-6692 {one} {other}", "real: as scanned", reference, moving, points, true)
        yield case
        for index, (kind, change) in enumerate(REALISTIC.items()):
            rng = np.random.default_rng([number, index, 29])
            wanted = draw_motion(rng, LEVELS[(number + index) % 2], points.mean(axis=0))
            changed = placed(change(rng, moving), true, wanted)
            name = f"{case.name}, {kind}"
            yield replace(case, name=name, group=f"real: {kind}", reference=change(rng, reference), moving=changed,
                          true=wanted)  # fmt: skip
        rng = np.random.default_rng([number, 39])
        yield replace(_mirrored(rng, case), name=f"{case.name}, mirrored", group="real: mirrored")
        if one is REFERENCE:
            yield replace(_someone_else(rng, case), name=f"{case.name}, another head", group="real: another head")


def _scanner_noise(rng: np.random.Generator, volume: SequenceVolume) -> SequenceVolume:
    """Rician noise of 3 to 10 % of the brightest tissue."""
    sigma = np.float32(rng.uniform(0.03, 0.1) * np.percentile(volume.voxels, 99))
    real, imaginary = (sigma * rng.standard_normal(volume.voxels.shape, dtype=np.float32) for _ in range(2))
    return replace(volume, voxels=np.asarray(np.hypot(volume.voxels + real, imaginary), dtype=np.float32))


def _bias(rng: np.random.Generator, volume: SequenceVolume) -> SequenceVolume:
    """A coil's shading, linear and quadratic, of about a factor of two over the head."""
    field = np.zeros(volume.voxels.shape, dtype=np.float32)
    for axis, count in enumerate(volume.voxels.shape):
        along = np.linspace(-1, 1, count, dtype=np.float32)
        ramp = along * np.float32(rng.normal() * 0.3) + along**2 * np.float32(rng.normal() * 0.2)
        field += ramp.reshape([-1 if a == axis else 1 for a in range(3)])
    return replace(volume, voxels=np.asarray(volume.voxels * np.exp(field), dtype=np.float32))


def _thick(rng: np.random.Generator, volume: SequenceVolume) -> SequenceVolume:
    """Slices joined, by means, to at most 7 mm; left alone where two are thicker than that."""
    del rng
    geometry = volume.geometry
    axis = int(np.argmax(geometry.spacing_mm))
    joined = int(7.0 / geometry.spacing_mm[axis])
    if joined < 2:
        return volume
    voxels = np.moveaxis(volume.voxels, 2 - axis, 0)
    count = len(voxels) // joined
    voxels = voxels[: count * joined].reshape(count, joined, *voxels.shape[1:]).mean(axis=1)
    affine = geometry.lps_from_voxel.copy()
    affine[:3, 3] += affine[:3, axis] * (joined - 1) / 2
    affine[:3, axis] *= joined
    voxels = np.ascontiguousarray(np.moveaxis(voxels, 0, 2 - axis), dtype=np.float32)
    z, y, x = voxels.shape
    return SequenceVolume(volume.modality, voxels, Geometry((x, y, z), affine))


REALISTIC: Mapping[str, Callable[[np.random.Generator, SequenceVolume], SequenceVolume]] = {
    "noise": _scanner_noise,
    "bias": _bias,
    "thick": _thick,
}
"""Ways in which good scans are poorer than phantoms."""
