"""Synthetic studies with faults drawn by seed, each with its truth: six makers, ten languages, 25 kinds of fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from glioserve_contract import Modality
from glioserve_phantom.clinical import bystanders, copies
from glioserve_phantom.clinical.agents import GIVEN, NOT_GIVEN, UNKNOWN
from glioserve_phantom.clinical.patient import CONTRAST_AGENT, ClinicalPatient, clinical_patient
from glioserve_phantom.clinical.series import ClinicalSeries
from glioserve_phantom.clinical.techniques import (
    AGENT_MARKS,
    ENHANCED_T1,
    MAKERS,
    NATIVE_MARKS,
    NATIVE_T1,
    TECHNIQUES,
    draw,
)
from series.answers import StudyCase

T1, T1CE, T2, FLAIR = Modality
FIRST_PATIENT = 40_000
STUDIES_A_PATIENT = 25
"""Studies that share a head, one after the other: rendering it costs as much as ten scans."""
MOST_FAULTS = 3
_TIMES_S = {"t1": 180.0, "t2": 420.0, "flair": 700.0, "other": 900.0, "t1ce": 1500.0}


@dataclass(eq=False)
class _Study:
    """A study while it is put together; a fault changes it in place."""

    rng: np.random.Generator
    patient: ClinicalPatient
    maker: str
    parts: dict[str, list[ClinicalSeries]] = field(default_factory=lambda: {k: [] for k in _TIMES_S})
    numbers: int = 0

    def next(self, count: int = 1) -> int:
        """Return the next SeriesNumber that is free, and keep ``count`` of them."""
        self.numbers += count
        return self.numbers - count + 1

    def scan(
        self, key: str, technique: str, name: str, *, after_s: float = 0.0, inflow: float | None = None
    ) -> ClinicalSeries:
        """Return one scan; T1-weighted ones under ``t1ce`` are with agent."""
        inflow = float(self.rng.uniform(0.2, 0.6)) if inflow is None else inflow
        drawn = draw(TECHNIQUES[technique], self.maker, self.rng, field_tesla=self.patient.field_tesla, inflow=inflow)
        agent = float(self.rng.uniform(0.8, 1.2)) if key == "t1ce" else 0.0
        marked = bool(self.rng.random() < 0.6)
        at = _TIMES_S[key] + after_s
        return self.patient.series(name, self.next(), drawn, self.rng, at, agent=agent, marked=marked)

    def one(self, *keys: str) -> str:
        """Return one of these groups that holds a series; an empty text where none does."""
        there = [k for k in keys if self.parts[k]]
        return there[int(self.rng.integers(len(there)))] if there else ""

    def chance(self, share: float = 0.5) -> bool:
        """Return True with this probability."""
        return bool(self.rng.random() < share)

    def change(self, key: str, of: Callable[[ClinicalSeries], ClinicalSeries]) -> None:
        """Change every series of a group."""
        self.parts[key] = [of(s) for s in self.parts[key]]


def drawn_study(seed: int) -> StudyCase:
    """Return the study of a seed: one to three faults."""
    rng = np.random.default_rng([seed, 9090])
    count = int(rng.integers(1, MOST_FAULTS + 1))
    names = list(FAULTS)
    faults = tuple(names[i] for i in sorted(rng.choice(len(names), count, replace=False)))
    return _study(f"study {seed}", seed, rng, faults, tuple(Modality))


def renamed_study(seed: int) -> StudyCase:
    """Return the study of a seed whose T1 and T1ce have each other's descriptions, or none; sometimes no agent."""
    rng = np.random.default_rng([seed, 9191])
    faults = ["swapped descriptions" if rng.random() < 0.5 else "blank descriptions"]
    faults += [f for f in ("agent not mentioned", "no times", "swapped agents") if rng.random() < 0.35]
    ordered = tuple(f for f in FAULTS if f in faults)
    return _study(f"renamed {seed}", seed, rng, ordered, (T1, T1CE, T2))


