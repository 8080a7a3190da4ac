"""The chart's probes, arguments and test pod against the real supervisor and the real Triton, through a drain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from support.cluster.helm_tools import CLAIM, Helm, Manifest, merged, server
from support.server.tiny_repository import ask, expected_score, hold, write_tiny_repository
from support.server.triton import wait_until

pytestmark = [pytest.mark.helm, pytest.mark.triton]

RAW = np.array([[1, 2, 3, 4]], dtype=np.float32)
TIMEOUT_S = 60
POD_ONLY = ("--repository=", "--host=", "--grpc-port=", "--http-port=", "--metrics-port=", "--probe-port=")
"""Options that a pod may have to itself and a test may not."""


class Supervisor:
    """``glioserve serve`` as the pod starts it, but on the loopback and on free ports."""

    def __init__(self, container: Manifest, repository: Path) -> None:
        arguments = [a for a in container["args"] if not a.startswith(POD_ONLY)]
        ports = ["--grpc-port=0", "--metrics-port=0", "--probe-port=0"]
        command = [sys.executable, "-m", "glioserve_cli.main", "serve", f"--repository={repository}"]
        self.process = subprocess.Popen([*command, *ports, *arguments], stderr=subprocess.PIPE, text=True)
        self.log: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            self.log.extend(json.loads(line) for line in stream)  # the chart asks for one JSON object a line

    def said(self, message: str) -> dict[str, Any]:
        """The log's line with this message, once it is there."""

        def found() -> dict[str, Any] | None:
            return next((line for line in self.log.copy() if line["message"] == message), None)

        wait_until(lambda: found() is not None or self.process.poll() is not None, message)
        line = found()
        assert line is not None, self.log
        return line

    @property
    def probes(self) -> str:
        """The supervisor's own address."""
        return f"http://127.0.0.1:{self.said('probes')['port']}"

    def end(self) -> int:
        code = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return code


@contextmanager
def pod(container: Manifest, repository: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(container, repository)
    try:
        yield supervisor
    finally:
        supervisor.process.kill()
        supervisor.end()


def probe(container: Manifest, kind: str, url: str) -> bool:
    """Return whether the kubelet would call it a success."""
    path = container[kind]["httpGet"]["path"]
    try:
        with urllib.request.urlopen(url + path, timeout=container[kind]["timeoutSeconds"]) as answer:
            return bool(200 <= answer.status < 400)
    except urllib.error.HTTPError as error:
        error.close()
        return False


def stage_of(repository: Path, model: str) -> int:
    """Return the process id of the Python model's stub."""
    script = str(repository / model / "1" / "model.py").encode()
    (pid,) = (
        int(line.parent.name)
        for line in Path("/proc").glob("[0-9]*/cmdline")
        if (words := read(line).split(b"\0"))[0].endswith(b"triton_python_backend_stub") and script in words
    )
    return pid


def read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # the process has ended meanwhile
        return b""


def test_a_stage_that_dies_takes_the_pod_out_until_it_is_replaced(helm4: Helm, tmp_path: Path) -> None:
    rendered = helm4.template(merged(CLAIM, {"profile": "onnxruntime-cpu", "gpu": {"enabled": False}}))
    container, repository = server(rendered), write_tiny_repository(tmp_path / "models")
    with pod(container, repository) as supervisor:
        ready = supervisor.said("ready")
        wait_until(lambda: probe(container, "readinessProbe", supervisor.probes), "ready")
        os.kill(stage_of(repository, "preprocess"), signal.SIGKILL)
        wait_until(lambda: not probe(container, "readinessProbe", supervisor.probes), "not ready")
        assert probe(container, "livenessProbe", supervisor.probes)  # it repairs; the kubelet must not interfere
        wait_until(lambda: probe(container, "readinessProbe", supervisor.probes), "ready again")
        with triton.InferenceServerClient(ready["grpc"]) as client:
            np.testing.assert_allclose(ask(client, RAW), expected_score(RAW))


def test_a_drain_takes_the_pod_out_and_loses_no_study(helm4: Helm, tmp_path: Path) -> None:
    rendered = helm4.template(merged(CLAIM, {"profile": "onnxruntime-cpu", "gpu": {"enabled": False}}))
    container, repository = server(rendered), write_tiny_repository(tmp_path / "models")
    assert any(argument.startswith("--triton-flag=--grpc-max-connection-age") for argument in container["args"])
    with pod(container, repository) as supervisor, ThreadPoolExecutor(1) as pool:
        ready = supervisor.said("ready")
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert probe(container, kind, supervisor.probes), kind
        with urllib.request.urlopen(f"{supervisor.probes}/metrics", timeout=10) as metrics:
            page = metrics.read()
        assert b"nv_inference_request_success" in page
        assert b"glioserve_ready 1" in page
        with triton.InferenceServerClient(ready["grpc"]) as client:
            with hold(repository) as held:
                study = pool.submit(ask, client, RAW)
                wait_until(held.reached, "the study in its first step")
                supervisor.process.send_signal(signal.SIGTERM)
                wait_until(lambda: not probe(container, "readinessProbe", supervisor.probes), "not ready")
                assert probe(
                    container, "livenessProbe", supervisor.probes
                )  # or the kubelet would kill it, study and all
            np.testing.assert_allclose(study.result(TIMEOUT_S), expected_score(RAW))
        assert supervisor.end() == 0
