"""The digest of a request's input, by which the study log knows that two requests brought the same study."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from glioserve_contract import Modality


def digest_of_files(files: Iterable[bytes]) -> str:
    """Return the digest of DICOM files, which does not depend on their order."""
    return _joined(hashlib.sha256(file).digest() for file in files)


def digest_of_volumes(
    volumes: Mapping[Modality, tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]],
) -> str:
    """Return the digest of volumes: voxels [z, y, x] and their 4 x 4 affine by sequence."""
    return _joined(_of_volume(m, voxels, affine) for m, (voxels, affine) in volumes.items())


def _of_volume(modality: Modality, voxels: npt.NDArray[np.float32], affine: npt.NDArray[np.float64]) -> bytes:
    digest = hashlib.sha256(f"{modality} {voxels.shape} ".encode())
    digest.update(np.ascontiguousarray(affine, dtype="<f8").data)
    digest.update(np.ascontiguousarray(voxels, dtype="<f4").data)
    return digest.digest()


def _joined(digests: Iterable[bytes]) -> str:
    return "sha256:" + hashlib.sha256(b"".join(sorted(digests))).hexdigest()
