"""Output whose reader has gone, as in ``glioserve … | head``: no command takes it for a failure of its own."""

from __future__ import annotations

import os
import signal
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from glioserve_cli.main import main
from glioserve_cli.pacs import command
from glioserve_contract import ErrorCode
from glioserve_watch.audit.chain import Chain
from glioserve_watch.audit.files import AUDIT_FOLDER
from glioserve_watch.audit.lines import EVENT
from support.pacs.pacs_fakes import OpenedAnswers
from support.results.answers import small_answer
from support.scripts import ROOT
from support.server.fake_server import Answer, FakeServer
from support.studies.dicom_files import file_bytes, mr_dataset

GONE = 128 + signal.SIGPIPE


def run_unread(*arguments: str) -> int:
    """Exit code of a command whose output is a pipe that is read no more."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as output, redirect_stdout(output):
        return main(list(arguments))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(file_bytes(mr_dataset()))
    return folder


@pytest.mark.parametrize("times", [1, 2])
def test_predict(study: Path, times: int, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(*[Answer(small_answer())] * times) as server:
        assert run_unread("predict", *[str(study)] * times, "--url", server.url, "--json") == GONE
    assert "Broken pipe" not in capsys.readouterr().err


def test_audit_show(tmp_path: Path) -> None:
    log = Chain(tmp_path / AUDIT_FOLDER, software="glioserve", code=ErrorCode.INVALID_STUDY_LOG)
    log.append([(EVENT, {"event": "stored"})])
    log.close()
    assert run_unread("audit", "show", str(tmp_path)) == GONE


def test_pacs(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "Answering", OpenedAnswers)
    words = ["pacs", "--source", f"folder:{study}", "--store-to", f"folder:{tmp_path / 'out'}", "--once", "--stable-s"]
    words += ["0", "--state", str(tmp_path / "state"), "--recipe", str(ROOT / "examples/demo_model/recipe.json")]
    assert run_unread(*words, "--url", "localhost:1") == GONE
