"""Which MRI sequence an acquisition is: every clue adds points for a sequence, and the points become shares of belief.

Nothing is forced. Each clue is worth a few points in natural logarithms of odds; the points of one sequence add up, and
:func:`judge` turns them into shares of 1 among T1-weighted, T2, FLAIR and "something else" (softmax, with a base of 0
points each). So timings alone give 0.71, words that agree 0.95, and words that contradict timings 0.44 each: below
:data:`MIN_CONFIDENCE`, so no candidate. What certainly is another kind of image is excluded outright.

Between T1 and T1ce the same in two: agent, words, order. Below :data:`DECIDED` points the headers leave it open, and
:mod:`series` looks at the rest of the study, then at the images.

Sources: PS3.3 C.8.3.1 (MR Image) and C.8.13 (Enhanced MR) for the attributes; the limits are the ranges of published
brain protocols at 1.5 and 3 T (Ellingson et al., Neuro Oncol 2015; Kaufmann et al., Neuro Oncol 2020; ADNI; HCP;
UK Biobank), widened by what real headers taught. Each row of ``tests/preprocess/header_table.py`` names its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from glioserve_contract import Modality
from glioserve_dicom import words
from glioserve_preprocess.series.acquisition import Acquisition
from glioserve_preprocess.series.timings import timing_clues


class Weighting(str, Enum):
    """What headers can tell without knowing of contrast: T1 stands for T1 and T1ce."""

    T1 = "T1"
    T2 = "T2"
    FLAIR = "FLAIR"
    OTHER = "another sequence"


MIN_CONFIDENCE = 0.5
"""Share of belief below which a series is no candidate for a sequence."""
DECIDED = 1.5
"""Points for or against contrast agent from which on T1 or T1ce is settled (odds of 4.5 to 1)."""

STRONG, GOOD, WEAK, HINT = 2.0, 1.5, 0.7, 0.4
"""Points of a word or timing that names the sequence; of a code; of what is usual; of what is only likely."""
_DERIVED = 0.8
"""Factor on all shares of a derived image: its original is most likely there too."""

_EXCLUDED_TYPES: dict[str, frozenset[str]] = {
    what: frozenset(codes.split(","))
    for what, codes in {
        "a localiser": "LOCALIZER",
        "diffusion": "ADC,EADC,TRACEW,FA,DIFFUSION",
        "a projection": "MIP,MNP,MINIP,MIN,MAX,PROJECTION,PROJECTION IMAGE,MAX_IP,MIN_IP,VOLUME_RENDER,SURFACE_RENDER",
        "a subtraction": "SUB,SUBTRACT,SUBTRACTED,SUBTRACTION",
        "phase or complex parts": "PHASE,P,PHASE MAP,REAL,IMAGINARY,R,I,VELOCITY MAP,PCA,M_PCA,FLOW_ENCODED",
        "perfusion": "ASL,RCBF,RCBV,RELCBV,RELCBF,RELMTT,MTT,TTP,PBP,PERFUSION",
        "susceptibility or T2*": "SWI,T2_STAR",
        "angiography": "ANGIO,TOF",
        "functional imaging": "FMRI,MOSAIC",
        "a quantitative map": "T1 MAP,T2 MAP,T2_STAR MAP,B0,B1,B0 MAP,B1 MAP,FIELD MAP,MAP",
        "an inversion image of MP2RAGE": "INV1,INV2",
        "a fat or opposed-phase image of a Dixon acquisition": "FAT,F,OUT_PHASE,OPP_PHASE",
        "a proton-density image": "PROTON_DENSITY",
        "STIR": "STIR",
        "a screenshot": "SCREENSAVE,SCREEN SAVE,CSA REPORT",
        "tagging": "TAGGED,TAGGING",
    }.items()
}
_TYPE_CLUES = {
    "T1": Weighting.T1,
    "T2": Weighting.T2,
    "FLAIR": Weighting.FLAIR,
    "FLUID_ATTENUATED": Weighting.FLAIR,
}
_HEAD_PARTS = frozenset({"", "HEAD", "BRAIN", "SKULL", "HEADNECK"})


@dataclass(frozen=True)
class Evidence:
    """Shares of belief in each sequence, 0 to 1, and the reasons in words. They sum to less than 1 by what is left."""

    scores: Mapping[Modality, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    excluded: str = ""
    """Why it is no sequence of the method at all; empty otherwise."""
    contrast_points: float = 0.0
    """Above 0 for T1ce, below for T1; see :data:`DECIDED`."""
    weighting_shares: Mapping[Weighting, float] = field(default_factory=dict)

    @property
    def modality(self) -> Modality | None:
        """The likeliest sequence, if it is likely enough."""
        best = max(self.scores, key=lambda m: self.scores[m], default=None)
        return best if best is not None and self.scores[best] >= MIN_CONFIDENCE else None

    @property
    def confidence(self) -> float:
        """Share of the likeliest sequence."""
        return max(self.scores.values(), default=0.0)

    @property
    def is_t1_weighted(self) -> bool:
        """Whether it is T1 or T1ce, if only one knew which."""
        return self.weighting_shares.get(Weighting.T1, 0.0) >= MIN_CONFIDENCE

    @property
    def contrast_open(self) -> bool:
        """Whether it is T1-weighted and headers do not settle if an agent was given."""
        return self.is_t1_weighted and abs(self.contrast_points) < DECIDED

    def with_contrast(self, points: float, reason: str) -> Evidence:
        """The same with more points for (or, below 0, against) contrast agent, and why."""
        return _evidence(self.weighting_shares, self.contrast_points + points, (*self.reasons, reason))


def judge(acquisition: Acquisition) -> Evidence:
    """What one frame's headers say of its stack. Every frame of a stack says the same."""
    if reason := _excluded(acquisition):
        return Evidence(reasons=(reason,), excluded=reason)
    points = dict.fromkeys(Weighting, 0.0)
    reasons = []
    for weighting, worth, reason in (*_word_clues(acquisition), *_code_clues(acquisition), *timing_clues(acquisition)):
        points[Weighting(weighting)] += worth
        reasons.append(reason)
    shares = _softmax(points)
    if "DERIVED" in acquisition.image_type:
        shares = {weighting: share * _DERIVED for weighting, share in shares.items()}
        reasons.append("derived image")
    if not reasons:
        reasons.append("no timings, no words")
    contrast_points = 0.0
    if shares[Weighting.T1] >= MIN_CONFIDENCE:
        contrast_points, reason = _contrast(acquisition)
        reasons.append(reason)
    return _evidence(shares, contrast_points, tuple(dict.fromkeys(reasons)))


