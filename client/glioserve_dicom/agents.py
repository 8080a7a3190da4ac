"""Read from a file whether a contrast agent was given: yes, no, or unknown.

ContrastBolusAgent is free text that a technologist types or a protocol fills in. A known agent's name, a route, a dose
above 0 or a plain yes counts as given; a negation in one of the languages of the tables counts as not given; every
other text says nothing. A text that has a word outside the tables says nothing either, since that word may turn the
meaning ("allergic to gadolinium"). Texts that contradict themselves ("yes/no", "with and without") say nothing.

Names are from the agents' labels and INN lists, codes from DICOM PS3.16 CID 12 and CID 13.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from pydicom.dataset import Dataset

from glioserve_contract import GlioserveError
from glioserve_dicom.files.attributes import items, text
from glioserve_dicom.readings import plain_dashes, readings

AGENT_ATTRIBUTES = ("ContrastBolusAgent", "ContrastBolusVolume", "ContrastBolusTotalDose", "ContrastBolusStartTime")
"""Attributes that :func:`agent_given` reads."""


def _folded(value: str) -> str:
    """Return text in lower case without accents on Latin, Greek and Cyrillic letters, with one kind of dash."""
    value = unicodedata.normalize("NFKC", plain_dashes(value)).casefold()
    bare = "".join(c for c in unicodedata.normalize("NFD", value) if not "\u0300" <= c <= "\u036f")
    return unicodedata.normalize("NFC", bare).translate(str.maketrans("ıłøđ", "ilod"))


def _table(words: str) -> frozenset[str]:
    return frozenset(map(_folded, words.split()))


_LONG_NAMES = _table(
    # INN, salts and chemical names
    "gadolinium gadobutrol gadoterate gadoteric gadoterat gadotersaure gadoterique gadoterico gadopentetate "
    "gadopentetat gadopentetic gadobenate gadobenat gadobenic gadoteridol gadodiamide gadodiamid gadoversetamide "
    "gadoxetate gadoxetat gadoxetic gadofosveset gadopiclenol gadoquatrane ferumoxytol ferumoxtran gadolinio "
    "gadolinum gadoteraat "
    # trade names
    "gadovist gadavist gadograf dotarem clariscan dotagraf artirem dotavist dotaspin magnevist magnograf "
    "magnegita magnetolux magnescope multihance prohance omniscan optimark primovist eovist ablavar vasovist "
    "elucirem vueway feraheme rienso sinerem combidex cyclolux "
    "dotagita "
    # other scripts
    "гадолиний гадобутрол гадовист магневист дотарем омнискан проханс прохэнс мультиханс мультихэнс примовист "
    "кларискан магнилек гадодиамид гадотеровая γαδολίνιο γαδοβίστ"
)
"""A misspelling of one letter counts too, and of two letters from :data:`_LONG` letters on."""
_SHORT_NAMES = _table(
    "gd gad gado gada gadov gadav gadol dtpa dota bopta eob gddtpa gddota gdbopta mag magn magne omni omn multi "
    "opti proh km kmi pdc mdc gbca гд"
)
"""Abbreviations, which must be written exactly so."""
_LONG = 10
_STEMS = tuple(
    _table("gadobut gadote gadopent gadoben gadodiam gadovers gadoxe gadofos gadopic gadolin")
    | _table("гадобут гадоте гадопент гадобен гадодиам гадокс гадолин")
)
"""Beginnings of the INN, which each language ends in its own way ("gadobutrolum", "gadoteerzuur")."""
_FREE = ("frei", "free", "los", "less", "fri", "vrij")
"""Ends of compounds that deny what they begin with."""

_YES = _table("yes y true on positive pos ja j oui si sim da ano tak evet nai var kylla igen ie да так ναι")
_AFTER = _table(
    "post after enhanced nach après despues depois dopo efter etter po после postcontrast postkm postgd "
    "contrastenhanced ce kontrastlı kontrasztos kontraszttal kontrasztanyaggal"
)
_ACTS = _table(
    "given administered injected applied used verabreicht gegeben appliziert gespritzt verwendet injecté injectée "
    "administré donné utilisé inyectado administrado administrada aplicado usado injetado somministrato iniettato "
    "gegeven toegediend ingespoten gebruikt givet brukt använt tillfört podano podany podana podán použito gitt "
    "utilizado administró administra administrou administran podania podawano verildi введен введено вводили вводился "
    "введения"
)
"""Participles, which a negation beside them turns ("not given")."""
_WITH = _table("with plus mit avec con com met med z ze s so с со me με")
"""Words that count as given beside an agent's name or the word contrast only."""
_ROUTES = _table(
    "iv ev intravenous intravenös intravenosa intravenoso intravenøst endovenosa endovenoso intraveineuse intraveineux"
)
_NOT = _table("no not non nicht kein keine pas ne nie nao não geen niet ej ikke inte inga ingen ei nem nu не δεν")
_NO = _table(
    # English; German; French; Spanish, Portuguese, Italian; Dutch
    "none nothing minus never neg negative nil nill null nope zero off false free refused declined cancelled "
    "canceled withheld aborted omitted nein keins keines keiner keinen keinerlei abgelehnt verweigert entfällt "
    "entfallen negativ frei aucun aucune refus refusé annulé négatif ninguno ninguna nada rechazado nenhum "
    "nenhuma recusado nessuno nessun nessuna niente rifiutato negativo nee geweigerd "
    # Danish, Norwegian, Swedish; Polish, Czech, Slovak, Slovene, Croatian; Hungarian; Romanian; Turkish; others
    "nej nei inget intet brak není žádný žádná žiadny žiadna nema nista nincs nincsen niciun yok yoktur hayır "
    "puudub verilmedi neaplikováno nėra nav tidak không όχι κανένα καμία нет нету ні немає няма нема отсутствует "
    "לא אין لا nc"
)
_WITHOUT = _table(
    "without wo sans ohne sin sem senza zonder uden utan uten ilman bez brez nélkül fără olmadan ilma tanpa без "
    "χωρίς ללא בלי بدون بلا pre before vor prä avant antes prima voor före przed před pred öncesi до перед "
    "precontrast prekm pregd plain native nativ natif nativo nativa natywne natywny nativní natiivi blanco blank "
    "basale basal нативно нативное нативная нативный unenhanced nonenhanced noncontrast noncon contrastfree "
    "kontrastfrei kontrastlos kontrastsız ilaçsız simple"
)
_GENERIC = tuple(_table("contrast kontras контраст σκιαγραφ varjoain tehost injecti injekti injez inyec iniez injeç"))
"""Beginnings of the words contrast and injection: labels by themselves, which do not say that an agent was given."""
_FILLERS = _table(
    # articles, forms and salts, makers, the injection itself
    "a an the se of and at for to by in de du des la le les el il lo di del della do das der die den dem von et und "
    "e och og i u en een het d l was were is has been wurde wird worden ist mr mri mrt irm rm c g m mol molar "
    "based agent agente agents medium media medio mezzo mittel middel medel material product produit produkt dye "
    "bolus boluses dose dosis doses vol volume volumen amount single double triple half full standard hand manual "
    "power pump injector handinjektion inj gabe zastrzyk solution lösung solución soluzione solução ampoule "
    "ampulle vial flasche syringe spritze prefilled flow rate ml cc ccm mmol mg kg mls saline nacl flush ns "
    "chaser followed patient pt macrocyclic linear applicable required needed zutreffend anwendbar cm k kl látky "
    "látka środka srodka iii r tm chelate civ dimeglumine meglumine disodium trisodium acid acide acido säure "
    "sodium hp bt bma bayer guerbet bracco ge healthcare schering nycomed mallinckrodt lantheus sanochemia curium "
    "arm right left ac antecubital gauge ga needle approx ca x total кислота препарат препарата вещество вещества "
    "веществ foi fue fué ha sido était été est bylo było zostało zostal inceleme środek sredstva sredstvo "
    "substanță substance substancja sustancia kwas kyselina kontrastu ку חומר ניגוד تباين صبغة حقن tiêm thuốc "
    "cản quang tương phản"
)
_KINDS = {
    "act": _ACTS, "yes": _YES | _AFTER, "with": _WITH, "route": _ROUTES, "not": _NOT, "no": _NO, "without": _WITHOUT,
    "filler": _FILLERS,
}  # fmt: skip
_TERMS = {
    # Thai
    **dict.fromkeys(("ไม่ได้", "ไม่"), "none"),
    **dict.fromkeys(("ฉีดสี", "ฉีด", "สารทึบรังสี", "มี"), ""),
    # Chinese
    **dict.fromkeys(("钆", "釓", "马根维显", "馬根維顯", "加乐显", "多它灵", "莫迪司", "欧乃影", "普美显"), "gd"),
    **dict.fromkeys(("造影剂", "造影劑", "对比剂", "對比劑", "显影剂"), "contrast"),
    **dict.fromkeys(("喷酸葡胺", "布醇", "特酸葡胺", "双胺", "贝葡胺", "塞酸二钠", "注射液", "葡胺"), ""),
    **dict.fromkeys(("未使用", "未注射", "不使用", "不用", "没有", "沒有", "未用"), "none"),
    **dict.fromkeys(("无", "無", "否", "没", "不", "未"), "none"),
    **dict.fromkeys(("平扫", "平掃", "未增强扫描", "未增强", "非增强", "增强前", "注射前"), "native"),
    **dict.fromkeys(("增强后", "增强", "增強", "注射后", "已注射"), "enhanced"),
    **dict.fromkeys(("有", "是", "使用"), "yes"),
    # Japanese
    **dict.fromkeys(
        ("ガドリニウム", "ガドビスト", "マグネビスト", "マグネスコープ", "オムニスキャン", "プロハンス", "プリモビスト",
         "ガドテル酸", "ガドブトロール", "ガドテリドール", "ガドジアミド"), "gd"),
    **dict.fromkeys(("造影剤", "造影"), "contrast"),
    **dict.fromkeys(("なし", "無し", "ナシ", "使用せず", "使用なし", "注射せず", "使用しない"), "none"),
    **dict.fromkeys(("単純", "非造影", "造影前"), "native"),
    **dict.fromkeys(("あり", "有り", "アリ"), "yes"),
    "造影後": "enhanced",
    **dict.fromkeys(("静注用", "静注", "シリンジ"), ""),
    # Korean
    **dict.fromkeys(
        ("가돌리늄", "가도비스트", "가도부트롤", "도타렘", "마그네비스트", "옴니스캔", "프로한스",
         "멀티핸스", "프리모비스트", "클라리스캔", "유니레이"), "gd"),
    **dict.fromkeys(("조영제", "조영"), "contrast"),
    **dict.fromkeys(("없음", "없다", "안함", "미사용", "아니오", "아니요", "미투여"), "none"),
    **dict.fromkeys(("비조영", "조영전"), "native"),
    **dict.fromkeys(("있음", "사용", "투여"), "yes"),
    "조영후": "enhanced",
}  # fmt: skip
"""Terms of scripts without word boundaries, found anywhere, the longest first, and a word of the tables for each."""


