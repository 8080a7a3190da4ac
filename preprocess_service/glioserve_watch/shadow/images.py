"""Networks' inputs on their way from preprocessing to the candidate: left by digest, taken once, bounded in bytes."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glioserve_watch.folder import there

SHADOW_IMAGES = "GLIOSERVE_SHADOW_IMAGES"
"""Environment variable of the server's processes: the folder of the inputs; none is left without it."""
MOST_BYTES = 1 << 29
"""Bytes that wait at most: more than the studies that a server works on at once need. One beyond them is skipped."""
OLDEST_S = 900.0
"""Time after which an input is removed: its study got no answer."""
_SUFFIX = ".npy"
Image = npt.NDArray[np.float32]


def leave(folder: Path, digest: str, image: Image) -> bool:
    """Leave the network's input [C, D, H, W]; return False where there is no room. It never raises."""
    try:
        if sum(status.st_size for status, _ in there(folder.iterdir())) + image.nbytes > MOST_BYTES:
            return False
        part = folder / f"{os.getpid()}.part"
        with part.open("wb") as file:
            np.save(file, image, allow_pickle=False)
        part.rename(_place(folder, digest))
    except OSError:
        return False
    return True


def take(folder: Path, digest: str) -> Image | None:
    """Return the input and remove it; None where it was not left."""
    place = _place(folder, digest)
    try:
        with place.open("rb") as file:
            image: Image = np.load(file, allow_pickle=False)
    except (OSError, ValueError):
        return None
    finally:
        with suppress(OSError):
            place.unlink()
    return image


def sweep(folder: Path) -> None:
    """Remove the inputs of studies that got no answer."""
    for status, file in there(folder.iterdir()):
        if time.time() - status.st_mtime > OLDEST_S:
            with suppress(OSError):
                file.unlink()


def _place(folder: Path, digest: str) -> Path:
    return folder / f"{digest.rpartition(':')[2]}{_SUFFIX}"
