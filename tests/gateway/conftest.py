from collections.abc import Iterator

import pytest

from glioserve_triton.process.server import TritonServer
from support.server.tiny_repository import write_tiny_repository
from support.server.triton import running_server


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """One server for all tests that leave it as they found it."""
    repository = write_tiny_repository(tmp_path_factory.mktemp("tiny") / "repository")
    with running_server(repository) as running:
        yield running
