"""The MRI sequence of an acquisition: every clue adds points for a sequence, and the points become shares of belief.

Nothing is forced. Each clue is worth a few points in natural logarithms of odds; the points of one sequence add up, and
:func:`judge` turns them into shares of 1 among T1-weighted, T2, FLAIR and "something else" (softmax, with a base of 0
points each). So timings alone give 0.71, words that agree 0.95, and words that contradict timings 0.44 each: below
:data:`MIN_CONFIDENCE`, so no candidate. What certainly is another kind of image is excluded outright.

T1 and T1ce are separated in the same way: by agent, words, order. Below :data:`DECIDED` points the headers leave it
open, and :mod:`contrast` looks at the rest of the study, then at the images.

Sources: PS3.3 C.8.3.1 (MR Image) and C.8.13 (Enhanced MR) for the attributes; the limits are the ranges of published
brain protocols at 1.5 and 3 T (Ellingson et al., Neuro Oncol 2015; Kaufmann et al., Neuro Oncol 2020; ADNI; HCP;
UK Biobank), widened by what real headers taught. Each row of ``tests/preprocess/series/header_table.py`` names its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from glioserve_contract import Modality
from glioserve_contract.sequences import OTHER_IMAGE_TYPES, OTHER_IMAGE_WORDS, SEQUENCES, WEIGHTINGS, Weighting
from glioserve_dicom import negation, words
from glioserve_preprocess.series.acquisition import Acquisition
from glioserve_preprocess.series.timings import Clue, timing_clues

MIN_CONFIDENCE = 0.5
"""Least share of belief that makes a series a candidate for a sequence."""
DECIDED = 1.5
"""Points for or against contrast agent that settle T1 or T1ce (odds of 4.5 to 1)."""

STRONG, GOOD, WEAK = 2.0, 1.5, 0.7
"""Points of a word or timing that names the sequence; of a code; of what is usual."""
_DERIVED = 0.8
"""Factor on all shares of a derived image: its original is most likely there too."""

_HEAD_PARTS = frozenset({"", "HEAD", "BRAIN", "SKULL", "HEADNECK"})


@dataclass(frozen=True)
class Evidence:
    """Shares of belief in each sequence, 0 to 1, and the reasons in words. They sum to less than 1 by what is left."""

    scores: Mapping[Modality, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    excluded: str = ""
    """The reason why it cannot be a sequence of the method; empty otherwise."""
    contrast_points: float = 0.0
    """Points for contrast agent: above 0 for T1ce, below for T1; see :data:`DECIDED`."""
    contrast_reason: str = ""
    """Reason of those points; empty for what is not T1-weighted."""
    weighting_shares: Mapping[Weighting, float] = field(default_factory=dict)

    @property
    def modality(self) -> Modality | None:
        """The sequence, if it is settled. The weighting and the contrast agent are two questions.

        The weighting needs a share of :data:`MIN_CONFIDENCE`. A T1-weighted stack is T1ce from :data:`DECIDED` points
        for the agent, and T1 where the points are below 0: most native series do not mention an agent. In between
        it is neither.
        """
        weighting = self.weighting
        if weighting is None:
            return None
        enhanced = True if self.contrast_points >= DECIDED else False if self.contrast_points < 0 else None
        for modality, entry in SEQUENCES.items():
            if entry.weighting is weighting and (entry.enhanced is None or entry.enhanced is enhanced):
                return modality
        return None

    @property
    def weighting(self) -> Weighting | None:
        """The weighting, if its share is large enough; None for what is not one of the method's."""
        best = max(self.weighting_shares, key=lambda w: self.weighting_shares[w], default=None)
        if best is None or best is Weighting.OTHER or self.weighting_shares[best] < MIN_CONFIDENCE:
            return None
        return best

    @property
    def confidence(self) -> float:
        """Share of the likeliest sequence."""
        return max(self.scores.values(), default=0.0)

    @property
    def is_t1_weighted(self) -> bool:
        """True for T1 or T1ce, settled or not."""
        return self.weighting is Weighting.T1

    @property
    def contrast_open(self) -> bool:
        """True where it is T1-weighted and the headers do not settle whether an agent was given."""
        return self.is_t1_weighted and abs(self.contrast_points) < DECIDED

    def with_contrast(self, points: float, reason: str) -> Evidence:
        """Return the evidence with more points for (or, below 0, against) contrast agent, and the reason."""
        return _evidence(self.weighting_shares, self.contrast_points + points, (*self.reasons, reason), reason)

    def by_voxels(self, weighting: Weighting, share: float, reason: str) -> Evidence:
        """Return the evidence of a stack whose headers are silent and whose voxels show ``weighting``."""
        rest = (1 - share) / (len(Weighting) - 1)
        shares = {w: share if w is weighting else rest for w in Weighting}
        points = -DECIDED if weighting is Weighting.T1 else 0.0
        return _evidence(shares, points, (*self.reasons, reason), reason)

    def without(self, reason: str) -> Evidence:
        """Return the evidence of a stack that the rest of the study shows to be another kind of image."""
        return Evidence(reasons=(*self.reasons, reason), excluded=reason)


