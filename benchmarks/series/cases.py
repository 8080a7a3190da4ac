"""Situations in which a series is easily taken for what it is not, each with its truth, built from a phantom.

Every maker here returns a :class:`StudyCase`; :data:`CASES` lists them. They come from reports on real studies: one
acquisition saved twice, reformats and scouts beside a study without agent, agents that were not given, names written
with a minus, Dixon and multi-echo images, blank slices, positions that were rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from glioserve_contract import Modality
from glioserve_phantom.acquisition import ScanPlane
from glioserve_phantom.clinical import bystanders, copies
from glioserve_phantom.clinical.agents import GIVEN, NOT_GIVEN, UNKNOWN
from glioserve_phantom.clinical.patient import clinical_patient
from glioserve_phantom.clinical.series import ClinicalSeries
from glioserve_phantom.clinical.techniques import TECHNIQUES, draw
from series.answers import StudyCase

T1, T1CE, T2, FLAIR = Modality
WITHOUT_T1CE = (T1, T2, FLAIR)
SEED = 3
SCOUTS = ("AAHScout", "AAHead_Scout", "AAHeadScout", "HeadScout", "Survey_Head", "SmartBrain", "plan", "")
NATIVE_MARKS = (
    "T1 -Gd", "T1_-GD", "AX T1 - GD", "T1 -KM", "T1 (-Gd)", "T1 - KM", "T1 Gd-", "T1 -C", "T1 C-", "T1 GD NEG",
    "T1 w/o Gd", "T1 (no Gd)", "T1 GAD (-)", "T1 neg. KM", "T1 CE-", "T1 -CE", "T1 MDC -", "T1 KM -", "T1 Gd negativ",
)  # fmt: skip
"""Descriptions of a native T1: a minus or a negation before or behind the agent's word."""
TERM_PAIRS = (
    ("IP", "OP", 1), ("M_FFE", "M_B1", 1), ("SW_M_FFE", "SW_P_FFE", 0), ("RMS", "ECHO1", 2), ("MEAN", "M", 2),
    ("XYZ", "ABC", 2),
)  # fmt: skip
"""Values of ImageType that alone tell two images of one series apart, and how many of the two are a T1, from the first
on: both of Philips' SW images are susceptibility-weighted, whatever the protocol is called."""


@dataclass(frozen=True)
class Base:
    """One study's four sequences, which the cases spoil; the T1 is a 2D spin echo."""

    t1: ClinicalSeries
    t1ce: ClinicalSeries
    t2: ClinicalSeries
    flair: ClinicalSeries


@lru_cache(maxsize=16)
def scanned(
    technique: str,
    number: int,
    started_s: float,
    *,
    maker: str = "SIEMENS",
    agent: float = 0.0,
    inflow: float = 0.0,
    plane: ScanPlane | None = None,
    name: str = "",
    seed: int = SEED,
) -> ClinicalSeries:
    """Return one scan of the cases' patient."""
    patient = clinical_patient(seed)
    rng = np.random.default_rng([seed, number, len(technique)])
    drawn = draw(TECHNIQUES[technique], maker, rng, field_tesla=patient.field_tesla, plane=plane, inflow=inflow)
    return patient.series(name or technique, number, drawn, rng, started_s, agent=agent)


def base(maker: str = "SIEMENS") -> Base:
    """Return T1, T2, FLAIR and a T1 with agent, in this order in time."""
    return Base(
        scanned("T1 spin echo", 2, 180, maker=maker, plane="axial", name="t1"),
        scanned("T1 spin echo", 9, 1500, maker=maker, plane="axial", agent=1.0, name="t1ce"),
        scanned("T2", 3, 420, maker=maker, name="t2"),
        scanned("FLAIR", 4, 700, maker=maker, name="flair"),
    )


def _saved_twice(agent: bool, channels: tuple[Modality, ...], strength: float = 1.8) -> StudyCase:
    b = base()
    native = scanned("T1 3D prepared", 6, 180, inflow=0.3, name="t1 3D", plane="sagittal")
    norm, nd = copies.saved_twice(native, 5, strength=strength)
    after = (b.t1ce,) if agent else ()
    return StudyCase("ND and NORM of the native T1", (nd, norm, b.t2, b.flair, *after), channels)


def _unenhanced(reformatted: bool, scout: str | None, technique: str = "T1 2D gradient echo") -> StudyCase:
    b, patient = base(), clinical_patient(SEED)
    flat = scanned(technique, 5, 180, name="t1 2D", plane="axial")
    volume = scanned("T1 3D prepared", 11, 900, inflow=1.0, name="t1 3D", plane="sagittal")
    more: list[ClinicalSeries] = []
    if reformatted:
        text = f"{volume.attributes['SeriesDescription']}_MPR_tra"
        kind = ["DERIVED", "PRIMARY", "MPR", "ND", "NORM"]
        more.append(copies.reformat(volume, 13, plane="axial", spacing_mm=3.0, image_type=kind, description=text))
    if scout is not None:
        rng = np.random.default_rng(5)
        more.append(bystanders.thin_scout(patient, "SIEMENS", rng, 1, description=scout))
    return StudyCase("no agent: 2D T1, 3D T1 with inflow", (flat, volume, *more, b.t2, b.flair))


