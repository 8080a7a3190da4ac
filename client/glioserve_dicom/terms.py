"""Terms of descriptions in other scripts than the Latin one, and the words of the vocabulary that they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping

from glioserve_contract.sequences import WEIGHTINGS
from glioserve_dicom.negation import OTHER_SCRIPT

TERMS: Mapping[str, str] = {
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
    **dict.fromkeys(("확산", "диффуз", "διάχυση"), "diffusion"),
    **dict.fromkeys(("관류", "перфуз"), "perfusion"),
    **dict.fromkeys(("혈관", "ангио"), "angio"),
    "спектроскоп": "spectroscopy",
    "флаир": "flair",
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
    "조영 후": "enhanced",
    "조영 전": "noncontrast",
    "비조영": "noncontrast",
    **dict.fromkeys("造影なし 増強なし 無造影 未造影 不造影 无造影 未打药 투여전".split(), "noncontrast"),
    **dict.fromkeys(
        ("투여 전", "조영제 없이", "조영제없이", "조영제 없음", "조영제없음", "조영제 미사용"), "noncontrast"
    ),
    **dict.fromkeys(("조영제 투여전", "조영제 투여 전", "без ку", "до ку"), "noncontrast"),
    **dict.fromkeys((" с ку", " c ку"), "with contrast"),
    **dict.fromkeys(("투여후", "투여 후", "после ку"), "post"),
    **dict.fromkeys(("조영 없이", "조영없이", "조영 없음", "조영없음"), "noncontrast"),
    **dict.fromkeys(("гадовист", "магневист", "дотарем", "омнискан", "гадолини"), "gado"),
    "ポスト": "post",
    **dict.fromkeys((" с контраст", " c контраст"), "with contrast"),
    "постконтраст": "post contrast",
    "преконтраст": "pre contrast",
    "в/в": "iv",
    **dict.fromkeys(("без введен", "до введен", "перед введен"), "noncontrast"),
    "造影無し": "noncontrast",
    "非造影": "noncontrast",
    "无增强": "noncontrast",
    "不增强": "noncontrast",
    "未强化": "noncontrast",
    "位置決め": "localizer",
    "локалайзер": "localizer",
    "локализатор": "localizer",
    **dict.fromkeys(("топограмма", "разметка", "스캐노", "스카우트", "εντοπισμ"), "localizer"),
    **dict.fromkeys(("差分", "サブトラクション", "减影", "減影"), "subtraction"),
    "без контраст": "noncontrast",
    "до контраст": "pre contrast",
    "после контраст": "post contrast",
    "после введения": "post",
    "контраст": "contrast",
    "нативн": "native",
    "т1": "t1",
    "т2": "t2",
    "сагиттал": "sag",
    "аксиал": "ax",
    "корональн": "cor",
    "χωρίς": "without",
    "χωρις": "without",
    "σκιαγραφ": "contrast",
}
"""Terms of other scripts, in lower case, found anywhere, the longest first."""
TERM = re.compile("|".join(sorted(TERMS, key=len, reverse=True)), re.IGNORECASE)
"""Any of :data:`TERMS`, the longest first."""
_ENDING = re.compile(r"(?<=[а-яё])[а-яё]+|(?<=[α-ω])[α-ω]+")
"""Rest of a word that begins with a term: its case."""
_PLAIN = re.compile(
    "|".join(
        sorted(
            "扫描 掃描 成像 检查 檢查 序列 延迟 延遲 薄层 薄層 三维 三維 容积 全脑 头 頭 脑 腦 像 画像 撮像 撮影 "
            "検査 加 的 后 後 冠 矢 轴 軸 位 面 断 영상 검사 스캔 시상 관상 축상 횡단 뇌 두부 усилен усиления "
            "усилением введения препарата вещества головного головной мозга мозг серия".split(),
            key=len,
            reverse=True,
        )
    )
)
"""Words of other scripts that name no sequence and do not turn the meaning of a word beside them."""


def in_english(text: str) -> str:
    """Return lower-case text, accents and all, with the words of its terms in place of these."""
    parts: list[str] = []
    end = 0
    for found in TERM.finditer(text):
        parts += [_rest(text[end : found.start()]), f" {TERMS[found.group().lower()]} "]
        ending = _ENDING.match(text, found.end())
        end = ending.end() if ending is not None else found.end()
    return "".join((*parts, _rest(text[end:])))


def _rest(text: str) -> str:
    return _PLAIN.sub(" ", text)


def without_other_scripts(text: str) -> str:
    """Return text in ASCII; a token stands for other letters, which may turn the meaning of a word beside them."""
    return "".join(c if c.isascii() else f" {OTHER_SCRIPT} " if c.isalpha() else " " for c in text)
