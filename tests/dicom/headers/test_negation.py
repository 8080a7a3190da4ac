"""Signs and negations of a description keep their sense through the closed vocabulary, on either side of the word."""

from __future__ import annotations

import pytest

from glioserve_dicom.negation import AGENT_WORDS
from glioserve_dicom.words import kept_text, kept_words
from glioserve_preprocess.series.acquisition import Acquisition
from glioserve_preprocess.series.evidence import DECIDED, judge

AFTER = """
T1 +Gd|T1 Gd+|T1 +C|T1 C+|T1+C|T1+Gd|T1 + C|T1 + GD|T1 (+)C|T1 C (+)|T1 C(+)|T1C|T1CE|T1GD+|t1-post-gd|T1 POST GAD
SAG-T1-C+|T1 contrast-enhanced|CE-T1|T1 Gd-DTPA|T1_GD|T1 KM|T1 nach KM|T1 post-contrast|T1 post-C|T1 GD NO FS
T1 GD WITHOUT FAT SAT|T1 Gd no motion|T1 WITH FS POST GD|T1 without FS with GD|T1 GD PRE OP|T1 post op GD|AXT1POST
T1SagPostGd|tfl3dpost T1|T1 med kontrast|T1 efter kontrast|T1 po kontrastu|T1 po k.l.|T1 с контрастом
т1 после контраста
T1 kontrastlı|T1 enh|3D T1 W/CONTRAST|T1 with IV contrast|T1 KM - sag|T1 post - sag
T1 c/c|T1 C/GADO|T1 m. KM|T1 n. KM|T1 plus Gd|T1 GD 0.9mm|T1 com gadolinio|T1 после КУ|T1 조영제 투여후
T1 NON FS POST GD
T1 con mdc|T1 con m.d.c.|T1 dopo mdc|T1 nach i.v. KM|T1 PÓS-GD|T1 POS CONTRASTE|T1 с КУ
T1 z kontrastem|T1 met Gd|T1 na Gd|T1 (+)|T1 nKM|T1 mKM|T1 po KL|T1 tehosteen jälkeen|T1 kontrasztos|T1 c КУ
T1 con civ|T1 postinj
T1 KM-gestützt|T1 kontrastmittelverstärkt|AX T1 CONTRASTADO|T1 postkontrastně|T1 KM'li|T1 ilaçlı|T1 Гадовист
T1WI ポスト|T1_POSTCON|T1 POSTGADO|AX T1 W/C|T1 po podaniu kontrastu|T1 po aplikaci k.l.|T1 AX APÓS CONTRASTE
T1 nach Injektion|T1 постконтрастная|T1 после в/в контраста|T1 после введения контраста|T1 с контрастным усилением
T1 增强扫描|造影T1WI 画像|T1 조영증강 영상|AX T1 POST STEALTH|BRAINLAB T1 POST GAD|t1_mprage_tra_KM_Navi
t1_tse_blade_tra_KM|T1 propeller GD|T1W_3D_TFE_tra GD CLEAR|T1 KM verstärkt|T1 post Gd Zyxquist|T1 mit KM Zyxquist
T1 gadoterate|T1 triple dose Gd|T1 Dotarem 10 ml|T1 (GD)+|T1 +(GD)|T1 post contrast study|T1 KM Protokoll mit KM
"""
BEFORE = """
T1 (GD)-|T1 -(GD)|T1 [GD] -|T1 (C)-|T1 -(KM) SAG
T1 -Gd|T1_-GD|AX T1 - GD|T1 (-Gd)|T1 - KM|T1 Gd-|T1 GD NEG|-KM T1|T1 -KM|T1 KM-|T1 - contrast|T1 Gd negative|T1 ohne
T1 KM nein|T1 no post|T1 sans gado|T1 w/o|T1 WO CONTRAST|T1 non-enhanced|T1 not enhanced|T1 noncon|T1 C(-)|T1 C (-)
T1 (-)C|T1 (-) Gd|T1 –Gd|T1 −Gd|T1 Gd−|T1 ‐Gd|T1 —Gd|T1 kein KM|T1 no gd|T1 non-contrast|T1 nonenhanced|T1 pre
T1 nativ
T1 NO CONTRAST|T1 without IV contrast|T1 pas de gado|T1 uden kontrast|T1 utan kontrast|T1 bez kontrastu|T1 bez k.l.
T1 before contrast|T1 без контраста|T1 БЕЗ КОНТРАСТА|T1 χωρίς σκιαγραφικό|T1 kontrastsız|T1 ohne KM|T1 contrast free
T1 Gd: none|T1GD-|T1C-|T1 -C|T1 w/o AX|T1 før kontrast|造影なし T1|T1 geen contrast|T1 no iv gd|T1 unenhanced|T1 -IV
T1 IV-|T1 - gadovist|T1 dotarem-|T1 Gd -ve|T1 -- GD|T1 Gd --|T1 minus Gd|T1 contrast minus|T1 w/out contrast
T1 W-O CONTRAST
T1 w.o. Gd|T1 s/c|T1 S/GADO|T1 s/ contraste|T1 o. KM|T1 v. KM|T1 zero Gd|T1 Gd 0|T1 Gd 0ml|T1 Gd free|T1 KM-frei
T1 (-)|T1 SS GADO|T1 o KM|T1 oKM|T1 bez KL|T1 ilman tehostetta|T1 sin civ
T1 sem gadolinio|T1 contrast-less|T1 noGd|T1 ohneKM|T1preC|T1 無造影|T1 未造影|T1 조영제 없이|T1 조영제 투여전
T1 до КУ
T1 kontrast nélkül|T1 kontrast yok|T1 non injecté|T1 GD=NO|T1 fat sat no contrast|T1 post-op pre Gd
T1 s/inj|T1 przed podaniem kontrastu|T1 KM'siz|T1 조영 없이|T1 prior to Gd|T1 prior contrast|T1 contrast not given
T1 GAD NOT GIVEN|T1 gd refused|T1 contrast declined|T1 KM verweigert|T1 contraste refusé|T1 contrast geweigerd
T1 ilaçsız|T1 до введения контраста|T1 без введения контраста|T1_PRECON|T1 Gd contraindicated
T1 voor Gd|T1 prima MDC|T1 prima di mdc|T1 innan kontrast|T1 prije kontrasta|T1 senza m.d.c.|T1 przed kontrastem
"""
OPEN = """
T1 Contrast protocol|T1 KM Protokoll|T1 GD routine|T1 contrast study|T1 Gd Studie
T1-Gd|AX-T1-GD|T1-KM|T1-C|t1_mprage-KM|T1 - GD - 3MM|T1 GD-SAG|T1 W/WO|T1 W WO|T1 W & WO|T1 W/O&W|T1 WO/W
T1 w/wo contrast|T1 with and without contrast|T1 +/- Gd|T1 ± C|T1 pre/post|T1 pre and post gd|T1 C+ C-
T1 not without contrast
T1 Gd?|T1 ohne/mit KM|T1 平扫+增强|T1 no unenhanced|T1 nicht nativ|T1|T1 post op|T1 preop|T1 POST RT|T1 with fs
T1_post-|T1 POST(-)|T1 +|T1 post-
T1 without fs|T1 no fs|T1 ohne Zyxquist
T1 post Avastin|T1 pre Avastin|T1 after fall|T1 nach Unfall|T1 post gamma knife|T1 post SRS|T1 post Zyxquist
T1 Gd allergy|T1 Gd pending|T1 contrast on hold|T1 missed Gd|T1 KM vergessen|T1 KM entfällt|T1 GD Zyxquist
T1 Zyxquist contrast|T1 contraste non fait|T1 KM nicht gegeben|T1 contrast niet gegeven|T1 kontrastmiddel ikke gitt
T1 kontrast odmowa|T1 kontrast yapılmadı|T1 контраст отказ|T1 контраст противопоказан|T1 造影剤アレルギー
T1 造影剤未使用|T1 造影剂未用|T1 造影せず|T1 造影中止|T1 增强取消|T1 未做增强|T1 조영제 거부|T1 조영 불가
T1 ללא חומר ניגוד
"""
TEXTS = [
    (text, sense)
    for table, sense in ((AFTER, "after"), (BEFORE, "before"), (OPEN, "open"))
    for line in table.strip().splitlines()
    for text in line.split("|")
]