def judge(acquisition: Acquisition) -> Evidence:
    """Judge a stack by one frame's headers; every frame of a stack gives the same."""
    if reason := _excluded(acquisition):
        return Evidence(reasons=(reason,), excluded=reason)
    points = dict.fromkeys(Weighting, 0.0)
    reasons = []
    for weighting, worth, reason in (*_word_clues(acquisition), *_code_clues(acquisition), *timing_clues(acquisition)):
        points[weighting] += worth
        reasons.append(reason)
    shares = _softmax(points)
    if "DERIVED" in acquisition.image_type:
        shares = {weighting: share * _DERIVED for weighting, share in shares.items()}
        reasons.append("derived image")
    if not reasons:
        reasons.append("no timings, no words")
    contrast_points, contrast_reason = 0.0, ""
    if shares[Weighting.T1] >= MIN_CONFIDENCE:
        contrast_points, contrast_reason = _contrast(acquisition)
        reasons.append(contrast_reason)
    return _evidence(shares, contrast_points, tuple(dict.fromkeys(reasons)), contrast_reason)


def _evidence(
    shares: Mapping[Weighting, float], contrast_points: float, reasons: tuple[str, ...], contrast_reason: str
) -> Evidence:
    enhanced = 1 / (1 + math.exp(-contrast_points))
    share_of_weighting = {True: enhanced, False: 1 - enhanced, None: 1.0}
    scores = {m: shares[s.weighting] * share_of_weighting[s.enhanced] for m, s in SEQUENCES.items()}
    return Evidence(
        MappingProxyType(scores), reasons, "", contrast_points, contrast_reason, MappingProxyType(dict(shares))
    )


def _softmax(points: Mapping[Weighting, float]) -> dict[Weighting, float]:
    weights = {weighting: math.exp(value) for weighting, value in points.items()}
    return {weighting: weight / sum(weights.values()) for weighting, weight in weights.items()}


def _described(acquisition: Acquisition) -> tuple[str, ...]:
    """Return the words of the description, or of the protocol where none of the description is known."""
    return acquisition.description or acquisition.protocol


def _excluded(acquisition: Acquisition) -> str:
    """Return the reason why this certainly is another kind of image; empty where it may be a sequence."""
    types = set(acquisition.image_type)
    for kind, codes in OTHER_IMAGE_TYPES.items():
        if hit := types & codes:
            return f"{kind} (image type {', '.join(sorted(hit))})"
    described, named = set(_described(acquisition)), set(acquisition.sequence_name)
    if any(described & entry.words for entry in WEIGHTINGS.values()):
        described -= words.WEAK_WORDS  # as in "T1 loc."; a localiser names no weighting
    if described & {"inphase", "water"}:  # of all images of a Dixon acquisition: ImageType tells which this is
        described -= OTHER_IMAGE_WORDS["a fat or opposed-phase image of a Dixon acquisition"]
    if described & WEIGHTINGS[Weighting.T2].words:  # "PD/T2" is a dual echo: timings say which of the two this stack is
        described -= OTHER_IMAGE_WORDS["a proton-density image"]
    for kind, known in OTHER_IMAGE_WORDS.items():
        if hit := (described | named) & known:
            return f"{kind} (described as {' '.join(sorted(hit))})"
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


