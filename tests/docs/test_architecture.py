"""docs/architecture.md names every module exactly once, and no module that is not there."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "docs" / "list_modules.py"


def module():
    spec = importlib.util.spec_from_file_location("list_modules", SCRIPT)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_every_module_is_named_once_with_its_own_first_sentence():
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_missing_a_doubled_and_an_invented_name_are_found():
    listing = module()
    text = listing.PAGE.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("- `pipeline.py`"))

    def found(changed):
        return listing.problems(listing.refreshed(changed)[1])

    path = "preprocess_service/glioserve_preprocess/pipeline.py"
    assert found(text.replace(line + "\n", "")) == [f"docs/architecture.md does not name {path}."]
    assert found(text.replace(line, f"{line}\n{line}")) == [f"docs/architecture.md names {path} 2 times."]
    (wrong,) = found(text.replace(line, f"{line}\n- `pipelines.py`: Invented."))
    assert "pipelines.py, which is not there" in wrong


def test_what_a_stranger_looks_for_is_in_the_first_table():
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("\n## ")[0]
    for question in ("DICOM quirk", "report field", "metric", "network", "error code", "promotion rule"):
        rows = [row for row in table.splitlines() if row.startswith("|") and question in row]
        assert rows, question
        for path in re.findall(r"`([\w/]+/[\w./]+)`", " ".join(rows)):
            assert (ROOT / path).exists(), path


def test_a_docstrings_first_sentence_becomes_markdown():
    summary = module().summary
    assert summary('"""Return :class:`~a.b.Mask`, e.g. ``x.py``. More."""') == "Return `Mask`, e.g. `x.py`."
    assert summary("x = 1") == ""
