"""No file that is read can run code: no pickle, no evaluation, no shell, YAML by its safe loader alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from support.scripts import ROOT

FOLDERS = (
    *("client", "preprocess_service", "training", "export", "pacs", "cli", "model_repository"),
    *("scripts", "docker"),
)
FORBIDDEN_MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "imp"}
FORBIDDEN_CALLS = {
    "eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle",
    "torch.jit.load", "torch.hub.load", "numpy.loads",
}  # fmt: skip
NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its name as it is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def faults(source: str) -> list[str]:
    tree = ast.parse(source)
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"imports {name}" for name in names if name.partition(".")[0] in FORBIDDEN_MODULES]
    for name, call in calls(tree):
        options = {k.arg: k.value.value for k in call.keywords if k.arg and isinstance(k.value, ast.Constant)}
        if name in FORBIDDEN_CALLS or options.get("shell"):
            found.append(f"calls {name} in line {call.lineno}")
        if name in NEEDED and options.get(NEEDED[name][0]) is not NEEDED[name][1]:
            found.append(f"calls {name} without {NEEDED[name]} in line {call.lineno}")
    return found


def test_no_module_runs_what_it_reads() -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py") if "__pycache__" not in file.parts]
    assert len(files) > 200
    wrong = {str(file.relative_to(ROOT)): found for file in files if (found := faults(file.read_text()))}
    assert wrong == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file)",
        "yaml.load(text, Loader=yaml.Loader)",
        "subprocess.run(text, shell=True)",
        "eval(text)",
    ],
)
def test_it_would_be_found(source: str) -> None:
    assert faults(source) != []
