"""What each tissue looks like: near one of the four sequences, or at random.

Half of the heads get intensities close to T1, T1ce, T2 or FLAIR, the others a number drawn for each tissue (Billot et
al. 2023): the first keep the network good at what it will see, the second at what nobody thought of.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glioserve_contract import Modality
from glioserve_training.brain.head import Tissue

Means = npt.NDArray[np.float32]

SEQUENCES = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)
"""The columns of the table, where white matter on T1 is 1."""
_TABLE: dict[Tissue, tuple[float, float, float, float]] = {
    Tissue.AIR: (0.0, 0.0, 0.0, 0.0),
    Tissue.SKIN: (0.85, 0.95, 0.4, 0.5),
    Tissue.FAT: (1.5, 1.5, 1.0, 1.0),
    Tissue.MUSCLE: (0.6, 0.7, 0.3, 0.4),
    Tissue.SOFT_A: (0.7, 0.9, 0.6, 0.6),
    Tissue.SOFT_B: (0.9, 1.1, 0.7, 0.6),
    Tissue.GLAND: (0.9, 1.2, 0.7, 0.7),
    Tissue.BONE: (0.12, 0.12, 0.08, 0.08),
    Tissue.MARROW: (1.1, 1.15, 0.6, 0.6),
    Tissue.DURA: (0.45, 1.0, 0.3, 0.4),
    Tissue.CSF: (0.25, 0.25, 1.6, 0.15),
    Tissue.VENTRICLE: (0.25, 0.25, 1.7, 0.15),
    Tissue.GREY: (0.72, 0.75, 0.9, 1.0),
    Tissue.WHITE: (1.0, 1.0, 0.65, 0.8),
    Tissue.DEEP_GREY: (0.82, 0.83, 0.75, 0.85),
    Tissue.CEREBELLUM: (0.74, 0.77, 0.88, 0.95),
    Tissue.CORD: (0.95, 0.95, 0.7, 0.8),
    Tissue.VESSEL: (0.4, 1.5, 0.2, 0.3),
    Tissue.EYE: (0.3, 0.3, 1.7, 0.25),
    Tissue.LENS: (0.6, 0.6, 0.3, 0.4),
    Tissue.NERVE: (0.8, 0.8, 0.7, 0.7),
    Tissue.MUCOSA: (0.6, 1.2, 1.3, 1.0),
    Tissue.CARTILAGE: (0.5, 0.5, 0.4, 0.4),
    Tissue.DISC: (0.5, 0.5, 0.7, 0.6),
    Tissue.OEDEMA: (0.7, 0.7, 1.3, 1.5),
    Tissue.ENHANCING: (0.75, 1.5, 1.0, 1.2),
    Tissue.NECROTIC: (0.45, 0.45, 1.4, 0.9),
    Tissue.CAVITY: (0.28, 0.28, 1.6, 0.3),
    Tissue.BLOOD: (1.2, 1.2, 0.5, 0.6),
    Tissue.COLLECTION: (0.4, 0.45, 1.5, 1.0),
    Tissue.FLAP_RIM: (0.15, 0.2, 0.2, 0.15),
}


def draw_contrast(rng: np.random.Generator) -> Means:
    """Mean intensity of each tissue, FP32 [len(Tissue)], about 0 to 2: like a sequence, or at random."""
    if rng.random() < 0.5:
        return sequence_contrast(rng, SEQUENCES[int(rng.integers(len(SEQUENCES)))])
    return random_contrast(rng)


def sequence_contrast(rng: np.random.Generator, sequence: Modality) -> Means:
    """Near one of the four sequences, each tissue off by a fifth or so; sometimes fat-suppressed."""
    column = SEQUENCES.index(sequence)
    means = np.array([_TABLE[tissue][column] for tissue in Tissue])
    means = means * np.exp(rng.normal(0, 0.22, len(means))) + np.abs(rng.normal(0, 0.03, len(means)))
    if rng.random() < 0.25:
        means[[Tissue.FAT, Tissue.MARROW]] *= rng.uniform(0.15, 0.5)
    return _in_air(means, rng)


def random_contrast(rng: np.random.Generator) -> Means:
    """A number for each tissue; much of the time bone is dark and neighbours of one kind look alike."""
    means = rng.uniform(0.05, 1.8, len(Tissue))
    if rng.random() < 0.6:
        means[[Tissue.BONE, Tissue.FLAP_RIM]] = rng.uniform(0.02, 0.25, 2)
    if rng.random() < 0.5:
        means[[Tissue.VENTRICLE, Tissue.CAVITY]] = means[Tissue.CSF] * rng.uniform(0.9, 1.1, 2)
    if rng.random() < 0.6:
        means[[Tissue.DEEP_GREY, Tissue.CEREBELLUM]] = means[Tissue.GREY] * rng.uniform(0.9, 1.1, 2)
    return _in_air(means, rng)


def _in_air(means: npt.NDArray[np.float64], rng: np.random.Generator) -> Means:
    means[Tissue.AIR] = 0.0 if rng.random() < 0.7 else rng.uniform(0, 0.08)
    return np.asarray(means, dtype=np.float32)
