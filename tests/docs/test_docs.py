"""Generated parts are up to date, links lead somewhere, and what the README says to run exists."""

import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "helm").rglob("*.md")]
    + [ROOT / folder / "README.md" for folder in ("docker", "benchmarks", "examples/clients")]
)
RECORDS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
README_LINES = 150
PICTURE_BYTES = 400_000


def test_generated_parts_are_up_to_date():
    command = [sys.executable, str(ROOT / "scripts" / "docs" / "generate_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_source_files_that_a_page_names_exist(page):
    """A path may be named by its end (``brain/gate.py``); one of a site's or a server's own files has no folder."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    files = [f"/{name}" for name in listed.stdout.decode().splitlines()]
    for path in re.findall(r"`((?:[\w-]+/)+\w+\.(?:py|c|txt|html\.j2|sh))`", page.read_text(encoding="utf-8")):
        assert any(name.endswith(f"/{path}") for name in files), f"{page.name} names {path}"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_of_a_page_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
    assert named
    assert named <= targets


def test_the_readme_is_short_and_its_pictures_small():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < README_LINES
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert pictures
    assert all((ROOT / picture).stat().st_size < PICTURE_BYTES for picture in pictures)


def test_the_api_pages_name_what_is_there():
    named = re.findall(
        r"^::: (\S+)", "".join(p.read_text() for p in (ROOT / "docs" / "api").glob("*.md")), re.MULTILINE
    )
    assert named
    for name in named:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute) if attribute[0].isupper() else find_spec(name), name


@pytest.mark.parametrize("record", RECORDS, ids=lambda p: p.stem)
def test_a_decision_record_follows_the_template(record):
    headings = [line for line in _template().splitlines() if line.startswith("## ")]
    text = record.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("## ")] == headings
    assert text.startswith(f"# {record.stem[:4]} ")
    assert re.search(r"^- Date: \d{4}-\d\d-\d\d\n- Status: (proposed|accepted|superseded)", text, re.MULTILINE)


def test_the_index_names_every_decision_record():
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\d{4}[^)]*)\)", index) == [record.name for record in RECORDS]


def _template():
    return (ROOT / "docs" / "adr" / "template.md").read_text(encoding="utf-8")


def test_commands_of_the_readme_exist():
    from glioserve_cli.main import COMMANDS

    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"`glioserve ([a-z]+)", text)) | set(
        re.findall(r"^(?:\$ )?glioserve ([a-z]+)", text, re.MULTILINE)
    )
    assert named
    assert named <= set(COMMANDS)
