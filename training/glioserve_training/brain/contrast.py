"""Intensities of the tissues: near one of the four sequences, or at random.

Half of the heads get intensities close to T1, T1ce, T2 or FLAIR, the others a number drawn for each tissue (Billot et
al. 2023): the first keep the network good at the expected images, the second at unexpected ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glioserve_contract import Modality
from glioserve_training.brain.head import HeadTissue

Means = npt.NDArray[np.float32]

SEQUENCES = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)
"""The columns of the table, where white matter on T1 is 1."""
_TABLE: dict[HeadTissue, tuple[float, float, float, float]] = {
    HeadTissue.AIR: (0.0, 0.0, 0.0, 0.0),
    HeadTissue.SKIN: (0.85, 0.95, 0.4, 0.5),
    HeadTissue.FAT: (1.5, 1.5, 1.0, 1.0),
    HeadTissue.MUSCLE: (0.6, 0.7, 0.3, 0.4),
    HeadTissue.SOFT_A: (0.7, 0.9, 0.6, 0.6),
    HeadTissue.SOFT_B: (0.9, 1.1, 0.7, 0.6),
    HeadTissue.GLAND: (0.9, 1.2, 0.7, 0.7),
    HeadTissue.BONE: (0.12, 0.12, 0.08, 0.08),
    HeadTissue.MARROW: (1.1, 1.15, 0.6, 0.6),
    HeadTissue.DURA: (0.45, 1.0, 0.3, 0.4),
    HeadTissue.CSF: (0.25, 0.25, 1.6, 0.15),
    HeadTissue.VENTRICLE: (0.25, 0.25, 1.7, 0.15),
    HeadTissue.GREY: (0.72, 0.75, 0.9, 1.0),
    HeadTissue.WHITE: (1.0, 1.0, 0.65, 0.8),
    HeadTissue.DEEP_GREY: (0.82, 0.83, 0.75, 0.85),
    HeadTissue.CEREBELLUM: (0.74, 0.77, 0.88, 0.95),
    HeadTissue.CORD: (0.95, 0.95, 0.7, 0.8),
    HeadTissue.VESSEL: (0.4, 1.5, 0.2, 0.3),
    HeadTissue.EYE: (0.3, 0.3, 1.7, 0.25),
    HeadTissue.LENS: (0.6, 0.6, 0.3, 0.4),
    HeadTissue.NERVE: (0.8, 0.8, 0.7, 0.7),
    HeadTissue.MUCOSA: (0.6, 1.2, 1.3, 1.0),
    HeadTissue.CARTILAGE: (0.5, 0.5, 0.4, 0.4),
    HeadTissue.DISC: (0.5, 0.5, 0.7, 0.6),
    HeadTissue.OEDEMA: (0.7, 0.7, 1.3, 1.5),
    HeadTissue.ENHANCING: (0.75, 1.5, 1.0, 1.2),
    HeadTissue.NECROTIC: (0.45, 0.45, 1.4, 0.9),
    HeadTissue.CAVITY: (0.28, 0.28, 1.6, 0.3),
    HeadTissue.BLOOD: (1.2, 1.2, 0.5, 0.6),
    HeadTissue.COLLECTION: (0.4, 0.45, 1.5, 1.0),
    HeadTissue.FLAP_RIM: (0.15, 0.2, 0.2, 0.15),
}


def draw_contrast(rng: np.random.Generator) -> Means:
    """Draw the mean intensity of each tissue, FP32 [len(HeadTissue)], about 0 to 2: like a sequence, or at random."""
    if rng.random() < 0.5:
        return sequence_contrast(rng, SEQUENCES[int(rng.integers(len(SEQUENCES)))])
    return random_contrast(rng)


def sequence_contrast(rng: np.random.Generator, sequence: Modality) -> Means:
    """Draw intensities near one of the four sequences, each tissue off by a fifth or so; sometimes fat-suppressed."""
    column = SEQUENCES.index(sequence)
    means = np.array([_TABLE[tissue][column] for tissue in HeadTissue])
    means = means * np.exp(rng.normal(0, 0.22, len(means))) + np.abs(rng.normal(0, 0.03, len(means)))
    if rng.random() < 0.25:
        means[[HeadTissue.FAT, HeadTissue.MARROW]] *= rng.uniform(0.15, 0.5)
    return _in_air(means, rng)


def random_contrast(rng: np.random.Generator) -> Means:
    """Draw a number for each tissue; much of the time bone is dark and neighbours of one kind look alike."""
    means = rng.uniform(0.05, 1.8, len(HeadTissue))
    if rng.random() < 0.6:
        means[[HeadTissue.BONE, HeadTissue.FLAP_RIM]] = rng.uniform(0.02, 0.25, 2)
    if rng.random() < 0.5:
        means[[HeadTissue.VENTRICLE, HeadTissue.CAVITY]] = means[HeadTissue.CSF] * rng.uniform(0.9, 1.1, 2)
    if rng.random() < 0.6:
        means[[HeadTissue.DEEP_GREY, HeadTissue.CEREBELLUM]] = means[HeadTissue.GREY] * rng.uniform(0.9, 1.1, 2)
    return _in_air(means, rng)


def _in_air(means: npt.NDArray[np.float64], rng: np.random.Generator) -> Means:
    means[HeadTissue.AIR] = 0.0 if rng.random() < 0.7 else rng.uniform(0, 0.08)
    return np.asarray(means, dtype=np.float32)
