"""Attributes that are sent and those that are refused do not meet, and are DICOM's own names."""

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioserve_dicom.identity import (
    CODES,
    IDENTIFYING_ATTRIBUTES,
    KEPT_ATTRIBUTES,
    PATIENT_PSEUDONYM,
    Treatment,
    kept_codes,
)
from glioserve_dicom.negation import WITH_AGENT, WITHOUT_AGENT
from glioserve_dicom.words import DESCRIPTION_WORDS, LONGEST_TEXT, is_of_vocabulary, kept_text, kept_words

MARKS = {WITH_AGENT, WITHOUT_AGENT}


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
    assert set(kept_words(description).split()) <= DESCRIPTION_WORDS | MARKS


@pytest.mark.parametrize(
    ("description", "kept"),
    [
        ("AXT1POST", "ax t1 post"),
        ("eT1W_3D_TFE", "t1w 3d tfe"),
        ("T2FLAIR", "t2 flair"),
        ("*tfl3d1_16ns", "tfl3d"),
        ("*tseR2d1rr19", "tse2d"),
        ("t2_tirm_tra_dark-fluid", "t2 tirm tra darkfluid"),
        ("t2_spc_da-fl_sag", "t2 spc darkfluid sag"),
        ("AX T2*", "ax t2star"),
        ("Axial T2 STAR", "axial t2star"),
        ("T1C", "t1 +c"),
        ("T1 C+", "t1 +c"),
        ("Ax T1 -C", "ax t1 -c"),
        ("T1 Gd-", "t1 -c"),
        ("T1 w/o GD", "t1 without gd"),
        ("BRAIN W/WO", "brain with without"),
        ("MP-RAGE", "mprage"),
        ("AAHScout", "scout"),
        ("AAHead_Scout", "scout"),
        ("HeadScout", "head scout"),
        ("ScoutView", "scout"),
        ("localizer_3D", "localizer 3d"),
        ("3-plane loc", "3plane loc"),
        ("tri-plane", "3plane"),
        ("3pl", "3plane"),
        ("plan scan", "planscan"),
        ("přehled", "localizer"),
        ("T1SagPostGd", "t1 sag post gd"),
        ("AxT2Flair", "ax t2 flair"),
        ("ep2dDiff", "ep2d diff"),
        ("tfl3dpost", "tfl3d post"),
        ("AxDWI", "ax dwi"),
        ("DWI1000", "dwi"),
        ("SpinEchoFieldMap_AP", "fieldmap"),
        ("gre_field_mapping", "gre fieldmap"),
        ("B1 map", "b1map"),
        ("tfl_me3d4_16ns", "tfl me3d"),
        ("MEMPRAGE RMS", "memprage rms"),
        ("t1_vibe_dixon_W", "t1 vibe dixon water"),
        ("T1 mDIXON F", "t1 mdixon fatonly"),
        ("dixon in/opp", "dixon inphase opposed"),
        ("Ax zDWI", "ax diffusion"),
        ("Diffusionsgewichtet tra", "diffusion tra"),
        ("Pha_Images", "phasemap"),
        ("Proton density", "pd"),
        ("tMIP", "mip"),
        ("Colour FA", "colfa"),
        ("Screen Save", "screensave"),
    ],
)
def test_spellings_of_one_word_become_one(description, kept):
    assert kept_words(description) == kept


@pytest.mark.parametrize(
    ("description", "kept"),
    [
        ("矢状位T1增强", "sag t1 enhanced"),
        ("T1WI 横断位 平扫", "t1wi ax noncontrast"),
        ("T1 增强前", "t1 noncontrast"),
        ("未增强 T1", "noncontrast t1"),
        ("T2 压水 冠状", "t2 flair cor"),
        ("颅脑 血管造影", "brain angiography"),
        ("造影後 T1", "enhanced t1"),
        ("조영증강 T1", "enhanced t1"),
        ("확산 tra", "diffusion tra"),
        ("диффузия", "diffusion"),
        ("перфузионная T1", "perfusion t1"),
        ("МР-ангиография", "angio"),
        ("王小明 T1", "t1"),
    ],
)
def test_terms_without_word_boundaries_become_their_english_word(description, kept):
    assert kept_words(description) == kept
    if "王" not in description and "조" not in description and "後" not in description:
        misread = description.encode("gb18030").decode("latin-1")  # no SpecificCharacterSet, or a wrong one
        assert kept_words(misread) == kept


