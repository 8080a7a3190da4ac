"""Shared memory of killed processes that Triton would keep for good."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from glioserve_triton.process.guardian import SHARED_MEMORY
from glioserve_triton.process.run_folder import REGION_BYTES
from glioserve_triton.process.server import TritonServer
from glioserve_triton.stubs import Stub, stubs_of
from glioserve_triton.supervisor.regions import Regions
from support.server.tiny_repository import Floats, ask, expected_score
from support.server.triton import regions, running_server, wait_until

PREFIX = f"glioserve-test-{os.getpid()}-"
LARGE = np.ones((1 << 20, 4), dtype=np.float32)
"""A study of 16 MiB."""
SMALL = np.array([[1, 2, 3, 4]], dtype=np.float32)


def stub(pid: int, region: str, state: str = "S") -> Stub:
    return Stub(pid, "" if state == "Z" else "preprocess", state, 0, "" if state == "Z" else region)


def held_bytes(file: Path) -> int:
    return file.stat().st_blocks * 512


@pytest.fixture
def region() -> Iterator[Path]:
    """A region of five times its first size, every page of which is written."""
    file = SHARED_MEMORY / f"{PREFIX}region"
    file.write_bytes(b"x" * 5 * REGION_BYTES)
    yield file
    file.unlink(missing_ok=True)


def test_a_region_is_given_back_when_its_process_was_replaced_and_is_gone(region: Path) -> None:
    looks = Regions(PREFIX, after_s=0.0)
    assert looks.give_back({7: stub(7, region.name)}, {7}) == 0
    assert looks.give_back({7: stub(7, region.name, "Z")}, {7}) == 0, "requests still go to the dead process"
    assert looks.give_back({7: stub(7, region.name), 8: stub(8, f"{PREFIX}new")}, {8}) == 0, "it still works"
    assert held_bytes(region) == 5 * REGION_BYTES
    assert looks.give_back({7: stub(7, region.name, "Z"), 8: stub(8, f"{PREFIX}new")}, {8}) == 4 * REGION_BYTES
    assert held_bytes(region) == REGION_BYTES
    assert region.read_bytes() == b"x" * REGION_BYTES + bytes(4 * REGION_BYTES)
    assert looks.give_back({8: stub(8, f"{PREFIX}new")}, {8}) == 0


def test_a_region_waits_its_time(region: Path) -> None:
    looks = Regions(PREFIX, after_s=3600.0)
    looks.give_back({7: stub(7, region.name)}, {7})
    assert looks.give_back({}, set()) == 0
    assert looks.give_back({}, set()) == 0
    assert held_bytes(region) == 5 * REGION_BYTES


def test_a_region_that_is_gone_or_of_another_run_is_left_alone(region: Path) -> None:
    looks = Regions(f"{PREFIX}other", after_s=0.0)
    looks.give_back({7: stub(7, region.name), 8: stub(8, f"{PREFIX}other-gone")}, set())
    assert looks.give_back({}, set()) == 0
    assert held_bytes(region) == 5 * REGION_BYTES


@pytest.mark.triton
def test_what_triton_keeps_of_killed_processes_is_given_back(repository: Path) -> None:
    """The server answers as before, is repaired again and ends, though what lay in the regions is gone."""
    with running_server(repository) as server, triton.InferenceServerClient(server.grpc_url) as client:
        looks = Regions(server.process.run.shared_memory_prefix, after_s=0.0)
        for _ in range(2):
            preprocess(client, LARGE)
            before = held_mib(server)
            assert before > 2 * 16, "the request, and its answer"
            killed = stubs_of(server.process.pid)
            looks.give_back(killed, set(killed))
            kill_amid_a_request(server, client)
            with server.admin() as admin:
                admin.reload("preprocess", 60.0)
            wait_until(lambda: len(living(server)) == 3, "replaced")
            given_back = looks.give_back(stubs_of(server.process.pid), living(server))
            assert given_back >= 16 << 20
            assert held_mib(server) <= before - (given_back >> 20) + 1
            np.testing.assert_allclose(ask(client, SMALL), expected_score(SMALL))
        server.damaged = True


def preprocess(client: triton.InferenceServerClient, raw: Floats) -> None:
    value = triton.InferInput("RAW", raw.shape, "FP32").set_data_from_numpy(raw)
    np.testing.assert_array_equal(client.infer("preprocess", [value]).as_numpy("IMAGE"), raw)


def kill_amid_a_request(server: TritonServer, client: triton.InferenceServerClient) -> None:
    victim = next(s.pid for s in stubs_of(server.process.pid).values() if s.model == "preprocess")
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(InferenceServerException, match="is not healthy"):
        ask(client, SMALL)


def living(server: TritonServer) -> set[int]:
    return {s.pid for s in stubs_of(server.process.pid).values() if not s.dead}


def held_mib(server: TritonServer) -> int:
    return sum(held_bytes(SHARED_MEMORY / name) for name in regions(server.process.run.path)) >> 20