def sense_of(description: str) -> str:
    """The evidence's judgement of a description."""
    points = judge(Acquisition(description=tuple(kept_text(description, 64).split()))).contrast_points
    return "after" if points >= DECIDED else "before" if points <= -DECIDED else "open"


@pytest.mark.parametrize(("text", "sense"), TEXTS)
def test_the_sense_of_a_description(text: str, sense: str) -> None:
    assert sense_of(text) == sense, kept_words(text)


@pytest.mark.parametrize(("text", "sense"), TEXTS)
def test_keeping_the_words_again_changes_nothing(text: str, sense: str) -> None:
    kept = kept_text(text, 64)
    assert kept_text(kept, 64) == kept_words(kept) == kept
    assert sense_of(kept) == sense


@pytest.mark.parametrize("word", sorted(AGENT_WORDS))
@pytest.mark.parametrize("dash", "-‐‑‒–—−－")
def test_every_agents_word_has_a_minus_on_either_side(word: str, dash: str) -> None:
    before = (
        f"T1 {dash}{word}|T1_{dash}{word}|T1 {dash} {word}|T1 ({dash}{word})|T1 {word}{dash}|T1 {word} ({dash})|"
        f"T1 {word}{dash} tra|{dash}{word} T1|T1 no {word}|T1 {word} neg"
    )
    after = f"T1 +{word}|T1 {word}+|T1 + {word}|T1 {word} (+)|T1+{word}|T1 post{dash}{word}"
    either = f"T1{dash}{word}|T1{dash}{word}{dash}tra|T1 {dash} {word} {dash} tra|T1 +/{dash} {word}"
    for texts, sense in ((before, "before"), (after, "after"), (either, "open")):
        for text in texts.split("|"):
            assert sense_of(text) == sense, text