_FOLDED_TERMS = {_folded(term): word for term, word in _TERMS.items()}
_TERM = re.compile("|".join(sorted(map(re.escape, _FOLDED_TERMS), key=len, reverse=True)))
_UNIT = re.compile(r"\s*(ml|cc|mmol|mg|g)$")
_CROSSED_ZERO = re.compile(r"^\s*[øØ∅](?!\w)")
_CLOCK = re.compile(r"\d\d:?(\d\d:?(\d\d(\.\d*)?)?)?")
"""Form of a time (PS3.5 6.2, TM)."""
_NONE_CODES = re.compile(r"(?<!\w)(n\s?/\s?a|n\.\s?a\.|non[\s-]con|w\s?/\s?o|w\s?/\s?out|-\s?ve)(?!\w)")
_WITH_SLASH = re.compile(r"(?<!\w)w\s?/|(?<!\w)[cm]\s?[/.]\s?(?=contr|kontr|gad|gd(?!\w)|mdc|km(?!\w))")
_WITHOUT_SLASH = re.compile(
    r"(?<!\w)s\s?/\s?(?=contr|gad|gd(?!\w)|mdc|c$)|(?<!\w)(o\.?|ss)\s?(?=km(?!\w)|kontr|gad|inj)"
)
_ROUTE = re.compile(r"(?<!\w)(i\.?\s?/?\s?v\.?|e\.\s?v\.|в\s?/\s?в)(?!\w)")
_DOSE = re.compile(
    r"(?<![\w.,])(\d*[.,]?\d+)\s*(ml|mls|cc|ccm|cm3|мл|mmol|umol|μmol|ммоль|mg|g|l)(\s?/\s?(kg|кг|ml|l|s|sec|min)\w*)?(?!\w)"
)
_ATTRIBUTION = re.compile(r"\s(by|durch|par)\s+((dr|mr|mrs|ms|md|rn|nurse|prof|frau|herr)\.?\s+)?[^\W\d_]+$")
"""The person who injected, at a text's end."""
_NUMBER = re.compile(r"[a-z]{0,4}\d[\w.,]*")
_LONG_NUMBER = re.compile(r"\d{4}")
_BRACKETED_SIGN = re.compile(r"[(\[{]\s*([+-])\s*[)\]}]")
_EITHER_SIGN = re.compile(r"\+\s*/?\s*-|-\s*/?\s*\+")
_WORD = re.compile(r"[a-z]{0,4}\d[\w.,]*|[^\W\d_]+|[?±]")
AGENT_CODES = frozenset(
    # SNOMED CT, then the retired SNOMED RT identifiers
    "792865009 407976008 354088005 770982005 58281002 768763008 109216000 404846007 712714000 353946009 409477004 "
    "440223009 C-B0415 C-B03C3 C-17800 C-B0321 C-B014D C-F06BC C-B03AD C-B0493 C-178FF".split()
)
"""Codes of agents with gadolinium (PS3.16 CID 12 and CID 13)."""


