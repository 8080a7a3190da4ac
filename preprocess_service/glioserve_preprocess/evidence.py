"""Which MRI sequence a series is, from its headers: timings, contrast agent, words. A score, never a forced label.

Timings follow PS3.3 C.8.3 (ScanningSequence, TR, TE, TI in ms); the limits are the usual clinical ranges at 1.5 and
3 T, with the exceptions that real headers taught (GE's MP-RAGE reports TI 1000; its IR-SPGR a TR of 7 to 9 ms).
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from glioserve_contract import Modality
from glioserve_contract.identity import kept_words

AGREED, TIMINGS_ONLY, WORDS_ONLY, CONTRADICTED = 0.95, 0.7, 0.6, 0.3
DERIVED_SHARE = 0.8

_OTHER_WORDS = frozenset(
    "localizer localiser scout survey loc swi t2star dwi adc dti trace perfusion dsc dce mra tof asl mrs "
    "spectroscopy sub subtraction mip map epi epi2d pd stir derived".split()
)
_OTHER_TYPES = frozenset("LOCALIZER ADC TRACEW PROJECTION MIP PHASE P SUB SUBTRACTION DIFFUSION PROTON_DENSITY".split())
_FLAIR_WORDS = frozenset("flair tirm tir2d1 darkfluid dark spcir".split())
_T2_WORDS = frozenset("t2 t2w haste".split())
_T1_WORDS = frozenset(
    "t1 t1w mprage mpr spgr fspgr irfspgr irspgr bravo tfl tfl3d vibe lava thrive fl3d fl3d1 tfl3d1".split()
)
_CONTRAST_WORDS = frozenset(
    "post ce gd gad gado gadolinium gadovist dotarem km +c enhanced nach apres con com mit".split()
)
_PLAIN_WORDS = frozenset("pre without ohne sans sin sem non native nativ nativo vor avant antes".split())


@dataclass(frozen=True)
class Evidence:
    """``confidence`` 0 to 1 in ``modality`` (None: no sequence of the method), with the reasons in words."""

    modality: Modality | None
    confidence: float
    reasons: tuple[str, ...]


def judge(dataset: Dataset) -> Evidence:
    """What one instance's headers say of its series; any file of a series carries the same."""
    description = " ".join(str(dataset.get(k) or "") for k in ("SeriesDescription", "ProtocolName", "SequenceName"))
    words = set(kept_words(description).split())
    image_type = {str(v) for v in dataset.get("ImageType") or ()}
    if other := (words & _OTHER_WORDS) | (image_type & _OTHER_TYPES):
        return Evidence(None, 0.0, (f"another kind of image: {', '.join(sorted(other))}",))
    by_time, time_reason = _by_timings(dataset)
    by_word, word_reason = _by_words(words)
    reasons = tuple(r for r in (time_reason, word_reason) if r)
    if by_time is None and by_word is None:
        return Evidence(None, 0.0, reasons or ("no timings, no words",))
    if by_time and by_word:
        confidence = AGREED if by_time is by_word else CONTRADICTED
    else:
        confidence = TIMINGS_ONLY if by_time else WORDS_ONLY
    if "DERIVED" in image_type:  # a reformat of a series that is most likely there too
        confidence *= DERIVED_SHARE
        reasons = (*reasons, "derived image")
    weighting = by_time or by_word
    if weighting is not Modality.T1:
        return Evidence(weighting, confidence, reasons)
    return _t1_or_t1ce(dataset, words, confidence, reasons)


def _by_timings(dataset: Dataset) -> tuple[Modality | None, str]:
    tr, te, ti = (_number(dataset, k) for k in ("RepetitionTime", "EchoTime", "InversionTime"))
    if tr is None or te is None:
        return None, ""
    said = f"TR {tr:g}, TE {te:g}" + (f", TI {ti:g} ms" if ti else " ms")
    sequence = dataset.get("ScanningSequence") or ()
    kinds = {sequence} if isinstance(sequence, str) else set(sequence)
    if ti and ti > 1500 and tr > 3500 and te > 60:
        return Modality.FLAIR, f"timings of FLAIR ({said})"
    if tr > 2000 and te > 60 and not (ti and ti > 1500) and "GR" not in kinds:
        return Modality.T2, f"timings of T2 ({said})"
    spin_echo = tr < 1200 and te < 30 and "GR" not in kinds
    gradient_echo = te < 12 and (tr < 50 or (tr < 700 and "GR" in kinds))
    prepared = bool(ti) and 300 <= (ti or 0) <= 1500 and te < 30
    if spin_echo or gradient_echo or prepared:
        return Modality.T1, f"timings of T1 ({said})"
    return None, f"timings of no sequence known ({said})"


def _by_words(words: set[str]) -> tuple[Modality | None, str]:
    for modality, known in ((Modality.T1, _T1_WORDS), (Modality.FLAIR, _FLAIR_WORDS), (Modality.T2, _T2_WORDS)):
        # T1 first: "AX T1 POST FLAIR" is a T1 FLAIR; FLAIR before T2: "T2 FLAIR" is a FLAIR.
        if hit := words & known:
            return modality, f"described as {' '.join(sorted(hit))}"
    return None, ""


def _t1_or_t1ce(dataset: Dataset, words: set[str], confidence: float, reasons: tuple[str, ...]) -> Evidence:
    agent = str(dataset.get("ContrastBolusAgent") or "").strip().upper() not in ("", "NO", "NONE")
    plain = words & _PLAIN_WORDS
    enhanced = (words & _CONTRAST_WORDS) if not plain else set()
    if agent and plain:
        said = f"contrast agent given, but described as {' '.join(sorted(plain))}"
        return Evidence(Modality.T1CE, CONTRADICTED, (*reasons, said))
    if agent or enhanced:
        said = "contrast agent given" if agent else f"described as {' '.join(sorted(enhanced))}"
        return Evidence(Modality.T1CE, confidence, (*reasons, said))
    return Evidence(Modality.T1, confidence, (*reasons, "no contrast agent"))


def _number(dataset: Dataset, keyword: str) -> float | None:
    try:
        return float(dataset[keyword].value)
    except (KeyError, TypeError, ValueError):
        return None
