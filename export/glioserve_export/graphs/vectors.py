"""The network's answers to the probe studies, kept beside its ONNX file: ``vectors.npz``.

A TensorRT plan is checked against it where it is built, on a machine without torch. The studies themselves are not
kept (noise does not compress): they are made again from the recipe, and their digest shows that they are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glioserve_contract import ErrorCode, GlioserveError, sha256_digest
from glioserve_contract.records.recipe import Recipe
from glioserve_export.graphs.probes import Array, probe_studies
from glioserve_export.version_files import VECTORS_FILE


@dataclass(frozen=True, eq=False)
class Vectors:
    """Studies and the fp32 network's answers to them."""

    images: Array
    """[n, C, D, H, W]."""
    logits: Array
    """[n, 2]."""
    cam: Array
    """[n, 2, d, h, w]."""


def save_vectors(vectors: Vectors, folder: Path) -> None:
    """Write the answers and the studies' digest."""
    digest = np.array(sha256_digest(vectors.images.tobytes()))
    np.savez_compressed(folder / VECTORS_FILE, logits=vectors.logits, cam=vectors.cam, images_digest=digest)


def load_vectors(folder: Path, recipe: Recipe) -> Vectors:
    """Read them and make the studies again; GLIO-5103 where there are none, or this machine makes others."""
    try:
        with np.load(folder / VECTORS_FILE, allow_pickle=False) as arrays:
            logits, cam, digest = arrays["logits"], arrays["cam"], str(arrays["images_digest"])
    except (OSError, ValueError, KeyError) as error:
        raise GlioserveError(ErrorCode.INVALID_MANIFEST, f"{VECTORS_FILE} cannot be read: {error}.") from error
    images = probe_studies(recipe)
    if sha256_digest(images.tobytes()) != digest:
        raise GlioserveError(
            ErrorCode.INVALID_MANIFEST, f"{VECTORS_FILE} is of other studies than NumPy {np.__version__} makes here."
        )
    return Vectors(images, logits, cam)