def agent_in(dataset: Dataset) -> bool | None:
    """Return whether a contrast agent was given, by a data set's own attributes and its ContrastBolusAgentSequence.

    The sequence's items are of the Contrast/Bolus modules (PS3.3 C.7.6.4 and C.7.6.4b); an empty one says nothing.
    """
    holders = [dataset, *_nested(dataset)]
    names = [_name_says(_text(holder, "ContrastBolusAgent")) for holder in holders]
    names += [_code_says(item) for item in _items(dataset, "ContrastBolusAgentSequence")]
    doses = [_text(h, k) for h in holders for k in ("ContrastBolusVolume", "ContrastBolusTotalDose")]
    starts = [_text(holder, "ContrastBolusStartTime") for holder in holders]
    return _judged(names, doses, starts)


def agent_given(texts: Mapping[str, str]) -> bool | None:
    """Return whether a contrast agent was given, by :data:`AGENT_ATTRIBUTES`; None where they do not say.

    A name counts before a dose or a start. A known name with a dose of 0 and no start is left open: protocols fill
    in the name, and some scanners write 0 where no dose was entered.
    """
    name, volume, total, start = (texts.get(keyword, "") for keyword in AGENT_ATTRIBUTES)
    return _judged([_name_says(name)], [volume, total], [start])