def _agent_text(text: str, given: bool, maker: str = "HITACHI") -> StudyCase:
    b = base(maker)
    source = b.t1ce if given else b.t1
    plain = str(b.t1.attributes["SeriesDescription"])
    asked = source.described(plain).with_attributes(ContrastBolusAgent=text)
    return StudyCase(f"agent {text!r}", (asked,), (T1CE,))


def _scout(description: str, t1: bool) -> StudyCase:
    b, patient = base(), clinical_patient(SEED)
    scout = bystanders.thin_scout(patient, "SIEMENS", np.random.default_rng(5), 1, description=description)
    if not t1:
        return StudyCase(f"scout {description!r}, no T1", (scout, b.t2, b.flair), WITHOUT_T1CE)
    flat = scanned("T1 2D gradient echo", 5, 180, name="t1 2D", plane="axial")
    return StudyCase(f"scout {description!r}", (scout, flat, b.t1ce, b.t2, b.flair))


def _tie(of: str, kinds: tuple[list[str], list[str]], suffix: str = "", mates: list[str] | None = None) -> StudyCase:
    """Return a study with one sequence in two reconstructions; ``mates`` is the ImageType of the other sequences."""
    b = base()
    preferred, other = copies.saved_twice(getattr(b, of), 21, kinds, strength=0.8)
    if suffix:
        other = other.described(f"{other.attributes['SeriesDescription']}{suffix}")
    parts = {"t1": b.t1, "t1ce": b.t1ce, "t2": b.t2, "flair": b.flair}
    if mates is not None:
        parts = {name: series.with_attributes(ImageType=mates) for name, series in parts.items()}
    parts[of] = preferred
    return StudyCase(f"{of} saved twice, {'/'.join(kinds[1][3:])}", (*parts.values(), other))


def _minus(text: str, enhanced: bool) -> StudyCase:
    b = base()
    native = b.t1.described(text, "")
    if not enhanced:
        return StudyCase(f"described as {text!r}", (native,), (T1CE,))
    after = b.t1ce.described("T1 +Gd", "").with_attributes(ContrastBolusAgent=None)
    return StudyCase(f"described as {text!r}, and +Gd", (native, after), (T1, T1CE))


def _dixon(one_series: bool, agent: float, marks: tuple[str, str, str, str] = ("W", "F", "IP", "OP")) -> StudyCase:
    b, patient = base("PHILIPS"), clinical_patient(SEED)
    rng = np.random.default_rng(9)
    drawn = draw(TECHNIQUES["T1 3D gradient echo"], "PHILIPS", rng, field_tesla=patient.field_tesla)
    started_s = 1500 if agent else 180
    images = copies.dixon(
        patient, drawn, rng, 30, started_s, agent=agent, one_series=one_series, marks=marks, name="mDIXON"
    )
    rest = (b.t1, b.t2, b.flair) if agent else (b.t1ce, b.t2, b.flair)
    return StudyCase("Dixon T1", (*images, *rest))


def _multi_echo(one_series: bool, agent: bool) -> StudyCase:
    b, patient = base(), clinical_patient(SEED)
    rng = np.random.default_rng(8)
    drawn = draw(TECHNIQUES["T1 3D prepared"], "SIEMENS", rng, field_tesla=patient.field_tesla)
    images = copies.multi_echo(patient, drawn, rng, 30, 180.0, one_series=one_series, name="MEMPRAGE")
    return StudyCase("multi-echo MPRAGE", (*images, *((b.t1ce,) if agent else ()), b.t2, b.flair))


def _derived(words: bool, timings: bool, agent: bool = False) -> StudyCase:
    b = base()
    lost = {} if timings else dict.fromkeys(("RepetitionTime", "EchoTime", "FlipAngle", "ScanningSequence"))
    kind = ["DERIVED", "SECONDARY"]
    t1 = b.t1.with_attributes(ImageType=kind, SequenceName=None, **lost)
    t1 = t1 if words else t1.described("", "")
    if agent:
        return StudyCase("derived T1", (t1, b.t1ce, b.t2, b.flair))
    return StudyCase("derived T1", (t1, b.t2, b.flair), WITHOUT_T1CE)


def _blank(first: float, last: float) -> StudyCase:
    b = base()
    spoilt = copies.blanked(b.t1ce, first, last)
    return StudyCase("blank slices", (b.t1, spoilt, b.t2), (T1, T1CE, T2), whole=True, accept_review=last > first)


