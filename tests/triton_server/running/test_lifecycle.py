"""A real server's start, drain and end, in order and not: nothing of it ever stays behind."""

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_triton.process import options
from glioserve_triton.process.backend_folder import build_backend_folder
from glioserve_triton.process.locate import STUB_NAME
from glioserve_triton.process.options import ServerOptions
from glioserve_triton.process.run_folder import sweep_dead_runs
from glioserve_triton.process.server import TritonServer
from support.server.tiny_repository import ask, expected_score, hold
from support.server.triton import assert_nothing_left, dying_stub, living_processes, regions, running_server, wait_until

pytestmark = pytest.mark.triton

RAW = np.array([[1, 2, 3, 4]], dtype=np.float32)
STUBS = 3
"""Python processes of the tiny repository: preprocess, classifier, report."""

_OWNER = """
import sys, time
from pathlib import Path
from glioserve_triton.process.server import TritonServer
server = TritonServer(Path(sys.argv[1]))
server.start()
print(server.process.pid, server.process.guardian_pid, server.process.run.path, flush=True)
time.sleep(300)
"""


def _stub_of(server: TritonServer, model: str) -> int:
    for pid in living_processes(server.process.pid):
        arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if any(f"/{model}/" in argument for argument in arguments[1:2]):
            return pid
    raise AssertionError(f"no stub of {model}")


def test_a_study_in_flight_is_finished_before_the_stop(repository: Path) -> None:
    with running_server(repository, accept_identified_dicom=True, http=False, metrics=False) as server:
        assert server.http_url is None
        assert server.metrics_url is None
        stub = _stub_of(server, "preprocess")
        assert "GLIOSERVE_ACCEPT_IDENTIFIED_DICOM=1" in Path(f"/proc/{stub}/environ").read_text().split("\0")
        with triton.InferenceServerClient(server.grpc_url) as client, ThreadPoolExecutor(1) as pool:
            with hold(repository) as held:
                study = pool.submit(ask, client, RAW)
                wait_until(held.reached, "the study in its first step")
                assert not server.drain(timeout_s=0.2)
                assert not server.drain(hurry=lambda: True)
                assert not study.done()
                with pytest.raises(InferenceServerException, match="no available versions"):
                    ask(client, RAW)  # a new one is refused meanwhile
            assert server.drain()
            np.testing.assert_allclose(study.result(30), expected_score(RAW))
        assert server.stop()


def test_the_owner_killed(repository: Path) -> None:
    with _owner(repository) as (owner, group, guardian, run_folder):
        assert len(living_processes(group)) == 1 + STUBS
        assert len(regions(run_folder)) == STUBS
        owner.kill()
        wait_until(lambda: not living_processes(group), "server and stubs gone")
        wait_until(lambda: not Path(f"/proc/{guardian}").exists(), "the guardian gone")
        assert_nothing_left(group, run_folder)


def test_owner_and_guardian_killed_at_once(repository: Path) -> None:
    with _owner(repository) as (owner, group, guardian, run_folder):
        os.kill(guardian, signal.SIGSTOP)
        owner.kill()
        owner.wait(30)
        os.kill(guardian, signal.SIGKILL)
        wait_until(lambda: not living_processes(group), "server and stubs gone")
        wait_until(lambda: run_folder in sweep_dead_runs(), "swept by the next start")
        assert_nothing_left(group, run_folder)


