"""``glioserve pacs``: options that do not fit, exit codes, folders as mercure calls, one process a state folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from glioserve_cli.main import main
from glioserve_cli.pacs import command
from glioserve_pacs.answering import Made
from support.pacs.pacs_fakes import OpenedAnswers
from support.scripts import ROOT
from support.studies.dicom_files import file_bytes, mr_dataset

RECIPE = ROOT / "examples" / "demo_model" / "recipe.json"
STUDY = "1.2.840.99999.7"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with a study of one image, and one for results."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(file_bytes(mr_dataset(StudyInstanceUID=STUDY, PatientName="Doe^Jane")))
    return tmp_path / "in", tmp_path / "out"


def run(tmp_path: Path, *arguments: str) -> int:
    return main(["pacs", "--state", str(tmp_path / "state"), "--recipe", str(RECIPE), *arguments])


def of_folders(folders: tuple[Path, Path]) -> tuple[str, ...]:
    source, results = folders
    where = ("--source", f"folder:{source}", "--store-to", f"folder:{results}", "--url", "localhost:1")
    return (*where, "--once", "--stable-s", "0")


class Server(OpenedAnswers):
    """A server that answers any study of DICOM files."""

    def answer(self, folder: Path, predecessor: Any, study_instance_uid: str) -> Made:
        (names := folder.parent / "names").mkdir()
        (names / "a").write_text("t1 1")
        return super().answer(names, predecessor, study_instance_uid)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--source", "received"), "--url names the server"),
        (("--source", "received", "--url", "h:1"), "needs --listen and --store-to"),
        (("--source", "folder:/x", "--url", "h:1", "--once"), "--store-to is needed"),
        (("--source", "folder:/x", "--url", "h:1", "--store-to", "folder:/y"), "--once"),
        (("--source", "https://h/d", "--url", "h:1", "--mercure", "--once"), "--mercure needs"),
        (("--source", "elsewhere", "--url", "h:1"), "A place is"),
        (("--source", "dimse://PACS:104", "--url", "h:1"), "A place is"),
        (("--source", f"dimse://{'A' * 17}@h:104", "--url", "h:1"), "AE title"),
        (("--source", "http://h/d", "--url", "h:1", "--pacs-cert", "a.pem"), "both the certificate and its key"),
        (
            ("--source", "received", "--url", "h:1", "--store-to", "https://h/d", "--listen", "127.0.0.1:0"),
            "takes images from no one",
        ),
    ],
)
def test_options_that_do_not_fit_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert run(tmp_path, *arguments) == 1
    error = capsys.readouterr().err
    assert "GLIO-5138" in error
    assert said in error


@pytest.mark.parametrize(
    "arguments",
    [
        ("--allow", "PACS"),
        ("--listen", "11112"),
        ("--ae-title", "A" * 17),
        ("--stable-s", "-1"),
        ("--pacs-token-file", "/no/such/file"),
        ("--pacs-token-file", "/dev/null", "--pacs-password-file", "/dev/null"),
    ],
)
def test_malformed_arguments_are_usage_errors(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, "--source", "received", *arguments)
    assert caught.value.code == 2


def test_an_incomplete_study_has_its_exit_code_and_tells_mercure(
    tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, *of_folders(folders), "--mercure") == 4
    result = json.loads((folders[1] / "result.json").read_text())
    assert result["code"].startswith("GLIO-13")
    assert result["__mercure_notification"]["requested"] is True
    events = [json.loads(line)["event"]["event"] for line in capsys.readouterr().out.splitlines()]
    assert events == ["images seen", "incomplete"]


def test_a_folder_of_mercure_gets_results_and_result_json(
    tmp_path: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "Answering", Server)
    monkeypatch.setattr(command, "choice_of", lambda folder, recipe: "chosen")
    assert run(tmp_path, *of_folders(folders), "--mercure") == 0
    assert len(list(folders[1].glob("*.dcm"))) == 2
    result = json.loads((folders[1] / "result.json").read_text())
    assert (result["score"], result["label"]) == (pytest.approx(0.87), "recurrence")
    assert result["__mercure_notification"]["requested"] is False
    assert "recurrence" in result["__mercure_notification"]["text"]
    assert "Doe" not in json.dumps(result) + capsys.readouterr().out
    assert run(tmp_path, *of_folders(folders)) == 0  # it is answered already
    assert "answered" not in [json.loads(line)["event"]["event"] for line in capsys.readouterr().out.splitlines()]


def test_a_pacs_that_is_not_there_has_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ("--source", "http://127.0.0.1:1/dicom-web", "--url", "localhost:1", "--once")
    assert run(tmp_path, *source) == 3
    assert "GLIO-4201" in capsys.readouterr().err


def test_one_process_uses_a_state_folder(
    tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir()
    with FileLock(tmp_path / "state" / command.LOCK):
        assert run(tmp_path, *of_folders(folders)) == 1
        assert "GLIO-5139" in capsys.readouterr().err
        assert run(tmp_path, *of_folders(folders), "--dry-run") == 4  # it only looks
    (tmp_path / "state" / command.DATABASE).write_bytes(b"no database" * 100)
    assert run(tmp_path, *of_folders(folders)) == 1
    assert "GLIO-5139" in capsys.readouterr().err


def test_dry_run_leaves_no_trace_of_a_study(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    assert run(tmp_path, *of_folders(folders), "--dry-run") == 4
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"audit.key"}
    assert not folders[1].exists()


def test_metrics_are_served(tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, *of_folders(folders), "--metrics-port", "0") == 4
    assert "metrics on port" in capsys.readouterr().err
