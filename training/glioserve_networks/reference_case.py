"""The file of a reference case: written where a network was trained, read and checked wherever it is used.

NumPy only. Its meaning, and how an answer to it is judged, are the contract's
(:mod:`glioserve_contract.records.reference_case`).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError, Modality, sha256_digest
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.records.reference_case import CHANNELS_ARRAY, IMAGE_ARRAY, REFERENCE_CASE_FILE, recipe_order

CaseImage = npt.NDArray[np.float32]

_SLACK_BYTES = 1 << 16
"""Room for the headers around the voxels, and for the few bytes that deflate adds to data that it cannot shrink."""


@dataclass(frozen=True, eq=False)
class StoredCase:
    """A reference case that fits its recipe."""

    image: CaseImage
    """FP32 [C, D, H, W], channels in the *recipe's* order, like the server's input to the network."""
    content: bytes
    """The file, byte for byte; the recipe's digest is that of these bytes."""
    names_channels: bool = False
    """True if the file names its channels."""

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return sha256_digest(self.content)


def write_case(file: Path, image: CaseImage, channels: Sequence[Modality]) -> None:
    """Write ``image`` FP32 [C, D, H, W], whose channels are ``channels`` in the order of the network's training.

    It must not be a patient's image without consent: the file travels with the weights.
    """
    names = np.array([Modality(channel).value for channel in channels])
    if image.ndim != 4 or image.dtype != np.float32 or len(image) != len(names):
        raise GlioserveError(
            ErrorCode.INVALID_ARTIFACT,
            f"A reference case is FP32 [{len(names)}, D, H, W], not {image.dtype} {list(image.shape)}.",
        )
    arrays: dict[str, npt.NDArray[np.generic]] = {IMAGE_ARRAY: image, CHANNELS_ARRAY: names}
    with file.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def load_case(file: Path, recipe: Recipe) -> StoredCase:
    """Read a file and check it against the recipe's shape; GLIO-5102 names what is wrong with it."""
    if not file.is_file():
        raise _invalid("is missing")
    if file.stat().st_size > _image_bytes(recipe) + _SLACK_BYTES:
        raise _invalid(f"is larger than an image of {_shape(recipe)} in FP32")
    return read_case(file.read_bytes(), recipe)


def read_case(content: bytes, recipe: Recipe) -> StoredCase:
    """Read a file's bytes as :func:`load_case` reads a file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_members(archive, recipe)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            image = np.ascontiguousarray(arrays[IMAGE_ARRAY])
            channels = [str(name) for name in arrays[CHANNELS_ARRAY]] if CHANNELS_ARRAY in arrays else None
    except GlioserveError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, NotImplementedError, RuntimeError,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise _invalid(f"cannot be read: {error}") from error
    if image.shape != _shape(recipe) or image.dtype != np.float32:
        raise _invalid(
            f"holds {image.dtype} {list(image.shape)}; the recipe's network is shown float32 {list(_shape(recipe))}"
        )
    if not np.isfinite(image).all():
        raise _invalid("has values that are not finite")
    if channels is not None:
        image = np.ascontiguousarray(image[list(recipe_order(channels, recipe))])
    return StoredCase(image, content, channels is not None)


def _check_members(archive: zipfile.ZipFile, recipe: Recipe) -> None:
    """Raise GLIO-5102 for members that must not travel with the weights, and for any that unpack to too much."""
    members = {member.filename: member.file_size for member in archive.infolist()}
    if not {f"{IMAGE_ARRAY}.npy"} <= members.keys() <= {f"{IMAGE_ARRAY}.npy", f"{CHANNELS_ARRAY}.npy"}:
        raise _invalid(f"holds {len(members)} arrays that are not just {IMAGE_ARRAY!r} and {CHANNELS_ARRAY!r}")
    if sum(members.values()) > _image_bytes(recipe) + _SLACK_BYTES:
        raise _invalid(f"unpacks to more than an image of {_shape(recipe)} in FP32")


def _shape(recipe: Recipe) -> tuple[int, ...]:
    return (len(recipe.channels), *recipe.grid.shape)


def _image_bytes(recipe: Recipe) -> int:
    return 4 * int(np.prod(_shape(recipe), dtype=np.int64))


def _invalid(what: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_ARTIFACT, f"{REFERENCE_CASE_FILE} {what}.")
