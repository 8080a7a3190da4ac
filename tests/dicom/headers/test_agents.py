"""A text in a contrast agent's place says given, not given, or nothing; the same offline and through the client."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage

from glioserve_dicom.agents import AGENT_CODES, agent_given, agent_in
from glioserve_preprocess.series.acquisition import acquisition_of
from support.studies.dicom_files import mr_dataset, sent

GIVEN = """
MAGNEVIST|Magnevist 20 ml|Gadavist|Gadovist|GADOVIST 7.5 ml|Gadobutrol|DOTAREM|Dotarem 0.5 mmol/ml|Clariscan
gadoterate meglumine|Gadoteric acid|Gadotersäure|Dotagraf|Artirem|Gadopentetate dimeglumine|Magnograf|gadobenate
MultiHance|Multi Hance|MULTIHANCE 15CC|ProHance|PRO-HANCE|Pro hance|Omniscan|20cc Omniscan|gadodiamide|OptiMARK
Primovist|Eovist|gadoxetate disodium|Ablavar|Elucirem|Vueway|gadopiclenol|Feraheme|Ferumoxytol|Sinerem|Gd-DTPA|Gd-DOTA
Gd-BOPTA|Gd-BT-DO3A|Gd-EOB-DTPA|GD|Gd|KM|IV|i.v.|7.5 ml|7,5ml|0.1 mmol/kg|0,2 ml/kg|YES|JA|OUI|si|Sim|tak|ano|Evet
да|on
MAGNAVIST|MAGNEVEST|Gadivist|Dotaren|Gadolineum|gadolinum|mangevist|20CC MAG|OMNI 15|GAD|gado|IV Gadovist|IV contrast
contrast given|with contrast|mit KM|post contrast|nach KM|avec gado|med kontrast|con contraste|Gadovist (given)|true
Gadavist 1.0 Bayer|Prohance/Bracco|Gadovist, i.v., 7 ml|Contrast: MAGNEVIST|+Gd|Gd+|C+|Gd (+)|Gadovist Handinjektion
钆布醇|马根维显|钆喷酸葡胺注射液|ガドビスト|マグネビスト|ｶﾞﾄﾞﾋﾞｽﾄ|造影剤あり|가도비스트|조영제 사용
Гадовист|гадовиста 7,5 мл|Магневист|с контрастом|W/CONTRAST|CONTRAST+|GADAVIST;GADAVIST|Gadavist^7.5ml
Dotarem® 0,5 mmol/ml|MAGNEVIST (R)|GD_DTPA|gadolinium(III)|YES - 15 ML GADAVIST|PROHANCE 279.3MG/ML|GADOVIST1mmol
mdc ev
Dotarem 0.1 mmol/kg|10 ml|Gadovist verildi|podano gadovist|somministrato Gadovist 6 ml|KM-Gabe
kwas gadoterowy|ガドビスト静注1.0mol/L|avec injection|kontrastlı|c/ contraste|kontrasztanyaggal
Gd given by Dr Zyxquist|Gadovist durch Frau Zyxquist
"""
NOT_GIVEN = """
off|OFF|(none)|None given|none|no|No|NO CONTRAST|non contrast|Noncontrast|NC|pre|pre contrast|unenhanced|0 ml
0 cc|0|0.0|null
nil|n/a|N/A|-|--|not given|NO CONTRAST GIVEN|no IV contrast|without contrast|w/o|plain|patient refused
not applicable|False
no Gadovist|w/o Dotarem|pre Gd|Gadovist (not given)|Magnevist refused|Gadovist 0 ml|contrast: none|Gd-|-Gd|KM-|Gd (-)
kein KM|kein|keine|nein|ohne KM|ohne|nativ|nicht gegeben|sans|sans injection|sans produit de contraste|aucun
non|pas de gado
sin contraste|ninguno|sem contraste|nenhum|não|senza mdc|nessuno|zonder contrast|geen|nee|uden kontrast|utan kontrast
ingen|nej|nei|ei|brak|nie|bez kontrastu|Nie podano|ne|není|bez k.l.|nem|nincs|kontrastsız|yok|hayır
χωρίς σκιαγραφικό|όχι
без контраста|БЕЗ КОНТРАСТА|нет|无|無|没有|未使用|平扫|未增强|無し|なし|造影剤なし|없음|조영제 없음|ללא|بدون
Gd 0|Gadavist 0.0|Gadovist=0|w/out contrast|Gd -ve|minus Gd|NONE;NONE|[none]|Not Administered|GAD NOT USED
IV contrast: no
no gadolinium administered|SIN GADOLINIO|no se administró|não utilizado|nessun mdc|ikke gitt|inte given|fără contrast
bez kontrastní látky|kontrast yok|kontrast verilmedi|не вводили|нативно|未增强扫描|使用なし|造影剤未使用
조영제 미사용|없다
s/ contraste|S/CONTRASTE|s/c|o. KM|ss gado|ilman tehostetta|ei tehostetta|fara substanta de contrast|без КУ
ללא חומר ניגוד|بدون تباين|không tiêm thuốc|tanpa kontras|ไม่ฉีดสี|Ø|ø KM|∅
NON-CON|no se administra contraste|não foi administrado contraste|bez podania kontrastu|kontrastsız inceleme
без введения контрастного вещества|bez kontrastnog sredstva|造影剤使用せず|未使用造影剂
"""
SILENT = """
unknown|see notes|contrast|oral|oral contrast|Kontrast|contraste|Dr Smith|Müller|John Gadomski|test|anonymized|REMOVED
Gadovist?|?|.|1|12|T1|allergic to gadolinium|Gadovist no reaction|Gadovist planned|not known|not specified
keine Angabe
unbekannt|inconnu|desconocido|不明|造影剤|조영제|контраст|yes/no|Ja/Nein|w/wo|with and without|pre/post
pre and post Gd
+/- Gd|±|not without contrast|nicht nativ|- Gadovist|Omnipaque 300|barium|iodine|Bayer|agent|saline
Gadovist or nothing|Gadovist by protocol, see notes|no Gadovist; Dotarem 10ml
Kontrastmittel|injection
gadoliniumfrei|Gadovist or none|Y/N|+|With|w/|Bolus|UNSPECIFIED|not given due to allergy|Gadovist? no
"""
TEXTS = [
    (text, given)
    for table, given in ((GIVEN, True), (NOT_GIVEN, False), (SILENT, None))
    for line in table.strip().splitlines()
    for text in line.split("|")
]


def test_the_tables_are_as_long_as_they_should_be() -> None:
    assert len(TEXTS) == len({text for text, _ in TEXTS}) > 200


@pytest.mark.parametrize(("text", "given"), TEXTS)
def test_what_a_text_says(text: str, given: bool | None) -> None:
    assert agent_given({"ContrastBolusAgent": text}) is given


def test_every_text_says_the_same_through_the_client() -> None:
    for text, given in TEXTS:
        dataset = mr_dataset(ContrastBolusAgent=text, SpecificCharacterSet="ISO_IR 192")
        again = sent(dataset)
        assert again.get("ContrastBolusAgent") == {True: "YES", False: "NO", None: None}[given], text
        assert acquisition_of(again).agent is acquisition_of(dataset).agent is given, text


@pytest.mark.parametrize(
    ("text", "encoding", "given"),
    [
        ("без контраста", "cp1251", False),
        ("без контраста", "iso8859_5", False),
        ("Гадовист", "koi8_r", True),
        ("无", "gb18030", False),
        ("無し", "shift_jis", False),
        ("없음", "euc_kr", False),
        ("χωρίς", "iso8859_7", False),
        ("hayır", "iso8859_9", False),
        ("Müller Gadovist", "latin-1", None),
    ],
)
def test_a_text_whose_character_set_is_not_stated(text: str, encoding: str, given: bool | None) -> None:
    assert agent_given({"ContrastBolusAgent": text.encode(encoding).decode("latin-1")}) is given


@pytest.mark.parametrize(
    ("attributes", "given"),
    [
        ({}, None),
        ({"ContrastBolusAgent": ""}, None),
        ({"ContrastBolusVolume": "0"}, None),
        ({"ContrastBolusVolume": "7.5"}, True),
        ({"ContrastBolusTotalDose": "7.5"}, True),
        ({"ContrastBolusStartTime": "101500"}, True),
        ({"ContrastBolusStartTime": "000000.000"}, None),
        ({"ContrastBolusVolume": "0.0"}, None),
        ({"ContrastBolusAgent": "unknown", "ContrastBolusVolume": "7.5"}, True),
        ({"ContrastBolusAgent": "unknown", "ContrastBolusVolume": "0"}, None),
        ({"ContrastBolusAgent": "Gadovist", "ContrastBolusVolume": "0"}, None),
        ({"ContrastBolusAgent": "Gadovist", "ContrastBolusVolume": "0", "ContrastBolusTotalDose": "0"}, None),
        ({"ContrastBolusAgent": "Gadovist", "ContrastBolusVolume": "0", "ContrastBolusTotalDose": "7.5"}, True),
        ({"ContrastBolusAgent": "Gadovist", "ContrastBolusVolume": "0", "ContrastBolusStartTime": "1015"}, True),
        ({"ContrastBolusAgent": "Gadovist", "ContrastBolusVolume": "7.5"}, True),
        ({"ContrastBolusAgent": "NO", "ContrastBolusVolume": "7.5"}, False),
        ({"ContrastBolusAgent": "off", "ContrastBolusVolume": "0"}, False),
    ],
)
def test_a_dose_or_a_start_beside_the_text(attributes: dict[str, str], given: bool | None) -> None:
    dataset = mr_dataset(**attributes)
    assert agent_given(attributes) is agent_in(dataset) is given
    assert acquisition_of(sent(dataset)).agent is given


@pytest.mark.parametrize(
    ("keyword", "value", "given"),
    [
        ("ContrastBolusStartTime", "none", None),
        ("ContrastBolusStartTime", "10:15", True),
        ("ContrastBolusVolume", "inf", None),
        ("ContrastBolusVolume", "7.5 ml", True),
    ],
)
def test_a_value_of_another_form(keyword: str, value: str, given: bool | None) -> None:
    assert agent_given({keyword: value}) is given


def item(meaning: str = "", code: str = "", **attributes: str) -> Dataset:
    dataset = Dataset()
    if code:
        dataset.CodeValue, dataset.CodingSchemeDesignator = code, "SCT"
    if meaning:
        dataset.CodeMeaning = meaning
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def with_profile(volume: str) -> Dataset:
    holder = item("Contrast agent", "7140000")
    holder.ContrastAdministrationProfileSequence = [item(ContrastBolusVolume=volume)]
    return holder


@pytest.mark.parametrize(
    ("items", "text", "given"),
    [
        ([], "", None),
        ([item()], "", None),
        ([item("Gadobutrol", "407976008")], "", True),
        ([item(code=sorted(AGENT_CODES)[0])], "", True),
        ([item("Gadoterate meglumine")], "", True),
        ([item("Contrast agent", "7140000")], "", None),
        ([item("None")], "", False),
        ([item("Gadobutrol", "407976008")], "off", None),
        ([item("None")], "Gadovist", None),
        ([item(ContrastBolusVolume="7.5")], "", True),
        ([with_profile("7.5")], "", True),
        ([with_profile("0")], "Gadovist", None),
        ([item("Barium sulfate")], "", None),
    ],
)
def test_the_agents_sequence(items: list[Dataset], text: str, given: bool | None) -> None:
    dataset = mr_dataset(ContrastBolusAgent=text, ContrastBolusAgentSequence=items)
    again = sent(dataset)
    assert acquisition_of(dataset).agent is acquisition_of(again).agent is given
    assert "ContrastBolusAgentSequence" not in again


@pytest.mark.parametrize(
    ("uses", "text", "given"),
    [
        (["YES"], "", True),
        (["NO"], "", False),
        (["NO"], "GADOVIST", False),
        (["NO", "YES"], "", True),
        (["NO", "NO"], "GADOVIST", False),
        (["YES"], "none", None),
        (["PERHAPS"], "GADOVIST", True),
        ([], "", None),
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_a_frame_of_an_enhanced_image(uses: list[str], text: str, given: bool | None, shared: bool) -> None:
    group = Dataset()
    group.ContrastBolusUsageSequence = [item(ContrastBolusAgentAdministered=use) for use in uses]
    dataset = mr_dataset(
        SOPClassUID=EnhancedMRImageStorage,
        NumberOfFrames="1",
        ContrastBolusAgent=text,
        SharedFunctionalGroupsSequence=[group if shared else Dataset()],
        PerFrameFunctionalGroupsSequence=[Dataset() if shared else group],
    )
    assert acquisition_of(dataset).agent is acquisition_of(sent(dataset)).agent is given
