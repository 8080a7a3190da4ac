"""Stored pixels to signal: one frame, decoded, and rescaled as its own header says.

JPEG and JPEG-LS are decoded by :mod:`glioserve_dicom.codec.jpeg`, the rest by pydicom and its plugins.

The scale is RescaleSlope and RescaleIntercept of the slice (Philips gives every slice its own). Real world values and
Philips' private "precise" scale are other units and never used: mixing them between series of one study would not
compare.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.codec.jpeg import SYNTAXES, UnsupportedStreamError, decode_jpeg, load_decoder
from glioserve_dicom.files.attributes import comparable, malformed, number, text, whole
from glioserve_dicom.files.part10 import NATIVE_SYNTAXES, Instance
from glioserve_dicom.forms import COLOURS
from glioserve_dicom.pixels.native import Layout, layout_of
from glioserve_dicom.pixels.streams import Frames
from glioserve_dicom.slices.frames import Frame, functional_group, is_multiframe
from glioserve_dicom.slices.mosaic import is_mosaic
from glioserve_dicom.slices.spacing import SAME_POSITION_MM

_PIXEL_MEANING = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "PhotometricInterpretation")
MIN_SLOPE, MAX_SLOPE = 1e-12, 1e12
"""Bounds of a rescale that single precision can hold."""
_PLUGINS = ("pylibjpeg", "pydicom", "pillow")
"""Decoders of the rest, the first that is installed: one each, so that a stream gives the same numbers wherever others
are installed too. GDCM is not among them: it crashes on damaged streams."""


def refuse_unreadable(instance: Instance, image_type: Sequence[str]) -> None:
    """Raise for pixels that no volume is made of: GLIO-1208, -1210 (colour), -1211 (mosaic), -1212, -1213."""
    dataset = instance.dataset
    if is_mosaic(dataset, image_type):
        raise GlioserveError(ErrorCode.MOSAIC, "The images are mosaics: the slices of a volume are tiles of one image.")
    photometric = text(dataset, "PhotometricInterpretation")
    if (whole(dataset, "SamplesPerPixel") or 1) != 1 or re.fullmatch(COLOURS, photometric):
        raise GlioserveError(ErrorCode.COLOUR_IMAGE, "The images are in colour.")
    if photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
        raise malformed("PhotometricInterpretation", "is none of DICOM's")
    if instance.pixel_keyword != "PixelData":
        raise GlioserveError(ErrorCode.UNSUPPORTED_PIXELS, f"The pixels are stored as {instance.pixel_keyword}.")
    if "ModalityLUTSequence" in dataset:
        raise GlioserveError(ErrorCode.UNSUPPORTED_PIXELS, "The pixels need a Modality LUT.")
    missing = [k for k in ("PhotometricInterpretation", "BitsAllocated") if not comparable(dataset, k)]
    if missing:
        raise GlioserveError(ErrorCode.MISSING_ATTRIBUTE, f"{missing[0]} is missing.")
    allocated, stored, signed = _bits(instance)
    high = whole(dataset, "HighBit")
    if allocated not in (8, 16) or not 1 <= stored <= allocated or high not in (None, stored - 1):
        layout = f"{stored} bits of {allocated}" + (f", the highest at {high}" if high is not None else "")
        raise GlioserveError(ErrorCode.UNSUPPORTED_PIXELS, f"The pixels are stored as {layout}.")
    if signed not in (0, 1):
        raise malformed("PixelRepresentation", f"is {signed}")


def rescale_of(frame: Frame) -> tuple[float, float]:
    """Return slope and intercept of the frame; 1 and 0 where it has none. Raises GLIO-1213."""
    dataset = frame.dataset
    group = None
    if is_multiframe(dataset):
        group = functional_group(dataset, frame.index, "PixelValueTransformationSequence")
    holder = dataset if group is None else group
    slope, intercept = number(holder, "RescaleSlope"), number(holder, "RescaleIntercept")
    slope = 1.0 if slope is None else slope
    if not MIN_SLOPE <= abs(slope) <= MAX_SLOPE:
        raise malformed("RescaleSlope", "is zero or absurd")
    if abs(intercept or 0) > MAX_SLOPE:
        raise malformed("RescaleIntercept", "is absurd")
    return slope, intercept or 0.0


def decode(frame: Frame, out: npt.NDArray[np.float32]) -> None:
    """Fill ``out`` [rows, columns] with the frame's signal; MONOCHROME1 is turned so that more signal is brighter.

    Raises GLIO-1207 for what cannot be decoded, naming the transfer syntax.
    """
    instance = frame.instance
    slope, intercept = rescale_of(frame)
    try:
        out[:] = _stored(instance, frame.index)
    except GlioserveError as error:
        if error.code is ErrorCode.MISSING_LIBRARY:
            raise
        raise _undecodable(instance) from None
    except Exception:  # noqa: BLE001 - decoders raise many kinds on damaged streams
        raise _undecodable(instance) from None
    if text(frame.dataset, "PhotometricInterpretation") == "MONOCHROME1":
        _, stored, signed = _bits(instance)
        np.subtract(np.float32(-1 if signed else (1 << stored) - 1), out, out=out)
    if slope != 1:
        out *= np.float32(slope)
    if intercept:
        out += np.float32(intercept)


def _undecodable(instance: Instance) -> GlioserveError:
    syntax = UID(instance.transfer_syntax)
    name = "an unknown transfer syntax" if syntax.name == syntax else syntax.name
    return GlioserveError(ErrorCode.UNDECODABLE_PIXELS, f"{instance.what}: pixels in {name} cannot be decoded.")


def same_image(one: Frame, other: Frame) -> bool:
    """Return whether the second is an exact copy: stored pixels, their meaning and their place are all equal."""
    if one.plane is None or other.plane is None or one.index != other.index:
        return False
    a, b = one.instance, other.instance
    return (
        bool(np.abs(np.subtract(one.plane.position_lps_mm, other.plane.position_lps_mm)).max() < SAME_POSITION_MM)
        and all(comparable(a.dataset, k) == comparable(b.dataset, k) for k in _PIXEL_MEANING)
        and rescale_of(one) == rescale_of(other)
        and (bytes(a.pixels) == bytes(b.pixels) or _same_numbers(a, b, one.index))
    )


def _same_numbers(one: Instance, other: Instance, index: int) -> bool:
    """Return whether the frames' pixels are equal, whatever else is in their bytes."""
    try:
        return np.array_equal(_stored(one, index), _stored(other, index))
    except Exception:  # noqa: BLE001 - decoders raise many kinds on damaged streams
        return False


