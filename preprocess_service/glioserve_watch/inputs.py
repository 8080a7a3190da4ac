"""Inputs of the network that are kept where the operator asks for it, so that another version can be asked later.

They are images of patients. The preprocessing leaves each in ``incoming``; the supervisor keeps those whose studies
got an answer, and removes the oldest beyond the bound. An input that cannot be kept fails no study and is counted.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError, sha256_digest
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_watch.folder import there

INPUTS_FOLDER = "inputs"
"""Folder of the kept inputs in a study log."""
KEPT_INPUTS = "GLIOSERVE_KEPT_INPUTS"
"""Environment variable of the server's processes: the folder of the kept inputs; none are kept without it."""
REPLAYED = "replayed"
"""Key that a replay adds to the JSON of PREPROCESS, so that the report model neither counts nor records it. In an
ensemble PREPROCESS comes from the preprocessing alone, so that no caller of a study can set it."""
MOST_INCOMING = 64
"""Inputs that wait for the end of their studies at most; more come only where no supervisor takes them."""
INCOMING_S = 3600.0
"""Age at which an incoming input is removed: its study was not answered."""
_INCOMING = "incoming"


@dataclass(frozen=True, eq=False)
class KeptInput:
    """All that the classifier and the report need of one study."""

    image: npt.NDArray[np.float32]
    """Input of the network [C, D, H, W]."""
    brain_mask: npt.NDArray[np.uint8]
    """Mask [D, H, W] on the network's grid."""
    preprocess: str
    """JSON of the PREPROCESS tensor."""


def input_file(image_digest: str, input_digest: str | None) -> str:
    """Return the name of the file that keeps an input.

    Args:
        image_digest: digest of the network's input.
        input_digest: digest of the request's input. Two requests can give the network one input, and differ in what
            the report says of them: a study that is sent again has other pseudonyms.
    """
    return "-".join(digest.removeprefix("sha256:") for digest in (image_digest, input_digest) if digest) + ".npz"


def leave_input(folder: Path, name: str, kept: KeptInput) -> bool:
    """Leave an input in ``incoming`` under the name of its file; return False where it was lost."""
    place = folder / _INCOMING / name
    part = place.with_suffix(f".{os.getpid()}")
    try:
        if sum(1 for _ in place.parent.iterdir()) >= MOST_INCOMING:
            return False
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            text = np.frombuffer(kept.preprocess.encode(), np.uint8)
            np.savez(file, IMAGE=kept.image, BRAIN_MASK=kept.brain_mask, PREPROCESS=text)
        part.rename(place)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        return False
    return True


def find_input(folder: Path, image_digest: str, input_digest: str | None) -> KeptInput | None:
    """Return a kept input, None where it is not there (any more).

    Raises:
        GlioserveError: GLIO-5134 where the file is damaged.
    """
    name = input_file(image_digest, input_digest)
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            kept = KeptInput(arrays["IMAGE"], arrays["BRAIN_MASK"], arrays["PREPROCESS"].tobytes().decode())
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise _damaged(name) from error
    if sha256_digest(np.ascontiguousarray(kept.image, "<f4").tobytes()) != image_digest:
        raise _damaged(name)
    return kept


class InputKeeper:
    """Sink of the keeper: keeps the inputs of answered studies, up to a bound. It never holds up other sinks."""

    def __init__(self, folder: Path, most_bytes: int, on_loss: Callable[[OSError], None]) -> None:
        """Make the folders.

        Raises:
            GlioserveError: GLIO-5134 where they cannot be made.
        """
        self._folder, self._most_bytes, self._on_loss = folder, most_bytes, on_loss
        try:
            for place in (folder, folder / _INCOMING):  # a parent that mkdir makes has the mode of the umask
                place.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{folder}: {error.strerror}.") from error

    def take(self, records: Sequence[StudyRecord]) -> None:
        """Keep the inputs of those of the studies that were answered."""
        try:
            for record in records:
                if record.model is not None and record.image_digest is not None:
                    name = input_file(record.image_digest, record.input_digest)
                    with suppress(FileNotFoundError):  # it was lost, or is the same as one before
                        (self._folder / _INCOMING / name).rename(self._folder / name)
            self._remove_unanswered()
            self._remove_oldest()
        except OSError as error:
            self._on_loss(error)

    def _remove_unanswered(self) -> None:
        for status, path in there((self._folder / _INCOMING).iterdir()):
            if time.time() - status.st_mtime > INCOMING_S:
                path.unlink(missing_ok=True)

    def _remove_oldest(self) -> None:
        files = sorted(there(self._folder.glob("*.npz")), key=lambda file: file[0].st_mtime_ns)
        excess = sum(status.st_size for status, _ in files) - self._most_bytes
        for status, path in files:
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= status.st_size


def _damaged(name: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"inputs/{name}: it is damaged.")
