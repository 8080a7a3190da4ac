"""``drift.json`` of a study log: the windows as they were after the last study, for the next start and for reports."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, from_dict, to_dict
from glioserve_contract.codec import Digest
from glioserve_dicom.files.replacing import replacing
from glioserve_watch.drift.values import StudyValues

STATE_FILE = "drift.json"


@dataclass(frozen=True)
class StreamState:
    """One stream."""

    version: str
    """Triton's version of the classifier."""
    site: str
    """Label of the caller."""
    weights_digest: Digest
    """Weights of that version: another network under its number begins anew."""
    flags: tuple[str, ...]
    """Features that are flagged."""
    studies: tuple[StudyValues, ...]
    """The last studies, oldest first."""


@dataclass(frozen=True)
class DriftState:
    """All streams of a server."""

    schema: Literal["glioserve/drift/1"]
    """Name and version of this schema."""
    streams: tuple[StreamState, ...]
    """Streams, the one that had a study last at the end."""
    taken: tuple[str, ...]
    """Numbers of the last records that were counted."""


def save_state(state: DriftState, folder: Path) -> None:
    """Write the file, for the server's user alone; it is whole or as it was."""
    with replacing(folder / STATE_FILE) as beside:
        beside.touch(mode=0o600)
        beside.write_text(json.dumps(to_dict(state), separators=(",", ":")) + "\n", encoding="utf-8")


def load_state(folder: Path) -> DriftState | None:
    """Read the file; None where there is none.

    Raises:
        GlioserveError: GLIO-5134 where it cannot be read.
    """
    try:
        return from_dict(DriftState, json.loads((folder / STATE_FILE).read_bytes()), STATE_FILE)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, SchemaError) as error:
        raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{STATE_FILE} cannot be read: {error}.") from error
