"""Plus, minus and negation around the words of a description that stand for a contrast agent.

The rule, for any word of :data:`AGENT_WORDS`, ``c`` and ``iv``, here ``Gd``, and for every kind of dash:

- a sign that touches the word, or stands in brackets or apart beside it, is its own: ``+Gd``, ``Gd+``, ``Gd (+)`` are
  with the agent; ``-Gd``, ``- Gd``, ``Gd-``, ``(-)Gd`` without it; ``+/-Gd`` is both;
- a hyphen between two words (``T1-Gd``) may be either a separator or a minus, so the word says nothing. It says what
  it says where the hyphen joins it to a word of its own kind (``post-Gd``, ``non-contrast``, ``Gd-DTPA``, ``CE-T1``);
- likewise a word in a list with dashes (``T1 - Gd - 3 mm``);
- an unknown word beside it may turn its meaning ("prior to Gd", "Gd deferred"), so the word says nothing unless a known
  "with", "without", "before" or "after" stands beside it; likewise "pre" and "post" before an unknown word ("post
  Avastin");
- a negation counts for the word that follows it ("no Gd", "w/o IV contrast"), or for the word before it where it closes
  the text or is a plain "negative" ("KM nein", "Gd neg"). "Without", "with" and "no" before anything else ("no fat
  sat") are not about an agent, nor are "pre" and "post" before an operation. A double negative says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

AGENT_WORDS = frozenset(
    "ce gd gad gado gadolinium gadovist gadavist dotarem magnevist prohance multihance clariscan elucirem omniscan "
    "vueway primovist eovist dtpa km kontrast kontrastmittel contrast contraste contrasto mdc pdc injection injecte "
    "injected inj contrastmiddel".split()
)
AFTER_WORDS = frozenset("post nach apres after despues depois dopo enhanced postcontrast postgad".split())
"""Words that mark the agent by themselves."""
WITH_WORDS = frozenset("with plus mit avec con com met na".split())
"""Words that count beside an agent's word only, because of "with fat sat"."""
_WITHOUT_WORDS = frozenset("without ohne sans sin sem senza zonder".split())
BEFORE_WORDS = _WITHOUT_WORDS.union(
    "pre vor avant antes before native nativ nativo nativa noncontrast unenhanced precontrast".split()
)
NO_WORDS = frozenset("no non not".split())
"""Words that count beside an agent's word only."""
WITH_AGENT, WITHOUT_AGENT = "+c", "-c"
"""Contrast marks: ``+C``, ``C+``, ``+Gd``; ``-C``, ``C-``, ``Gd-``, ``- KM``."""
TECHNIQUE_WORDS = frozenset(
    "fs fatsat spair spir sat spectral fatsup fat moco sense motion turbo fast gradient".split()
)
"""Words whose absence or presence is not the agent's: "without fat sat"."""
TRANSPARENT_WORDS = frozenset(
    "the of any de du di del le la les medio mezzo medium media agent agente produit product i v k l and e y et und o "
    "administration gabe podaniu podaniem podania aplikaci aplikace".split()
)
"""Words that may stand between a negation and what it negates, and are not kept."""

OTHER_SCRIPT = "zz"
"""Token that stands for letters of another script that are not terms of the vocabulary."""

