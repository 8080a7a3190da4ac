"""JPEG and JPEG-LS streams of one component, decoded by the compiled decoders beside this file.

They read every Huffman process that DICOM allows for grey images: baseline and extended sequential (8 and 12 bits),
lossless with any predictor (2 to 16 bits), and JPEG-LS, lossless and near-lossless. Memory is the image's own, and
time is bounded by the numbers of pixels and bytes, whatever the stream says. Other threads run meanwhile.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.uid import (
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from glioserve_dicom.compiled import load_library

LIBRARIES = ("jpeg_huffman", "jpeg_ls")
FOLDER = Path(__file__).parent
SYNTAXES: dict[str, str] = {
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), "jpeg_huffman"),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "jpeg_ls"),
}
"""Transfer syntaxes that :func:`decode_jpeg` decodes, by the library that does it."""
_DECODED, _UNSUPPORTED = 0, 2
_REASONS = {1: "the stream is damaged", 3: "the stream is of an image of another size"}
"""Results of the libraries (codec/segments.h)."""


class UnsupportedStreamError(ValueError):
    """The stream is of a process that the decoders lack: arithmetic coding, progressive, hierarchical, colour."""


def decode_jpeg(syntax: str, stream: bytes, rows: int, columns: int) -> tuple[npt.NDArray[np.uint16], int]:
    """Return the samples of a stream as UINT16 [rows, columns], right-aligned, and its precision in bits.

    Raises:
        UnsupportedStreamError: for a process that these decoders lack.
        ValueError: for a stream that is damaged, ends early, or is of another size.
        GlioserveError: GLIO-5110 where the decoder was not built.
    """
    out = np.empty((rows, columns), dtype=np.uint16)
    precision = ctypes.c_int32()
    name = SYNTAXES[syntax]
    function = getattr(load_decoder(name), f"glio_{name}")
    result = function(stream, len(stream), rows, columns, ctypes.byref(precision), out.ctypes.data)
    if result == _UNSUPPORTED:
        raise UnsupportedStreamError("the stream is of a process that is not read")
    if result != _DECODED:
        raise ValueError(_REASONS[result])
    return out, precision.value


@cache
def load_decoder(name: str) -> ctypes.CDLL:
    """Return a library of :data:`LIBRARIES` with its function's types; loaded once a process, as it holds no state."""
    library = load_library(FOLDER, name)
    function = getattr(library, f"glio_{name}")
    i32, i64, pointer = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
    function.argtypes = [ctypes.c_char_p, i64, i32, i32, ctypes.POINTER(ctypes.c_int32), pointer]
    function.restype = i32
    return library
