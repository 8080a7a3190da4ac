"""The second opinion by voxels, beside that of the headers: when it is asked, and what follows from it.

It is asked for every chosen T1 and T1ce, for a chosen sequence whose headers are not :data:`SURE`, and, where a
sequence is missing, for stacks whose headers are silent. It never overrules headers: agreement is stated, and
disagreement refuses the study or sends it to review.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_contract.records.preprocess import PixelOpinionRecord, QualityCheck
from glioserve_contract.sequences import PixelKind, Weighting
from glioserve_preprocess.series.candidates import PixelOpinion, SeriesCandidate
from glioserve_preprocess.series.contrast import CONTRAST_PAIR, Compare, Look, asked_about, leans_to, why_unlike
from glioserve_preprocess.series.evidence import MIN_CONFIDENCE

SURE = 0.9
"""Share of the headers' belief in a weighting from which on voxels can at most send the study to review."""
MOST_ASKED = 4
"""Most silent stacks whose voxels are looked at; each costs some tenths of a CPU second."""
MOST_SIGNS = 4
"""Most signs that T1 and T1ce are not each other: order, images side by side, and the voxels of both."""

_KINDS = {
    Modality.T1: PixelKind.T1,
    Modality.T1CE: PixelKind.T1CE,
    Modality.T2: PixelKind.T2,
    Modality.FLAIR: PixelKind.FLAIR,
}
_WEIGHTINGS = {PixelKind.T1: Weighting.T1, PixelKind.T2: Weighting.T2, PixelKind.FLAIR: Weighting.FLAIR}


def by_voxels(
    pool: Sequence[SeriesCandidate], wanted: Sequence[Modality], min_slices: int, look: Look
) -> list[SeriesCandidate]:
    """Return the pool; where a sequence is missing, stacks with silent headers have the weighting of their voxels.

    T1ce is never taken by voxels alone: without any sign in the headers, a wrong one would pass for an answer.
    """
    found = {c.modality for c in pool}
    if all(m in found for m in wanted):
        return list(pool)
    silent = [c for c in pool if _silent(c) and c.slices >= min_slices and c.problem is None]
    silent.sort(key=lambda c: (c.derived, -c.slices, c.series_instance_uid, c.stack.part))
    asked = {id(c): asked_about(c, look) for c in silent[:MOST_ASKED]}
    return [_decided(asked[id(c)]) if id(c) in asked else c for c in pool]


def _silent(candidate: SeriesCandidate) -> bool:
    """Return whether its headers neither name a weighting nor rule out the method's."""
    evidence = candidate.evidence
    other = evidence.weighting_shares.get(Weighting.OTHER, 0.0)
    return not evidence.excluded and evidence.weighting is None and other < MIN_CONFIDENCE


def _decided(candidate: SeriesCandidate) -> SeriesCandidate:
    opinion = candidate.pixels
    if opinion is None or opinion.kind not in _WEIGHTINGS:
        return candidate
    weighting, shares = _WEIGHTINGS[opinion.kind], candidate.evidence.weighting_shares
    if shares[weighting] < max(shares.values()) - 1e-6:  # its headers lean to another one
        return candidate
    reason = f"by its voxels {opinion.kind} ({opinion.confidence:.2f}); its headers are silent"
    return replace(candidate, evidence=candidate.evidence.by_voxels(weighting, SURE, reason))


def second_opinion(candidate: SeriesCandidate, modality: Modality, look: Look) -> SeriesCandidate:
    """Return the chosen candidate with the opinion of its voxels where it is needed, and what it says as a reason.

    Raises:
        GlioserveError: GLIO-1302 where voxels contradict headers that leave the weighting or the agent open.
    """
    if modality not in CONTRAST_PAIR and candidate.score(modality) >= SURE:
        return candidate
    candidate = asked_about(candidate, look)
    opinion = candidate.pixels
    if opinion is None:
        return candidate
    if opinion.kind is None:
        return _with_reason(candidate, f"its voxels leave it open ({opinion.likeliest} {opinion.confidence:.2f})")
    if opinion.kind is _KINDS[modality]:
        return _with_reason(candidate, f"its voxels agree ({opinion.confidence:.2f})")
    candidate = _with_reason(candidate, f"its voxels look like {opinion.kind} ({opinion.confidence:.2f})")
    evidence = candidate.evidence
    open_agent = modality in CONTRAST_PAIR and evidence.contrast_open and opinion.kind in (PixelKind.T1, PixelKind.T1CE)
    if open_agent or max(evidence.weighting_shares.values(), default=0.0) < SURE:
        raise GlioserveError(
            ErrorCode.AMBIGUOUS_SEQUENCE,
            f"Headers and voxels disagree on the only series that fits {modality}: {candidate}. "
            f'If it is right, name it: series={{"{modality}": its SeriesInstanceUID}}.',
        )
    return candidate


def corroborations(native: SeriesCandidate, enhanced: SeriesCandidate, compare: Compare | None) -> int:
    """Return the number of signs, beside what headers state of the agent, that T1 and T1ce are not each other.

    They are the order in time, the voxels of either, and the images side by side, which are compared for this alone
    where nothing else tells and the two are of one technique. Headers alone would not show that two descriptions were
    exchanged.
    """
    started_s = native.acquisition.started_s, enhanced.acquisition.started_s
    ordered = started_s[0] is not None and started_s[1] is not None and started_s[0] < started_s[1]
    signs = int(ordered) + int(native.told_by_images or enhanced.told_by_images)
    if not leans_to(native, PixelKind.T1CE) and not leans_to(enhanced, PixelKind.T1):
        told = ((native.pixels, PixelKind.T1), (enhanced.pixels, PixelKind.T1CE))
        signs += sum(opinion is not None and opinion.kind is own for opinion, own in told)
    if signs or compare is None or why_unlike(native, enhanced):
        return signs
    found = compare(native.stack, enhanced.stack)
    return int(found is not None and found.first_is_enhanced is False)


def _with_reason(candidate: SeriesCandidate, reason: str) -> SeriesCandidate:
    evidence = candidate.evidence
    return replace(candidate, evidence=replace(evidence, reasons=(*evidence.reasons, reason)))


def opinion_check(candidate: SeriesCandidate, modality: Modality) -> QualityCheck | None:
    """Return the share of the likeliest other kind, held to its threshold; None without an opinion."""
    opinion = candidate.pixels
    if opinion is None:
        return None
    other = max((k for k in opinion.shares if k is not _KINDS[modality]), key=lambda k: opinion.shares[k])
    value, high = opinion.shares[other], opinion.thresholds[other]
    wrong = opinion.kind is other
    return QualityCheck(f"{modality}_other_kind", value, "share", 0.0, high, "review" if wrong else "ok")


def opinion_record(opinion: PixelOpinion | None) -> PixelOpinionRecord | None:
    """Return the opinion as the report holds it."""
    if opinion is None:
        return None
    return PixelOpinionRecord(
        kind=opinion.kind,
        likeliest=opinion.likeliest,
        confidence=opinion.confidence,
        threshold=opinion.thresholds[opinion.likeliest],
    )
