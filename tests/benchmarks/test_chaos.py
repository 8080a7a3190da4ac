"""A short form of ``make chaos``: one fault and a few hostile requests, on the real server with the demo model."""

import shutil
import subprocess

import pytest

pytestmark = [pytest.mark.triton, pytest.mark.long]


def test_no_study_is_lost_and_no_stranger_is_let_in(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    allowed = shutil.which("unshare") and subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    if not allowed or allowed.returncode != 0:
        pytest.skip("a mount namespace of its own needs unshare and the right to use it")
    from chaos import bench_chaos

    arguments = ["--callers", "1", "--hostile", "100", "--only", "kill -9 of the gateway"]
    monkeypatch.setattr("sys.argv", ["bench_chaos.py", *arguments])
    assert bench_chaos.main() == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert "kill -9 of the gateway" in printed
    assert "100 hostile requests" in printed
