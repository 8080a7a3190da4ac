"""Texts that technologists write into ContrastBolusAgent, by language: an agent, that none was given, and neither.

Collected from vendors' conformance statements, product names of the agents (INN and trade names) and usual phrases;
they were written down without regard to the code that reads them.
"""

from __future__ import annotations

GIVEN: tuple[tuple[str, str], ...] = (
    ("English", "Gadobutrol"),
    ("English", "GADAVIST 7.5 ml"),
    ("English", "Magnevist"),
    ("English", "ProHance 15cc"),
    ("English", "MULTIHANCE"),
    ("English", "Omniscan 0.1 mmol/kg"),
    ("English", "YES"),
    ("German", "Gadovist 8ml"),
    ("German", "Gadotersäure"),
    ("German", "Clariscan i.v."),
    ("French", "Dotarem"),
    ("French", "acide gadotérique"),
    ("Spanish", "Gadolinio"),
    ("Spanish", "gadobutrol 1 mmol/ml"),
    ("Italian", "acido gadoterico"),
    ("Italian", "Gadovist 1,0"),
    ("Portuguese", "gadolínio"),
    ("Portuguese", "ácido gadotérico"),
    ("Dutch", "gadoteerzuur"),
    ("Dutch", "Dotarem 10 ml"),
    ("Russian", "Гадовист"),
    ("Russian", "Магневист 15 мл"),
    ("Chinese", "钆喷酸葡胺"),
    ("Chinese", "马根维显"),
    ("Japanese", "ガドビスト"),
    ("Japanese", "マグネスコープ"),
    ("Korean", "가도비스트"),
)
"""Language and text: a contrast agent was given."""

NOT_GIVEN: tuple[tuple[str, str], ...] = (
    ("English", "NONE"),
    ("English", "(none)"),
    ("English", "None given"),
    ("English", "off"),
    ("English", "no contrast"),
    ("English", "Non-contrast"),
    ("English", "Noncontrast"),
    ("English", "without contrast"),
    ("English", "unenhanced"),
    ("English", "0 ml"),
    ("English", "w/o Gd"),
    ("German", "kein"),
    ("German", "kein KM"),
    ("German", "ohne KM"),
    ("German", "ohne Kontrastmittel"),
    ("German", "nativ"),
    ("French", "sans"),
    ("French", "sans injection"),
    ("French", "aucun"),
    ("Spanish", "sin contraste"),
    ("Spanish", "ninguno"),
    ("Italian", "senza mdc"),
    ("Italian", "nessuno"),
    ("Portuguese", "sem contraste"),
    ("Portuguese", "nenhum"),
    ("Dutch", "geen"),
    ("Dutch", "zonder contrast"),
    ("Russian", "без контраста"),
    ("Russian", "нет"),
    ("Chinese", "无"),
    ("Chinese", "未使用"),
    ("Chinese", "平扫"),
    ("Japanese", "なし"),
    ("Japanese", "無し"),
    ("Japanese", "単純"),
    ("Korean", "없음"),
)
"""Language and text: none was given. A reader may also take one for unknown, and never for an agent."""

UNKNOWN: tuple[tuple[str, str], ...] = (
    ("English", "unknown"),
    ("English", "see report"),
    ("English", "n.d."),
    ("English", "null"),
    ("English", "CONTRAST?"),
    ("German", "siehe Befund"),
    ("German", "unbekannt"),
    ("French", "voir CR"),
    ("French", "inconnu"),
    ("Spanish", "desconocido"),
    ("Italian", "vedi referto"),
    ("Portuguese", "desconhecido"),
    ("Dutch", "onbekend"),
    ("Russian", "неизвестно"),
    ("Chinese", "不详"),
    ("Japanese", "不明"),
    ("Korean", "미상"),
)
"""Language and text: it cannot be known from this."""