_NOT = NO_WORDS.union(
    "minus zero kein keine keinen keiner pas geen ingen inget inga ikke inte nicht niet nie nao ne".split()
)
_NEGATIVE = frozenset(
    "minus zero nelkul yok yoktur olmadan nincs nema "
    "neg negative negativ negativo negatif nein none off nej nee nei ninguno nessuno aucun "
    "refused declined withheld contraindicated deferred omitted cancelled canceled abgelehnt verweigert refuse refusee "
    "rechazado rechazada rifiutato recusado geweigerd".split()
)
_AGENTS = AGENT_WORDS | {WITH_AGENT}
_PLANES = frozenset("ax axial tra trans sag sagittal cor coronal 3d 2d".split())
_TURNED = frozenset("pre post vor nach avant apres after before antes despues depois dopo".split())
_OPERATIONS = frozenset(
    "op ops operative operativ operatoire operatorio surgery surgical resection resektion biopsy biopsie chirurgie "
    "treatment therapy therapie tx rt rx radiation radiotherapy chemo chemotherapy ictal stroke traumatic "
    "trauma processing processed natal partum shunt evd crani craniotomy gamma knife srs tumor tumour".split()
)
_PLAIN = frozenset(
    "blade brainlab caipi caipirinha cc clear cm cran cranio cs csense dick dicke dose dosis double dunn "
    "dunnschicht first fsp full ganz gesamt gestutzt grappa hoch isotrop isotropes kg kurz lang mg min mins minute "
    "minutes ml mls mm mmol multivane nav navi navigated navigation neuronavi neuronavigation only propeller "
    "radial rssg scan scans sec second serie series single spat spataufnahme standard "
    "stealth stereo stereotactic stereotaktisch stereotaxie stereotaxy third triple "
    "verstarkt whole".split()
)
"""Words beside an agent's word that do not turn its meaning; they are not kept."""

_AGENT = "(?:" + "|".join(sorted({*AGENT_WORDS, "c", "iv"}, key=len, reverse=True)) + ")"
_START, _END = r"(?:(?<![a-z0-9-])|(?<=t1)|(?<=t1w))", r"(?![a-z0-9])"
_PLUS_START = _START.replace("-]", "]")
_EITHER_SIGN = r"[(\[]?\s*(?:\+\s*/?\s*-|-\s*/?\s*\+)\s*[)\]]?"
_GAP = r"[\s_]*"
_SIGNS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"-{2,}", "-"),
        (r"([+-])\s?ve(?![a-z])", r"\1 "),
        (rf"{_START}{_AGENT}\s?\?", " with without "),
        (rf"{_START}{_AGENT}[\s_-](?:free|frei|less|los)(?![a-z]|\s?breath)", " noncontrast "),
        (rf"{_EITHER_SIGN}\s*{_AGENT}{_END}|{_START}{_AGENT}\s*{_EITHER_SIGN}", " with without "),
        (rf"{_START}({_AGENT})\s*[(\[]\s*([+-])\s*[)\]]", r" \1\2 "),
        (rf"[(\[]\s*([+-])\s*[)\]]\s*({_AGENT}){_END}", r" \1\2 "),
        (rf"[(\[]\s*({_AGENT})\s*[)\]]\s*([+-])(?![\s_]*[a-z0-9])", r" \1\2 "),
        (rf"(?:^|(?<=[\s_]))([+-])\s*[(\[]\s*({_AGENT})\s*[)\]]", r" \1\2 "),
        (
            rf"\+\s?{_AGENT}{_END}|{_PLUS_START}{_AGENT}\+(?!\w)|{_PLUS_START}c\s?\+(?!\w)|{_START}{_AGENT}\s\+\s*$",
            " +c ",
        ),
        (rf"(?<=[\s_])-[\s_]+{_AGENT}[\s_]+-(?=[\s_]|$)", " "),
        (rf"(?:^|(?<=[\s_/(\[,;:.]))-{_GAP}{_AGENT}{_END}", " -c "),
        (rf"{_START}{_AGENT}-(?=[\s_)\],;/]|$)|{_START}{_AGENT}\s+-\s*$", " -c "),
    )
)
_HYPHEN_BEFORE = re.compile(rf"([a-z0-9]+)-({_AGENT}){_END}")
_HYPHEN_BEHIND = re.compile(rf"{_START}({_AGENT})-([a-z0-9]+)")
_JOINED_BEFORE = AGENT_WORDS | AFTER_WORDS | WITH_WORDS | BEFORE_WORDS | _NOT | {"w", "wo", "iv", "hp", "prae"}
_JOINED_BEHIND = (
    AGENT_WORDS
    | AFTER_WORDS
    | {"t1", "t1w", "t1wi", "mr", "mri", "mra", "mprage", "mpr", "verstarkt", "gestutzt", "haltig", "se"}
)


