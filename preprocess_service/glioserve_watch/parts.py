"""The parts of a study log: the folder itself, or one for each of the servers that share it."""

from __future__ import annotations

from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError


def parts_of(study_log: Path) -> list[Path]:
    """Return the folder and those of the servers that share it.

    Raises:
        GlioserveError: GLIO-5134 where there is no such folder.
    """
    if not study_log.is_dir():
        raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{study_log} is not a folder.")
    return [study_log, *sorted(path for path in study_log.glob("server-*") if path.is_dir())]
