"""No inference runtime reports to its maker: neither Microsoft's nor Intel's wheels, which do so by default."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glioserve_preprocess.opinion.model import OPINION_MODEL

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("client", "preprocess_service", "training", "export", "cli", "pacs", "model_repository")
RUNTIMES = {"onnxruntime", "openvino"}
CLOSED_PORT = "http://127.0.0.1:9"
"""Proxy that takes no connection, so that nothing leaves this machine whatever a runtime tries."""
RUN = f"""
import onnxruntime, openvino
onnxruntime.InferenceSession({str(OPINION_MODEL)!r}, providers=["CPUExecutionProvider"])
openvino.Core()
"""


def users() -> dict[Path, set[str]]:
    """Return the modules of the product that import a runtime, and which."""
    found = {}
    for folder in PRODUCT:
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            names = {
                name.split(".")[0]
                for node in tree
                if isinstance(node, ast.Import | ast.ImportFrom)
                for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
            }
            if names & RUNTIMES:
                found[file] = names & RUNTIMES
    return found


def first_statements(file: Path) -> list[str]:
    """Return the statements of a module up to its first import of a runtime, as text."""
    texts = [ast.unparse(node) for node in ast.parse(file.read_text(encoding="utf-8")).body]
    end = next((i for i, text in enumerate(texts) if RUNTIMES & set(text.replace(".", " ").split())), len(texts))
    return texts[:end]


def test_every_module_that_imports_a_runtime_forbids_it_first() -> None:
    """Its package does, which Python imports before the module; Triton reads a backend's model as a file alone."""
    modules = users()
    assert len(modules) > 8
    for file in modules:
        package = next(part for part in file.relative_to(ROOT).parts if part.startswith("glioserve_"))
        at_first = (
            file if "backends" in file.parts else next(p for p in file.parents if p.name == package) / "__init__.py"
        )
        assert "forbid_telemetry()" in first_statements(at_first), file


def traces_of(code: str, home: Path) -> list[str]:
    """Return the files that runtimes leave in the home folder to report by: identities, queues and counts."""
    variables = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "CI")}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), CLOSED_PORT)
    environment = {**variables, **proxies, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, timeout=120)
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "package", ["glioserve_preprocess", "glioserve_export", "glioserve_training", "glioserve_triton"]
)
def test_a_runtime_leaves_nothing_to_report_by(package: str, tmp_path: Path) -> None:
    assert traces_of(f"import {package}\n{RUN}", tmp_path) == []


def test_a_runtime_that_is_not_forbidden_would_be_seen(tmp_path: Path) -> None:
    """The check above can fail: this is what the runtimes do by default."""
    found = traces_of(RUN, tmp_path)
    assert any("onnxruntime" in name for name in found)
    assert any("openvino" in name for name in found)
