"""The closed vocabulary of series descriptions: all that leaves the hospital of them, and all that evidence rests on.

A description is free text, and technologists write names into it. So only words of :data:`DESCRIPTION_WORDS` are kept,
in one spelling: what stands together is taken apart (``AXT1POST``, ``AAHScout``), Siemens' sequence names lose their
counters (``*tfl3d1_16ns`` is ``tfl3d``), and terms of other scripts become their English word. Signs and negations
are put to what they negate first (:mod:`glioserve_dicom.negation`). What is kept is ASCII, and keeping it again
changes nothing. No word is a usual family name, given name or place; none is added that is.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from glioserve_contract.sequences import OTHER_IMAGE_WORDS, WEIGHTINGS
from glioserve_dicom.negation import (
    AFTER_WORDS,
    AGENT_WORDS,
    BEFORE_WORDS,
    NO_WORDS,
    TRANSPARENT_WORDS,
    WITH_AGENT,
    WITH_WORDS,
    WITHOUT_AGENT,
    settled,
    signed,
)
from glioserve_dicom.readings import plain_dashes, readings
from glioserve_dicom.terms import TERM, in_english, without_other_scripts

# --- body parts and images of several parts --------------------------------------------------------------------------
PARTIAL_HEADS = frozenset(
    "spine cspine tspine lspine cervical thoracic lumbar rachis columna colonna wirbelsaule hws bws lws neck cou "
    "cuello collo cai iam iams orbit orbits orbita orbite orbitas iac pituitary hypophyse hipofisis ipofisi sellar tmj "
    "sinus sinuses sella felsenbein gehorgang innenohr rochers mastoid mastoids petrous "
    "shoulder knee abdomen pelvis liver cardiac hippocampus".split()
)
HEAD_WORDS = frozenset(
    "brain head kopf cerebral cerebro cerveau encephale craneo cranio cranial crane schadel hirn neuro hoofd "
    "hersenen".split()
)
MP2RAGE_PARTS = frozenset("inv1 inv2 uni".split())

# --- what changes the preference among candidates, or nothing ---------------------------------------------------------
FAT_SAT_WORDS = frozenset("fs fatsat spair spir sat spectral fatsup".split())
BLOOD_SAT_WORDS = frozenset({"blackblood"})
_NEUTRAL = frozenset(
    "tse fse frfse tfse se ge gre grase ffe ir irprep space cube vista spc spcr mvox isofse mpr wats 3d 2d w wi "
    "weighted image images bild bilder c ax axial axiale tra trans transversal transverse transversale sag sagittal "
    "sagital sagittale sagitale sagittaal cor coronal coronale koronar coronaal obl oblique fat water dixon mdixon "
    "ideal inphase reformat reformatted rekonstruktion recon reconstruction neuro mr mri irm rm "
    "iso isotropic isotrope thin thick moco repeat rpt motion delayed late delay op fgre smash gradient echo spin "
    "uniden turbo fast highres hr ns p2 p3 sense arterial iv rms mean".split()
)

_STEMS = "tfl me tse tir spcir spcr spc se fl fi ci ep epfid epse swi me h tof fm".split()
_SEQUENCE_NAMES = frozenset(f"{stem}{dimension}" for stem in _STEMS for dimension in ("2d", "3d"))
_SEQUENCE_NAME = re.compile(
    rf"({'|'.join(sorted(_STEMS, key=len, reverse=True))})r?([23]d)\d{{0,3}}[a-z]{{0,4}}\d{{0,3}}"
)

DESCRIPTION_WORDS = frozenset().union(
    *(entry.words | entry.hints for entry in WEIGHTINGS.values()), *OTHER_IMAGE_WORDS.values(), AGENT_WORDS,
    AFTER_WORDS, WITH_WORDS, BEFORE_WORDS, NO_WORDS, PARTIAL_HEADS, HEAD_WORDS, MP2RAGE_PARTS, FAT_SAT_WORDS,
    BLOOD_SAT_WORDS, _NEUTRAL, _SEQUENCE_NAMES,
)  # fmt: skip
"""Lower case. A description is split at anything but letters, digits and a contrast mark; the rest is dropped."""

WEAK_WORDS = frozenset("loc plan 3plane quickscan autoalign pilot distcorr".split())
"""Words of :data:`OTHER_IMAGE_WORDS` that count only where no weighting is named: "T1 loc." is a T1."""

_SPELLINGS = {
    **{spelling: words for entry in WEIGHTINGS.values() for spelling, words in entry.spellings.items()},
    "wo": "without",
    "prae": "pre",
    "praekm": "pre km",
    "dp": "pd",
    "diffusie": "diffusion",
    "postc": "post +c",
    "postkm": "post km",
    "postgd": "post gd",
    "precontraste": "pre contraste",
    "postcontraste": "post contraste",
    "poscontraste": "post contraste",
    "injectee": "injecte",
    "kontrastverstarkt": "enhanced",
    **dict.fromkeys(
        "gadoteric gadobutrol gadoterate gadoterat gadoteridol gadobenate gadodiamide gadopentetate "
        "gadopiclenol".split(),
        "gado",
    ),
    **dict.fromkeys(
        "lokalisator lokalizator lokalisierer localisateur localizadores lokaliser lokalisering lokalizace localizers "
        "localisers scouts locator scanogram scanograma scanogramme topogramm lokalisation "
        "localisation lokalizacja lokalizacija localizacion localizacao localizzazione lokalizalo lokalizalas "
        "kilavuz overzicht pilote centraggio "
        "posizionamento suuntakuva oversiktsbild fastview smartsurvey planowanie prehled "
        "ubersicht uebersicht oversigt oversikt".split(),
        "localizer",
    ),
    "fmap": "fieldmap",
    **dict.fromkeys(
        "subtr substraction sustraccion soustraction sottrazione subtracao subtractie".split(), "subtraction"
    ),
    **dict.fromkeys("syt1w syt1 syt2w syt2 sypd syflair".split(), "synthetic"),
    **dict.fromkeys(
        "difference differenz differenza diferencia differens subtracted subtrahiert".split(), "subtraction"
    ),
    **dict.fromkeys("fused fusioned koregistriert mask masks maske ratio brainmask colormap".split(), "derived"),
    **dict.fromkeys("synth qalas symap symaps".split(), "synthetic"),
    **dict.fromkeys(
        "zdwi ssdwi diffusionsgewichtet diffusionsgewichtung diffusionswichtung difusionada".split(), "diffusion"
    ),
    "dadc": "adc",
    "tmip": "mip",
    "auc": "iauc",
    "venbold": "venobold",
    **dict.fromkeys("aptw cest r2star".split(), "t2map"),
    **dict.fromkeys("dyn dynamic dynamik dynamisch dynamique dinamico dinamica dynamics".split(), "dce"),
    **dict.fromkeys("t1rho mtsat mtr mtw".split(), "t1map"),
    **dict.fromkeys("bb bloodblack darkblood msde vwi vesselwall".split(), "blackblood"),
    **dict.fromkeys("cisternography cisternographie cisternografia cisterno myelography myelo mrcp".split(), "ciss"),
    **dict.fromkeys("calib b0cal refscan calibracion kalibrierung".split(), "calibration"),
    **dict.fromkeys("tehoste tehosteen tehostetta tehosteella tehosteaine tehosteaineen".split(), "contrast"),
    "jalkeen": "post",
    **dict.fromkeys("kontrasztos kontraszttal kontrasztanyaggal".split(), "with contrast"),
    "civ": "iv contrast",
    "gdce": "gd ce",
    "postinj": "post injection",
    "preinj": "pre injection",
    "mkm": "mit km",
    "nkm": "nach km",
    "okm": "ohne km",
    "vkm": "vor km",
    "sonrasi": "post",
    "oncesi": "pre",
    "prekontrast": "pre contrast",
    **dict.fromkeys(
        "kontrastu kontrastem kontrascie kontrasta kontrastni kontrastne kontrastmedel kontrastmiddel".split(),
        "contrast",
    ),
    **dict.fromkeys(
        "injektion injekcji injekcja injekce inyeccion iniezione injecao injectie injeksiyon".split(), "injection"
    ),
    **dict.fromkeys("contrastado contrastada contrastati kontrastmittelverstarkt kmverstarkt".split(), "enhanced"),
    **dict.fromkeys("postkontrastni postkontrastne postcon postgado postgadolinium".split(), "post contrast"),
    **dict.fromkeys("precon pregado pregadolinium".split(), "pre contrast"),
    "ilacli": "with contrast",
    "ilacsiz": "noncontrast",
    **dict.fromkeys("noncon nonenhanced nonenh unenh kontrastsiz kontrastfrei kontrastlos".split(), "noncontrast"),
    "natiivi": "native",
    "nativni": "native",
    "natywne": "native",
    "kontrastli": "with contrast",
    "postkontrast": "post contrast",
    "ivkm": "km",
    "gadolinio": "gadolinium",
    "prec": "pre",
    "pregd": "pre gd",
    "pregad": "pre gad",
    "prekm": "pre km",
    "ohnekm": "ohne km",
    "mitkm": "mit km",
    "nachkm": "nach km",
    "vorkm": "vor km",
    **dict.fromkeys("nogd nogad nogado nokm noce nonce nocon".split(), "noncontrast"),
    "enh": "enhanced",
}
_PARTS_ONLY = frozenset("aa aah aahead quick plan planning view multi auto align".split())
"""Words that stand in compounds ("AAHScout") and say nothing by themselves."""
_LETTERS = str.maketrans({"ø": "o", "æ": "ae", "ł": "l", "đ": "d", "ß": "ss", "ı": "i", "±": "+/-"})
"""Latin letters that have no decomposition."""

_AGENT_FOLLOWS = (
    r"(?=(?:(?:de|del|di|do|la|podani\w+|aplikac\w+|podan\w+)\s)?"
    r"(?:[ck]ontra|tehost|gado|gad(?![a-z])|gd(?![a-z])|mdc(?![a-z])|km(?![a-z])|k\.\s?[lm]\.|inj(?![a-z])|inje[ck]|"
    r"civ(?![a-z])))"
)
"""Prepositions that are names too count before an agent's word only."""
_MARKS = (
    (re.compile(r"(post|nach|apres|dopo)[\s_]*-[\s_]*(pre|vor|avant|prima|nativ)(?![a-z])"), " subtraction "),
    (re.compile(r"(post|nach|apres|dopo|t1ce)[\s_]+minus[\s_]+(pre|vor|avant|prima|nativ|t1)"), " subtraction "),
    (re.compile(r"(post)[\s_]*\(\s*-\s*\)|(post|t1)[\s_]*[+-]\s*$"), r"\1\2 with without "),
    (re.compile(r"t1w?[\s_]*[(\[]\s*([+-])\s*[)\]](?![\s_]*[a-z])"), r"t1 \1c "),
    (re.compile(r"(?<![a-z/.-])(ss|o)\s(?=gado|gd(?![a-z])|km(?![a-z])|inj)"), " without "),
    (re.compile(r"(?<![a-z])(bez|po|przed|pred|z|s)\s+kl(?![a-z])"), r" \1 k.l. "),
    (re.compile(r"(?<![a-z])gre[\s_-]?field\s*$"), " gre fieldmap "),
    (re.compile(r"(mp2rage.*)t1[\s_-]?images?(?![a-z])"), r"\1 t1 t1map "),
    (re.compile(r"uni[\s_-]+den(?![a-z])"), " uni uniden "),
    (re.compile(r"(black|dark)[\s_-]?blood|vessel[\s_-]?wall|(?<![a-z])ves[\s_-]wall"), " blackblood "),
    (re.compile(r"fat[\s_-]?(fraction|only)(?![a-z])"), " fatonly "),
    (re.compile(r"(?<![a-z])ref(erence)?[\s_-]?scan(?![a-z])"), " refscan "),
    (re.compile(r"auto[\s_-]?view|fast[\s_-]view|(?<![0-9])3[\s_-]?ax[ei]s(?![a-z])"), " localizer "),
    (re.compile(r"((?:dixon|ideal|flex)[\s_-]+)fat(?![a-z])(?![\s_-]*(?:s|und|and|fatonly))"), r"\1 fat fatonly "),
    (re.compile(r"(?<![a-z])m\.\s?d\.\s?c\.?"), " mdc "),
    (re.compile(r"t2[\s_-]?\*|t2[\s_-]?star"), " t2star "),
    (re.compile(r"field[\s_-]?map(ping)?"), " fieldmap "),
    (re.compile(r"(?<![a-z])inv(?:ersion)?[\s_-]?([12])(?![a-z0-9])"), r" inv\1 "),
    (re.compile(r"(?<![a-z0-9])(?:1st|first)[\s_-]inv(?:ersion)?(?![a-z])"), " inv1 "),
    (re.compile(r"(?<![a-z0-9])(?:2nd|second)[\s_-]inv(?:ersion)?(?![a-z])"), " inv2 "),
    (re.compile(r"^\s*fat\s?:"), " fatonly "),
    (re.compile(r"care[\s_-]?bolus"), " carebolus "),
    (re.compile(r"double[\s_-]?(?:ir(?![a-z])|inversion)"), " dir "),
    (re.compile(r"(post|nach|apres|dopo)[^-]*\s-\s[^-]*(pre|vor|avant|prima|nativ)"), r" \1 subtraction \2 "),
    (re.compile(r"(?<![a-z0-9])b([01])[\s_-]?map(ping)?(?![a-z])"), r" b\1map "),
    (re.compile(r"phase[\s_-]?(map|diff)(?![a-z])|(?<![a-z])pha[\s_]images?(?![a-z])"), " phasemap "),
    (re.compile(r"proton(en)?[\s_-]?(density|dichte)|densidad[\s_]protonica|densite[\s_]de[\s_]protons?"), " pd "),
    (re.compile(r"screen[\s_-]save"), " screensave "),
    (re.compile(r"(?<![a-z])key[\s_-]?(images?|bild(er)?)(?![a-z])"), " keyimage "),
    (re.compile(r"(?<![a-z])wash[\s_-]?(in|out)(?![a-z])"), r" wash\1 "),
    (re.compile(r"colou?r[\s_-]?fa(?![a-z])|(?<![a-z])fa[\s_-]colou?r(?![a-z])"), " colfa "),
    (re.compile(r"dist(?:ortion)?[\s_-]?corr(?:ection|ected)?(?![a-z])"), " distcorr "),
    (re.compile(r"(?<![a-z0-9])(3|three|tri)[\s_-]?(pl|planes?|planar)(?=loc|scout|survey|[^a-z]|$)"), " 3plane "),
    (re.compile(r"(?<![a-z])(plan|quick)[\s_-]?scan(?![a-z])"), r" \1scan "),
    (re.compile(r"(?<![a-z])in[\s_-]?phase"), " inphase "),
    (re.compile(r"(?<![a-z])(out|opp|opposed)[\s_-]?(of[\s_-]?)?phase"), " opposed "),
    (re.compile(r"(?<![a-z0-9])w[\s/&+,_]+(and\s+)?w\s?/?\s?o(?![a-z0-9])"), " with without "),
    (re.compile(r"(?<![a-z0-9])w\s?/?\s?o[\s/&+,_]+(and\s+)?w(?![a-z0-9])(?!\s?/\s?o)"), " without with "),
    (re.compile(r"(?<![a-z0-9])w(\s?/\s?|[.-])o\.?(?![a-z0-9])|(?<![a-z0-9])w\s?/\s?out(?![a-z0-9])"), " without "),
    (re.compile(r"(?<![a-z0-9])w/c(?![a-z0-9])"), " +c "),
    (re.compile(r"(?<![a-z0-9])w/(?=\s?[a-z])"), " with "),
    (re.compile(rf"(?<![a-z])(uden|utan|uten|bez|brez|fara|ilman|sense)\s+{_AGENT_FOLLOWS}"), " without "),
    (re.compile(rf"(?<![a-z])(s/|o\.)\s?{_AGENT_FOLLOWS}"), " without "),
    (re.compile(rf"(?<![a-z])(c/|m\.)\s?{_AGENT_FOLLOWS}"), " with "),
    (re.compile(rf"(?<![a-z])(?<!i\.)v\.\s?{_AGENT_FOLLOWS}"), " pre "),
    (re.compile(rf"(?<![a-z])n\.\s?{_AGENT_FOLLOWS}"), " post "),
    (re.compile(rf"(?<![a-z])prior(\s+to)?\s+{_AGENT_FOLLOWS}"), " pre "),
    (re.compile(r"(?<![a-z])not\s+(given|done|administered|injected|used|possible|applied)(?![a-z])"), " none "),
    (re.compile(r"(?<![a-z])(iv\s?)?(km|gd|kontrast)'?s[iu]z(?![a-z])"), " noncontrast "),
    (re.compile(r"(?<![a-z])(iv\s?)?(km|gd|kontrast)'?l[iu](?![a-z])"), " with contrast "),
    (re.compile(r"(?<![a-z0-9])s/c(?![a-z0-9])"), " -c "),
    (re.compile(r"(?<![a-z0-9])c/c(?![a-z0-9])"), " +c "),
    (re.compile(r"(?<![\w.,])0\s?(ml|cc)?(?![\w.,])"), " zero "),
    (re.compile(rf"(?<![a-z])(efter|etter|po)\s+{_AGENT_FOLLOWS}"), " post "),
    (re.compile(rf"(?<![a-z])(pos|apos)[\s_-]+{_AGENT_FOLLOWS}"), " post "),
    (re.compile(rf"(?<![a-z])med\s+{_AGENT_FOLLOWS}"), " with "),
    (
        re.compile(rf"(?<![a-z])(foer|for|fore|przed|pred|voor|prima|innan|ennen|prije|inainte)\s+{_AGENT_FOLLOWS}"),
        " pre ",
    ),
    (re.compile(r"(?<![a-z])k\.\s?l\."), " km "),
    (re.compile(r"dark[\s_-]fluid|(?<![a-z])da[_-]fl(?![a-z])"), " darkfluid "),
    (re.compile(r"mp[\s_-]rage"), " mprage "),
    (re.compile(r"(?<![a-z0-9])b[\s_-]ffe"), " bffe "),
)
_TOKEN = re.compile(r"(?<![a-z0-9])[+-]c(?![a-z0-9])|[a-z0-9]+")
_RUN = re.compile(r"[a-z0-9]+")
_LONG_NUMBER = re.compile(r"\d{4}")
_ANCHORS = [anchor for entry in WEIGHTINGS.values() for anchor in entry.anchors]
_ANCHORS += "contrast scout localizer localiser lokalizer survey fieldmap mdixon autoalign".split()
_ANCHORS += "dwi dti fmri diffusion perfusion angio [23]d".split()
_ANCHOR = re.compile("|".join(_ANCHORS))
"""Words may stand together only where one of these is among them: no name has one."""
_NUMBERED = re.compile(r"\d{0,4}([a-z]{2,})\d{1,4}")
_TRANSPARENT = re.compile(r"\d+[a-z]{0,2}")
_DIXON_WORDS = frozenset("dixon mdixon ideal".split())
_DIXON_IMAGES = {
    "w": "water", "f": "fatonly", "ip": "inphase", "in": "inphase", "op": "opposed", "opp": "opposed", "out": "opposed"
}  # fmt: skip
"""Abbreviations beside a Dixon sequence's name."""
_LONGEST_COMPOUND = 32
_MOST_PASSES = 16
"""Most times that words are kept again; a text that still changes then has no reading."""


