"""Times on the command line, as the study log has them."""

from __future__ import annotations

from datetime import datetime, timezone

from glioserve_watch.times import utc


def time_of(text: str) -> str:
    """Return a time as the log has it: a date (its first moment, UTC) or a time of ISO 8601; ValueError for another."""
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(f"must be a date or a time, as 2026-01-31 or 2026-01-31T12:00:00Z, not {text!r}") from None
    return utc(time if time.tzinfo else time.replace(tzinfo=timezone.utc))
