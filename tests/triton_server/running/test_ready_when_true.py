"""Ready only when true: polled at starts, and where the classifier of a running server turns unfit."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_triton.process.logs import Log
from glioserve_triton.process.options import free_ports
from glioserve_triton.stubs import stubs_of
from glioserve_triton.supervisor import repair, supervisor
from glioserve_triton.supervisor.health import Health
from glioserve_triton.supervisor.metrics import SupervisorMetrics
from glioserve_triton.supervisor.supervisor import Supervisor
from support.models.served_cases import RECIPE, graph, publish, with_case
from support.server.serve import TIMEOUT_S, Serve, polled, serving
from support.server.triton import running_server, wait_until

pytestmark = pytest.mark.triton

ANSWERED, LOADED = "reference case answered", "successfully loaded 'glioma'"


def stub(serve: Serve, model: str) -> int:
    return next(s.pid for s in stubs_of(serve.server_pid()).values() if s.model == model)


@pytest.mark.parametrize("starts", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_nobody_is_answered_before_the_reference_case_was_right(starts: int, tmp_path: Path) -> None:
    """The case waits a second in a queue, so that there is a time in which an early answer would be seen."""
    repository = with_case(tmp_path / "repository")
    with (repository / "classifier" / "config.pbtxt").open("a") as config:
        config.write("dynamic_batching { preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 1000000 }\n")
    for _ in range(starts):
        (port,) = free_ports("127.0.0.1", 1)
        with serving(repository, "--grpc-port", str(port)) as serve:
            early = 0
            for status in polled(serve):
                answered = is_answered(port)
                if ANSWERED in serve.log:
                    break
                assert (status, answered) == (HTTPStatus.SERVICE_UNAVAILABLE, False), serve.log
                early += 1
            assert early > 5
            serve.grpc_url()
            wait_until(lambda at=port: is_answered(at), "an answer")
            order = [serve.log.index(text) for text in (ANSWERED, LOADED, "] ready grpc=")]
            assert order == sorted(order)
            serve.process.terminate()
            assert serve.end() == 0


def is_answered(port: int) -> bool:
    tensor = triton.InferInput("RAW", [1, 3, 8, 8, 8], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 3, 8, 8, 8), dtype=np.float32))
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        try:
            client.infer("glioma", [tensor], client_timeout=TIMEOUT_S)
        except InferenceServerException:
            return False
    return True


UNFIT = {"gives its case another score": graph(sign=-1), "fails at each run": graph(fails=True)}


@pytest.mark.parametrize("way", UNFIT)
def test_a_classifier_that_comes_back_unfit_is_never_called_ready(way: str, tmp_path: Path) -> None:
    """Its file was replaced under the running server, and its process was then killed."""
    repository = with_case(tmp_path / "repository")
    with serving(repository) as serve:
        serve.grpc_url()
        (repository / "classifier" / "1" / "model.onnx").write_bytes(UNFIT[way])
        os.kill(stub(serve, "classifier"), signal.SIGKILL)
        wait_until(lambda: "repair begins model=classifier" in serve.log, "a repair")
        assert HTTPStatus.OK not in set(polled(serve, ["/readyz"]))
        assert serve.end() == os.EX_TEMPFAIL
        assert f"[{ErrorCode.NOT_HEALED.token}] classifier: " in serve.log


def test_a_deep_probe_that_fails_twice_takes_the_server_out_and_one_that_passes_brings_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "DEEP_INTERVAL_S", 0.2)
    monkeypatch.setattr(supervisor, "DEEP_SHARE", 1)
    monkeypatch.setattr(supervisor, "DEEP_AGAIN_S", 0.2)
    repository = with_case(tmp_path / "repository")
    health, stop = Health(), threading.Event()
    first, second = RECIPE.classes
    with running_server(repository) as server, ThreadPoolExecutor(1) as pool:
        health.begin_serving()
        watching = Supervisor(server, health, SupervisorMetrics(), Log(sys.stderr, "text"))
        watch = pool.submit(watching.watch, stop.is_set, lambda: None)
        try:
            publish(repository, 1, replace(RECIPE, classes=(second, first)))
            wait_until(lambda: bool(health.not_ready_because()), "not ready")
            assert health.not_ready_because()[0].startswith("classifier: version 1 as it is served gives")
            assert health.is_live()
            publish(repository, 1)
            wait_until(lambda: not health.not_ready_because(), "ready again")
        finally:
            stop.set()
        watch.result(TIMEOUT_S)


@pytest.mark.long
def test_a_classifier_that_hangs_is_noticed_by_its_canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A native backend has no process that beats: nothing but the canary tells. No reload helps a network like this."""
    monkeypatch.setattr(supervisor, "DEEP_INTERVAL_S", 0.2)
    monkeypatch.setattr(supervisor, "DEEP_TIMEOUT_S", 1.0)
    monkeypatch.setattr(supervisor, "DEEP_AGAIN_S", 0.2)
    monkeypatch.setattr(repair, "CLASSIFIER_TIMEOUT_S", 1.0)
    repository = with_case(tmp_path / "repository")
    publish(repository, 1, network=graph(hangs=True))
    health, metrics, log = Health(), SupervisorMetrics(), io.StringIO()
    with running_server(repository, exit_timeout_s=1) as server, ThreadPoolExecutor(1) as pool:
        health.begin_serving()
        watch = pool.submit(Supervisor(server, health, metrics, Log(log, "text")).watch, lambda: False, lambda: None)
        # Triton was seen not to take the connection of the repair, whose reason is another one then.
        reasons = "has executed nothing for 1 s|cannot be loaded: failed to connect"
        with pytest.raises(GlioserveError, match=f"classifier: it ({reasons})") as failed:
            watch.result(TIMEOUT_S)
        page = metrics.page(lambda: "").decode()
    assert failed.value.code is ErrorCode.NOT_HEALED
    assert "repair begins model=classifier reason=hung" in log.getvalue()
    assert 'glioserve_canary_failures_total{model="classifier"} 3.0' in page
    assert 'glioserve_canaries_total{model="classifier",outcome="silent"} 3.0' in page


def test_a_process_that_dies_before_the_first_look_is_replaced(tmp_path: Path) -> None:
    """Callers may be answered from the moment at which the server is ready, and kill a stage."""
    health, stop = Health(), threading.Event()
    with running_server(with_case(tmp_path / "repository")) as server, ThreadPoolExecutor(1) as pool:
        health.begin_serving()
        watching = Supervisor(server, health, SupervisorMetrics(), Log(sys.stderr, "text"))
        (first,) = (s for s in stubs_of(server.process.pid).values() if s.model == "classifier")
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: getattr(stubs_of(server.process.pid).get(first.pid), "dead", False), "dead")
        watch = pool.submit(watching.watch, stop.is_set, lambda: None)
        try:
            wait_until(lambda: bool(health.not_ready_because()), "not ready")
            wait_until(lambda: not health.not_ready_because(), "ready again")
        finally:
            stop.set()
        watch.result(TIMEOUT_S)
