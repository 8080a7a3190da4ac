from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as triton

from glioserve_triton.process.server import TritonServer
from support.server.tiny_repository import write_tiny_repository
from support.server.triton import running_server
from support.tensorrt.engines import Machine, make_machine


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_tiny_repository(tmp_path / "repository")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """An A30 and TensorRT 10.16.1.11."""
    made = make_machine(tmp_path / "machine", monkeypatch)
    made.trtexec()
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """One server for the module's tests that leave it as they found it."""
    repository = write_tiny_repository(tmp_path_factory.mktemp("tiny") / "repository")
    with running_server(repository, profile="batching", http=True) as running:
        yield running


@pytest.fixture
def client(server: TritonServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.grpc_url) as connected:
        yield connected
