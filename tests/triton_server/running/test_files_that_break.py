"""Files that a running server reads again are damaged, swapped or taken away: it goes on with what it has loaded."""

from __future__ import annotations

import os
import shutil
import signal
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

import pytest

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.reference_case import REFERENCE_CASE_FILE, score_of
from glioserve_triton.adapters.served_versions import ServedVersions
from glioserve_triton.process.server import TritonServer
from glioserve_triton.reference_case import ServedCases
from glioserve_triton.served.versions import load_manifest
from glioserve_triton.stubs import stubs_of
from glioserve_triton.supervisor.questions import Question
from support.models.served_cases import LOGITS, RECIPE, with_case
from support.server.serve import polled, serving
from support.server.triton import running_server, wait_until

Damage = Callable[[Path], None]


def half_written(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def link_to_itself(file: Path) -> None:
    """Any access fails with an error of the system, as on a stale mount."""
    file.unlink()
    file.symlink_to(file.name)


DAMAGES: dict[str, Damage] = {
    "half written": half_written,
    "a folder in its place": a_folder,
    "gone": Path.unlink,
    "not accessible": link_to_itself,
}


@pytest.fixture(scope="module")
def server_with_case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with running_server(with_case(tmp_path_factory.mktemp("cases") / "repository")) as running:
        yield running


@pytest.mark.triton
@pytest.mark.parametrize("name", ["manifest.json", REFERENCE_CASE_FILE])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_case_is_asked_as_it_was_read_first(
    server_with_case: TritonServer, tmp_path: Path, name: str, damage: str
) -> None:
    """Only what the server answers counts against a version, never a file that breaks later."""
    url, classifier = server_with_case.grpc_url, tmp_path / "classifier"
    shutil.copytree(server_with_case.repository / "classifier", classifier)
    cases, late = ServedCases(classifier), ServedCases(classifier)
    wanted = cases.check(url)
    assert wanted == {"1": pytest.approx(score_of(LOGITS, RECIPE), abs=1e-6)}
    DAMAGES[damage](classifier / "1" / name)
    assert cases.check(url) == wanted
    unread: list[str] = []
    assert late.check(url, unread=lambda version, error: unread.append(error.token)) == {}
    assert unread == [ErrorCode.INVALID_MANIFEST.token]
    with pytest.raises(GlioserveError) as caught:
        late.check(url)
    assert caught.value.code is ErrorCode.INVALID_MANIFEST


@pytest.mark.triton
def test_a_classifier_is_repaired_although_its_manifest_has_broken(tmp_path: Path) -> None:
    repository = with_case(tmp_path / "repository")
    with serving(repository) as serve:
        serve.grpc_url()
        half_written(repository / "classifier" / "1" / "manifest.json")
        a_folder(repository / "classifier" / "1" / REFERENCE_CASE_FILE)
        killed = next(s.pid for s in stubs_of(serve.server_pid()).values() if s.model == "classifier")
        os.kill(killed, signal.SIGKILL)
        serve.line("repaired model=classifier")
        statuses = polled(serve, ["/readyz"])
        wait_until(lambda: next(statuses) == HTTPStatus.OK, "ready")
        shutil.rmtree(repository)
        with urllib.request.urlopen(serve.probe_url("/metrics"), timeout=10) as page:
            assert page.status == HTTPStatus.OK
        serve.process.terminate()
        assert serve.end() == 0


@pytest.mark.triton
def test_a_swapped_network_does_not_come_back_by_a_repair(repository: Path) -> None:
    """Also where the version has no reference case: its manifest, as it was read first, tells."""
    with serving(repository) as serve:
        serve.grpc_url()
        network = next((repository / "classifier" / "1").glob("*.onnx"))
        network.write_bytes(network.read_bytes() + b"\x82\x01\x00")  # an unknown field: another file that still loads
        killed = next(s.pid for s in stubs_of(serve.server_pid()).values() if s.model == "classifier")
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: serve.process.poll() is not None, "the server has ended", timeout_s=60.0)
        assert serve.end() == os.EX_TEMPFAIL
        assert f"{network.name} of version 1 is not the file the manifest names" in serve.log


@pytest.mark.triton
def test_the_token_of_a_run_may_be_taken_by_a_cleaner(repository: Path) -> None:
    with running_server(repository) as server:
        before = server.own_parameters
        (server.process.run.path / "own-requests").unlink()
        assert server.own_parameters == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_answers_are_told_apart_while_a_manifest_is_broken(tmp_path: Path, damage: str) -> None:
    """Also those of a version that came after the first one broke."""
    classifier = with_case(tmp_path / "repository", versions=(1,)) / "classifier"
    other = with_case(tmp_path / "other", versions=(1, 2)) / "classifier" / "2"
    versions = ServedVersions(classifier)
    weights = load_manifest(classifier / "1").weights_digest
    DAMAGES[damage](classifier / "1" / "manifest.json")
    other.rename(classifier / "2")
    with pytest.raises(GlioserveError) as caught:
        versions.find("sha256:" + "0" * 64)
    assert caught.value.code is ErrorCode.UNKNOWN_MODEL
    assert versions.numbers == ("1", "2")
    assert versions.find(weights).version == "2"


def test_a_question_that_cannot_be_asked_says_nothing_of_the_server() -> None:
    def ask() -> int:
        raise OSError(24, "Too many open files")

    with ThreadPoolExecutor(1) as pool:
        question: Question[int] = Question(pool, ask, 0.0)
        wait_until(lambda: question.answer() is None and question.failures == 2, "asked twice")
        assert question.failure == "OSError: [Errno 24] Too many open files"
        question._ask = lambda: 7
        wait_until(lambda: question.answer() == 7, "asked again")
        assert question.failures == 0
