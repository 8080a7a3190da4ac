"""The supervisor of ``glioserve serve`` while parts of a real server die, hang and grow."""

import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from glioserve_contract import ErrorCode
from glioserve_triton.stubs import stubs_of
from support.server.serve import TIMEOUT_S, Serve, serving
from support.server.tiny_repository import ask, expected_score, hold, write_tiny_repository
from support.server.triton import dying_stub, living_processes, wait_until

pytestmark = pytest.mark.triton

RAW = np.array([[1, 2, 3, 4]], dtype=np.float32)


def probe(serve: Serve, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(serve.probe_url(path), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def ready(serve: Serve) -> bool:
    return probe(serve, "/readyz")[0] == 200


def metric(serve: Serve, series: str) -> float:
    page = probe(serve, "/metrics")[1]
    return next(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(series))


def stub(serve: Serve, model: str) -> int:
    return next(s.pid for s in stubs_of(serve.server_pid()).values() if s.model == model)


def replaced(serve: Serve, model: str, pid: int) -> bool:
    return any(s.model == model and s.pid != pid for s in stubs_of(serve.server_pid()).values())


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serve, Path]]:
    """One supervised server that heals from test to test."""
    repository = write_tiny_repository(tmp_path_factory.mktemp("supervised") / "repository")
    with serving(repository, "--stage-timeout-s", "3", "--exit-timeout-s", "20") as serve:
        serve.grpc_url()
        yield serve, repository
        began = time.monotonic()
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0
        # Triton itself never ends once a stub has died, so the supervisor must not wait for its exit timeout.
        assert time.monotonic() - began < 20
        assert "cut off" not in serve.log


@contextmanager
def client_of(serve: Serve) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(serve.grpc_url()) as client:
        yield client


@pytest.mark.parametrize("model", ["preprocess", "classifier", "report"])
def test_a_killed_process_is_seen_and_replaced(shared: tuple[Serve, Path], model: str) -> None:
    serve, _ = shared
    wait_until(lambda: ready(serve), "ready")
    before = metric(serve, f'glioserve_repairs_total{{model="{model}",reason="dead"}}')
    killed = stub(serve, model)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not ready(serve), "not ready")
    assert model in probe(serve, "/readyz")[1]
    wait_until(lambda: ready(serve), "ready again")
    assert stub(serve, model) != killed
    with client_of(serve) as client:
        np.testing.assert_allclose(ask(client, RAW), expected_score(RAW))
    assert metric(serve, f'glioserve_repairs_total{{model="{model}",reason="dead"}}') == before + 1
    assert probe(serve, "/livez")[0] == 200
    assert probe(serve, "/startupz")[0] == 200


def test_a_study_lost_with_its_process_is_typed_and_counted(shared: tuple[Serve, Path]) -> None:
    serve, repository = shared
    wait_until(lambda: ready(serve), "ready")
    lost = 'glioserve_studies_total{code="GLIO-3103",outcome="failed"}'
    before = metric(serve, lost)
    with client_of(serve) as client, ThreadPoolExecutor(1) as pool:
        with hold(repository) as held:
            study = pool.submit(ask, client, RAW)
            wait_until(held.reached, "the study in its first step")
            os.kill(stub(serve, "preprocess"), signal.SIGKILL)
            with pytest.raises(InferenceServerException, match=r"Stub process .* is not healthy"):
                study.result(TIMEOUT_S)
        wait_until(lambda: ready(serve), "ready again")
    wait_until(lambda: metric(serve, lost) == before + 1, "counted")


def test_a_stopped_process_is_continued_and_loses_nothing(shared: tuple[Serve, Path]) -> None:
    serve, _ = shared
    wait_until(lambda: ready(serve), "ready")
    stopped = stub(serve, "preprocess")
    os.kill(stopped, signal.SIGSTOP)
    with client_of(serve) as client:
        np.testing.assert_allclose(ask(client, RAW), expected_score(RAW))
    assert stub(serve, "preprocess") == stopped