def _stored(instance: Instance, index: int) -> npt.NDArray[np.generic]:
    layout = layout_of(instance.dataset)
    if layout is None:
        raise ValueError("the headers do not describe the pixels")
    return stored_words(instance, layout, index)


def has_decoder(transfer_syntax: str) -> bool:
    """Return whether a decoder of this transfer syntax is installed."""
    with suppress(GlioserveError):
        if transfer_syntax in SYNTAXES and load_decoder(SYNTAXES[transfer_syntax]):
            return True
    try:
        return _plugin(UID(transfer_syntax)) is not None
    except NotImplementedError:
        return False


def _plugin(syntax: UID) -> str | None:
    """Return the plugin that decodes a compressed syntax. NotImplementedError for one that pydicom does not know."""
    available = get_decoder(syntax).available_plugins
    return next((plugin for plugin in _PLUGINS if plugin in available), None)


def stored_words(instance: Instance, layout: Layout, index: int) -> npt.NDArray[np.generic]:
    """Return a frame's stored pixels as numbers [rows, columns].

    Raises what the decoders raise, and ValueError for what is not an image of one sample a pixel in this layout.
    """
    if layout.samples != 1:
        raise ValueError("not an image of one sample a pixel")
    frame_bytes = layout.frame_bits // 8
    if instance.transfer_syntax in NATIVE_SYNTAXES:
        if instance.encapsulated:
            raise ValueError("fragments in a native syntax")
        big = instance.transfer_syntax == ExplicitVRBigEndian
        syntax = ExplicitVRBigEndian if big else ExplicitVRLittleEndian
        start = index * frame_bytes
        pixels: bytes | memoryview = instance.pixels[start : start + frame_bytes]
    elif (frames := Frames(instance, layout)).is_rle:
        syntax, pixels = ExplicitVRLittleEndian, frames.unpacked(index)[0]
    else:
        syntax, stream = UID(instance.transfer_syntax), frames.codestream(index).content
        if syntax in SYNTAXES:
            with suppress(UnsupportedStreamError):
                return _in_container(*decode_jpeg(syntax, stream, layout.rows, layout.columns), layout)
        pixels = encapsulate([stream])
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "pixel_keyword": "PixelData",
        "pixel_vr": "OW",
    }
    plugin = ""
    if syntax.is_encapsulated and (plugin := _plugin(syntax) or "") == "":
        raise ValueError("no decoder is installed")
    decoded = get_decoder(syntax).as_array(pixels, index=0, raw=True, decoding_plugin=plugin, **options)
    array: npt.NDArray[np.generic] = decoded[0]
    return _without_unused_bits(array, layout) if syntax.is_encapsulated else array


def _in_container(samples: npt.NDArray[np.uint16], precision: int, layout: Layout) -> npt.NDArray[np.generic]:
    """Return samples of ``precision`` bits as the layout's numbers, unused bits cleared."""
    if precision > layout.allocated or layout.allocated not in (8, 16):
        raise ValueError("the stream has other bits than the header allocates")
    container = samples.astype(f"u{layout.allocated // 8}").view(
        f"{'i' if layout.signed else 'u'}{layout.allocated // 8}"
    )
    return _without_unused_bits(container, layout)


def _without_unused_bits(words: npt.NDArray[np.generic], layout: Layout) -> npt.NDArray[np.generic]:
    """Return integers of BitsAllocated with the bits above BitsStored cleared, or equal to the sign."""
    unused = layout.allocated - layout.stored
    numbers: npt.NDArray[np.generic] = np.right_shift(np.left_shift(words, unused), unused)
    return numbers


def _bits(instance: Instance) -> tuple[int, int, int]:
    """Return BitsAllocated, BitsStored and PixelRepresentation."""
    dataset = instance.dataset
    allocated = whole(dataset, "BitsAllocated") or 0
    stored = whole(dataset, "BitsStored")
    return allocated, allocated if stored is None else stored, whole(dataset, "PixelRepresentation") or 0
