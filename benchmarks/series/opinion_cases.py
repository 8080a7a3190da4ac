"""Series whose kind is known: fresh synthetic heads, real scanners' series, and the project's own phantom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import ROOT
from glioserve_contract import Modality
from glioserve_contract.sequences import PixelKind
from glioserve_dicom.files.folder import study_files
from glioserve_dicom.read import read
from glioserve_dicom.slices.assemble import assemble
from glioserve_dicom.slices.stacks import stacks_of
from glioserve_dicom.volumes.geometry import SequenceVolume
from glioserve_phantom import make_phantom
from glioserve_training.brain.bank import load_head, make_bank
from glioserve_training.weighting.scene import draw_look, draw_scene, scan_look
from registration.cases import real_study

SYNTHETIC_FIRST_SEED = 3_000_000
"""First seed of the heads; training draws from 0."""
PHANTOM_FIRST_SEED = 9000
DICOM = ROOT.parent / "shared" / "data" / "dicom"
SCANNERS = {
    "Siemens 2D T1 FLASH": (DICOM / "siemens_t1_2d_sag" / "3_t1_fl2d_sag", PixelKind.T1),
    "Philips T1 FFE of a test object": (DICOM / "philips_t1" / "501_T1W_FFE_Sno_CS4", PixelKind.OTHER),
    "Philips T1 TSE of a test object": (DICOM / "philips_t1" / "201_T1W_TSE_Sno_CSno_CSAIno", PixelKind.OTHER),
}
KIND_OF = {
    Modality.T1: PixelKind.T1,
    Modality.T1CE: PixelKind.T1CE,
    Modality.T2: PixelKind.T2,
    Modality.FLAIR: PixelKind.FLAIR,
}


@dataclass(frozen=True, eq=False)
class SeriesCase:
    """One volume and the kind that it is."""

    name: str
    kind: PixelKind
    volume: SequenceVolume


def synthetic_cases(heads: int, scenes: int, folder: Path, workers: int) -> Iterator[SeriesCase]:
    """One scan of every kind in each of ``scenes`` scenes, on ``heads`` fresh heads that take turns."""
    files = make_bank(folder, SYNTHETIC_FIRST_SEED, heads, workers)
    for number in range(scenes):
        rng = np.random.default_rng([SYNTHETIC_FIRST_SEED, number])
        scene = draw_scene(load_head(files[number % heads]), rng)
        for kind in PixelKind:
            yield SeriesCase(f"scene {number} {kind}", kind, scan_look(scene, draw_look(scene, kind, rng), rng))


def real_cases() -> Iterator[SeriesCase]:
    """FG-6692's four sequences and scanners' own series, as far as their files are there."""
    study = real_study()
    if study is not None:
        for modality, volume in study.volumes.items():
            yield SeriesCase(f"FG-6692 {modality}", KIND_OF[modality], volume)
    for name, (folder, kind) in SCANNERS.items():
        if folder.is_dir():
            for stack in stacks_of(read(study_files(folder), accept_identified=True)):
                yield SeriesCase(name, kind, assemble(stack, Modality.T1))


def phantom_cases(count: int) -> Iterator[SeriesCase]:
    """The four sequences of each of ``count`` phantoms: another head and another table of intensities."""
    for number in range(count):
        phantom = make_phantom(PHANTOM_FIRST_SEED + number)
        for modality, kind in KIND_OF.items():
            yield SeriesCase(f"phantom {PHANTOM_FIRST_SEED + number} {modality}", kind, phantom.volume(modality))
