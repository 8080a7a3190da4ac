"""What is sent and what is refused do not meet, and are DICOM's own names."""

import pydicom
import pytest

from glioserve_contract.identity import (
    IDENTIFYING_ATTRIBUTES,
    KEPT_ATTRIBUTES,
    PATIENT_PSEUDONYM,
)
from glioserve_contract.words import DESCRIPTION_WORDS, kept_words


def test_nothing_is_both_sent_and_refused():
    assert set(KEPT_ATTRIBUTES) & set(IDENTIFYING_ATTRIBUTES) == set()


@pytest.mark.parametrize("keyword", [*KEPT_ATTRIBUTES, *IDENTIFYING_ATTRIBUTES])
def test_every_name_is_a_dicom_keyword(keyword):
    assert pydicom.datadict.tag_for_keyword(keyword) is not None


def test_every_element_of_the_same_name_counts_once():
    assert len(set(IDENTIFYING_ATTRIBUTES)) == len(IDENTIFYING_ATTRIBUTES)


@pytest.mark.parametrize(
    ("description", "kept"),
    [
        ("MRHR T1 AX POST GAD", "t1 ax post gad"),
        ("Müller, Hans: T2_TSE tra nach KM", "t2 tse tra nach km"),
        ("AX T1 +C", "ax t1 +c"),
        ("Dr. Smith 4711 1960-01-01", ""),
        ("T1 APRÈS INJECTION", "t1 apres injection"),
        ("", ""),
    ],
)
def test_only_known_words_survive(description, kept):
    assert kept_words(description) == kept
    assert set(kept_words(description).split()) <= DESCRIPTION_WORDS | {"+c"}


@pytest.mark.parametrize("text", ["PSN-0123abcd", "PSN-" + "f" * 32])
def test_a_pseudonym(text):
    assert PATIENT_PSEUDONYM.fullmatch(text)


@pytest.mark.parametrize("text", ["", "4711", "PSN-", "PSN-0123ABCD", "PSN-0123abcd x", "PSN-" + "f" * 33])
def test_no_pseudonym(text):
    assert not PATIENT_PSEUDONYM.fullmatch(text)
