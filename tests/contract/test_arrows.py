"""Who may import whom. Every import statement of every package is read, the lazy ones in functions too."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "glioserve_contract": "client",
    "glioserve_client": "client",
    "glioserve_cli": "client",
    "glioserve_preprocess": "preprocess_service",
    "glioserve_triton": "preprocess_service",
    "glioserve_export": "export",
    "glioserve_networks": "training",
    "glioserve_training": "training",
}
MAY_IMPORT = {
    "glioserve_contract": set(),
    "glioserve_client": {"glioserve_contract"},
    "glioserve_preprocess": {"glioserve_contract"},
    "glioserve_triton": {"glioserve_contract"},
    "glioserve_networks": {"glioserve_contract"},
    "glioserve_export": {"glioserve_contract", "glioserve_preprocess", "glioserve_networks"},
    "glioserve_training": {"glioserve_contract", "glioserve_preprocess", "glioserve_networks"},
    "glioserve_cli": set(FOLDERS),
}
BASE_DEPENDENCIES = {"numpy", "pydicom", "tritonclient", "nibabel", "PIL", "grpc"}
TRITON_ONLY = "triton_python_backend_utils"


def imports(package):
    """(file, top-level name) of every import in a package."""
    for path in sorted((ROOT / FOLDERS[package] / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                yield path, node.module.split(".")[0]


def test_the_table_names_every_package():
    found = {p.parent.name for folder in set(FOLDERS.values()) for p in (ROOT / folder).glob("*/__init__.py")}
    assert found == set(FOLDERS) == set(MAY_IMPORT)


@pytest.mark.parametrize("package", FOLDERS)
def test_arrows(package):
    allowed = MAY_IMPORT[package] | {package}
    wrong = [(str(path), name) for path, name in imports(package) if name in FOLDERS and name not in allowed]
    assert wrong == []


def test_the_contract_needs_the_standard_library_only():
    wrong = {name for _, name in imports("glioserve_contract")} - set(sys.stdlib_module_names) - {"glioserve_contract"}
    assert wrong == set()


def test_the_client_needs_the_base_dependencies_only():
    known = set(sys.stdlib_module_names) | BASE_DEPENDENCIES | {"glioserve_client", "glioserve_contract"}
    assert {name for _, name in imports("glioserve_client")} - known == set()


def test_only_adapters_import_tritons_own_module():
    files = [
        p for folder in ("client", "preprocess_service", "export", "training") for p in (ROOT / folder).rglob("*.py")
    ]
    users = {str(p.relative_to(ROOT)) for p in files if f"import {TRITON_ONLY}" in p.read_text(encoding="utf-8")}
    backends = "preprocess_service/glioserve_triton/backends"
    assert users == {f"{backends}/onnxruntime/model.py", f"{backends}/openvino/model.py"}


def test_adapters_are_thin():
    adapters = list((ROOT / "model_repository").glob("*/1/model.py"))
    assert len(adapters) == 2
    backends = list((ROOT / "preprocess_service/glioserve_triton/backends").glob("*/model.py"))
    assert len(backends) == 2
    for path in (*adapters, *backends):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 90, path


def test_modules_are_small():
    long = {
        str(path): lines
        for folder in set(FOLDERS.values())
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400 and path.name != "errors.py"
    }
    assert long == {}