_AGENT_TERMS = AGENT_WORDS | WITH_WORDS | BEFORE_WORDS | NO_WORDS | {WITH_AGENT, WITHOUT_AGENT}
LONGEST_TEXT = {"SeriesDescription": 64, "ProtocolName": 64, "SequenceName": 16, "PulseSequenceName": 16}
"""Characters of the attributes that hold words, by their value representation (PS3.5 6.2)."""


@lru_cache(maxsize=4096)
def kept_words(description: str) -> str:
    """Return the words of a description that are in the closed vocabulary, in order, in one spelling; else empty."""
    kept = _kept_once(_repaired(description))
    for _ in range(_MOST_PASSES):  # what is left out may bring a negation beside another word
        if (again := _kept_once(kept)) == kept:
            return kept
        kept = again
    return ""


def is_of_vocabulary(description: str) -> bool:
    """Return whether a description has no word beyond the closed vocabulary, in any of its spellings.

    Small numbers may stand among the words: a number of four digits and more may be a patient's, unless it is part of
    a word of the vocabulary (``b1000``).
    """
    text = _terms_replaced(description)
    numbers = any(_LONG_NUMBER.search(run) and run not in DESCRIPTION_WORDS for run in _RUN.findall(text))
    return text.isascii() and not numbers and all(word for _, word in _tokens(text))


