"""Refuse files in which a person may be recognised: the server's net for callers that de-identify by themselves.

What the Python client sends passes it by construction. Files of other callers may keep numbers and codes that the
client leaves out, but no name, date, free text, private attribute or bulk data, and nothing beside the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.agents import is_about_an_agent
from glioserve_dicom.files.attributes import element_of, items, text
from glioserve_dicom.files.part10 import Instance
from glioserve_dicom.identity import (
    IDENTIFYING_ATTRIBUTES,
    KEPT_ATTRIBUTES,
    PATIENT_PSEUDONYM,
    TECHNICAL_TEXTS,
    Treatment,
    is_numbered,
)
from glioserve_dicom.pixels.only import beside_pixels
from glioserve_dicom.words import is_of_vocabulary

_TEXTS = frozenset("AE AS DA DT LO LT PN SH ST TM UC UR UT".split())
"""Value representations that may name a person, a place or a day. CS is of defined terms, UI of pseudonyms."""
_BULK = frozenset("OB OD OF OL OV OW UN".split())
"""Value representations of anything at all; the pixels themselves are not among a data set's elements."""
_TABLES = frozenset(
    "LUTData RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData".split()
)
"""Bulk data that is numbers only."""
_META = frozenset(
    "FileMetaInformationGroupLength FileMetaInformationVersion MediaStorageSOPClassUID MediaStorageSOPInstanceUID "
    "TransferSyntaxUID ImplementationClassUID ImplementationVersionName".split()
)
_IDENTIFYING = frozenset(IDENTIFYING_ATTRIBUTES)
_MOST_NAMED = 12
"""Most findings that a message lists."""


def refuse_identified(instances: Sequence[Instance]) -> None:
    """Raise GLIO-1203 if a person may be recognised in one of the files; the message names attributes, never values."""
    found = {finding for instance in instances for finding in _in_file(instance)}
    if found:
        listed = sorted(found)
        more = f" and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else ""
        detail = f"Files carry {', '.join(listed[:_MOST_NAMED])}{more}."
        raise GlioserveError(ErrorCode.IDENTIFIED_DICOM, detail)


def _in_file(instance: Instance) -> Iterator[str]:
    dataset = instance.dataset
    yield from _in_dataset(dataset)
    if not PATIENT_PSEUDONYM.fullmatch(text(dataset, "PatientID")):
        yield "PatientID (not a pseudonym)"
    if text(dataset, "PatientIdentityRemoved") != "YES":
        yield "PatientIdentityRemoved (not YES)"
    if text(dataset, "BurnedInAnnotation") == "YES":
        yield "BurnedInAnnotation (YES)"
    if (dataset.preamble or b"").strip(b"\0"):
        yield "a preamble that is not zeros"
    for tag in dataset.file_meta.keys():  # noqa: SIM118 - iterating a Dataset converts values
        if keyword_for_tag(tag) not in _META and _has_value(element_of(dataset.file_meta, tag)):
            yield keyword_for_tag(tag) or "unknown attributes"
    if instance.is_mr:
        yield from beside_pixels(instance)


def _in_dataset(dataset: Dataset) -> Iterator[str]:
    for tag in dataset.keys():  # noqa: SIM118 - iterating a Dataset converts values
        element = element_of(dataset, tag)
        stated = getattr(element, "VR", None)
        vr = stated if stated not in (None, "UN") else _known_vr(tag)
        if tag.is_private:
            yield "private attributes"
        elif _has_value(element) and (finding := _finding(dataset, tag, vr)):
            yield finding
        if vr == "SQ":
            for item in items(dataset, tag):
                yield from _in_dataset(item)


def _finding(dataset: Dataset, tag: BaseTag, vr: str) -> str:
    """Return the name of an attribute, which has a value, if it may say who the patient is; else an empty text."""
    keyword = keyword_for_tag(tag)
    if keyword in _IDENTIFYING:
        return keyword
    treatment = KEPT_ATTRIBUTES.get(keyword)
    if treatment is Treatment.WORDS:
        return "" if is_of_vocabulary(text(dataset, keyword)) else f"{keyword} (words beyond the vocabulary)"
    if treatment is Treatment.AGENT:
        return "" if is_about_an_agent(text(dataset, keyword)) else f"{keyword} (words that are not an agent's)"
    if treatment is Treatment.NUMBERED:
        return "" if is_numbered(text(dataset, keyword)) else f"{keyword} (not a number)"
    if vr in _TEXTS:
        return "" if treatment or keyword in TECHNICAL_TEXTS else keyword or "unknown attributes"
    if vr in _BULK and keyword not in _TABLES:
        return keyword or "unknown attributes"
    return ""


def _has_value(element: object) -> bool:
    value = getattr(element, "value", None)
    return bool(value.strip(b" \0") if isinstance(value, bytes) else value)


@lru_cache(maxsize=4096)
def _known_vr(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag).split(" ")[0]
    except KeyError:
        return "UN"
