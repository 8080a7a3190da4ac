"""The lists by which a caller in another language de-identifies DICOM: ``docs/deidentification.json``."""

from __future__ import annotations

import json

from pydicom.datadict import dictionary_VR, tag_for_keyword

from glioserve_contract import CONTRACT_VERSION
from glioserve_dicom import negation
from glioserve_dicom.forms import UNKNOWN_PHOTOMETRIC
from glioserve_dicom.identity import (
    CODES,
    DEFINED_TERMS,
    IDENTIFYING_ATTRIBUTES,
    KEPT_ATTRIBUTES,
    MAKERS_WORDS,
    NUMBERED_ATTRIBUTES,
    PATIENT_PSEUDONYM,
    TECHNICAL_TEXTS,
    Treatment,
)
from glioserve_dicom.words import DESCRIPTION_WORDS, LONGEST_TEXT, is_of_vocabulary

_ABOUT_AGENTS = negation.AGENT_WORDS.union(
    negation.AFTER_WORDS, negation.WITH_WORDS, negation.BEFORE_WORDS, negation.NO_WORDS, negation.TECHNIQUE_WORDS
)


def deidentification() -> str:
    """Return the lists as JSON: what the Python client sends, and what the server refuses."""
    words = sorted(word for word in DESCRIPTION_WORDS | _ABOUT_AGENTS if is_of_vocabulary(word))
    lists = {
        "contract_version": CONTRACT_VERSION,
        "patient_id": f"^{PATIENT_PSEUDONYM.pattern}$",
        "treatments": {treatment.name.lower(): treatment.value for treatment in Treatment},
        "sent": {keyword: _sent(keyword, treatment) for keyword, treatment in KEPT_ATTRIBUTES.items()},
        "words": words,
        "other_codes": sorted(DEFINED_TERMS),
        "technical_texts": sorted(TECHNICAL_TEXTS),
        "refused": {keyword: _tag(keyword) for keyword in IDENTIFYING_ATTRIBUTES},
    }
    return json.dumps(lists, indent=2) + "\n"


def _sent(keyword: str, treatment: Treatment) -> dict[str, object]:
    row: dict[str, object] = {"tag": _tag(keyword), "vr": dictionary_VR(keyword), "treatment": treatment.name.lower()}
    if keyword in CODES:
        row["codes"] = sorted(MAKERS_WORDS if keyword == "Manufacturer" else CODES[keyword])
    if keyword in NUMBERED_ATTRIBUTES:
        row["others"] = "^OTHER[1-9][0-9]{0,5}$"
    if keyword == "PhotometricInterpretation":
        row["others"] = f"^{UNKNOWN_PHOTOMETRIC}$"
    if keyword in LONGEST_TEXT:
        row["most_characters"] = LONGEST_TEXT[keyword]
    return row


def _tag(keyword: str) -> str:
    return f"{tag_for_keyword(keyword):08x}"