def kept_text(description: str, most_characters: int) -> str:
    """Return :func:`kept_words`, each once, as many as fit into an attribute of ``most_characters``.

    Words about the agent are not left out where they are repeated, since "with" and "without" stand beside them.
    """
    text, words = "", []
    for word in kept_words(description).split():
        if word in words and word not in _AGENT_TERMS:
            continue
        longer = f"{text} {word}".strip()
        if len(longer) > most_characters:
            break
        text = longer
        words.append(word)
    return text if kept_words(text) == text else kept_text(text, most_characters)


def _kept_once(description: str) -> str:
    return " ".join(settled(_tokens(_terms_replaced(description))))


def _terms_replaced(description: str) -> str:
    """Return a description in lower case, its accents dropped, terms of other scripts as their English words."""
    text = plain_dashes(description).lower().translate(_LETTERS)
    text = in_english(text)
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).lower()


def _tokens(text: str) -> list[tuple[str, str]]:
    """Return each token of a text with its word of the vocabulary; with an empty one where it is unknown."""
    text = without_other_scripts(text)
    for mark, word in _MARKS:
        text = mark.sub(word, text)
    text = " ".join(text.split())
    tokens = [
        (raw, word)
        for token in _TOKEN.findall(signed(text))
        if token not in TRANSPARENT_WORDS
        for raw, word in _tokens_of(token)
    ]
    if any(word in _DIXON_WORDS for _, word in tokens):
        tokens = [(raw, _DIXON_IMAGES.get(raw, word)) for raw, word in tokens]
    return tokens


