"""Arguments of the commands that read a DICOM study on this machine: the series that a caller names."""

from __future__ import annotations

import argparse

from glioserve_cli import argtypes
from glioserve_contract import Modality
from glioserve_preprocess.overrides import SeriesName


def add_named_series(parser: argparse.ArgumentParser) -> None:
    """Add ``--series t1=UID``, which may be repeated: ``args.series`` becomes a list of (sequence, series)."""
    parser.add_argument(
        "--series",
        action="append",
        default=[],
        type=argtypes.checked(_series_name),
        metavar="SEQUENCE=UID",
        help="take the DICOM series of this SeriesInstanceUID (or UID#part) for a sequence; may be repeated",
    )


def _series_name(text: str) -> tuple[Modality, SeriesName]:
    modality, name = argtypes.series(text)
    return modality, SeriesName.parse(name)
