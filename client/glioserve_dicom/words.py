"""The closed vocabulary of series descriptions: all that leaves the hospital of them, and all that evidence rests on.

A description is free text, and technologists write names into it. So only words of :data:`DESCRIPTION_WORDS` are kept,
in one spelling: what stands together is taken apart (``AXT1POST``), Siemens' sequence names lose their counters
(``*tfl3d1_16ns`` is ``tfl3d``), and Chinese, Japanese and Korean terms become their English word. What is kept is
ASCII, and keeping it again changes nothing. No word is a usual family name, given name or place; none is added that is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from glioserve_contract.sequences import OTHER_IMAGE_WORDS, WEIGHTINGS

# --- contrast agent ---------------------------------------------------------------------------------------------------
AGENT_WORDS = frozenset(
    "ce gd gad gado gadolinium gadovist gadavist dotarem magnevist prohance multihance clariscan elucirem omniscan "
    "dtpa km kontrast kontrastmittel contrast contraste contrasto mdc pdc injection injecte injected inj "
    "contrastmiddel"
    .split()
)  # fmt: skip
AFTER_WORDS = frozenset("post nach apres after despues depois dopo enhanced postcontrast postgad".split())
"""Words that mark the agent by themselves."""
WITH_WORDS = frozenset("with plus mit avec con com met na iv".split())
"""Words that count beside an agent's word only, because of "with fat sat"."""
BEFORE_WORDS = frozenset(
    "pre without ohne sans sin sem senza zonder vor avant antes before native nativ nativo nativa noncontrast "
    "unenhanced precontrast".split()
)
NO_WORDS = frozenset("no non not".split())
"""Words that count beside an agent's word only."""

# --- body parts and images of several parts --------------------------------------------------------------------------
PARTIAL_HEADS = frozenset(
    "spine cspine tspine lspine cervical thoracic lumbar rachis columna colonna wirbelsaule hws bws lws neck cou "
    "cuello collo orbit orbits orbita orbite orbitas iac pituitary hypophyse hipofisis ipofisi sellar tmj sinus "
    "sinuses shoulder knee abdomen pelvis liver cardiac hippocampus".split()
)
HEAD_WORDS = frozenset(
    "brain head kopf cerebral cerebro cerveau encephale craneo cranio cranial crane schadel hirn neuro hoofd "
    "hersenen".split()
)
MP2RAGE_PARTS = frozenset("inv1 inv2 uni".split())

# --- what changes the preference among candidates, or nothing ---------------------------------------------------------
FAT_SAT_WORDS = frozenset("fs fatsat spair spir sat spectral fatsup".split())
_NEUTRAL = frozenset(
    "tse fse frfse tfse se ge gre grase ffe ir irprep space cube vista spc spcr mvox isofse mpr wats 3d 2d w wi "
    "weighted image images bild bilder c ax axial axiale tra trans transversal transverse transversale sag sagittal "
    "sagital sagittale sagitale sagittaal cor coronal coronale koronar coronaal obl oblique fat water dixon mdixon "
    "ideal inphase opposed outphase reformat reformatted rekonstruktion recon reconstruction neuro mr mri irm rm "
    "iso isotropic isotrope thin thick moco repeat rpt motion delayed late delay op fgre smash gradient echo spin "
    "turbo fast highres hr ns p2 p3 sense arterial".split()
)

_STEMS = "tfl tse tir spcir spcr spc se fl fi ci ep epfid epse swi me h tof fm".split()
_SEQUENCE_NAMES = frozenset(f"{stem}{dimension}" for stem in _STEMS for dimension in ("2d", "3d"))
_SEQUENCE_NAME = re.compile(
    rf"({'|'.join(sorted(_STEMS, key=len, reverse=True))})r?([23]d)\d{{0,3}}[a-z]{{0,4}}\d{{0,3}}"
)

