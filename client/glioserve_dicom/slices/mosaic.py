"""Recognise mosaics: images whose tiles are the slices of a volume, placed by private attributes alone.

Siemens writes them with ``MOSAIC`` in ImageType; United Imaging with ``VFRAME``, and without a position of their own.
Neither is read (docs/adr/0017-mosaics-and-tilt-are-refused.md).
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from glioserve_contract.sequences import MOSAIC_IMAGE_TYPES
from glioserve_dicom.files.attributes import texts
from glioserve_dicom.slices.frames import frame_count, is_multiframe

_SIEMENS_TILES = (0x0019, "SIEMENS MR HEADER", 0x0A)
"""NumberOfImagesInMosaic: group, creator, element within the creator's block."""
_UNITED_IMAGING_TILES = (0x0065, "Image Private Header", 0x51)
"""MRVFrameSequence, which has one item for each tile."""


def is_mosaic(dataset: Dataset, image_type: Iterable[str]) -> bool:
    """Return whether an image tiles a volume, by its type or by its private attributes.

    An enhanced object of several frames does not: Siemens' XA unpacks mosaics and leaves the word in ImageType.
    """
    if is_multiframe(dataset) and frame_count(dataset) > 1:
        return False
    marks = {value.upper() for value in (*image_type, *texts(dataset, "ImageType"))}
    return not marks.isdisjoint(MOSAIC_IMAGE_TYPES) or has_tiles(dataset)


def has_tiles(dataset: Dataset) -> bool:
    """Return whether private attributes of Siemens or United Imaging state that the image has tiles."""
    count, tiles = _private_value(dataset, *_SIEMENS_TILES), _private_value(dataset, *_UNITED_IMAGING_TILES)
    return (isinstance(count, int) and count > 1) or (isinstance(tiles, DicomSequence) and len(tiles) > 1)


def _private_value(dataset: Dataset, group: int, creator: str, element: int) -> object:
    try:
        return dataset.private_block(group, creator)[element].value
    except Exception:  # noqa: BLE001 - pydicom raises KeyError where it is absent, and many kinds where it is damaged
        return None
