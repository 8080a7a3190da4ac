"""Refresh the list of modules in docs/architecture.md: the page has the order, each module's docstring its line.

A line ``- `path`: sentence`` stands below the heading of its package; a path that ends with a slash is that folder's
``__init__.py``. ``--check`` writes nothing. A module that the page does not name, or names twice, and a name without a
file are errors: where data meets a new module is for its author to say.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
FOLDERS = ("client", "preprocess_service", "training", "export", "pacs", "cli", "model_repository")
"""Top folders whose Python files the page must name."""
HEADING = re.compile(r"### `([a-z_]+(?:/[a-z_]+)?)`")
ENTRY = re.compile(r"- `([\w/.]+)`")
SENTENCE_END = re.compile(r"(?<!e\.g\.)(?<!i\.e\.)(?<=[.!?])\s+(?=[A-Z`])")
ROLE = re.compile(r":[a-z]+:`[~.]?(?:[\w.]+\.)?([\w]+)`")
"""A role of a docstring with its target; the target's last name is kept."""


def summary(source: str) -> str:
    """Return the first sentence of a module's docstring as Markdown; empty where there is none."""
    paragraph = " ".join((ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0].split())
    sentence = SENTENCE_END.split(paragraph, maxsplit=1)[0]
    return ROLE.sub(r"`\1`", sentence).replace("``", "`")


def refreshed(text: str) -> tuple[str, list[Path]]:
    """Return the page with the sentences of the docstrings as they are now, and the files that its lines name."""
    lines, named, package = [], [], None
    for line in text.splitlines():
        heading, entry = HEADING.match(line), ENTRY.match(line)
        if line.startswith("#"):
            package = ROOT / heading.group(1) if heading else None
        if package is not None and entry:
            path = package / entry.group(1) / ("__init__.py" if entry.group(1).endswith("/") else "")
            named.append(path)
            line = f"- `{entry.group(1)}`: {summary(path.read_text(encoding='utf-8'))}" if path.is_file() else line
        lines.append(line.rstrip() if entry else line)
    return "\n".join(lines) + "\n", named


def problems(named: list[Path]) -> list[str]:
    """Return a sentence for each module that is not named exactly once, and for each name without a file."""
    there = {path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    found = [f"names {path.relative_to(ROOT)}, which is not there" for path in sorted(set(named) - there)]
    found += [f"does not name {path.relative_to(ROOT)}" for path in sorted(there - set(named))]
    found += [f"names {path.relative_to(ROOT)} {n} times" for path, n in sorted(Counter(named).items()) if n > 1]
    return [f"docs/architecture.md {problem}." for problem in found]


def main(check: bool) -> int:
    """Return 0 when the page names every module once, with the first sentence of its docstring."""
    old = PAGE.read_text(encoding="utf-8")
    new, named = refreshed(old)
    wrong = problems(named)
    if new != old and check:
        wrong.append("docs/architecture.md is out of date: run `make docs`.")
    elif new != old:
        PAGE.write_text(new, encoding="utf-8")
        print("written: docs/architecture.md")
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