class _owner:  # noqa: N801 - used as a function
    """A process of its own that runs a server over the repository."""

    def __init__(self, repository: Path) -> None:
        command = [sys.executable, "-c", _OWNER, str(repository)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> tuple[subprocess.Popen[str], int, int, Path]:
        assert self.process.stdout is not None
        group, guardian, folder = self.process.stdout.readline().split()
        return self.process, int(group), int(guardian), Path(folder)

    def __exit__(self, *_: object) -> None:
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait(30)
        self.process.stdout.close()


def test_the_guardian_killed(repository: Path) -> None:
    with running_server(repository) as server:
        os.kill(server.process.guardian_pid, signal.SIGKILL)
        wait_until(lambda: not living_processes(server.process.pid), "server and stubs gone")
        assert server.process.poll() == 128 + signal.SIGKILL


def test_a_dead_stub_cannot_hold_up_the_stop(repository: Path) -> None:
    with (
        running_server(repository, exit_timeout_s=1) as server,
        triton.InferenceServerClient(server.grpc_url) as client,
    ):
        ask(client, RAW)
        os.kill(_stub_of(server, "report"), signal.SIGKILL)
        with pytest.raises(InferenceServerException):
            ask(client, RAW)


def test_a_model_that_cannot_load_fails_the_start_with_the_reason(repository: Path) -> None:
    (repository / "classifier" / "1" / "model.onnx").write_bytes(b"no graph")
    server = TritonServer(repository)
    with pytest.raises(GlioserveError) as caught:
        server.start()
    assert caught.value.code is ErrorCode.SERVER_FAILED
    assert "ended with code 1 before glioma was ready" in caught.value.detail
    assert "INVALID_PROTOBUF" in caught.value.detail  # ONNX Runtime's word for it
    assert server.options.admin_token not in str(caught.value)
    assert server.stop()  # there is nothing to stop


def test_a_graph_that_does_not_fit_its_configuration_is_refused(repository: Path) -> None:
    config = repository / "classifier" / "config.pbtxt"
    config.write_text(config.read_text().replace("dims: [ 3 ]", "dims: [ 5 ]"))
    with pytest.raises(GlioserveError, match=r"PICK: TYPE_FP32 \[5\] configured"):
        TritonServer(repository).start()


def test_waiting_for_readiness_ends_in_time_or_when_told(repository: Path) -> None:
    for server, give_up in (
        (TritonServer(repository, ServerOptions(ready_timeout_s=0.0)), lambda: False),
        (TritonServer(repository), lambda: True),
    ):
        with pytest.raises(GlioserveError, match="glioma was") as caught:
            server.start(give_up=give_up)
        assert caught.value.code is ErrorCode.SERVER_FAILED
        with pytest.raises(RuntimeError):
            _ = server.process


def test_a_port_that_was_taken_meanwhile_is_chosen_anew(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        choices = []

        def choose(host: str, count: int) -> tuple[int, ...]:
            choices.append(real(host, count) if choices else (taken, *real(host, count - 1)))
            return choices[-1]

        real = options.free_ports
        monkeypatch.setattr(options, "free_ports", choose)
        with running_server(repository) as server:
            assert len(choices) == 2
            assert not server.grpc_url.endswith(f":{taken}")


def test_another_server_on_the_port_is_not_taken_for_ours(repository: Path) -> None:
    with running_server(repository) as first:
        port = int(first.grpc_url.rsplit(":", 1)[1])
        second = TritonServer(repository, ServerOptions(grpc_port=port))
        with pytest.raises(GlioserveError, match="already in use") as caught:
            second.start()
        assert caught.value.code is ErrorCode.SERVER_FAILED
        with triton.InferenceServerClient(first.grpc_url) as client:
            np.testing.assert_allclose(ask(client, RAW), expected_score(RAW))


def test_an_address_that_is_not_here(repository: Path) -> None:
    with pytest.raises(GlioserveError, match=r"No port can be bound on 203\.0\.113\.1"):
        TritonServer(repository, ServerOptions(host="203.0.113.1", allow_known_cves=True)).start()


def test_a_repository_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GlioserveError) as caught:
        TritonServer(tmp_path / "none").start()
    assert caught.value.code is ErrorCode.INVALID_REPOSITORY


@pytest.mark.parametrize("fails", ["tempfile.mkdtemp", "tempfile.gettempdir", "the backends' copy"])
def test_a_start_without_room_for_its_folder_is_told_so(
    repository: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """No temporary folder at all, or a full one: no traceback."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if fails == "the backends' copy":
        monkeypatch.setattr("glioserve_triton.process.server.build_backend_folder", full)
    else:
        monkeypatch.setattr(fails, full)
    with pytest.raises(GlioserveError, match=r"in the temporary folder \(TMPDIR\): No space left on device") as caught:
        TritonServer(repository).start()
    assert caught.value.code is ErrorCode.SERVER_FAILED


def test_a_start_whose_processes_die_before_they_greet_is_told_so(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton would wait for them for good, and the start for all of its time."""

    def with_dying_stub(*arguments: Any) -> Path:
        backends = build_backend_folder(*arguments)
        dying_stub(backends / "python" / STUB_NAME)
        return backends

    monkeypatch.setattr("glioserve_triton.process.server.build_backend_folder", with_dying_stub)
    with pytest.raises(GlioserveError, match="a process of a Python model died while it was loaded") as caught:
        TritonServer(repository).start()
    assert caught.value.code is ErrorCode.SERVER_FAILED


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EACCES])
def test_a_start_without_a_process_is_told_so(
    repository: Path, monkeypatch: pytest.MonkeyPatch, number: int, tmp_path: Path
) -> None:
    """The limit of processes, of memory or of rights is not told as a matter of the temporary folder."""

    def none_left(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("glioserve_triton.process.guarded.subprocess.Popen", none_left)
    with pytest.raises(GlioserveError, match=f"No process can be started .*{os.strerror(number)}") as caught:
        TritonServer(repository).start()
    assert caught.value.code is ErrorCode.SERVER_FAILED
    assert "TMPDIR" not in caught.value.detail
    assert list(tmp_path.glob("glioserve-run-*")) == []