def is_about_an_agent(text: str) -> bool:
    """Return whether every word of a text names or describes an agent or its dose, and no number is long."""
    return not _LONG_NUMBER.search(text) and "unknown" not in _kinds_of(_WORD.findall(_folded(text)))


def _judged(names: Sequence[bool | None], doses: Sequence[str], starts: Sequence[str]) -> bool | None:
    said = {name for name in names if name is not None}
    if len(said) > 1 or said == {False}:
        return False if said == {False} else None
    amounts = [amount for text_ in doses for value in text_.split("\\") if (amount := _amount(value)) is not None]
    injected = any(amount > 0 for amount in amounts) or any(map(_is_start, starts))
    return True if injected or (said and not amounts) else None


def _amount(value: str) -> float | None:
    try:
        amount = float(_UNIT.sub("", value.strip(" \0").lower()).replace(",", "."))
    except ValueError:
        return None
    return amount if math.isfinite(amount) else None


def _is_start(value: str) -> bool:
    """Return whether a text is a time; midnight to the fraction is what scanners write for none."""
    value = value.strip(" \0")
    return _CLOCK.fullmatch(value) is not None and value.strip("0.:") != ""


def _nested(dataset: Dataset) -> Iterator[Dataset]:
    for item in _items(dataset, "ContrastBolusAgentSequence"):
        yield item
        yield from _items(item, "ContrastAdministrationProfileSequence")