def signed(text: str) -> str:
    """Return lower-case text with every sign of an agent's word as ``+c`` or ``-c``."""
    for sign, mark in _SIGNS:
        text = sign.sub(mark, text)
    text = _HYPHEN_BEFORE.sub(lambda m: f"{m[1]} {m[2]}" if m[1] in _JOINED_BEFORE else f"{m[1]} ", text)
    return _HYPHEN_BEHIND.sub(lambda m: f"{m[1]} {m[2]}" if m[2] in _JOINED_BEHIND else f" {m[2]}", text)


def _told(tokens: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the tokens without those on an agent whose meaning an unknown word beside them may turn."""
    kept: list[tuple[str, str]] = []
    at = 0
    while at < len(tokens):
        end = at + 1
        while tokens[at][1] in AGENT_WORDS and end < len(tokens) and tokens[end][1] in AGENT_WORDS:
            end += 1
        before, behind = tokens[at - 1 : at] if at else [], tokens[end : end + 1]
        _, word = tokens[at]
        if word in AGENT_WORDS:
            doubted = any(map(_is_unknown, (*before, *behind))) and not any(map(_has_sense, (*before, *behind)))
        elif word == "enhanced":
            doubted = any(t[0] == OTHER_SCRIPT for t in (*before, *behind))
        else:
            doubted = word in _TURNED and any(_is_unknown(t) and t[0] not in _OPERATIONS for t in behind)
        if not doubted:
            kept += tokens[at:end]
        at = end
    return kept


def _is_unknown(token: tuple[str, str]) -> bool:
    raw, word = token
    return not word and raw.isalpha() and len(raw) > 1 and raw not in _PLAIN and not _has_sense(token)


def _has_sense(token: tuple[str, str]) -> bool:
    raw, word = token
    return raw in _NOT | _NEGATIVE | _WITHOUT_WORDS or word in AFTER_WORDS | WITH_WORDS | BEFORE_WORDS


def settled(tokens: Sequence[tuple[str, str]]) -> list[str]:
    """Return the words that remain when each negation has been put to what it negates.

    Args:
        tokens: in order, each token of the text as it stands there and its word of the vocabulary, or an empty one.

    Returns:
        The words, without those negations that are not about an agent.
    """
    kept: list[str] = []
    tokens = _told(tokens)
    at = 0
    while at < len(tokens):
        raw, word = tokens[at]
        following = at + 1
        if raw in _NOT | _NEGATIVE | _WITHOUT_WORDS and following < len(tokens) and tokens[following][0] == "iv":
            following += 1
        next_raw, next_word = tokens[following] if following < len(tokens) else ("", "")
        about_technique = next_word in TECHNIQUE_WORDS
        at += 1
        if raw in _NOT | _NEGATIVE:
            if next_word in AGENT_WORDS:
                kept += ["no", next_word]
            elif next_word in AFTER_WORDS or next_word == WITH_AGENT:
                kept.append(WITHOUT_AGENT)
            elif next_word in BEFORE_WORDS or next_word == WITHOUT_AGENT:
                while following + 1 < len(tokens) and tokens[following + 1][1] in _AGENTS:
                    following += 1
            elif about_technique:
                pass
            else:
                if _is_negated(tokens, following - 1, raw, next_raw) and kept:
                    kept[-1] = WITHOUT_AGENT
                elif kept and kept[-1] in _AGENTS and _is_unknown(tokens[following]):  # "KM nicht gegeben"
                    kept.pop()
                continue
            at = following + 1
        elif raw in _WITHOUT_WORDS or word == "without":
            if about_technique:
                at = following
                while at < len(tokens) and tokens[at][1] in TECHNIQUE_WORDS:
                    at += 1
            elif next_word or not next_raw:
                kept.append(word)
                at = following
        elif word in WITH_WORDS:
            if (next_word or not next_raw) and not about_technique:
                kept.append(word)
        elif word and not (word in _TURNED and next_raw in _OPERATIONS):
            kept.append(word)
    return kept


def _is_negated(tokens: Sequence[tuple[str, str]], at: int, raw: str, next_raw: str) -> bool:
    """Return whether the negation ``tokens[at]`` is about the agent's word before it."""
    before = tokens[at - 1][1] if at else ""
    closes = not next_raw or next_raw in _PLANES
    return before in _AGENTS and (closes or raw in _NEGATIVE)