def _hitachi(items: int) -> StudyCase:
    b = base("HITACHI")
    groups = [Dataset() for _ in range(items)]
    more = {"SharedFunctionalGroupsSequence": groups, "NumberOfFrames": 1}
    parts = tuple(s.with_attributes(**more) for s in (b.t1, b.t1ce, b.t2, b.flair))
    return StudyCase("classic images with functional groups", parts)


def _terms(one: str, other: str, t1s: int) -> StudyCase:
    b = base("PHILIPS")
    kinds = [["ORIGINAL", "PRIMARY", term, "ND"] for term in (one, other)]
    first = b.t1.with_attributes(ImageType=kinds[0])
    second = first.again("t1 second", 2, within="t1", voxels=np.roll(first.voxels, 2, 1), shows=T1 if t1s > 1 else None)
    second = second.with_attributes(ImageType=kinds[1])
    first = replace(first, shows=T1 if t1s else None)
    return StudyCase(f"{one} and {other} in one series", (first, second, b.t1ce, b.t2, b.flair))


def _uneven(share: float) -> StudyCase:
    b = base()
    t1 = copies.unevenly_spaced(b.t1, share, np.random.default_rng(4))
    return StudyCase(f"slices unevenly spaced by {share:.0%}", (t1, b.t1ce, b.t2, b.flair), accept_review=share > 0.05)


def _rounded(decimals: int) -> StudyCase:
    b = base()
    thin = scanned("T1 3D prepared", 6, 180, name="t1 3D")
    geometry = replace(thin.geometry)
    affine = geometry.lps_from_voxel.copy()
    affine[:3, 2] *= 0.5
    step = replace(geometry, lps_from_voxel=affine)
    fine = replace(thin, voxels=np.repeat(thin.voxels, 2, axis=0), geometry=replace(step, size_voxels=(
        *geometry.size_voxels[:2], 2 * geometry.size_voxels[2])), position_decimals=decimals)  # fmt: skip
    return StudyCase("positions rounded", (fine, b.t1ce, b.t2, b.flair))


def _field_map(t1: bool) -> StudyCase:
    b, patient = base(), clinical_patient(SEED)
    maps = bystanders.field_map(patient, "SIEMENS", np.random.default_rng(2), 30, 60, description="gre_2echo")
    return StudyCase("dual-echo field map", (*maps, *((b.t1,) if t1 else ()), b.t2, b.flair), WITHOUT_T1CE)


def _one_uid_per_file() -> StudyCase:
    b = base()
    parts = [copies.one_uid_per_file(s) for s in (b.t1, b.t1ce, b.t2, b.flair)]
    return StudyCase("one SeriesInstanceUID a file", tuple(parts))


