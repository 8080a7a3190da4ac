"""Requests of the server's own supervisor, known by a token that only this run's processes can read.

They are canaries and reference cases: no studies, so they are not counted as such. A stranger's request with the same
parameter is one with an unknown parameter.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from functools import cache
from pathlib import Path

from glioserve_contract.parameters import OWN_PARAMETER
from glioserve_triton.adapters.backend_api import Request
from glioserve_triton.adapters.heartbeat import RUN_FOLDER

_FILE = "own-requests"
_TOKEN_BYTES = 24


def make_token(run_folder: Path) -> None:
    """Write a new token into the folder of a run, which only the server's user can read."""
    descriptor = os.open(run_folder / _FILE, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(_TOKEN_BYTES))


def own_parameters(run_folder: Path) -> dict[str, str]:
    """Return the request parameters that mark a request as the supervisor's own."""
    return {OWN_PARAMETER: (run_folder / _FILE).read_text()}


def is_own(request: Request) -> bool:
    """Return whether the supervisor of this run sent the request."""
    text, token = request.parameters(), _token()
    if not token or not text or OWN_PARAMETER not in text:
        return False
    try:
        given = json.loads(text).get(OWN_PARAMETER)
    except (ValueError, RecursionError, AttributeError):  # refused with the other malformed parameters
        return False
    return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


@cache
def _token() -> str:
    """Return the token of the run that the environment names; empty where there is none."""
    folder = os.environ.get(RUN_FOLDER)
    file = Path(folder, _FILE) if folder else None
    return file.read_text() if file is not None and file.is_file() else ""
