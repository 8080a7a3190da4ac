"""Where the compiled kernels are: shared libraries beside this file, built when the package was installed."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError

KERNELS = ("mutual_information", "resample")
FOLDER = Path(__file__).parent
SUFFIX = ".dll" if sys.platform == "win32" else ".so"


def load(name: str) -> ctypes.CDLL:
    """The library of ``<name>.c``; ctypes lets go of the interpreter while its functions run. Raises GLIO-5110."""
    try:
        return ctypes.CDLL(str(FOLDER / f"{name}{SUFFIX}"))
    except OSError as error:
        raise GlioserveError(
            ErrorCode.MISSING_LIBRARY,
            f"The {name} kernel is not built for this machine: install glioserve again (pip install).",
        ) from error
