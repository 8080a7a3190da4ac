"""Request parameters: the name, type and meaning of each, and the strict reading of a request's.

``docs/wire.md`` is generated from the table. A parameter that is unknown or of another type is refused, never ignored:
a caller who misspells one would get the answer to another question.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from glioserve_contract.errors.base import GlioserveError
from glioserve_contract.errors.table import ErrorCode
from glioserve_contract.tensors import (
    CALLER_PARAMETER,
    DEADLINE_PARAMETER,
    HEATMAP_PARAMETER,
    MODALITIES_PARAMETER,
    SERIES_PARAMETER,
    TRACE_PARAMETER,
)


@dataclass(frozen=True)
class Parameter:
    """One request parameter; ``type`` is what JSON makes of its value."""

    name: str
    type: type[bool] | type[int] | type[str]
    without: str
    """Effect of leaving it out."""
    description: str
    least_most: tuple[int, int] | None = None
    """Smallest and largest value of a number; None where there is no number."""

    @property
    def type_name(self) -> str:
        """Name of the type, as gRPC and JSON callers know it."""
        return TYPE_NAMES[self.type]


TYPE_NAMES: dict[type, str] = {
    bool: "boolean",
    str: "string",
    int: "whole number",
    float: "decimal number",
    dict: "object",
    list: "list",
    type(None): "null",
}
PARAMETERS = (
    Parameter(
        HEATMAP_PARAMETER,
        bool,
        "the heat map is computed",
        "`false`: no heat map is computed, and `HEATMAP` comes back as [0, 0, 0].",
    ),
    Parameter(
        SERIES_PARAMETER,
        str,
        "headers and images decide",
        'A JSON object: which series of `INSTANCES` stands for which sequence, `{"t1": "UID", "t1ce": "UID#part"}`.',
    ),
    Parameter(
        MODALITIES_PARAMETER,
        str,
        "each tensor holds what its name says",
        'A JSON object: which sequence a volume tensor holds, `{"T1": "t1ce"}`.',
    ),
    Parameter(
        DEADLINE_PARAMETER,
        int,
        "the study is worked on to its end, whether or not the caller still waits",
        "When the caller stops waiting, in milliseconds since 1970-01-01 UTC by its own clock. A study is dropped "
        "(`GLIO-3104`) before it starts, or between steps, when that passed over a second ago by the server's clock.",
        (10**12, 10**14 - 1),
    ),
    Parameter(
        CALLER_PARAMETER,
        str,
        "the study is counted as `other`'s",
        "The caller's name, for `glioserve_caller_studies_total`: one of `glioserve serve --callers`. Send it as gRPC "
        "metadata of this name; a gateway that proves who calls sets it itself.",
    ),
    Parameter(
        TRACE_PARAMETER,
        str,
        "the study is in no trace, or in one of the server's own",
        "The caller's span by W3C Trace Context, for spans and log lines. Send it as gRPC metadata of this name.",
    ),
)
TRITON_PARAMETERS = ("timeout", "priority", "sequence_id", "sequence_start", "sequence_end", "binary_data_output")
"""Triton's own, which it checks and takes out of a request before any model sees it."""
OWN_PARAMETER = "glioserve_own_request"
"""Sent by the server's own supervisor with a token of the run; with any other value it is an unknown parameter."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def parse_parameters(text: str | None) -> dict[str, Any]:
    """Return the values of a request's parameters by name, each of its type in :data:`PARAMETERS`.

    Args:
        text: JSON object, as the ``request.parameters()`` of Triton's Python backend has it; empty for none.

    Raises:
        GlioserveError: GLIO-1110 for text of another form, an unknown parameter, one that is there twice, or a value of
            another type or beyond its bounds.
    """
    try:
        given = json.loads(text or "{}", object_pairs_hook=_once_each)
    except (json.JSONDecodeError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise GlioserveError(ErrorCode.INVALID_PARAMETER, "The request's parameters must be a JSON object.")
    known = {parameter.name: parameter for parameter in PARAMETERS}
    for name, value in sorted(given.items()):
        if name not in known:
            raise GlioserveError(ErrorCode.INVALID_PARAMETER, _unknown(name))
        wanted = known[name]
        if type(value) is not wanted.type:
            found = TYPE_NAMES[type(value)]
            raise GlioserveError(
                ErrorCode.INVALID_PARAMETER,
                f"The request parameter {name!r} must be a {wanted.type_name}; a {found} was sent.",
            )
        if isinstance(value, int) and wanted.least_most is not None:
            _check_time(name, value, *wanted.least_most)
    return given


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of an object; a header's parameter may stand beside one of the same name in the request.

    More than one ``traceparent`` counts as none, as W3C Trace Context says.
    """
    if [name for name, _ in pairs].count(TRACE_PARAMETER) > 1:
        pairs = [(name, value) for name, value in pairs if name != TRACE_PARAMETER]
    found = dict(pairs)
    if len(found) != len(pairs):
        raise GlioserveError(ErrorCode.INVALID_PARAMETER, "A request parameter is there twice.")
    return found


def _check_time(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        found = f"{'a negative number' if value < 0 else 'a number'} of {len(str(abs(value)))} digits"
        raise GlioserveError(
            ErrorCode.INVALID_PARAMETER,
            f"The request parameter {name!r} must be a time in milliseconds since 1970, which has {len(str(least))} "
            f"digits; {found} was sent.",
        )


def _unknown(name: str) -> str:
    """Return the message; a name that is not a plain word is not repeated, since it may hold anything."""
    said = repr(name) if _PLAIN_NAME.fullmatch(name) else f"of {len(name)} characters"
    names = [parameter.name for parameter in PARAMETERS]
    others = [other for other in (*names, *TRITON_PARAMETERS) if other != name]  # gRPC leaves some of Triton's to us
    near = get_close_matches(name[:64].lower(), others, n=1)
    advice = f" Did you mean {near[0]!r}?" if near else ""
    known = ", ".join(f"{parameter.name} ({parameter.type_name})" for parameter in PARAMETERS)
    return f"The request parameter {said} is unknown.{advice} Known are {known}, and Triton's own."
