"""``glioserve preprocess``: NIfTI files are read by the client's own reader, so offline and served are one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from glioserve_client.study import VolumeStudy
from glioserve_contract import Modality
from glioserve_dicom.volumes.arrays import volume_of_array
from glioserve_dicom.volumes.geometry import SequenceVolume
from glioserve_preprocess import command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    command.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """See :mod:`glioserve_preprocess.command`."""
    return command.run(args, _read_nifti)


def _read_nifti(paths: Mapping[Modality, Path]) -> dict[Modality, SequenceVolume]:
    sent = VolumeStudy.from_nifti(paths).volumes
    return {m: volume_of_array(m, v.voxels, v.lps_from_voxel) for m, v in sent.items()}
