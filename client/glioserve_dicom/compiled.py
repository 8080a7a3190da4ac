"""Loading of compiled libraries that were built when the package was installed, here and in preprocessing."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.install import REINSTALL, install_advice

SUFFIX = ".dll" if sys.platform == "win32" else ".so"
ABI = 2
"""Version of the functions' arguments, in the C sources too; a library of another build would crash the process."""


def load_library(folder: Path, name: str, abi: int = ABI) -> ctypes.CDLL:
    """Load the library of ``<name>.c`` in ``folder``; ctypes releases the interpreter's lock while its functions run.

    Raises:
        GlioserveError: GLIO-5110 where it is not built for this machine and version.
    """
    try:
        library = ctypes.CDLL(str(folder / f"{name}{SUFFIX}"))
        built = library.glio_abi()
    except (OSError, AttributeError):
        built = None
    if built != abi:
        raise GlioserveError(
            ErrorCode.MISSING_LIBRARY,
            f"The {name} kernel is not built for this machine and version. "
            f"Install glioserve again: {install_advice(options=REINSTALL)}.",
        )
    return library
