"""``glioserve predict`` from its arguments to its exit code."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from glioserve_cli.main import main
from glioserve_cli.serving.failures import EXIT_CODES
from glioserve_contract import ErrorCode, GlioserveError
from support.results.answers import outputs_of, report_of, small_answer
from support.server.fake_server import Answer, Fail, FakeServer
from support.studies.dicom_files import file_bytes, mr_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    for number in range(2):
        (folder / f"IM{number}").write_bytes(file_bytes(mr_dataset()))
    return folder


def test_an_answer_on_the_screen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(Answer(small_answer())) as server:
        assert main(["predict", str(folder), "--url", server.url]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Probability of recurrence  0.870")
    assert "Not for clinical use" in out
    assert err == ""
    assert server.requests[0].inputs["INSTANCES"].shape == (2,)


def test_json_is_the_report_and_nothing_else(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(Answer(small_answer())) as server:
        assert main(["predict", str(folder), "--url", server.url, "--json", "--out", str(tmp_path / "out")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(small_answer()["REPORT"][0])
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


def test_files_are_left_and_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(Answer(small_answer())) as server:
        assert main(["predict", str(folder), "--url", server.url, "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    for name in ("report.json", "report.html", "heatmap.nii.gz", "overlay.png"):
        assert (tmp_path / "out" / name).is_file()
        assert str(tmp_path / "out" / name) in out
    assert "is not shown" in err  # this study is not the one of the answer


def test_series_named_on_the_command_line_reach_the_server(folder: Path) -> None:
    with FakeServer(Answer(small_answer())) as server:
        named = ["--series", "t1=1.2.840.99999.1.7", "--series", "t1ce=1.2.840.99999.1.7#echo 2"]
        assert main(["predict", str(folder), "--url", server.url, *named]) == 0
    sent = json.loads(server.requests[0].parameters["series"])
    assert set(sent) == {"t1", "t1ce"}
    assert sent["t1ce"] == f"{sent['t1']}#echo 2"
    assert "99999" not in sent["t1"]


@pytest.mark.parametrize("named", ["t3=1.2.3", "t1", "t1="])
def test_a_series_named_wrongly_is_wrong_usage(folder: Path, named: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(folder), "--url", "127.0.0.1:1", "--series", named])
    assert caught.value.code == 2


def test_volumes_by_name_and_no_heat_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = []
    for name in ("t1", "t1ce"):
        nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4)), tmp_path / f"{name}.nii.gz")
        arguments.append(f"{name}={tmp_path / name}.nii.gz")
    report = report_of(None, np.eye(4), shape=(4, 5, 6))
    with FakeServer(Answer(outputs_of(report, None))) as server:
        assert main(["predict", *arguments, "--url", server.url, "--no-heatmap", "--model", "other"]) == 0
    (received,) = server.requests
    assert set(received.inputs) == {"T1", "T1_AFFINE", "T1CE", "T1CE_AFFINE"}
    assert "HEATMAP" not in received.outputs
    assert received.model == "other"
    assert "0.870" in capsys.readouterr().out


def test_identified_is_an_explicit_wish(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(Answer(small_answer())) as server:
        main(["predict", str(folder), "--url", server.url, "--identified"])
        main(["predict", str(folder), "--url", server.url])
    first, second = (received.inputs["INSTANCES"][0] for received in server.requests)
    assert first == (folder / "IM0").read_bytes()
    assert b"Zyxquist" in first
    assert b"Zyxquist" not in second
    assert "Zyxquist" not in capsys.readouterr().out


def test_a_refusal_is_one_line_an_object_and_exit_code_4(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = str(GlioserveError(ErrorCode.TOO_FEW_SLICES, "t1ce has 26 slices, the recipe asks for 32."))
    with FakeServer(Fail("INVALID_ARGUMENT", f"in ensemble 'glioma', {message}")) as server:
        assert main(["predict", str(folder), "--url", server.url, "--json"]) == 4
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "error": {
            "code": "GLIO-1303",
            "detail": "t1ce has 26 slices, the recipe asks for 32.",
            "action": ErrorCode.TOO_FEW_SLICES.row.action,
            "retry": "after a fix",
            "request_id": server.requests[0].request_id,
            "attempts": 1,
        }
    }
    assert err.splitlines()[-1] == message
    assert err.splitlines()[0] == f"request {server.requests[0].request_id}, attempts: 1"


def test_a_damaged_file_is_named_on_the_callers_own_screen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (folder / "IM1").read_bytes()
    (folder / "IM1").write_bytes(whole[:-10])
    assert main(["predict", str(folder), "--url", "127.0.0.1:1"]) == 4
    err = capsys.readouterr().err
    assert str(folder / "IM1") in err.splitlines()[0]
    assert err.splitlines()[-1].startswith("[GLIO-1202]")


def test_nobody_there_is_exit_code_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(Answer(small_answer())) as server:
        url = server.url
    assert main(["predict", str(folder), "--url", url, "--no-retry", "--timeout-s", "20"]) == 3
    assert "[GLIO-4101]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["t3=x.nii"],
        ["t1="],
        ["a/same", "b/same"],
        ["a", "b", "--series", "t1=1.2.3"],
        ["a", "--dicom-results"],
        ["a", "--fhir"],
        ["t1=a.nii", "t1=b.nii"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = [str(folder) if argument == "STUDY" else argument for argument in arguments]
    assert main(["predict", *named, "--url", "127.0.0.1:1"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("glioserve predict:")
    assert out == ""
    assert main(["predict", *named, "--url", "127.0.0.1:1", "--json"]) == 2
    out, again = capsys.readouterr()
    assert again == err
    error = json.loads(out)["error"]
    assert f"glioserve predict: {error['detail']}\n" == err
    assert (error["code"], error["retry"]) == ("", "no")


def test_a_folder_that_cannot_be_written_is_an_object_without_its_path(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Zyxquist").write_text("a file where the folder would be")
    with FakeServer(Answer(small_answer())) as server:
        arguments = [str(folder), "--url", server.url, "--json", "--out", str(tmp_path / "Zyxquist" / "out")]
        assert main(["predict", *arguments]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["detail"] == "Not a directory"


def test_a_mediums_dicomdir_stands_for_the_files_beside_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    medium = tmp_path / "medium"
    shutil.copytree(folder, medium / "IMAGES")
    directory = Dataset()
    directory.SOPClassUID, directory.SOPInstanceUID = MediaStorageDirectoryStorage, "1.2.3"
    (medium / "DICOMDIR").write_bytes(file_bytes(directory))
    with FakeServer(*[Answer(small_answer())] * 3) as server:
        assert main(["predict", str(medium / "DICOMDIR"), "--url", server.url]) == 0
        assert main(["predict", str(medium / "DICOMDIR"), str(folder), "--url", server.url, "--json"]) == 0
    assert server.requests[0].inputs["INSTANCES"].shape == (2,)
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert {json.loads(line)["study"] for line in lines} == {"medium", "study"}


def test_a_servers_fault_and_a_setting_have_exit_codes_of_their_own(folder: Path) -> None:
    codes = {ErrorCode.UNKNOWN_MODEL: ("INTERNAL", 1), ErrorCode.UNAUTHENTICATED: ("UNAUTHENTICATED", 5)}
    for code, (status, exit_code) in codes.items():
        with FakeServer(Fail(status, str(GlioserveError(code)))) as server:
            assert main(["predict", str(folder), "--url", server.url, "--no-retry"]) == exit_code, code


def test_many_studies_are_a_line_each_and_one_that_fails_does_not_end_the_rest(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second, empty, out = tmp_path / "second", tmp_path / "empty", tmp_path / "out"
    shutil.copytree(folder, second)
    empty.mkdir()
    with FakeServer(*[Answer(small_answer())] * 2) as server:
        arguments = [str(folder), str(empty), str(second), "--url", server.url, "--json", "--out", str(out)]
        assert main(["predict", *arguments]) == 4
    lines = {line["study"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert set(lines) == {"study", "empty", "second"}
    assert lines["study"]["report"]["score"] == lines["second"]["report"]["score"] == pytest.approx(0.87)
    assert lines["empty"]["error"]["code"] == "GLIO-1103"
    assert sorted(path.name for path in out.iterdir()) == ["second", "study"]
    assert (out / "second" / "report.json").is_file()


def test_many_studies_that_may_all_succeed_later_are_exit_code_3(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "second")
    with FakeServer(Answer(small_answer())) as server:
        url = server.url
    studies = [str(folder), str(tmp_path / "second")]
    assert main(["predict", *studies, "--url", url, "--no-retry", "--timeout-s", "20"]) == 3


def test_the_documented_exit_codes_are_those_of_the_command() -> None:
    text = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in text


@pytest.mark.parametrize("options", [[], ["--url", "http://x:1"], ["--url", "x:1", "--timeout-s", "0"]])
def test_wrong_options_are_argparses(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["predict", "study", *options])
    assert caught.value.code == 2


def test_help_needs_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["predict", "--help"])
    assert caught.value.code == 0
    assert "--no-heatmap" in capsys.readouterr().out


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    """Running ``glioserve doctor | head -1`` prints one line and no traceback."""
    command = [sys.executable, "-m", "glioserve_cli.main", "doctor"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 128 + signal.SIGPIPE
    assert told == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "server:8001", "--timeout-s", "0"], "--timeout-s: must be a number of seconds"),
        ([], "required: --url"),
        (["--url", "server:8001", "--tiemout-s", "5"], "unrecognized arguments: --tiemout-s"),
    ],
)
def test_wrong_arguments_are_an_object_where_json_is_asked_for(
    folder: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(folder), "--json", *arguments])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert said in json.loads(out)["error"]["detail"]
    assert said in err
    with pytest.raises(SystemExit):
        main(["predict", str(folder), *arguments])
    assert capsys.readouterr().out == ""


def test_a_nifti_file_needs_its_sequences_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file := tmp_path / "T1.NII.gz").write_bytes(b"")
    assert main(["predict", str(file), "--url", "server:8001"]) == 2
    assert f"name the sequence of a NIfTI file, as t1={file}" in capsys.readouterr().err
