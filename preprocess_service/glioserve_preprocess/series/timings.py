"""Clues to an acquisition's weighting by TR, TE, TI, flip angle and kind of sequence, each with its limits.

Times in ms, angles in degrees. Limits bracket published brain protocols; where vendors fill in the attributes
differently (GE's IR-SPGR writes the gradient echo's TR of 7 to 9 ms, Siemens the whole cycle's 2300 ms; 3D turbo spin
echo writes an effective TE of 300 to 600 ms) a rule allows for it.
"""

from __future__ import annotations

from glioserve_contract.sequences import WEIGHTINGS, Weighting
from glioserve_preprocess.series.acquisition import Acquisition

Clue = tuple[Weighting, float, str]
"""Weighting, points for it, reason in words."""

SURE, LIKELY, FAINT = 2.0, 1.2, 0.4

T1_TI_MS = WEIGHTINGS[Weighting.T1].inversion_time_ms
FLAIR_TI_MS = WEIGHTINGS[Weighting.FLAIR].inversion_time_ms
STIR_TI_MS = (80.0, 300.0)
"""Range of TI of STIR; fat is nulled at 150 to 230 ms."""

WHOLE_CYCLE_MS = 1500.0
"""TR above which it is that of the whole cycle of inversion and readout, as most makers write it."""
WHITE_MATTER_TI_MS = 550.0
"""TI below which, with such a TR, white matter is nulled and darker than grey matter (FGATIR: 410 ms)."""
ANGIOGRAPHY_TR_MS = 5.0
"""TR below which a flip angle of 20 degrees and more leaves signal to blood with a contrast agent alone."""


def timing_clues(acquisition: Acquisition) -> tuple[Clue, ...]:
    """Return the clues of the timings; none where TR or TE is missing."""
    tr, te, ti = acquisition.repetition_time_ms, acquisition.echo_time_ms, acquisition.inversion_time_ms
    if tr is None or te is None:
        return ()
    values = f"TR {tr:.6g}, TE {te:.4g}" + (f", TI {ti:.5g}" if ti else "") + " ms"
    gradient = "GR" in acquisition.scanning_sequence
    known = bool(acquisition.scanning_sequence & {"SE", "GR"})
    if ti is not None:
        clues = _prepared(tr, te, ti, gradient)
    elif gradient or (not known and tr < 60):
        clues = _gradient_echo(tr, te, acquisition.flip_angle_deg)
    else:
        clues = _spin_echo(tr, te, "IR" in acquisition.scanning_sequence)
    return tuple((weighting, points, f"{kind} ({values})") for weighting, points, kind in clues)


def _prepared(tr: float, te: float, ti: float, gradient: bool) -> list[Clue]:
    if gradient and te < 12 and tr > WHOLE_CYCLE_MS and T1_TI_MS[0] <= ti < WHITE_MATTER_TI_MS:
        return [(Weighting.OTHER, SURE, "timings of a gradient echo that nulls white matter")]
    if gradient and te < 12 and T1_TI_MS[0] <= ti <= T1_TI_MS[1]:
        return [(Weighting.T1, SURE, "timings of a prepared T1 gradient echo")]
    if gradient and te < 12 and tr < 60 and ti < T1_TI_MS[0]:  # GE writes a fat preparation's TI of tens of ms
        return [(Weighting.T1, LIKELY, "timings of a T1 gradient echo")]
    if gradient and te < 12 and ti > T1_TI_MS[1]:
        return [(Weighting.OTHER, SURE, "a late inversion image")]
    if te < 60 and T1_TI_MS[0] <= ti <= T1_TI_MS[1]:
        return [(Weighting.T1, SURE, "timings of T1 inversion recovery")]
    if STIR_TI_MS[0] <= ti < STIR_TI_MS[1] and tr > 1500:
        return [(Weighting.OTHER, 2 * SURE, "timings of STIR")]
    if FLAIR_TI_MS[0] <= ti <= FLAIR_TI_MS[1] and tr > 3500 and te >= 60:
        return [(Weighting.FLAIR, SURE, "timings of FLAIR")]
    if FLAIR_TI_MS[0] <= ti <= FLAIR_TI_MS[1] and tr > 3500 and te >= 20 and not gradient:
        return [(Weighting.FLAIR, LIKELY, "timings of FLAIR with a short echo")]
    return [(Weighting.OTHER, FAINT, "timings of no sequence known")]


def _gradient_echo(tr: float, te: float, flip_deg: float | None) -> list[Clue]:
    if te >= 12:
        return [(Weighting.OTHER, SURE, "timings of T2*")]
    if tr < 60:
        if flip_deg is not None and flip_deg <= 5:
            return [(Weighting.OTHER, LIKELY, "flip angle of a proton-density gradient echo")]
        if flip_deg is not None and flip_deg > 35 and tr < 12:
            return [(Weighting.OTHER, SURE, "timings of a balanced steady state")]
        if flip_deg is not None and flip_deg >= 20 and tr < ANGIOGRAPHY_TR_MS:
            return [(Weighting.OTHER, SURE, "timings of angiography with an agent")]
        return [(Weighting.T1, SURE, "timings of a T1 gradient echo")]
    if tr < 700 and (flip_deg is None or flip_deg >= 45):
        return [(Weighting.T1, SURE, "timings of a T1 gradient echo")]
    if 1000 <= tr <= 3500:  # a magnetisation-prepared one whose TI was lost writes the cycle's TR
        return [(Weighting.T1, LIKELY, "timings of a prepared gradient echo")]
    return [(Weighting.T1, FAINT, "timings of a gradient echo")]


def _spin_echo(tr: float, te: float, inverted: bool) -> list[Clue]:
    if te < 40 and 200 <= tr < 1300:
        return [(Weighting.T1, SURE, "timings of T1")]
    if te < 40 and tr < 3500 and inverted:
        return [(Weighting.T1, LIKELY, "timings of T1 inversion recovery")]
    if te < 50 and tr >= 1800:
        return [(Weighting.OTHER, SURE, "timings of proton density")]
    if tr >= 1800 and te >= 50:
        if inverted:  # its TI was lost: FLAIR, or STIR
            return [(Weighting.FLAIR, LIKELY if tr > 4500 else FAINT, "inversion recovery with a late echo")]
        if te < 65:
            return [(Weighting.T2, FAINT, "timings between proton density and T2")]
        if tr >= 5500 or (te >= 250 and tr >= 4000):  # a FLAIR whose TI was lost looks like this as well
            return [(Weighting.T2, LIKELY, "timings of T2"), (Weighting.FLAIR, FAINT, "or of FLAIR, its TI not given")]
        return [(Weighting.T2, SURE, "timings of T2")]
    return [(Weighting.OTHER, FAINT, "timings of no sequence known")]
