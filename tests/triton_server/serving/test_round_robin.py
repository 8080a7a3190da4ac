"""Several real servers behind one name: ours goes round, one dies and one joins under load, and no study is lost."""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from glioserve_client import ConnectionOptions, GliomaClient, Modality, Volume, VolumeStudy
from glioserve_triton.process.options import free_ports
from glioserve_triton.process.server import TritonServer
from glioserve_triton.supervisor.triton_page import triton_page
from support.network.name_server import NameServer
from support.server.canned_server import write_canned_repository
from support.server.triton import running_server

pytestmark = [pytest.mark.triton, pytest.mark.slow]

STUDIES = 240
HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")


def answered(server: TritonServer) -> int:
    """Return the number of studies that a server has answered, by its own metrics."""
    lines = triton_page(server.metrics_url).splitlines()
    (line,) = [line for line in lines if line.startswith('nv_inference_request_success{model="glioma"')]
    return int(float(line.split()[-1]))


def test_a_server_dies_and_another_joins_under_load(tmp_path: Path) -> None:
    repository = write_canned_repository(tmp_path / "repository")
    (port,) = free_ports("127.0.0.1", 1)
    study = VolumeStudy({Modality.T1CE: Volume(np.zeros((24, 256, 256)), np.eye(4))})
    drawn = 0
    with ExitStack() as stack:
        servers = [stack.enter_context(running_server(repository, host=host, grpc_port=port)) for host in HOSTS[:3]]
        names = stack.enter_context(NameServer(list(HOSTS[:3])))
        connection = ConnectionOptions(resolve_again_s=0.5)
        url = f"dns://127.0.0.1:{names.port}/glioserve.test:{port}"
        client = stack.enter_context(GliomaClient(url, connection=connection))
        joined: list[TritonServer] = []

        def studies():
            nonlocal drawn
            for drawn in range(STUDIES):
                if drawn == STUDIES // 4:
                    joined.append(stack.enter_context(running_server(repository, host=HOSTS[3], grpc_port=port)))
                    names.addresses = [HOSTS[0], HOSTS[1], HOSTS[3]]
                    os.kill(servers[2].process.pid, signal.SIGKILL)
                if drawn == STUDIES // 2:
                    time.sleep(2.0)  # the name is looked up again by then
                yield study

        outcomes = list(client.predict_many(studies(), concurrency=6))
        assert [outcome.error for outcome in outcomes] == [None] * STUDIES
        assert {outcome.result().score for outcome in outcomes} == {outcomes[0].result().score}
        shares = [answered(server) for server in (*servers[:2], *joined)]
        assert min(shares) > STUDIES // 20, shares
        assert names.asked >= 2
