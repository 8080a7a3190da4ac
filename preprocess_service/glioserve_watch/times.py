"""Times as the study log has them: UTC, in the form of RFC 3339 with milliseconds."""

from __future__ import annotations

from datetime import datetime, timezone


def utc(time: datetime) -> str:
    """Return a time as the log has it (``2026-01-31T23:59:59.000Z``)."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_now() -> str:
    """Return the time of now as the log has it."""
    return utc(datetime.now(timezone.utc))
