"""The bridge between a real PACS (Debian's Orthanc) and a real server, over DICOMweb and over DIMSE."""

from __future__ import annotations

import io
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from glioserve_cli.main import main
from glioserve_triton.process.server import TritonServer
from glioserve_watch.audit.files import AUDIT_FOLDER, files_of
from glioserve_watch.audit.read import lines_in
from glioserve_watch.audit.verify import verify
from support.pacs.orthanc import AE_TITLE, BRIDGE_AE_TITLE, PASSWORD, USER, Orthanc, running_orthanc
from support.pacs.pacs_studies import PacsStudy, pacs_study
from support.pacs.stored import check_results, results_of
from support.scripts import ROOT
from support.server.triton import wait_until

pytestmark = [pytest.mark.triton, pytest.mark.long]
RECIPE = ROOT / "examples" / "demo_model" / "recipe.json"


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="module")
def password(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secret") / "password"
    file.write_text(f"{USER}:{PASSWORD}\n")
    return file


def test_a_study_over_dicomweb_with_slices_that_come_late(
    pacs: Orthanc, server: TritonServer, password: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = pacs_study(1)
    where = ["--source", pacs.url, "--pacs-password-file", str(password), "--state", str(tmp_path / "state")]
    where += ["--url", server.grpc_url, "--recipe", str(RECIPE), "--once", "--stable-s", "0"]

    def run(*more: str) -> int:
        return main(["pacs", *where, *more])

    t2 = next(name for name in study.series if "t2" in name.lower() and "flair" not in name.lower())
    for name, files in study.series.items():
        for file in [] if name == t2 else files:
            pacs.send(file)
    named = ("--study", study.study_instance_uid)
    assert run(*named) == 4
    assert "GLIO-1301" in capsys.readouterr().out
    for file in study.series[t2][:-2]:
        pacs.send(file)
    assert run() == 0  # it looks for new studies
    (first,) = check_results(pacs, study, answers=1)
    assert run() == 0
    check_results(pacs, study, answers=1)
    for file in study.series[t2]:  # two are new
        pacs.send(file)
    assert run() == 0
    earlier, later = check_results(pacs, study, answers=2)
    assert earlier.SOPInstanceUID == first.SOPInstanceUID
    (predecessor,) = later.PredecessorDocumentsSequence
    (referenced,) = predecessor.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert referenced.ReferencedSOPInstanceUID == first.SOPInstanceUID
    lines = list(lines_in(tmp_path / "state" / AUDIT_FOLDER))
    log = "\n".join(text for text, _ in lines)
    assert study.study_instance_uid not in log
    assert study.patient_id not in log
    assert Counter(line.body.get("event") for _, line in lines)["stored"] == 2


def test_a_study_over_dimse_by_its_accession_number(
    pacs: Orthanc, server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = pacs_study(2)
    for file in study.files():
        pacs.send(file)
    command = ["pacs", "--source", f"dimse://{AE_TITLE}@127.0.0.1:{pacs.dicom_port}", "--ae-title", BRIDGE_AE_TITLE]
    command += ["--listen", f"127.0.0.1:{pacs.bridge_port}", "--accession", study.accession_number, "--once"]
    command += ["--state", str(tmp_path / "state"), "--url", server.grpc_url, "--recipe", str(RECIPE)]
    assert main([*command, "--stable-s", "0"]) == 0, capsys.readouterr()
    check_results(pacs, study, answers=1)


class Bridge:
    """``glioserve pacs`` as a process over one state folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder, self._arguments = folder, arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / AUDIT_FOLDER

    def start(self) -> None:
        command = [sys.executable, "-m", "glioserve_cli.main", "pacs", "--state", str(self._folder), *self._arguments]
        with (self._folder.parent / "bridge.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)

    def events(self) -> Counter[str]:
        files = files_of(self.log) if self.log.exists() else []
        lines = [line for file in files for line in file.path.read_bytes().split(b"\n")[:-1]]
        return Counter(event["event"] for line in lines if (event := json.loads(line).get("event")))


@pytest.mark.slow
def test_a_study_that_the_pacs_sends_is_answered(
    pacs: Orthanc, server: TritonServer, password: Path, tmp_path: Path
) -> None:
    """C-STORE in behind the allow-list, with the sender's own AE title; results by STOW-RS."""
    (state := tmp_path / "state").mkdir()
    bridge = Bridge(
        state,
        *("--source", "received", "--listen", f"127.0.0.1:{pacs.bridge_port}", "--allow", f"{AE_TITLE}@127.0.0.1"),
        *("--ae-title", BRIDGE_AE_TITLE, "--store-to", pacs.url, "--pacs-password-file", str(password)),
        *("--url", server.grpc_url, "--recipe", str(RECIPE), "--stable-s", "2", "--poll-s", "1"),
    )
    study = pacs_study(3)
    for file in study.files():
        pacs.send(file)
    (found,) = pacs.find("Study", StudyInstanceUID=study.study_instance_uid)
    bridge.start()
    try:
        wait_until(lambda: pacs.sends(found["ID"]), "the PACS sends the study", timeout_s=120, poll_s=1)
        wait_until(lambda: bridge.events()["stored"] == 1, "the answer is stored", timeout_s=300, poll_s=0.5)
        check_results(pacs, study, answers=1)
    finally:
        assert bridge.stop() == 0
    assert len(list((state / "images").iterdir())) == 1  # no other place has them: they stay for a while


STUDIES, STABLE_S, DOWN_S = 20, 3.0, 60.0


@pytest.mark.slow
def test_twenty_studies_late_twice_and_out_of_order_through_kills_and_a_pacs_that_is_down(
    server: TritonServer, password: Path, tmp_path: Path
) -> None:
    """Every study is answered once, and its results are stored once and can be read back."""
    (folder := tmp_path / "pacs").mkdir()
    with running_orthanc(folder) as pacs:
        scenario(pacs, server, password, tmp_path / "state")


def scenario(pacs: Orthanc, server: TritonServer, password: Path, state: Path) -> None:
    state.mkdir()
    bridge = Bridge(
        state,
        *("--source", pacs.url, "--pacs-password-file", str(password), "--url", server.grpc_url),
        *("--recipe", str(RECIPE), "--stable-s", str(STABLE_S), "--poll-s", "1", "--timeout-s", "300"),
    )
    studies = [pacs_study(100 + number) for number in range(STUDIES)]
    for study in studies:
        assert results_of(pacs, study) == []
    asked_before = asked(server)
    began = time.monotonic()
    bridge.start()
    sending = threading.Thread(target=send_all, args=(pacs, studies))
    sending.start()

    def until(condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, what, timeout_s=900, poll_s=0.2)

    def kill_and_start() -> None:
        nonlocal kills
        kills += 1
        bridge.kill()
        bridge.start()

    kills = 0
    until(lambda: bridge.events()["stored"] >= 3, "three are stored")
    kill_and_start()
    until(lambda: bridge.events()["answered"] >= 6, "six are answered")
    kill_and_start()  # between an answer and its storing, as like as not
    sending.join()
    until(lambda: bridge.events()["stored"] >= 8, "eight are stored")
    pacs.stop()
    time.sleep(DOWN_S / 2)
    kill_and_start()  # while the PACS is down
    time.sleep(DOWN_S / 2)
    pacs.start()
    until(lambda: bridge.events()["stored"] >= 12, "twelve are stored")
    kill_and_start()
    until(lambda: bridge.events()["stored"] >= STUDIES, "all are stored")
    time.sleep(3 * STABLE_S)  # its own results trigger nothing
    events = bridge.events()
    assert bridge.stop() == 0
    for study in studies:
        (report,) = check_results(pacs, study, answers=1)
        assert "PredecessorDocumentsSequence" not in report
        references = {str(item.ReferencedSOPInstanceUID) for item in evidence(report)}
        images = {
            str(pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True).SOPInstanceUID) for file in study.files()
        }
        assert images <= references
    assert verify(bridge.log).problems == []
    assert events["stored"] == STUDIES
    assert events["refused"] == 0
    print(
        f"\n{STUDIES} studies in {time.monotonic() - began:.0f} s, of which the PACS was down {DOWN_S:.0f} s; bridge "
        f"killed {kills} times; the server answered {asked(server) - asked_before:.0f} times; {events['stored']} "
        f"answers stored once each; found incomplete: {events['incomplete']}; postponed: {events['postponed']}"
    )


def asked(server: TritonServer) -> float:
    """Number of studies that the server has answered."""
    with urllib.request.urlopen(server.metrics_url, timeout=10) as page:
        text = page.read().decode()
    (value,) = re.findall(r'nv_inference_request_success\{model="glioma",version="1"\} (\S+)', text)
    return float(value)


def evidence(report: Dataset) -> list[Dataset]:
    """Images that a report names as what it was made from."""
    return [
        item
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]


def send_all(pacs: Orthanc, studies: list[PacsStudy]) -> None:
    """Send series and images in a shuffled order; some images twice, and one series of each third study late."""
    order = random.Random(5)
    late, parts = [], []
    for number, study in enumerate(studies):
        names = list(study.series)
        order.shuffle(names)
        for position, name in enumerate(names):
            files = list(study.series[name])
            order.shuffle(files)
            if number % 4 == 1:
                files += files[: len(files) // 2]  # a part of it twice
            (late if number % 3 == 0 and position == 0 else parts).append(files)
    order.shuffle(parts)
    for files in parts:
        for file in files:
            pacs.send(file)
    time.sleep(3 * STABLE_S)  # those studies have become stable meanwhile, and are not complete
    for files in late:
        for file in files:
            pacs.send(file)