def _word_clues(acquisition: Acquisition) -> list[Clue]:
    """Return the clues of description and sequence names."""
    described, named = set(_described(acquisition)), set(acquisition.sequence_name)
    matches = {weighting: described & entry.words for weighting, entry in WEIGHTINGS.items()}
    t1, t2, flair = (matches[w] for w in (Weighting.T1, Weighting.T2, Weighting.FLAIR))
    if flair and t1 and not t2:  # "AX T1 POST GD FLAIR": inversion recovery for T1 contrast
        matches |= {Weighting.T1: t1 | flair, Weighting.FLAIR: set()}
    elif flair:  # "T2 FLAIR"
        matches |= {Weighting.T1: set(), Weighting.T2: set(), Weighting.FLAIR: flair | t2}
    clues = [
        (weighting, STRONG, f"described as {' '.join(sorted(match))}") for weighting, match in matches.items() if match
    ]
    for weighting, entry in WEIGHTINGS.items():
        hit = named & entry.words
        if hit and not (weighting is Weighting.T2 and named & WEIGHTINGS[Weighting.FLAIR].words):
            clues.append((weighting, GOOD, f"sequence {' '.join(sorted(hit))}"))
        elif hit := (described | named) & entry.hints:
            clues.append((weighting, WEAK, f"sequence {' '.join(sorted(hit))}"))
    return clues


def _code_clues(acquisition: Acquisition) -> list[Clue]:
    """Return the clues of image types, scan options and steady state."""
    clues = [
        (weighting, GOOD, f"image type {code}")
        for weighting, entry in WEIGHTINGS.items()
        for code in entry.image_types
        if code in acquisition.image_type
    ]
    clues += [
        (weighting, GOOD, f"scan option {option}")
        for weighting, entry in WEIGHTINGS.items()
        for option in entry.scan_options
        if option in acquisition.scan_options
    ]
    if acquisition.steady_state:
        clues.append((Weighting.OTHER, STRONG, "balanced steady state"))
    return clues


def _contrast(acquisition: Acquisition) -> tuple[float, str]:
    """Return points for contrast agent, and the reason, of a T1-weighted acquisition."""
    points, reason = _contrast_words(acquisition.description)
    if not reason and acquisition.manufacturer != "GE":  # GE's protocol is the examination's, "BRAIN W WO"
        points, reason = _contrast_words(acquisition.protocol)
        points, reason = points / 2, f"{reason} by its protocol" if reason else ""
    if acquisition.agent is True and points < 0:  # one of the two is wrong, and neither is a sign of a native series
        return 0.0, f"contrast agent given, but {reason}"
    if acquisition.agent is True:
        return points + 3.0, "contrast agent given"
    if acquisition.agent is False:
        return points - 2.5, "no contrast agent given" + (f", but {reason}" if points > 0 else "")
    return (points, reason) if reason else (-1.0, "nothing said of a contrast agent")


def _contrast_words(description: tuple[str, ...]) -> tuple[float, str]:
    """Return points and reason; (0, "") where the words name neither or both ("with and without")."""
    marks = set(description)
    agent = marks & (negation.AGENT_WORDS | {negation.WITH_AGENT})
    without = marks & (negation.BEFORE_WORDS | {negation.WITHOUT_AGENT})
    after = marks & negation.AFTER_WORDS
    if "op" in marks and not agent:  # "post op" is after an operation
        after -= {"post"}
    if agent:
        without |= marks & negation.NO_WORDS
    if without and (after or marks & (negation.WITH_WORDS | {negation.WITH_AGENT})):
        return 0.0, ""
    if without:
        return -4.0, f"described as {' '.join(w for w in description if w in without | agent)}"
    if agent or after:
        return 3.0, f"described as {' '.join(w for w in description if w in agent | after)}"
    return 0.0, ""