def _evidence(shares: Mapping[Weighting, float], contrast_points: float, reasons: tuple[str, ...]) -> Evidence:
    enhanced = 1 / (1 + math.exp(-contrast_points))
    scores = {
        Modality.T1: shares[Weighting.T1] * (1 - enhanced),
        Modality.T1CE: shares[Weighting.T1] * enhanced,
        Modality.T2: shares[Weighting.T2],
        Modality.FLAIR: shares[Weighting.FLAIR],
    }
    return Evidence(MappingProxyType(scores), reasons, "", contrast_points, MappingProxyType(dict(shares)))


def _softmax(points: Mapping[Weighting, float]) -> dict[Weighting, float]:
    weights = {weighting: math.exp(value) for weighting, value in points.items()}
    return {weighting: weight / sum(weights.values()) for weighting, weight in weights.items()}


def _described(acquisition: Acquisition) -> tuple[str, ...]:
    """Words of the description; of the protocol where nothing of the description is known."""
    return acquisition.description or acquisition.protocol


def _excluded(acquisition: Acquisition) -> str:
    """Why this is certainly no sequence of the method; empty when it may be one."""
    types = set(acquisition.image_type)
    for what, codes in _EXCLUDED_TYPES.items():
        if hit := types & codes:
            return f"{what} (image type {', '.join(sorted(hit))})"
    described, named = set(_described(acquisition)), set(acquisition.sequence_name)
    if described & words.T1_WORDS | described & words.T2_WORDS | described & words.FLAIR_WORDS:
        described -= {"loc"}  # as in "T1 loc."; a localiser names no weighting
    if described & words.T2_WORDS:  # "PD/T2" is a dual echo: timings say which of the two this stack is
        described -= words.OTHER_IMAGES["a proton-density image"]
    for what, known in words.OTHER_IMAGES.items():
        if hit := (described | named) & known:
            return f"{what} (described as {' '.join(sorted(hit))})"
    if hit := described & words.MP2RAGE_PARTS - {"uni"}:
        return f"an inversion image of MP2RAGE (described as {' '.join(sorted(hit))})"
    if acquisition.angiography or "VASCTOF_GEMS" in acquisition.scan_options:
        return "angiography (flagged by the scanner)"
    if "EP" in acquisition.scanning_sequence or "EPI_GEMS" in acquisition.scan_options:
        return "echo-planar (ScanningSequence)"
    if acquisition.b_value_s_mm2:
        return f"diffusion (b = {acquisition.b_value_s_mm2:g} s/mm²)"
    if acquisition.body_part not in _HEAD_PARTS:
        return f"not of the head (BodyPartExamined {acquisition.body_part})"
    if (hit := described & words.PARTIAL_HEADS) and not described & words.HEAD_WORDS:
        return f"not of the whole head (described as {' '.join(sorted(hit))})"
    return ""


