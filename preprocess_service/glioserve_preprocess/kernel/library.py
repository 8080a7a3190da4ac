"""Loading of the compiled kernels: shared libraries beside this file, built when the package was installed."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.install import REINSTALL, install_advice

KERNELS = ("mutual_information", "resample")
FOLDER = Path(__file__).parent
SUFFIX = ".dll" if sys.platform == "win32" else ".so"


ABI = 2
"""Version of the functions' arguments, in the C sources too; a library of another build would crash the process."""


def load(name: str) -> ctypes.CDLL:
    """Load the library of ``<name>.c``; ctypes releases the interpreter's lock while its functions run.

    Raises:
        GlioserveError: GLIO-5110 where it is not built for this machine and version.
    """
    try:
        library = ctypes.CDLL(str(FOLDER / f"{name}{SUFFIX}"))
        built = library.glio_abi()
    except (OSError, AttributeError):
        built = None
    if built != ABI:
        raise GlioserveError(
            ErrorCode.MISSING_LIBRARY,
            f"The {name} kernel is not built for this machine and version. "
            f"Install glioserve again: {install_advice(options=REINSTALL)}.",
        )
    return library
