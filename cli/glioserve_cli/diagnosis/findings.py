"""One line of `glioserve doctor`'s output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail", "--"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    area: str
    name: str
    state: State
    found: str
    action: str = ""
    """What to do about it; empty where there is nothing to do."""
