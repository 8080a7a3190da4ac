"""Refuse files in which a person may be recognised: the server's net for callers that de-identify by themselves.

What the Python client sends passes it by construction. Files of other callers may keep numbers and codes that the
client leaves out, but no name, date, free text, private attribute or bulk data, and nothing beside the pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_dicom.agents import is_about_an_agent
from glioserve_dicom.files.attributes import element_of, items, text, texts
from glioserve_dicom.files.part10 import Instance
from glioserve_dicom.forms import has_form, is_numeric_text, is_stand_in
from glioserve_dicom.identity import (
    DESCRIBING_TEXTS,
    IDENTIFYING_ATTRIBUTES,
    KEPT_ATTRIBUTES,
    PATIENT_PSEUDONYM,
    TECHNICAL_TEXTS,
    Treatment,
    are_kept_codes,
    is_defined_term,
    is_numbered,
)
from glioserve_dicom.pixels.only import beside_pixels
from glioserve_dicom.words import is_of_vocabulary

_TEXTS = frozenset("AE AS DA DT LO LT PN SH ST TM UC UR UT".split())
"""Value representations that may name a person, a place or a day."""
_BULK = frozenset("OB OD OF OL OV OW UN".split())
"""Value representations of anything at all; the pixels themselves are not among a data set's elements."""
_META = frozenset(
    "FileMetaInformationGroupLength FileMetaInformationVersion MediaStorageSOPClassUID MediaStorageSOPInstanceUID "
    "TransferSyntaxUID ImplementationClassUID ImplementationVersionName".split()
)
_UID = re.compile(r"[0-9.]{1,64}")
_TIME = re.compile(r"[0-9]{2}(:?[0-9]{2}(:?[0-9]{2}(\.[0-9]{1,6})?)?)?")
_PERSON = re.compile(r"[\^@]")
"""Signs of a person's name or address in a technical text."""
_NOT_FINITE = re.compile(rb"(?i)\b(nan|inf(inity)?)\b")
_LONG_NUMBER = re.compile(r"[0-9]{5}")
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
    yield from instance.beside
    if not text(dataset, "PatientID"):
        yield "PatientID (not a pseudonym)"
    if text(dataset, "PatientIdentityRemoved") != "YES":
        yield "PatientIdentityRemoved (not YES)"
    if text(dataset, "BurnedInAnnotation") == "YES":
        yield "BurnedInAnnotation (YES)"
    if (dataset.preamble or b"").strip(b"\0"):
        yield "a preamble that is not zeros"
    for tag in dataset.file_meta.keys():  # noqa: SIM118 - iterating a Dataset converts values
        keyword = keyword_for_tag(tag)
        if keyword not in _META and _has_value(element_of(dataset.file_meta, tag)):
            yield keyword or "unknown attributes"
        elif keyword.endswith("UID") and not _are_uids(dataset.file_meta, keyword):
            yield f"{keyword} (not a UID)"
    if instance.is_mr:
        yield from beside_pixels(instance)


def _in_dataset(dataset: Dataset) -> Iterator[str]:
    for tag in dataset.keys():  # noqa: SIM118 - iterating a Dataset converts values
        element = element_of(dataset, tag)
        if tag.is_private:
            yield "private attributes"
        vrs = _vrs(tag, getattr(element, "VR", None))
        if not tag.is_private and _has_value(element) and (finding := _finding(dataset, tag, vrs)):
            yield finding
        if "SQ" in vrs:
            for item in items(dataset, tag):
                yield from _in_dataset(item)


def _finding(dataset: Dataset, tag: BaseTag, vrs: frozenset[str]) -> str:
    """Return the name of an attribute, which has a value, if it may say who the patient is; else an empty text."""
    keyword = keyword_for_tag(tag)
    if not keyword:
        return "" if tag.element == 0 else "unknown attributes"  # the length of a group
    if keyword in _IDENTIFYING:
        return keyword
    if keyword in KEPT_ATTRIBUTES:
        problem = _problem_of_kept(dataset, keyword, KEPT_ATTRIBUTES[keyword])
        return f"{keyword} ({problem})" if problem else ""
    if keyword in TECHNICAL_TEXTS:
        value = text(dataset, keyword)
        numbered = keyword in DESCRIBING_TEXTS and _LONG_NUMBER.search(value)
        return f"{keyword} (not about the device or the method)" if _PERSON.search(value) or numbered else ""
    if vrs & (_TEXTS | _BULK):
        return keyword
    if "CS" in vrs and not all(map(is_defined_term, texts(dataset, keyword))):
        return f"{keyword} (terms beyond DICOM's)"
    if "UI" in vrs and not _are_uids(dataset, keyword):
        return f"{keyword} (not a UID)"
    raw = getattr(element_of(dataset, tag), "value", None)
    if vrs & {"DS", "IS"} and isinstance(raw, bytes) and not is_numeric_text(raw):
        return f"{keyword} (not a number)"
    return ""


def _problem_of_kept(dataset: Dataset, keyword: str, treatment: Treatment) -> str:
    """Return what an attribute has that the client would not send, in words; empty where it has nothing."""
    value = text(dataset, keyword)
    if treatment is Treatment.WORDS:
        return "" if is_of_vocabulary(value) else "words beyond the vocabulary"
    if treatment is Treatment.AGENT:
        return "" if is_about_an_agent(value) else "words that are not an agent's"
    if treatment is Treatment.NUMBERED:
        return "" if is_numbered(value) else "not a number"
    if treatment is Treatment.RELATIVE_TIME:
        return "" if _TIME.fullmatch(value) else "not a time"
    if treatment is Treatment.CODES:
        return "" if are_kept_codes(keyword, value) else "terms beyond the list"
    if treatment is Treatment.PSEUDONYM:
        if keyword == "PatientID":
            return "" if PATIENT_PSEUDONYM.fullmatch(value) else "not a pseudonym"
        return "" if _are_uids(dataset, keyword) else "not a UID"
    if keyword == "SOPClassUID":  # other objects are left aside
        return "" if _are_uids(dataset, keyword) else "not a UID"
    if keyword == "Modality":
        return "" if is_defined_term(value) else "not one of DICOM's"
    return "" if _is_as_kept(dataset, keyword) else "not of its form"


def _is_as_kept(dataset: Dataset, keyword: str) -> bool:
    """Return whether an attribute that the client keeps has a value that it would keep."""
    if keyword == "PixelData":  # in a sequence, or a second time
        return False
    if keyword == "PatientIdentityRemoved" or dictionary_VR(keyword) == "SQ":
        return True
    element = element_of(dataset, keyword)
    value = getattr(element, "value", None)
    if not isinstance(value, bytes):
        return isinstance(value, int)  # pydicom converts PixelRepresentation where it parses a sequence
    little = bool(getattr(element, "is_little_endian", True))
    value = _NOT_FINITE.sub(b"0", value)  # the reader says that it is not finite
    return is_stand_in(value, keyword) or has_form(value, keyword, dictionary_VR(keyword), little)


def _are_uids(dataset: Dataset, keyword: str) -> bool:
    return all(map(_UID.fullmatch, texts(dataset, keyword)))


@lru_cache(maxsize=4096)
def _vrs(tag: BaseTag, stated: str | None) -> frozenset[str]:
    """Return the value representation that the file states and the dictionary's: neither may hold a name."""
    try:
        known = dictionary_VR(tag).split(" or ")
    except KeyError:
        known = []
    return frozenset(known if stated in (None, "UN") else [*known, stated])


def _has_value(element: object) -> bool:
    value = getattr(element, "value", None)
    return bool(value.strip(b" \0") if isinstance(value, bytes) else value)
