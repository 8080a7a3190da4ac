"""The compiled kernels of registration and resampling, beside this file."""

from __future__ import annotations

import ctypes
from pathlib import Path

from glioserve_dicom.compiled import ABI, load_library

KERNELS = ("mutual_information", "resample")
FOLDER = Path(__file__).parent


def load(name: str) -> ctypes.CDLL:
    """Load the library of ``<name>.c``; GLIO-5110 where it is not built for this machine and version."""
    return load_library(FOLDER, name, ABI)