def _study(
    name: str, seed: int, rng: np.random.Generator, faults: tuple[str, ...], channels: tuple[Modality, ...]
) -> StudyCase:
    patient = clinical_patient(FIRST_PATIENT + seed // STUDIES_A_PATIENT)
    study = _Study(rng, patient, list(MAKERS)[int(rng.integers(len(MAKERS)))])
    native, enhanced = (str(rng.choice(kinds)) for kinds in (NATIVE_T1, ENHANCED_T1))
    study.parts["t1"].append(study.scan("t1", native, "t1"))
    study.parts["t2"].append(study.scan("t2", "T2", "t2"))
    if FLAIR in channels:
        study.parts["flair"].append(study.scan("flair", "FLAIR 3D" if study.chance(0.2) else "FLAIR", "flair"))
    study.parts["t1ce"].append(study.scan("t1ce", enhanced, "t1ce"))
    for fault in faults:
        FAULTS[fault](study)
    series = tuple(s for key in _TIMES_S for s in study.parts[key])
    return StudyCase(name, series, channels, faults)


# --- faults, in the order in which they are applied -------------------------------------------------------------------


def _no_t1ce(study: _Study) -> None:
    study.parts["t1ce"] = []
    if study.chance(0.7):
        study.parts["t1"].append(study.scan("t1", "T1 3D prepared", "t1 3D", after_s=900, inflow=1.0))


def _no_t1(study: _Study) -> None:
    study.parts["t1"] = []


def _inflow(study: _Study) -> None:
    flat = "T1 2D gradient echo" if study.chance() else "T1 spin echo"
    volume = "T1 3D prepared" if study.chance() else "T1 3D gradient echo"
    study.parts["t1"] = [
        study.scan("t1", flat, "t1 2D"),
        study.scan("t1", volume, "t1 3D", after_s=400, inflow=1.0),
    ]


def _fat_suppressed(study: _Study) -> None:
    if study.parts["t1ce"]:
        study.parts["t1ce"] = [study.scan("t1ce", "T1 fat-suppressed", "t1ce fs")]


def _multi_echo(study: _Study) -> None:
    key = study.one("t1")
    if key:
        drawn = draw(TECHNIQUES["T1 3D prepared"], study.maker, study.rng, field_tesla=study.patient.field_tesla)
        number = study.next(5)
        study.parts[key] = copies.multi_echo(
            study.patient, drawn, study.rng, number, _TIMES_S[key], one_series=study.chance()
        )


def _dixon(study: _Study) -> None:
    key = study.one("t1", "t1ce")
    if key:
        drawn = draw(TECHNIQUES["T1 3D gradient echo"], study.maker, study.rng, field_tesla=study.patient.field_tesla)
        number, agent = study.next(4), 1.0 if key == "t1ce" else 0.0
        marks = ("W", "F", "IP", "OP") if study.chance(0.6) else ("WATER", "FAT", "IN_PHASE", "OPP_PHASE")
        study.parts[key] = copies.dixon(
            study.patient, drawn, study.rng, number, _TIMES_S[key], agent=agent, one_series=study.chance(), marks=marks
        )


def _dual_echo(study: _Study) -> None:
    text = "PD/T2 TSE tra" if study.chance() else "DUAL ECHO tra"
    number = study.next()
    study.parts["t2"] = bystanders.dual_echo(
        study.patient, study.maker, study.rng, number, _TIMES_S["t2"], description=text
    )


def _second_enhanced(study: _Study) -> None:
    """Add a later T1 whose headers mention the agent no more."""
    if study.parts["t1ce"]:
        kind = str(study.rng.choice(ENHANCED_T1))
        later = study.scan("t1ce", kind, "t1ce later", after_s=400).with_attributes(ContrastBolusAgent=None)
        study.parts["t1ce"].append(_unmarked(later, study.maker))


def _agent_texts(study: _Study) -> None:
    """Write into ContrastBolusAgent what people write, in any language."""
    given, not_given, unknown = (str(study.rng.choice([t for _, t in texts])) for texts in (GIVEN, NOT_GIVEN, UNKNOWN))
    if study.chance(0.3):  # the scanner writes one text into every series
        text = unknown if study.parts["t1ce"] or study.chance() else not_given
        for key in study.parts:
            study.change(key, lambda s: s.with_attributes(ContrastBolusAgent=text))
        return
    study.change("t1ce", lambda s: _unmarked(s, study.maker).with_attributes(ContrastBolusAgent=given))
    study.change("t1", lambda s: s.with_attributes(ContrastBolusAgent=not_given))


def _agent_silent(study: _Study) -> None:
    study.change("t1ce", lambda s: _unmarked(s, study.maker).with_attributes(ContrastBolusAgent=None))


def _swapped_agents(study: _Study) -> None:
    study.change("t1", lambda s: s.with_attributes(ContrastBolusAgent=CONTRAST_AGENT))
    study.change("t1ce", lambda s: s.with_attributes(ContrastBolusAgent="NONE"))


def _swapped_descriptions(study: _Study) -> None:
    """Give the native series the words of an enhanced one, and the enhanced one those of a native one."""
    after, before = AGENT_MARKS[study.maker], NATIVE_MARKS[study.maker]
    study.change("t1", lambda s: s.described(after.format(s.attributes["SeriesDescription"])))
    study.change("t1ce", lambda s: s.described(before.format(_plain(s, study.maker))))


def _blank_descriptions(study: _Study) -> None:
    keys = tuple(study.parts) if study.chance() else ("t1", "t1ce")
    for key in keys:
        study.change(key, lambda s: s.described("", "").with_attributes(SequenceName=None))


def _repeat(study: _Study) -> None:
    """Run one protocol again, because the patient moved in the first."""
    key = study.one("t1", "t2", "flair")
    if key:
        first = study.parts[key][0]
        moved = first.voxels + 0.35 * np.roll(first.voxels, first.voxels.shape[1] // 5, axis=1)
        again = first.again(f"{first.name} again", study.next(), started_s=(first.started_s or 0.0) + 120)
        study.parts[key] = [replace(first, voxels=moved, preferred=False), again, *study.parts[key][1:]]


def _derived(study: _Study) -> None:
    key = study.one("t1", "t2", "flair")
    study.change(key, lambda s: s.with_attributes(ImageType=["DERIVED", "SECONDARY", "OTHER"]))


def _saved_twice(study: _Study) -> None:
    key = study.one("t1", "t1ce", "t2", "flair")
    if key:
        kinds = [(copies.NORM, copies.ND), (copies.DIS3D_NORM, copies.DIS3D)][int(study.rng.integers(2))]
        first, *rest = study.parts[key]
        kept, other = copies.saved_twice(first, study.next(), kinds, float(study.rng.uniform(0.6, 2.2)))
        if study.chance():
            other = other.described(f"{other.attributes['SeriesDescription']}_ND")
        study.parts[key] = [kept, other, *rest]


def _reformat(study: _Study) -> None:
    key = study.one("t1", "t1ce", "flair")
    if key:
        source = study.parts[key][0]
        kinds: list[list[str] | None] = [None, list(source.attributes["ImageType"]), ["DERIVED", "PRIMARY", "OTHER"]]
        texts = (None, str(source.attributes["SeriesDescription"]), "cor 3mm", "")
        chosen = (int(study.rng.integers(3)), int(study.rng.integers(4)))
        plane = bystanders.PLANES[int(study.rng.integers(3))]
        copy = copies.reformat(
            source, study.next(), plane=plane, image_type=kinds[chosen[0]], description=texts[chosen[1]]
        )
        study.parts[key].append(copy)


def _projection(study: _Study) -> None:
    key = study.one("t1", "t1ce")
    if key:
        source = study.parts[key][0]
        kind = ["DERIVED", "PRIMARY", "MIP"] if study.chance() else ["DERIVED", "SECONDARY", "OTHER"]
        text = None if kind[2] == "OTHER" or study.chance() else "tra 20mm"
        copy = copies.projection(source, study.next(), image_type=kind, description=text)
        study.parts["other"].append(copy)


def _subtraction(study: _Study) -> None:
    if study.parts["t1ce"]:
        copy = copies.subtraction(study.parts["t1ce"][0], study.next(), image_type=["DERIVED", "PRIMARY", "M", "SUB"])
        study.parts["other"].append(copy)


def _scout(study: _Study) -> None:
    text = str(study.rng.choice(bystanders.SCOUT_NAMES))
    number = study.next()
    if study.chance(0.6):
        scout = bystanders.thin_scout(study.patient, study.maker, study.rng, number, description=text)
        study.parts["other"].append(scout)
    else:
        study.parts["other"] += bystanders.three_plane_scout(
            study.patient, study.maker, study.rng, number, description=text
        )


def _field_map(study: _Study) -> None:
    text = [None, "gre_2echo", ""][int(study.rng.integers(3))]
    number = study.next(2)
    study.parts["other"] += bystanders.field_map(study.patient, study.maker, study.rng, number, 90.0, description=text)


def _bystander(study: _Study, technique: str) -> None:
    study.parts["other"].append(
        bystanders.bystander(study.patient, technique, study.maker, study.rng, study.next(), _TIMES_S["other"])
    )


def _one_uid_per_file(study: _Study) -> None:
    key = study.one("t1", "t1ce", "t2", "flair")
    study.change(key, copies.one_uid_per_file)


def _no_times(study: _Study) -> None:
    for key in study.parts:
        study.change(key, lambda s: replace(s, started_s=None))


def _plain(series: ClinicalSeries, maker: str) -> str:
    """Return the description without the maker's mark of an agent."""
    return str(series.attributes["SeriesDescription"]).replace(AGENT_MARKS[maker].format(""), "")


def _unmarked(series: ClinicalSeries, maker: str) -> ClinicalSeries:
    return series.described(_plain(series, maker))


FAULTS: Mapping[str, Callable[[_Study], None]] = {
    "t1ce missing": _no_t1ce,
    "t1 missing": _no_t1,
    "inflow in a 3D T1": _inflow,
    "fat suppressed": _fat_suppressed,
    "multi-echo": _multi_echo,
    "Dixon": _dixon,
    "dual echo": _dual_echo,
    "another T1 after the agent": _second_enhanced,
    "agent texts": _agent_texts,
    "agent not mentioned": _agent_silent,
    "swapped agents": _swapped_agents,
    "swapped descriptions": _swapped_descriptions,
    "blank descriptions": _blank_descriptions,
    "repeat": _repeat,
    "derived": _derived,
    "saved twice": _saved_twice,
    "reformat": _reformat,
    "projection": _projection,
    "subtraction": _subtraction,
    "scout": _scout,
    "field map": _field_map,
    "T2*": partial(_bystander, technique="T2*"),
    "diffusion": partial(_bystander, technique="diffusion"),
    "one UID a file": _one_uid_per_file,
    "no times": _no_times,
}
"""Every fault, in the order in which faults of one study are applied."""
