"""Odd orders at a real PACS (Debian's Orthanc): each study is answered once, and its results are stored once."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from glioserve_cli.main import main
from glioserve_contract import ErrorCode
from glioserve_pacs.answering import Answering
from glioserve_pacs.archives.dicomweb import DicomWeb
from glioserve_triton.process.server import TritonServer
from glioserve_watch.audit.files import AUDIT_FOLDER
from glioserve_watch.audit.lines import EVENT
from glioserve_watch.audit.read import lines_in
from support.pacs.orthanc import AE_TITLE, BRIDGE_AE_TITLE, PASSWORD, USER, Orthanc, running_orthanc
from support.pacs.pacs_studies import PacsStudy, pacs_study
from support.pacs.stored import check_results, results_of
from support.scripts import ROOT

pytestmark = [pytest.mark.triton, pytest.mark.slow]
RECIPE = ROOT / "examples" / "demo_model" / "recipe.json"
STUDY_FAULT, CONNECTION, TRY_AGAIN, OTHER = 4, 5, 3, 1
"""Exit codes."""


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def over_web(pacs: Orthanc, server: TritonServer, tmp_path: Path) -> Callable[..., int]:
    """The bridge over DICOMweb, once, with further arguments."""
    password = tmp_path / "password"
    password.write_text(f"{USER}:{PASSWORD}\n")
    words = ["pacs", "--source", pacs.url, "--pacs-password-file", str(password), "--url", server.grpc_url]
    words += ["--recipe", str(RECIPE), "--once", "--stable-s", "0", "--poll-s", "1"]
    return lambda *more: main([*words, "--state", str(tmp_path / "state"), *more])


@pytest.fixture
def over_dimse(pacs: Orthanc, server: TritonServer, tmp_path: Path) -> Callable[..., int]:
    """The bridge over DIMSE, once, with further arguments."""
    words = ["pacs", "--source", f"dimse://{AE_TITLE}@127.0.0.1:{pacs.dicom_port}", "--url", server.grpc_url]
    words += ["--recipe", str(RECIPE), "--once", "--stable-s", "0", "--poll-s", "1"]
    own = ["--ae-title", BRIDGE_AE_TITLE, "--listen", f"127.0.0.1:{pacs.bridge_port}"]
    return lambda *more: main([*words, *own, "--state", str(tmp_path / "state"), *more])


def sent(pacs: Orthanc, number: int, **changes: Any) -> PacsStudy:
    study = pacs_study(number, **changes)
    for file in study.files():
        pacs.send(file)
    return study


def events(folder: Path) -> list[str]:
    return [str(line.body["event"]) for _, line in lines_in(folder / "state" / AUDIT_FOLDER) if line.kind == EVENT]


def uid_of(file: bytes) -> str:
    return str(pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True).SOPInstanceUID)


@pytest.mark.parametrize("way", ["over_web", "over_dimse"])
def test_two_studies_of_one_accession_number_are_both_answered(
    pacs: Orthanc, way: str, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(way)
    first = 500 if way == "over_web" else 510
    studies = [sent(pacs, first + number, accession_number=f"BOTH{first}") for number in range(2)]
    other = sent(pacs, first + 2, accession_number=f"BOTH{first}X")
    for _ in range(2):
        assert run("--accession", f"BOTH{first}") == 0
    for study in studies:
        check_results(pacs, study, answers=1)
    assert results_of(pacs, other) == []


@pytest.mark.parametrize("number", ["", "*", "BOTH50?", "BOTH500\\BOTH510"])
def test_an_accession_number_that_names_every_study_is_refused(over_web: Callable[..., int], number: str) -> None:
    with pytest.raises(SystemExit) as ended:
        over_web("--accession", number)
    assert ended.value.code == 2


def test_an_instance_that_is_deleted_between_query_and_fetch_delays_its_study(
    pacs: Orthanc, over_web: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = sent(pacs, 520)
    name = next(name for name in study.series if "t2" in name.lower())
    gone = uid_of(study.series[name][-1])
    fetch = DicomWeb.fetch

    def deleted_meanwhile(self: DicomWeb, *arguments: Any) -> None:
        pacs.remove("Instance", SOPInstanceUID=gone)
        fetch(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(DicomWeb, "fetch", deleted_meanwhile)
        assert over_web("--study", study.study_instance_uid) == TRY_AGAIN
    assert results_of(pacs, study) == []
    assert over_web("--study", study.study_instance_uid) == 0
    (report,) = check_results(pacs, study, answers=1)
    assert gone not in str(report)


def test_a_study_that_is_deleted_between_query_and_fetch_is_not_found(
    pacs: Orthanc, over_web: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = sent(pacs, 521)
    fetch = DicomWeb.fetch

    def deleted_meanwhile(self: DicomWeb, *arguments: Any) -> None:
        pacs.remove("Study", StudyInstanceUID=study.study_instance_uid)
        fetch(self, *arguments)

    monkeypatch.setattr(DicomWeb, "fetch", deleted_meanwhile)
    assert over_web("--study", study.study_instance_uid) == TRY_AGAIN
    assert over_web("--study", study.study_instance_uid) == CONNECTION  # GLIO-4203


@pytest.mark.parametrize("way", ["over_web", "over_dimse"])
def test_what_the_pacs_takes_of_an_answer_is_stored_and_the_rest_when_it_takes_it(
    pacs: Orthanc, way: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    run = request.getfixturevalue(way)
    study = sent(pacs, 530 if way == "over_web" else 531)
    pacs.take(all_but="SEG")
    try:
        assert run("--study", study.study_instance_uid) in (CONNECTION, TRY_AGAIN)
        assert len(results_of(pacs, study)) == 3
        assert "GLIO-420" in capsys.readouterr().out
    finally:
        pacs.take(all_but="")
    assert run("--study", study.study_instance_uid) == 0
    check_results(pacs, study, answers=1)


def test_a_move_of_which_an_image_fails_is_tried_again_until_it_comes(
    pacs: Orthanc, over_dimse: Callable[..., int]
) -> None:
    study = sent(pacs, 540)
    lost = study.files()[3]
    pacs.lose_file(uid_of(lost))
    assert over_dimse("--study", study.study_instance_uid) in (TRY_AGAIN, CONNECTION)
    assert results_of(pacs, study) == []
    pacs.remove("Instance", SOPInstanceUID=uid_of(lost))
    pacs.send(lost)
    assert over_dimse("--study", study.study_instance_uid) == 0
    check_results(pacs, study, answers=1)


def test_another_ae_title_or_pacs_after_a_restart_is_told_and_loses_nothing(
    pacs: Orthanc, over_dimse: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    study = sent(pacs, 550)
    named = ("--study", study.study_instance_uid)
    assert over_dimse(*named, "--ae-title", "UNKNOWN") in (TRY_AGAIN, CONNECTION)  # Orthanc breaks off
    assert over_dimse(*named, "--source", f"dimse://OTHER@127.0.0.1:{pacs.dicom_port}") == CONNECTION
    assert over_dimse(*named, "--source", f"dimse://{AE_TITLE}@127.0.0.1:1") == TRY_AGAIN
    assert capsys.readouterr().err.count("[GLIO-42") >= 2
    assert over_dimse(*named) == 0
    check_results(pacs, study, answers=1)


def test_a_series_that_arrives_while_its_study_is_answered_leads_to_an_answer_that_supersedes(
    pacs: Orthanc, over_web: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = pacs_study(560)
    name = next(name for name in study.series if "t2" in name.lower())
    late, named = study.series[name][-2:], ("--study", study.study_instance_uid)
    for file in study.files():
        if file not in late:
            pacs.send(file)
    answer = Answering.answer

    def arriving(self: Answering, *arguments: Any) -> Any:
        for file in late:
            pacs.send(file)
        return answer(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Answering, "answer", arriving)
        assert over_web(*named) == 0
    check_results(pacs, study, answers=1)
    for _ in range(2):
        assert over_web(*named) == 0
    first, second = check_results(pacs, study, answers=2)
    (predecessor,) = second.PredecessorDocumentsSequence
    (named,) = predecessor.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_results_that_are_there_already_are_not_stored_again(
    pacs: Orthanc, over_web: Callable[..., int], tmp_path: Path
) -> None:
    """A state folder that was lost, and a second bridge with a state of its own."""
    study = sent(pacs, 570)
    named = ("--study", study.study_instance_uid)
    assert over_web(*named) == 0
    (before,) = check_results(pacs, study, answers=1)
    assert over_web(*named, "--state", str(tmp_path / "another")) == 0
    (after,) = check_results(pacs, study, answers=1)
    assert before.SOPInstanceUID == after.SOPInstanceUID


def test_a_second_bridge_over_one_state_folder_ends_with_its_code(
    pacs: Orthanc, over_web: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = sent(pacs, 580)
    named = ("--study", study.study_instance_uid)
    ended: list[int] = []
    answer = Answering.answer

    def beside(self: Answering, *arguments: Any) -> Any:
        ended.append(over_web(*named))
        return answer(self, *arguments)

    monkeypatch.setattr(Answering, "answer", beside)
    assert over_web(*named) == 0
    assert ended == [OTHER]
    assert ErrorCode.BRIDGE_STATE.token in capsys.readouterr().err
    check_results(pacs, study, answers=1)