@pytest.mark.parametrize(
    "name",
    [
        "Hans Zyxquist",
        "Postman",
        "Cormack",
        "Flairmont",
        "Isabel Contrastini",
        "王平",
        "Opp",
        "Surveyor",
        "Angiolini",
        "Scoutten",
        "Dwight",
        "Nein",
        "Neg",
        "Null",
        "Bez",
        "Poe",
        "van Uden",
        "Etter",
        "Aahlund",
        "Fmapson",
        "Gdansk",
    ],
)
def test_no_part_of_a_name_is_taken_for_a_word(name):
    assert kept_words(f"{name} T1") == "t1"


@given(st.lists(st.sampled_from(sorted(DESCRIPTION_WORDS | MARKS)), max_size=8) | st.text(max_size=40))
def test_keeping_words_again_changes_nothing(words):
    kept = kept_words(words if isinstance(words, str) else " ".join(words))
    assert kept_words(kept) == kept
    assert kept.isascii()
    assert set(kept.split()) <= DESCRIPTION_WORDS | MARKS
    assert is_of_vocabulary(kept)


@pytest.mark.parametrize("word", sorted(DESCRIPTION_WORDS | MARKS))
def test_the_server_takes_every_word_that_the_client_sends(word):
    assert is_of_vocabulary(word)


@pytest.mark.parametrize("text", ["T1 1000", "t1_47111", "b10001", "T1 tse1234", "DWI_b1000 47111"])
def test_a_long_number_beside_the_words_is_beyond_the_vocabulary(text):
    assert not is_of_vocabulary(text)


def test_words_that_do_not_fit_are_left_out_whole():
    assert kept_text("T1 T1 sagittal transversal enhanced", 16) == "t1 sagittal"


@pytest.mark.parametrize(
    ("keyword", "text", "kept"),
    [
        ("ImageType", "ORIGINAL\\PRIMARY\\ZYXQUIST\\ND", ("ORIGINAL", "PRIMARY", "OTHER", "ND")),
        ("ScanningSequence", "se\\ir\\zyx", ("SE", "IR")),
        ("Manufacturer", "GE MEDICAL SYSTEMS", ("GE",)),
        ("Manufacturer", "Zyxquist Imaging", ()),
        ("BodyPartExamined", "CSPINE", ("CSPINE",)),
        ("ImageType", "", ()),
        ("LossyImageCompression", "01", ("01",)),
        *(("ImageType", text, ("WATER",)) for text in ("WATER_IMG", "WFI_W", "Dixon-W", "WATER ONLY", "WATERONLY")),
        *(("ImageType", text, ("FAT",)) for text in ("FAT_IMG", "WFI_F", "FLEX_FAT")),
        *(("ImageType", text, ("IN_PHASE",)) for text in ("INPHASE_IMG", "WFI_IP", "IN-PHASE", "INPH")),
        *(("ImageType", text, ("OPP_PHASE",)) for text in ("OUTPHASE_IMG", "WFI_OP", "OUT-OF-PHASE", "OUT PHASE")),
        *(("ImageType", text, ("OTHER",)) for text in ("MDIXON", "IP_OP", "WATER2", "FFE_X")),
    ],
)
def test_codes_are_of_the_closed_lists(keyword, text, kept):
    assert kept_codes(keyword, text) == kept


def test_every_list_of_codes_is_of_an_attribute_that_is_sent_as_codes():
    assert {k for k, t in KEPT_ATTRIBUTES.items() if t is Treatment.CODES} == set(CODES)
    assert {k for k, t in KEPT_ATTRIBUTES.items() if t is Treatment.WORDS} == set(LONGEST_TEXT)


@pytest.mark.parametrize("text", ["PSN-0123abcd", "PSN-" + "f" * 32])
def test_a_pseudonym(text):
    assert PATIENT_PSEUDONYM.fullmatch(text)


@pytest.mark.parametrize("text", ["", "4711", "PSN-", "PSN-0123ABCD", "PSN-0123abcd x", "PSN-" + "f" * 33])
def test_no_pseudonym(text):
    assert not PATIENT_PSEUDONYM.fullmatch(text)