def _word_clues(acquisition: Acquisition) -> list[tuple[str, float, str]]:
    """(weighting, points, reason) of what description and sequence names say."""
    described = set(_described(acquisition))
    clues = []
    t1, t2, flair = (described & known for known in (words.T1_WORDS, words.T2_WORDS, words.FLAIR_WORDS))
    if flair and t1 and not t2:  # "AX T1 POST GD FLAIR": inversion recovery for T1 contrast
        clues.append(("T1", STRONG, f"described as {' '.join(sorted(t1 | flair))}"))
    elif flair:  # "T2 FLAIR"
        clues.append(("FLAIR", STRONG, f"described as {' '.join(sorted(flair | t2))}"))
    else:
        clues += [("T1", STRONG, f"described as {' '.join(sorted(t1))}")] if t1 else []
        clues += [("T2", STRONG, f"described as {' '.join(sorted(t2))}")] if t2 else []
    named = set(acquisition.sequence_name)
    for weighting, known, certain in (
        ("T1", words.T1_HINTS, words.T1_WORDS),
        ("T2", words.T2_HINTS, words.T2_WORDS),
        ("FLAIR", words.FLAIR_HINTS, words.FLAIR_WORDS),
    ):
        if (hit := named & certain) and not (weighting == "T2" and named & words.FLAIR_WORDS):
            clues.append((weighting, GOOD, f"sequence {' '.join(sorted(hit))}"))
        elif hit := (described | named) & known:
            clues.append((weighting, WEAK, f"sequence {' '.join(sorted(hit))}"))
    return clues


def _code_clues(acquisition: Acquisition) -> list[tuple[str, float, str]]:
    clues = [
        (weighting.value, GOOD, f"image type {code}")
        for code, weighting in _TYPE_CLUES.items()
        if code in acquisition.image_type
    ]
    if "T2FLAIR_GEMS" in acquisition.scan_options:
        clues.append(("FLAIR", GOOD, "scan option T2FLAIR_GEMS"))
    if acquisition.steady_state:
        clues.append(("another sequence", STRONG, "balanced steady state"))
    return clues


def _contrast(acquisition: Acquisition) -> tuple[float, str]:
    """Points for contrast agent, and why, of a T1-weighted acquisition."""
    points, said = _contrast_words(acquisition.description)
    if not said and acquisition.manufacturer != "GE":  # GE's protocol is the examination's, "BRAIN W WO"
        points, said = _contrast_words(acquisition.protocol)
        points, said = points / 2, f"{said} by its protocol" if said else ""
    if acquisition.agent is True:
        return points + 3.0, "contrast agent given" + (f", but {said}" if points < 0 else "")
    if acquisition.agent is False:
        return points - 2.5, "no contrast agent given" + (f", but {said}" if points > 0 else "")
    return (points, said) if said else (-1.0, "nothing said of a contrast agent")


def _contrast_words(description: tuple[str, ...]) -> tuple[float, str]:
    """Points and reason; (0, "") where the words say nothing, or both ("with and without")."""
    found = set(description)
    agent = found & (words.AGENT_WORDS | {words.WITH_AGENT})
    without = found & (words.BEFORE_WORDS | {words.WITHOUT_AGENT})
    after = found & words.AFTER_WORDS
    if "op" in found and not agent:  # "post op" tells of an operation
        after -= {"post"}
    if agent:
        without |= found & words.NO_WORDS
    if without and (after or found & words.WITH_WORDS):
        return 0.0, ""
    if without:
        return -4.0, f"described as {' '.join(w for w in description if w in without | agent)}"
    if agent or after:
        return 3.0, f"described as {' '.join(w for w in description if w in agent | after)}"
    return 0.0, ""