@pytest.mark.parametrize("continued_by", ["another", "the supervisor"])
def test_a_study_never_gets_the_answer_of_one_that_was_given_up(shared: tuple[Serve, Path], continued_by: str) -> None:
    """Triton hands what a process answers too late to the next request; its process must not live to answer."""
    serve, repository = shared
    wait_until(lambda: ready(serve), "ready")
    stopped, other = stub(serve, "preprocess"), 3 * RAW
    with client_of(serve) as client, ThreadPoolExecutor(1) as pool:
        with hold(repository) as held:
            study = pool.submit(ask, client, RAW)
            wait_until(held.reached, "the study in its first step")
            serve.process.send_signal(signal.SIGSTOP)
            os.kill(stopped, signal.SIGSTOP)
            with pytest.raises(InferenceServerException, match="is not healthy"):
                study.result(TIMEOUT_S)
        if continued_by == "another":
            os.kill(stopped, signal.SIGCONT)
            with pytest.raises(InferenceServerException, match="is not healthy"):
                ask(client, other)
        serve.process.send_signal(signal.SIGCONT)
        wait_until(lambda: replaced(serve, "preprocess", stopped) and ready(serve), "replaced")
        np.testing.assert_allclose(ask(client, other), expected_score(other))


def test_a_stopped_tritonserver_is_continued(shared: tuple[Serve, Path]) -> None:
    serve, _ = shared
    wait_until(lambda: ready(serve), "ready")
    os.kill(serve.server_pid(), signal.SIGSTOP)
    with client_of(serve) as client:
        np.testing.assert_allclose(ask(client, RAW), expected_score(RAW))


def test_a_hanging_process_is_ended_and_replaced(shared: tuple[Serve, Path]) -> None:
    serve, repository = shared
    wait_until(lambda: ready(serve), "ready")
    repairs = 'glioserve_repairs_total{model="preprocess",reason="hung"}'
    hung, before = stub(serve, "preprocess"), metric(serve, repairs)
    with client_of(serve) as client, ThreadPoolExecutor(1) as pool:
        with hold(repository) as held:
            study = pool.submit(ask, client, RAW)
            wait_until(held.reached, "the study in its first step")
            assert metric(serve, 'glioserve_stage_in_flight{model="preprocess"}') <= 1
            with pytest.raises(InferenceServerException, match="is not healthy"):
                study.result(TIMEOUT_S)
        wait_until(lambda: ready(serve), "ready again")
        np.testing.assert_allclose(ask(client, RAW), expected_score(RAW))
    assert stub(serve, "preprocess") != hung
    assert metric(serve, repairs) == before + 1


def test_the_page_of_metrics_is_one_valid_exposition(shared: tuple[Serve, Path]) -> None:
    serve, _ = shared
    page = probe(serve, "/metrics")[1]
    names = [family.name for family in text_string_to_metric_families(page)]
    assert len(names) == len(set(names))
    assert {"glioserve_ready", "glioserve_studies", "nv_inference_request_success"} <= set(names)
    assert probe(serve, "/elsewhere")[0] == 404


def test_a_process_over_its_memory_limit_is_replaced_between_requests(repository: Path) -> None:
    with serving(repository, "--stage-memory-limit-mib", "20") as serve:
        serve.grpc_url()
        first = stub(serve, "report")
        wait_until(lambda: "repaired model=report reason=memory" in serve.log, "replaced for its memory")
        with client_of(serve) as client:
            np.testing.assert_allclose(ask(client, RAW), expected_score(RAW))
        wait_until(lambda: not alive(first), "the large one gone")
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0


def test_what_cannot_be_repaired_ends_the_server_with_a_code_of_its_own(repository: Path) -> None:
    with serving(repository) as serve:
        serve.grpc_url()
        server = serve.server_pid()
        (repository / "report" / "1" / "model.py").write_text("raise RuntimeError('broken')\n")
        os.kill(stub(serve, "report"), signal.SIGKILL)
        assert serve.end() == os.EX_TEMPFAIL
        assert f"[{ErrorCode.NOT_HEALED.token}] report: it cannot be loaded" in serve.log
        assert living_processes(server) == []


@pytest.mark.parametrize(
    "model", ["preprocess", *(pytest.param(name, marks=pytest.mark.long) for name in ("classifier", "report"))]
)
def test_a_process_that_dies_before_it_greets_ends_the_server(repository: Path, model: str) -> None:
    """Triton waits for its greeting for good, and so does every later load of the model."""
    with serving(repository) as serve:
        serve.grpc_url()
        server, killed = serve.server_pid(), stub(serve, model)
        dying_stub(Path(Path(f"/proc/{killed}/cmdline").read_text().split("\0")[0]))
        os.kill(killed, signal.SIGKILL)
        assert serve.end() == os.EX_TEMPFAIL
        assert f"[{ErrorCode.NOT_HEALED.token}] A process died while its model was loaded" in serve.log
        assert "cannot be loaded: Deadline Exceeded" not in serve.log
        assert living_processes(server) == []