def _tokens_of(token: str) -> list[tuple[str, str]]:
    """Return a token with its word, or each of its words; with an empty word where it is unknown."""
    words = _words_of(token)
    if len(words) == 1:
        return [(words[0] if token in _SPELLINGS else token, words[0])]
    if words:
        return [(word, word) for word in words]
    return [] if _TRANSPARENT.fullmatch(token) else [(token, "")]


@lru_cache(maxsize=4096)
def _words_of(token: str) -> tuple[str, ...]:
    if token in DESCRIPTION_WORDS or token in (WITH_AGENT, WITHOUT_AGENT):
        return (token,)
    if token in _SPELLINGS:
        return tuple(_SPELLINGS[token].split())
    if len(token) <= _LONGEST_COMPOUND and _ANCHOR.search(token) and (words := _compound(token)):
        return words
    if named := _SEQUENCE_NAME.fullmatch(token):
        return (named.group(1) + named.group(2),)
    if (numbered := _NUMBERED.fullmatch(token)) and numbered[1] not in NO_WORDS | WITH_WORDS:
        return _words_of(numbered[1])
    return ()


def _compound(token: str) -> tuple[str, ...] | None:
    return _parts(token) or (_parts(token[1:]) if token[0] in "es" else None)


def _parts(token: str) -> tuple[str, ...] | None:
    """Return ``token`` as words of the vocabulary, the longest first; None where a rest remains."""
    if not token:
        return ()
    for length in range(len(token), 0, -1):
        head = token[:length]
        if length == 1 and head != "w":
            continue
        if head in DESCRIPTION_WORDS or head in _SPELLINGS or head in _PARTS_ONLY:
            words = () if head in _PARTS_ONLY else tuple(_SPELLINGS.get(head, head).split())
            if (rest := _parts(token[length:])) is not None:
                return words + rest
    return None


def _repaired(text: str) -> str:
    """Return the first reading of a text that has known terms; the text as it is where none has."""
    found = list(readings(text))
    return next((reading for reading in found if TERM.search(reading)), found[0])
