"""Rules of who may import whom, held against every import statement of every package, those inside functions too."""

import ast
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "glioserve_contract": "client",
    "glioserve_dicom": "client",
    "glioserve_client": "client",
    "glioserve_preprocess": "preprocess_service",
    "glioserve_watch": "preprocess_service",
    "glioserve_triton": "preprocess_service",
    "glioserve_pacs": "pacs",
    "glioserve_networks": "training",
    "glioserve_phantom": "training",
    "glioserve_training": "training",
    "glioserve_export": "export",
    "glioserve_tensorrt": "export",
    "glioserve_registry": "export",
    "glioserve_evaluation": "export",
    "glioserve_cli": "cli",
}
FLOORS = (
    {"glioserve_contract"},
    {"glioserve_dicom"},
    {"glioserve_client", "glioserve_preprocess", "glioserve_watch"},
    {"glioserve_triton", "glioserve_pacs", "glioserve_networks", "glioserve_phantom"},
    {"glioserve_training", "glioserve_export"},
    {"glioserve_tensorrt", "glioserve_registry"},
    {"glioserve_evaluation"},
    {"glioserve_cli"},
)
"""A package imports from the floors below its own, never from its own floor or from one above."""
MAY_IMPORT = {
    package: set().union(*FLOORS[:number], {package}) for number, floor in enumerate(FLOORS) for package in floor
}
BASE_DEPENDENCIES = {"numpy", "pydicom", "grpc", "google", "nibabel", "PIL", "jinja2"}
TRITON_ONLY = "triton_python_backend_utils"
MOST_LINES = 400
MOST_FILES = 12
SMALL_FOLDERS = ("benchmarks", "scripts", "tests")
"""Folders beside the packages whose folders hold no more files than a package's."""


def files_of(package):
    """The package's Python files."""
    return sorted((ROOT / FOLDERS[package] / package).rglob("*.py"))


def module_of(path):
    """The dotted name under which a file is imported."""
    parts = next(path.relative_to(ROOT / f).with_suffix("").parts for f in FOLDERS.values() if _within(path, f))
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _within(path, folder):
    return path.is_relative_to(ROOT / folder)


def imports(path, modules=frozenset()):
    """The dotted name of every import in a file; a name from a package is its module where it is one of ``modules``."""
    yield from imports_of(ast.parse(path.read_text(encoding="utf-8")), path, modules)


def imports_of(tree, path, modules=frozenset()):
    """The imports of a parsed file, as :func:`imports` gives them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module


def top_level_imports(package):
    return {name.split(".")[0] for path in files_of(package) for name in imports(path)}


def test_the_table_names_every_package():
    found = {p.parent.name for folder in set(FOLDERS.values()) for p in (ROOT / folder).glob("*/__init__.py")}
    assert found == set(FOLDERS) == set(MAY_IMPORT)


@pytest.mark.parametrize("package", FOLDERS)
def test_no_import_runs_back_up(package):
    wrong = [
        (str(path.relative_to(ROOT)), name)
        for path in files_of(package)
        for name in imports(path)
        if name.split(".")[0] in FOLDERS and name.split(".")[0] not in MAY_IMPORT[package]
    ]
    assert wrong == []


def test_no_two_files_import_each_other():
    """No circle of files, however long; an import inside a function counts as any other."""
    paths = {module_of(path): path for package in FOLDERS for path in files_of(package)}
    graph = {
        module: {name for name in imports(path, paths.keys()) if name in paths and name != module}
        for module, path in paths.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"files import each other: {' <- '.join(error.args[1])}")


def test_a_circle_of_files_would_be_found(tmp_path):
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}}
    with pytest.raises(CycleError):
        TopologicalSorter(graph).prepare()


def test_the_contract_needs_the_standard_library_only():
    assert top_level_imports("glioserve_contract") - set(sys.stdlib_module_names) - {"glioserve_contract"} == set()


def test_the_contract_touches_no_file_and_no_process():
    """It neither opens a file nor takes a path: reading belongs to the floors above. Types alone touch nothing."""
    forbidden = {"pathlib", "os", "io", "shutil", "subprocess", "socket", "tempfile"}
    for path in files_of("glioserve_contract"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for_types = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
        tree.body = [node for node in tree.body if node not in for_types]
        assert {name.split(".")[0] for name in imports_of(tree, path)} & forbidden == set(), path


@pytest.mark.parametrize("package", ["glioserve_dicom", "glioserve_client"])
def test_the_client_needs_the_base_dependencies_only(package):
    """All but ``filing`` and pytest's plugin, each a place of its own that nothing else in the client imports.

    ``telemetry`` imports prometheus-client where an application hands in a registry, and OpenTelemetry never.
    """
    allowed = set(sys.stdlib_module_names) | BASE_DEPENDENCIES | MAY_IMPORT[package]
    for path in files_of(package):
        filing = path.parent.name == "filing"
        extra = {"highdicom"} if filing else {"pytest"} if path.name == "plugin.py" else set()
        extra |= {"prometheus_client"} if path.parent.name == "telemetry" else set()
        assert {name.split(".")[0] for name in imports(path)} - allowed <= extra, path
        apart = ("glioserve_client.testing.plugin", *(() if filing else ("glioserve_client.filing",)))
        assert not any(name.startswith(apart) for name in imports(path)), path


def test_only_adapters_import_tritons_own_module():
    users = {
        str(path.relative_to(ROOT))
        for package in FOLDERS
        for path in files_of(package)
        if f"import {TRITON_ONLY}" in path.read_text(encoding="utf-8")
    }
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
    paths = [p for package in FOLDERS for p in files_of(package)]
    lines = {str(p): len(p.read_text(encoding="utf-8").splitlines()) for p in paths}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_folders_are_small():
    paths = [path for package in FOLDERS for path in files_of(package)]
    paths += [path for folder in SMALL_FOLDERS for path in (ROOT / folder).rglob("*.py")]
    files = Counter(str(path.parent.relative_to(ROOT)) for path in paths)
    assert set(SMALL_FOLDERS) <= {folder.split("/")[0] for folder in files}
    assert {folder: count for folder, count in files.items() if count > MOST_FILES} == {}