DESCRIPTION_WORDS = frozenset().union(
    *(entry.words | entry.hints for entry in WEIGHTINGS.values()), *OTHER_IMAGE_WORDS.values(), AGENT_WORDS,
    AFTER_WORDS, WITH_WORDS, BEFORE_WORDS, NO_WORDS, PARTIAL_HEADS, HEAD_WORDS, MP2RAGE_PARTS, FAT_SAT_WORDS, _NEUTRAL,
    _SEQUENCE_NAMES,
)  # fmt: skip
"""Lower case. A description is split at anything but letters, digits and a contrast mark; the rest is dropped."""

WITH_AGENT, WITHOUT_AGENT = "+c", "-c"
"""Contrast marks: ``+C``, ``C+``; ``-C``, ``C-``, ``Gd-``."""

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
    "gadoteric": "gado",
    "gadobutrol": "gado",
    "lokalisator": "localizer",
}
_TERMS = {
    **{term: words for entry in WEIGHTINGS.values() for term, words in entry.terms.items()},
    "增强": "enhanced",
    "增強": "enhanced",
    "强化": "enhanced",
    "平扫": "noncontrast",
    "平掃": "noncontrast",
    "未增强": "noncontrast",
    "非增强": "noncontrast",
    "增强前": "noncontrast",
    "增强后": "enhanced",
    "对比剂": "contrast",
    "造影剂": "contrast",
    "造影劑": "contrast",
    "注射后": "post",
    "注射前": "pre",
    "矢状": "sag",
    "矢狀": "sag",
    "冠状": "cor",
    "冠狀": "cor",
    "轴位": "ax",
    "軸位": "ax",
    "横轴": "ax",
    "横断": "ax",
    "横斷": "ax",
    "轴状": "ax",
    "定位": "localizer",
    "弥散": "diffusion",
    "扩散": "diffusion",
    "擴散": "diffusion",
    "拡散": "diffusion",
    "灌注": "perfusion",
    "血管": "angio",
    "血管造影": "angiography",
    "磁敏感": "swi",
    "波谱": "spectroscopy",
    "压脂": "fs",
    "抑脂": "fs",
    "脂肪抑制": "fs",
    "质子密度": "pd",
    "颅脑": "brain",
    "头颅": "brain",
    "头部": "brain",
    "脑部": "brain",
    "頭部": "brain",
    "颈椎": "cspine",
    "胸椎": "tspine",
    "腰椎": "lspine",
    "脊柱": "spine",
    "颈部": "neck",
    "垂体": "pituitary",
    "眼眶": "orbit",
    "内听道": "iac",
    "减影": "subtraction",
    "重建": "reformat",
    "校准": "calibration",
    "加权": "weighted",
    "造影": "contrast",
    "造影後": "enhanced",
    "造影前": "noncontrast",
    "単純": "noncontrast",
    "조영": "contrast",
    "조영증강": "enhanced",
    "조영후": "enhanced",
    "조영전": "noncontrast",
}
"""Terms of scripts without word boundaries, found anywhere, the longest first."""
_DASH = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d\u00ad]")
_TERM = re.compile("|".join(sorted(_TERMS, key=len, reverse=True)))
_LEGACY_ENCODINGS = (
    "gb18030",
    "shift_jis",
    "euc_kr",
    "big5",
    "iso8859_5",
    "cp1251",
    "iso8859_7",
    "iso8859_9",
    "koi8_r",
)
"""Tried on bytes that were read as Latin-1 for want of a SpecificCharacterSet that says better."""