def _mosaic() -> StudyCase:
    """Return a study whose T1 is one image of tiles without a place, as United Imaging stores a volume."""
    b = base("UIH")
    z, y, x = b.t1.voxels.shape
    columns = int(np.ceil(np.sqrt(z)))
    tiles = np.zeros((columns * columns, y, x), np.float32)
    tiles[:z] = b.t1.voxels
    sheet = tiles.reshape(columns, columns, y, x).swapaxes(1, 2).reshape(1, columns * y, columns * x)
    grid = replace(b.t1.geometry, size_voxels=(columns * x, columns * y, 1))
    places = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient"))
    t1 = replace(b.t1, voxels=sheet, geometry=grid)
    t1 = t1.with_attributes(ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"], **places)
    return StudyCase("mosaic", (t1, b.t1ce, b.t2, b.flair), accept_review=True)


def twenty_series() -> StudyCase:
    """Return a study of 20 series whose T1-weighted ones do not mention the agent."""
    b, patient = base(), clinical_patient(SEED)
    parts = [b.t2, b.flair]
    for number, technique in enumerate(("T1 spin echo", "T1 2D gradient echo", "T1 3D prepared", "T1 3D spin echo")):
        plain = scanned(technique, 30 + number, 0, name=f"{technique} 0")
        for enhanced in (plain, scanned(technique, 40 + number, 0, name=f"{technique} 1", agent=1.0)):
            silent = enhanced.described(str(plain.attributes["SeriesDescription"]))
            parts.append(replace(silent.with_attributes(ContrastBolusAgent=None), started_s=None))
    parts += [copies.reformat(parts[-1], 60), copies.reformat(parts[-2], 61), copies.saved_twice(parts[-3], 62)[1]]
    rng = np.random.default_rng(1)
    for number, technique in enumerate(("T2*", "diffusion", "proton density"), 70):
        parts.append(bystanders.bystander(patient, technique, "SIEMENS", rng, number, None))
    parts += bystanders.field_map(patient, "SIEMENS", rng, 80, None)[:2]
    parts += [bystanders.thin_scout(patient, "SIEMENS", rng, 90, description="AAHScout")]
    return StudyCase("20 series, the agent is not mentioned", tuple(parts))


Maker = Callable[[], StudyCase]


def _group(group: str, makers: Mapping[str, Maker]) -> dict[str, Maker]:
    return {f"{group}: {name}": partial(_named, group, name, maker) for name, maker in makers.items()}


def _named(group: str, name: str, maker: Maker) -> StudyCase:
    return replace(maker(), name=f"{group}: {name}", faults=(group,))


_EVERY: tuple[Any, ...] = tuple(Modality)
CASES: Mapping[str, Maker] = {
    **_group("one acquisition saved twice, no agent", {
        "four sequences": partial(_saved_twice, False, _EVERY),
        "steeper shading": partial(_saved_twice, False, _EVERY, 2.6),
        "without t1ce": partial(_saved_twice, False, WITHOUT_T1CE),
        "with agent": partial(_saved_twice, True, _EVERY),
    }),
    **_group("no agent, inflow", {
        "2D and 3D": partial(_unenhanced, False, None),
        "spin echo and 3D": partial(_unenhanced, False, None, "T1 spin echo"),
        "with reformat": partial(_unenhanced, True, None),
        "with scout": partial(_unenhanced, False, "localizer"),
        "with nameless scout": partial(_unenhanced, True, ""),
    }),
    **_group("scout", {
        f"{name!r}{'' if t1 else ', no T1'}": partial(_scout, name, t1) for name in SCOUTS for t1 in (True, False)
    }),
    **_group("saved twice", {
        "t1": partial(_tie, "t1", (copies.NORM, copies.ND)),
        "t1ce": partial(_tie, "t1ce", (copies.NORM, copies.ND)),
        "t2": partial(_tie, "t2", (copies.NORM, copies.ND), "_ND"),
        "flair in 3D": partial(_tie, "flair", (copies.DIS3D_NORM, copies.DIS3D)),
        "t1 corrected": partial(
            _tie, "t1", (["ORIGINAL", "PRIMARY", "M", "DIS2D"], copies.ND), mates=copies.NORM
        ),
    }),
    **_group("minus", {
        f"{text!r}{' and +Gd' if both else ''}": partial(_minus, text, both)
        for text in NATIVE_MARKS for both in (False, True)
    }),
    **_group("Dixon", {
        "one series": partial(_dixon, True, 0.0),
        "four series": partial(_dixon, False, 0.0),
        "one series, agent": partial(_dixon, True, 1.0),
        "four series, agent": partial(_dixon, False, 1.0),
        "in words": partial(_dixon, True, 0.0, ("WATER", "FAT", "IN_PHASE", "OPP_PHASE")),
    }),
    **_group("multi-echo", {
        "one series": partial(_multi_echo, True, True),
        "five series": partial(_multi_echo, False, True),
        "no agent": partial(_multi_echo, True, False),
    }),
    **_group("derived T1", {
        "words": partial(_derived, True, False),
        "timings": partial(_derived, False, True),
        "both": partial(_derived, True, True),
        "words, before the agent": partial(_derived, True, False, True),
        "timings, before the agent": partial(_derived, False, True, True),
    }),
    **_group("blank slices", {
        "none": partial(_blank, 0, 0),
        "lower two thirds": partial(_blank, 0, 0.66),
        "upper half": partial(_blank, 0.5, 1),
        "a tenth": partial(_blank, 0.5, 0.6),
    }),
    **_group("functional groups", {"one item": partial(_hitachi, 1), "none": partial(_hitachi, 0)}),
    **_group("image types", {f"{a} and {b}": partial(_terms, a, b, t1s) for a, b, t1s in TERM_PAIRS}),
    **_group("places", {
        **{f"uneven by {share:.0%}": partial(_uneven, share) for share in (0.02, 0.15, 0.3)},
        "rounded to 0.1 mm": partial(_rounded, 1),
        "rounded to 0.01 mm": partial(_rounded, 2),
    }),
    **_group("field map", {"with T1": partial(_field_map, True), "without": partial(_field_map, False)}),
    **_group("mosaic", {"UIH": _mosaic}),
    **_group("anonymised", {"one UID a file": _one_uid_per_file}),
}  # fmt: skip
"""Every case by ``group: name``."""
AGENT_TEXTS: Mapping[str, Maker] = {
    **_group("agent given", {f"{of} {text!r}": partial(_agent_text, text, True) for of, text in GIVEN}),
    **_group("agent not given", {f"{of} {text!r}": partial(_agent_text, text, False) for of, text in NOT_GIVEN}),
    **_group("agent unknown", {f"{of} {text!r}": partial(_agent_text, text, False) for of, text in UNKNOWN}),
}
"""Every text of :mod:`glioserve_phantom.clinical.agents` in a study whose words and times do not tell."""
