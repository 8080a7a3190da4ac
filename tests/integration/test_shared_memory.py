"""Volumes by shared memory: only where the operator allows it, on one host, and nothing is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from glioserve_client import AsyncGliomaClient, GliomaClient, Volume, VolumeStudy, errors
from glioserve_client.shared_memory.names import FOLDER, PREFIX, new_name, sweep
from glioserve_contract import GlioserveError
from glioserve_triton.process.logs import Log
from glioserve_triton.process.options import ServerOptions
from glioserve_triton.process.server import TritonServer
from glioserve_triton.shared_memory import forget_orphans
from support.server.tiny_repository import write_tiny_repository
from support.server.triton import running_server, wait_until

pytestmark = pytest.mark.triton

TOKEN = "shared-memory-token-of-a-test"


@pytest.fixture(scope="module")
def token(server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the operator's token of the folder's server."""
    assert server.options.shared_memory_token == TOKEN
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN + "\n")
    return file


@pytest.fixture(scope="module")
def study(phantom_volumes: dict) -> VolumeStudy:
    return VolumeStudy({m: Volume(v.voxels, v.geometry.lps_from_voxel) for m, v in phantom_volumes.items()})


def files() -> list[str]:
    return sorted(file.name for file in FOLDER.glob(f"{PREFIX}*"))


def test_the_answer_is_the_same_and_nothing_is_left(server: TritonServer, token: Path, study: VolumeStudy) -> None:
    """Also where the server has lost the region, as after a restart."""
    with GliomaClient(server.grpc_url) as client:
        by_wire = client.predict(study)
    with GliomaClient(server.grpc_url, shared_memory=token) as client:
        first = client.predict(study)
        (name,) = regions(server)
        assert files() == []
        with server.admin() as admin:
            admin.forget_region(name)
        again = client.predict(study, heatmap=False)
        assert len(regions(server)) == 1
    assert regions(server) == []
    assert (first.score, first.heatmap, first.attempts) == (by_wire.score, by_wire.heatmap, 1)
    assert (again.score, again.heatmap, again.attempts) == (by_wire.score, None, 2)


@pytest.mark.long
def test_the_asynchronous_client_does_so_too(server: TritonServer, token: Path, study: VolumeStudy) -> None:
    """A region whose call ended without an answer is not written to again: the server may still read it."""

    async def course() -> tuple[set[str], set[str]]:
        async with AsyncGliomaClient(server.grpc_url, shared_memory=token) as client:
            with pytest.raises(errors.DeadlineExceededError):
                await client.predict(study, timeout_s=0.5)
            before = set(regions(server))
            assert (await client.predict(study, heatmap=False)).heatmap is None
            return before, set(regions(server))

    before, after = asyncio.run(course())
    assert len(after - before) == 1
    left = set(regions(server))
    assert left <= before  # the server still worked on the call without an answer when the client was closed
    for name in left:
        wait_until(partial(forgotten, server, name), "the server is done with the region")
    assert regions(server) == []


def forgotten(server: TritonServer, name: str) -> bool:
    """Have the server forget a region; return False where a request still reads it."""
    with server.admin() as admin:
        try:
            admin.forget_region(name)
        except InferenceServerException:
            return False
    return True


def regions(server: TritonServer) -> list[str]:
    with server.admin() as admin:
        return admin.shared_regions()


def refused(url: str, token: Path, study: VolumeStudy) -> GlioserveError:
    with (
        GliomaClient(url, shared_memory=token) as client,
        pytest.raises(errors.SharedMemoryRefusedError) as caught,
    ):
        client.predict(study)
    assert (caught.value.token, caught.value.retryable, caught.value.attempts) == ("GLIO-4113", False, 1)
    assert files() == []
    return caught.value


def test_a_server_that_does_not_allow_it_says_so(
    server: TritonServer, token: Path, study: VolumeStudy, tmp_path: Path
) -> None:
    with running_server(write_tiny_repository(tmp_path / "tiny")) as other:
        assert "does not let this caller" in str(refused(other.grpc_url, token, study))
    wrong = tmp_path / "wrong"
    wrong.write_text("another-token-of-16-letters")
    assert "does not let this caller" in str(refused(server.grpc_url, wrong, study))
    assert "cannot be read" in str(refused(server.grpc_url, tmp_path / "missing", study))
    with pytest.raises(ValueError, match="on this host"):
        GliomaClient("triton.hospital.example:8001", shared_memory=token)
    for headers in ({}, {"triton-grpc-protocol-admin-key": server.options.admin_token}):
        with triton.InferenceServerClient(server.grpc_url) as plain, pytest.raises(InferenceServerException):
            plain.get_system_shared_memory_status(headers=headers)


def test_only_a_port_of_the_loopback_may_allow_it() -> None:
    for place in ({"host": "0.0.0.0"}, {"host": "127.0.0.1", "grpc_host": "::"}):
        with pytest.raises(GlioserveError, match=r"GLIO-4113.*loopback"):
            ServerOptions(shared_memory_token=TOKEN, **place)
    ServerOptions(shared_memory_token=TOKEN, host="0.0.0.0", grpc_host="127.0.0.1")
    with pytest.raises(ValueError, match="not the admin's"):
        ServerOptions(shared_memory_token=TOKEN, admin_token=TOKEN)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from glioserve_client import GliomaClient, Modality, Volume, VolumeStudy
from glioserve_client.request import encode
from glioserve_client.shared_memory import names, regions

url, token, moment = sys.argv[1:]
study = VolumeStudy({Modality.T1CE: Volume(np.ones((64, 64, 64)), np.eye(4))})
if moment == "made":  # between the making of the file and its registration
    regions.Regions._call = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
client = GliomaClient(url, shared_memory=Path(token))
if moment == "idle":
    client._regions.give_back(client._regions.place(encode(study).inputs))
    os.kill(os.getpid(), signal.SIGKILL)
if moment == "asking":
    client.submit(study)
    while not client._regions._methods:
        pass
    import time; time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
client.predict(study)
"""


@pytest.mark.parametrize("moment", ["made", "idle", "asking"])
def test_a_caller_that_is_killed_leaves_nothing_after_the_sweep(server: TritonServer, token: Path, moment: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, server.grpc_url, str(token), moment], timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert len(files()) == (moment == "made")
    assert len(regions(server)) == (moment != "made")
    with server.admin() as admin:

        def swept() -> bool:
            forget_orphans(admin, Log(sys.stderr, "text"))
            return regions(server) == [] == files()

        wait_until(swept, "the region of the dead caller is given back")


def test_what_lives_is_not_swept() -> None:
    own, strange = FOLDER / new_name(), FOLDER / f"{PREFIX}{'0' * 16}-1-1-1"
    own.touch()
    strange.touch()  # of another namespace of process ids
    try:
        assert sweep() == []
        assert files() == sorted([own.name, strange.name])
    finally:
        own.unlink()
        strange.unlink()


def test_a_full_disk_of_shared_memory_is_told(
    server: TritonServer, token: Path, study: VolumeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert "has no room for" in str(refused(server.grpc_url, token, study))