_MARKS = (
    (re.compile(r"t2[\s_-]?\*|t2[\s_-]?star"), " t2star "),
    (re.compile(r"field[\s_-]?map(ping)?"), " fieldmap "),
    (re.compile(r"(?<![a-z0-9])w\s?/\s?o(?![a-z0-9])"), " without "),
    (re.compile(r"(?<![a-z0-9])w/(?=\s?[a-z])"), " with "),
    (re.compile(r"dark[\s_-]fluid|(?<![a-z])da[_-]fl(?![a-z])"), " darkfluid "),
    (re.compile(r"mp[\s_-]rage"), " mprage "),
    (re.compile(r"(?<![a-z0-9])b[\s_-]ffe"), " bffe "),
    (re.compile(r"(?<![a-z0-9])(\+\s?c|c\s?\+)(?![a-z0-9])|(?<=t1)[+]c(?![a-z0-9])|(?<=t1)c\+"), " +c "),
    (re.compile(r"(?<![^\s_/(])(-\s?c|(c|gd|km|gado|mdc|iv)\s?-)(?=[\s_/)]|$)"), " -c "),
    (re.compile(r"(?<=[a-z0-9])\+(c|gd|gad|gado|km|ce)(?![a-z0-9])"), " +c "),
)
_TOKEN = re.compile(r"[+-]c(?![a-z0-9])|[a-z0-9]+")
_ANCHOR = re.compile("|".join([*(a for entry in WEIGHTINGS.values() for a in entry.anchors), "[23]d", "contrast"]))
"""Words may stand together only where one of these is among them: no name has one."""
_LONGEST_COMPOUND = 32


LONGEST_TEXT = {"SeriesDescription": 64, "ProtocolName": 64, "SequenceName": 16, "PulseSequenceName": 16}
"""Characters of the attributes that hold words, by their value representation (PS3.5 6.2)."""


def kept_words(description: str) -> str:
    """Return the words of a description that are in the closed vocabulary, in order, in one spelling; else empty."""
    text = _TERM.sub(lambda found: f" {_TERMS[found.group()]} ", _repaired(description))
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    for mark, word in _MARKS:
        text = mark.sub(word, text)
    return " ".join(word for token in _TOKEN.findall(text) for word in _words_of(token))


def kept_text(description: str, most_characters: int) -> str:
    """Return :func:`kept_words`, each once, as many as fit into an attribute of ``most_characters``."""
    text = ""
    for word in dict.fromkeys(kept_words(description).split()):
        longer = f"{text} {word}".strip()
        if len(longer) > most_characters:
            break
        text = longer
    return text


@lru_cache(maxsize=4096)
def _words_of(token: str) -> tuple[str, ...]:
    if token in DESCRIPTION_WORDS or token in (WITH_AGENT, WITHOUT_AGENT):
        return (token,)
    if token in _SPELLINGS:
        return tuple(_SPELLINGS[token].split())
    if named := _SEQUENCE_NAME.fullmatch(token):
        return (named.group(1) + named.group(2),)
    if len(token) <= _LONGEST_COMPOUND and _ANCHOR.search(token):
        return _parts(token) or (_parts(token[1:]) if token[0] in "es" else ()) or ()
    return ()


def _parts(token: str) -> tuple[str, ...]:
    """Return ``token`` as words of the vocabulary, the longest first; empty where a rest remains."""
    if not token:
        return ()
    for length in range(len(token), 0, -1):
        head = token[:length]
        if length == 1 and head != "w":
            continue
        if head in DESCRIPTION_WORDS or head in _SPELLINGS:
            words = tuple(_SPELLINGS[head].split()) if head in _SPELLINGS else (head,)
            rest = _parts(token[length:])
            if rest or length == len(token):
                return words + rest
    return ()


def plain_dashes(text: str) -> str:
    """Return text with every kind of hyphen, dash and minus as ``-``."""
    return _DASH.sub("-", text)


def readings(text: str) -> Iterator[str]:
    """Return what a text may have been: itself, then, if it was read as Latin-1, its bytes in other encodings."""
    yield _unescaped(text)
    if text.isascii():
        return
    try:
        content = text.encode("latin-1")
    except UnicodeEncodeError:
        return
    for encoding in _LEGACY_ENCODINGS:
        yield content.decode(encoding, "replace")


def _repaired(text: str) -> str:
    """Return the first reading of a text that has known terms; the text as it is where none has."""
    found = list(readings(text))
    return next((reading for reading in found if _TERM.search(reading)), found[0])


def _unescaped(text: str) -> str:
    """Decode ISO 2022 text (PS3.5 6.1.2.5)."""
    if "\x1b$" not in text or not text.isascii():
        return text
    return text.encode("ascii").decode("iso2022_jp_2", "ignore")