def _code_says(item: Dataset) -> bool | None:
    if _text(item, "CodeValue").upper() in AGENT_CODES:
        return True
    return _name_says(_text(item, "CodeMeaning"))


def _items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    try:
        return items(dataset, keyword)
    except GlioserveError:  # evidence, not geometry: what cannot be read says nothing
        return ()


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return text(dataset, keyword)
    except GlioserveError:
        return ""


@lru_cache(maxsize=1024)
def _name_says(name: str) -> bool | None:
    """Return what a text in an agent's place says: given, not given, or (None) neither."""
    name = _CROSSED_ZERO.sub("none ", name)
    return next((said for reading in readings(name) if (said := _says(_folded(reading))) is not None), None)


def _says(value: str) -> bool | None:
    value = _ATTRIBUTION.sub("", value.replace("_", " ").strip(" \0'\""))
    if not value or "\ufffd" in value:
        return None
    if not value.strip("-") or value in ("n", "na") or not value.strip(" 0.,"):
        return False if value.strip(" .,") else None
    value = _TERM.sub(lambda found: f" {_FOLDED_TERMS[found.group()]} ", value)
    value = _WITHOUT_SLASH.sub(" without ", _ROUTE.sub(" iv ", _NONE_CODES.sub(" none ", value)))
    value = _WITH_SLASH.sub(" with ", value)
    value = _BRACKETED_SIGN.sub(lambda found: " yes " if found[1] == "+" else " none ", _EITHER_SIGN.sub("±", value))
    kinds = {_sign_of(value)}
    for dose in _DOSE.finditer(value):
        if dose[3] is None or dose[4] in ("kg", "кг"):
            kinds.add("dose" if (_amount(dose[1]) or 0) > 0 else "no")
    words = _kinds_of(_WORD.findall(_DOSE.sub(" ", value)))
    kinds |= set(words)
    if "unknown" in kinds or ("not", "without") in pairwise(words):  # "not without"
        return None
    if kinds & {"not", "no", "without"}:
        return None if kinds & {"with", "yes", "dose"} else False
    told = {"name", "route", "dose", "act", "yes"} & kinds
    return True if told or {"with", "generic"} <= kinds else None


def _sign_of(value: str) -> str:
    """Return the kind of a plus or minus that touches the text from outside."""
    bare = value.strip(" ()[]")
    if bare.startswith("-") or bare.endswith("-"):
        apart = bare.startswith("- ") or bare.endswith(" -")
        return "unknown" if apart else "no"
    return "yes" if bare.strip("+") and (bare.startswith("+") or bare.endswith("+")) else ""


def _kinds_of(words: Sequence[str]) -> list[str]:
    kinds: list[str] = []
    at = 0
    while at < len(words):
        joined = words[at] + words[at + 1] if at + 1 < len(words) else ""
        if "unknown" in map(_kind_of, words[at : at + 2]) and joined in _LONG_NAMES:  # "multi hance"
            kinds.append("name")
            at += 2
            continue
        kinds.append(_kind_of(words[at]))
        at += 1
    return kinds


def _kind_of(word: str) -> str:
    for kind, known in _KINDS.items():
        if word in known:
            return kind
    if _is_name(word):
        return "name"
    if word.startswith(_GENERIC):
        return "generic"
    if not word.strip("0.,"):
        return "no"
    return "filler" if _NUMBER.fullmatch(word) else "unknown"


def _is_name(word: str) -> bool:
    if word in _SHORT_NAMES or word in _LONG_NAMES:
        return True
    if len(word) < 6 or word.endswith(_FREE):
        return False
    if word.startswith(_STEMS):
        return True
    most = 2 if len(word) >= _LONG else 1
    return any(name[0] == word[0] and _edits(word, name, most) <= most for name in _LONG_NAMES)


def _edits(one: str, other: str, most: int) -> int:
    """Return the edit distance with transpositions; above ``most`` it is only a lower bound."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if before and i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
