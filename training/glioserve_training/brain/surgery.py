"""Paint lesions, resection cavities and craniotomies, as a tumour and its treatment leave them, into a head's labels.

The signed distance stays as it was: a lesion or a cavity is part of the brain mask, whatever it looks like, because
the service is asked about it; a bone flap or fluid under the scalp is not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glioserve_training.brain.head import SPACING_MM, HeadTissue, Labels, SyntheticHead

Place = npt.NDArray[np.int_]
_BRAIN_FROM_MM = 1.0
"""Depth in the mask from which a voxel can become lesion."""


def operate(head: SyntheticHead, rng: np.random.Generator) -> Labels:
    """Return a copy of the head's labels with up to three lesions and, often, a craniotomy over one of them."""
    labels = head.labels.copy()
    if rng.random() < 0.3:
        return labels
    inside = np.flatnonzero((head.distance.ravel() < -30) & (labels.ravel() != HeadTissue.CEREBELLUM))
    for _ in range(int(rng.integers(1, 4))):
        centre = np.array(np.unravel_index(int(rng.choice(inside)), labels.shape))
        _lesion(labels, head, centre, rng)
    if rng.random() < 0.6:
        convexity = np.flatnonzero((head.labels.ravel() == HeadTissue.BONE) & (head.distance.ravel() < 127))
        z = np.unravel_index(convexity, labels.shape)[0]
        high = convexity[z > labels.shape[0] * 0.6]
        centre = np.array(np.unravel_index(int(rng.choice(high)), labels.shape))
        _craniotomy(labels, head, centre, rng)
        if rng.random() < 0.6:  # the cavity that it was opened for
            _resection(labels, head, centre, rng)
    return labels


def _box(shape: tuple[int, ...], centre: Place, radius_voxels: float) -> tuple[slice, ...]:
    r = int(np.ceil(radius_voxels))
    return tuple(slice(max(0, int(c) - r), min(n, int(c) + r + 1)) for c, n in zip(centre, shape, strict=True))


def _blob_mm(
    box: tuple[slice, ...], centre: Place, radii_mm: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Return about the distance to a bumpy ellipsoid's surface, negative inside, on the voxels of ``box``."""
    grids = np.ogrid[box]
    u = [((g - c) * SPACING_MM / r) for g, c, r in zip(grids, centre, radii_mm, strict=True)]
    phases = rng.uniform(0, 2 * np.pi, 3)
    waves = rng.uniform(2, 4.5, 3)
    bumps = sum(np.sin(w * a + p) for w, a, p in zip(waves, u, phases, strict=True)) * rng.uniform(0.03, 0.12)
    radius = np.sqrt(sum(a * a for a in u))
    return np.asarray((radius * (1 + bumps) - 1) * radii_mm.mean(), dtype=np.float32)


def _lesion(labels: Labels, head: SyntheticHead, centre: Place, rng: np.random.Generator) -> None:
    """Paint oedema, a ring or solid that enhances, a core of necrosis, blood or fluid."""
    radii = rng.uniform(4, 24) * rng.uniform(0.7, 1.3, 3)
    reach = float(rng.uniform(0, 22))
    box = _box(labels.shape, centre, (radii.max() * 1.3 + reach) / SPACING_MM)
    blob, part, depth = _blob_mm(box, centre, radii, rng), labels[box], head.distance[box]
    brain = depth < -10 * _BRAIN_FROM_MM
    part[brain & (blob < reach) & (part == HeadTissue.WHITE)] = HeadTissue.OEDEMA
    part[brain & (blob < 0)] = HeadTissue.ENHANCING
    core = rng.choice(
        [HeadTissue.NECROTIC, HeadTissue.ENHANCING, HeadTissue.CAVITY, HeadTissue.BLOOD, HeadTissue.OEDEMA]
    )
    part[brain & (blob < -float(rng.uniform(1.5, 6)))] = core


def _craniotomy(labels: Labels, head: SyntheticHead, centre: Place, rng: np.random.Generator) -> None:
    """Paint a flap cut out of the skull: refitted behind a rim, or missing; fluid under the scalp."""
    radius = float(rng.uniform(18, 48))
    box = _box(labels.shape, centre, (radius + 8) / SPACING_MM)
    part, depth = labels[box], head.distance[box]
    from_centre = np.sqrt(sum(((g - c) * SPACING_MM) ** 2 for g, c in zip(np.ogrid[box], centre, strict=True)))
    skull = ((part == HeadTissue.BONE) | (part == HeadTissue.MARROW)) & (depth > 0)
    within = from_centre < radius
    if rng.random() < 0.3:
        part[skull & within] = rng.choice([HeadTissue.COLLECTION, HeadTissue.SOFT_A, HeadTissue.FAT, HeadTissue.CSF])
    part[skull & (np.abs(from_centre - radius) < rng.uniform(1.5, 3.5))] = HeadTissue.FLAP_RIM
    if rng.random() < 0.5:
        scalp = within & np.isin(part, (HeadTissue.FAT, HeadTissue.MUSCLE, HeadTissue.SOFT_A))
        part[scalp] = HeadTissue.COLLECTION
    if rng.random() < 0.6:  # dura thickens under a flap; it may enhance
        part[within & (part == HeadTissue.CSF) & (depth > 0)] = rng.choice(
            [HeadTissue.DURA, HeadTissue.COLLECTION, HeadTissue.BLOOD]
        )


def _resection(labels: Labels, head: SyntheticHead, centre: Place, rng: np.random.Generator) -> None:
    """Paint a cavity open to the brain's surface, with an enhancing or bloody edge."""
    radii = rng.uniform(10, 30) * rng.uniform(0.7, 1.3, 3)
    box = _box(labels.shape, centre, radii.max() * 1.3 / SPACING_MM + 8)
    blob, part = _blob_mm(box, centre, radii + 8, rng), labels[box]
    brain = head.distance[box] < -5
    part[brain & (blob < 0)] = rng.choice([HeadTissue.ENHANCING, HeadTissue.BLOOD, HeadTissue.GREY])
    part[brain & (blob < -float(rng.uniform(1.0, 4)))] = rng.choice(
        [HeadTissue.CAVITY, HeadTissue.CSF, HeadTissue.COLLECTION]
    )
