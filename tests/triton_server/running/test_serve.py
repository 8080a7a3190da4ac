"""``glioserve serve`` as an operator meets it: a process, its log, its signals and its exit code."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from glioserve_contract import ErrorCode
from glioserve_triton.process.options import GRPC_ADMIN_HEADER
from support.server.serve import TIMEOUT_S, Serve, children, serving
from support.server.tiny_repository import ask, expected_score, hold
from support.server.triton import assert_nothing_left, living_processes, wait_until

pytestmark = pytest.mark.triton

RAW = np.array([[1, 2, 3, 4]], dtype=np.float32)
TOKEN = "a-token-for-the-operator"
STUDIES = 8


def _run_folder(server: int) -> Path:
    arguments = Path(f"/proc/{server}/cmdline").read_text().split("\0")
    backends = next(a for a in arguments if a.startswith("--backend-directory="))
    return Path(backends.partition("=")[2]).parent


def test_sigterm_finishes_the_studies_in_flight_and_exits_0(repository: Path, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN + "\n")
    arguments = ["--profile", "onnxruntime-cpu", "--admin-token-file", str(token_file)]
    arguments += ["--triton-flag=--metrics-interval-ms=500"]
    with serving(repository, *arguments) as serve, ThreadPoolExecutor(STUDIES) as pool:
        url, server = serve.grpc_url(), serve.server_pid()
        run_folder = _run_folder(server)
        with triton.InferenceServerClient(url) as client:
            with hold(repository) as held:
                assert client.get_model_repository_index(headers={GRPC_ADMIN_HEADER: TOKEN}).models
                studies = [pool.submit(ask, client, RAW) for _ in range(STUDIES)]
                wait_until(held.reached, "a study in its first step")
                wait_until(lambda: waiting(serve) == STUDIES - 1, "the others in the queue")
                serve.process.send_signal(signal.SIGTERM)
                wait_until(lambda: not client.is_model_ready("glioma"), "draining")
                assert serve.process.poll() is None
                assert not any(study.done() for study in studies)
            for study in studies:
                np.testing.assert_allclose(study.result(TIMEOUT_S), expected_score(RAW))
        assert serve.end() == 0
        assert "classifier_version=1" in serve.log
        assert "draining" in serve.log
        assert serve.lines[-1].endswith("glioserve] stopped")
        assert "cut off" not in serve.log
        assert_nothing_left(server, run_folder)


def waiting(serve: Serve) -> int:
    """Requests in the queue of preprocess."""
    with urllib.request.urlopen(serve.probe_url("/metrics"), timeout=10) as answer:
        page: str = answer.read().decode()
    series = r'^nv_inference_pending_request_count\{[^}]*model="preprocess"[^}]*\} (\d+)'
    match = re.search(series, page, re.MULTILINE)
    assert match, page
    return int(match[1])


def test_a_second_signal_skips_the_drain(repository: Path) -> None:
    """It does not wait for Triton's exit timeout (30 s) either."""
    with serving(repository) as serve, ThreadPoolExecutor(1) as pool:
        url, server = serve.grpc_url(), serve.server_pid()
        with hold(repository) as held, triton.InferenceServerClient(url) as client:
            study = pool.submit(ask, client, RAW)
            wait_until(held.reached, "the study in its first step")
            serve.process.send_signal(signal.SIGINT)
            wait_until(lambda: "draining" in serve.log, "draining")
            hurried_s = time.monotonic()
            serve.process.send_signal(signal.SIGINT)
            assert serve.end() == 0
            assert time.monotonic() - hurried_s < 15
            assert "W glioserve] studies in flight may have been cut off" in serve.log
            assert living_processes(server) == []
            assert study.exception(TIMEOUT_S) is not None


def test_a_signal_during_the_start_exits_0(repository: Path) -> None:
    with serving(repository) as serve:
        wait_until(lambda: "loading: " in serve.log, "loading")
        server = serve.server_pid()
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0
        assert living_processes(server) == []


def test_a_server_that_dies_by_itself_is_an_error_with_its_log(repository: Path) -> None:
    with serving(repository, "--log-format", "json") as serve:
        wait_until(lambda: '"message": "ready"' in serve.log, "ready")
        server = serve.server_pid()
        run_folder = _run_folder(server)
        os.kill(server, signal.SIGSEGV)
        assert serve.end() == 1
        message = serve.log[serve.log.index("[GLIO-5111]") :]
        assert f"tritonserver ended by itself with code {128 + signal.SIGSEGV}" in message
        assert "Started GRPCInferenceService" in message  # the tail
        records = [json.loads(line) for line in serve.lines[: serve.lines.index(message.splitlines()[0])]]
        assert {"time", "level", "source", "message"} <= records[0].keys()
        assert any("successfully loaded 'glioma'" in record["message"] for record in records)
        assert_nothing_left(server, run_folder)


def test_an_incomplete_repository_is_named_before_anything_starts(repository: Path) -> None:
    shutil.rmtree(repository / "classifier" / "1")
    with serving(repository) as serve:
        assert serve.end() == 1
        assert serve.lines == [
            "[GLIO-5108] repository lacks any classifier version with a manifest.json. "
            f"What to do: {ErrorCode.INVALID_REPOSITORY.row.action}"
        ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--grpc-port", "70000"),
        ("--drain-timeout-s", "-1"),
        ("--admin-token-file", "/nowhere"),
        ("--triton-flag=--load-model=other",),
    ],
)
def test_wrong_usage_exits_2(repository: Path, arguments: tuple[str, ...]) -> None:
    with serving(repository, *arguments) as serve:
        assert serve.end() == 2
        assert arguments[0].split("=")[0] in serve.lines[-1]


def test_as_pid_1_it_reaps_what_it_inherits(repository: Path, tmp_path: Path) -> None:
    prefix = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("a PID namespace of its own needs unshare and the right to use it")
    with serving(repository, prefix=prefix) as serve:
        url = serve.grpc_url()
        pid_1 = children(serve.process.pid)[0]
        enter = ["nsenter", f"--target={pid_1}", "--pid", "--mount"]
        # A process whose parent ends at once: PID 1 inherits it, and must reap it when it ends.
        subprocess.run([*enter, "sh", "-c", "sleep 0.3 & exit"], check=True, timeout=TIMEOUT_S)
        wait_until(lambda: len(children(pid_1)) == 1, "only the guardian left")
        with triton.InferenceServerClient(url) as client:
            np.testing.assert_allclose(ask(client, RAW), expected_score(RAW))
        os.kill(pid_1, signal.SIGTERM)
        assert serve.end() == 0
        assert serve.lines[-1].endswith("glioserve] stopped")


def test_a_signal_before_the_imports_are_done_is_not_lost(repository: Path) -> None:
    with serving(repository) as serve:
        wait_until(lambda: _catches(serve.process.pid, signal.SIGTERM), "the handler set", poll_s=0.001)
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0
        assert "loading: " not in serve.log
        assert "ready" not in serve.log


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0])
def test_a_signal_at_any_moment_of_the_start_exits_0(repository: Path, delay_s: float) -> None:
    with serving(repository) as serve:
        wait_until(lambda: _catches(serve.process.pid, signal.SIGTERM), "the handler set", poll_s=0.001)
        time.sleep(delay_s)
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0
        assert "Traceback" not in serve.log
        assert "cut off" not in serve.log


def _catches(pid: int, number: signal.Signals) -> bool:
    """Return whether the process has a handler for the signal, by the kernel's mask."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> (number - 1) & 1)
