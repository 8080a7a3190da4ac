"""Docstrings, comments and messages are plain technical English: whole sentences without a few known tics."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    name: ROOT / folder / name
    for folder, names in {
        "client": ("glioserve_contract", "glioserve_dicom", "glioserve_client"),
        "preprocess_service": ("glioserve_preprocess", "glioserve_watch", "glioserve_triton"),
        "training": ("glioserve_networks", "glioserve_phantom", "glioserve_training"),
        "export": ("glioserve_export", "glioserve_tensorrt", "glioserve_registry", "glioserve_evaluation"),
        "pacs": ("glioserve_pacs",),
        "cli": ("glioserve_cli",),
    }.items()
    for name in names
} | {"model_repository": ROOT / "model_repository", "scripts": ROOT / "scripts"}
BESIDE = {name: ROOT / name for name in ("benchmarks", "tests")}
"""Folders whose docstrings and comments keep the rules too; their strings are often data."""
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "docker/README.md", ROOT / "benchmarks/README.md"]
)
TEXTS = sorted(
    path
    for folder in ("helm/glioserve", "docker", ".github", "scripts")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".yaml", ".yml", ".tpl", ".txt", ".md", ".sh", ".jq"} or path.name.startswith("Dockerfile")
)
"""Files of the chart, the images and the forge, with their comments and messages."""
FRAGMENT = re.compile(
    r"(?:Of|By|See|Whose|What|Whether|How|Why|Who|When|While|Where|Which|As|Likewise|From|For|To|With|Without|In|On|At"
    r"|Or|And|But|So|That|Between|Through|Over|Under|Until|Since|Because|Though|None)\b"
)
"""Words that open a fragment, whose meaning would need the line above."""
TICS = {
    "say 'depends on'": re.compile(r"\bhangs? on\b(?! (?:a|the) wall)"),
    "name the subject": re.compile(r"\b(?:nobody|whoever|somebody)\b", re.IGNORECASE),
    "say what it is": re.compile(r"\bSee the module\b|\bBy its own account\b", re.IGNORECASE),
    "say 'is not a'": re.compile(
        r"(?<!there )(?<!There )\b(?:is|are) no (?!longer\b|more\b|less\b|one\b|later\b|larger\b|such\b|\w+er\b)[a-z]+"
    ),
}
"""Advice, and the wording that it replaces."""


def files_of(package):
    return sorted(PACKAGES[package].rglob("*.py"))


def docstrings(tree):
    """Yield the line and text of every docstring: of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        for before, statement in zip([None, *body], body, strict=False):
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                continue
            documented = isinstance(before, ast.Assign | ast.AnnAssign) or (
                before is None and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            )
            if documented and isinstance(statement.value.value, str):
                yield statement.lineno, statement.value.value.strip()


def comments(source):
    """Yield the line and text of every comment."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def strings(tree):
    """Yield the line and text of every string, docstrings too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def findings(source, texts=strings):
    """Yield the line, the advice and the words of all in docstrings, comments and ``texts`` that breaks a rule."""
    tree = ast.parse(source)
    for line, text in docstrings(tree):
        if FRAGMENT.match(text):
            yield line, "begin with the noun or the verb", text.splitlines()[0]
    for line, spread in (*comments(source), *texts(tree)):
        text = " ".join(spread.split())
        for advice, pattern in TICS.items():
            found = pattern.search(text)
            if found:
                yield line, advice, text[max(0, found.start() - 20) : found.end() + 20]


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_is_in_plain_english(package):
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {advice}: {text}"
        for path in files_of(package)
        for line, advice, text in findings(path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("folder", BESIDE)
def test_tests_and_benchmarks_are_in_plain_english(folder):
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {advice}: {text}"
        for path in sorted(BESIDE[folder].rglob("*.py"))
        for line, advice, text in findings(path.read_text(encoding="utf-8"), docstrings)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_page_is_in_plain_english(page):
    """The sentences that docs/architecture.md takes from the modules are the modules' own matter."""
    text = page.read_text(encoding="utf-8").partition("\n## Every module")[0]
    wrong = [f"{advice}: {found.group(0)}" for advice, rule in TICS.items() for found in rule.finditer(text)]
    assert wrong == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_charts_and_images_are_in_plain_english(path):
    text = path.read_text(encoding="utf-8")
    assert [f"{advice}: {m.group(0)}" for advice, rule in TICS.items() for m in rule.finditer(text)] == []


def test_the_list_names_packages():
    assert all(files_of(package) for package in PACKAGES)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('"""Of the module."""', 1),
        ('"""Office hours, and what is in them."""', 0),
        ('def f():\n    """By its own account."""', 2),
        ('class A:\n    x: int\n    """With a unit."""', 1),
        ('x = 1\n"""Whether it is so."""', 1),
        ('x = 1  # the result hangs on it', 1),
        ('raise ValueError("A slice is no volume.")', 1),
        ('raise ValueError(f"{x}: nobody asked.")', 1),
        ('raise ValueError("There is no such folder; there are no files.")', 0),
        ('print("The file is no longer there.")', 0),
        ('def f():\n    """Return the mask."""\n    "In passing."', 0),
    ],
)  # fmt: skip
def test_the_rules_find_what_they_are_for(source, count):
    assert len(list(findings(source))) == count
