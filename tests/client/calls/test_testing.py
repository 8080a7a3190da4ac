"""The fakes that users test with: the real client runs on them, through its own encoding and mapping of errors."""

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glioserve_client import (
    NO_RETRY,
    AsyncGliomaClient,
    DicomStudy,
    GliomaClient,
    Label,
    Modality,
    Prediction,
    RetryPolicy,
    Volume,
    VolumeStudy,
    errors,
)
from glioserve_client.testing import OUTCOMES, WIRE_ERRORS, Failure, FakeTransport, answer, failure, prediction
from glioserve_client.testing.canned import Outcome
from glioserve_contract import ErrorCode
from support.studies.dicom_files import file_bytes, mr_dataset

STUDY = VolumeStudy({Modality.T1CE: Volume(np.zeros((4, 5, 6), np.float32), np.eye(4))})
SOON = RetryPolicy(first_pause_s=0.001, longest_pause_s=0.002)
PAGE = Path(__file__).resolve().parents[3] / "docs" / "api" / "client.md"


def ask(
    transport: FakeTransport, kind: str, study: Any = STUDY, retry: RetryPolicy = SOON, **options: Any
) -> Prediction:
    """A prediction by the synchronous or the asynchronous client."""

    async def course() -> Prediction:
        async with AsyncGliomaClient("fake:1", transport=transport, retry=retry) as client:
            return await client.predict(study, **options)

    if kind == "asyncio":
        return asyncio.run(course())
    with GliomaClient("fake:1", transport=transport, retry=retry) as client:
        return client.predict(study, **options)


KINDS = pytest.mark.parametrize("kind", ["threads", "asyncio"])


@KINDS
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome(kind: str, outcome: Outcome) -> None:
    got = ask(FakeTransport(answer(outcome)), kind, request_id="canned")
    assert got.label == {"necrosis": Label.NECROSIS, "recurrence": Label.RECURRENCE, "abstained": None}[outcome]
    assert bool(got.abstained_because) == (outcome == "abstained")
    assert got.heatmap == prediction(outcome).heatmap
    assert (got.report, got.score) == (prediction(outcome).report, prediction(outcome).score)


@KINDS
@pytest.mark.parametrize("code", WIRE_ERRORS, ids=lambda code: code.token)
def test_every_error_is_the_clients_own_exception(kind: str, code: ErrorCode) -> None:
    transport = FakeTransport(failure(code, "Found by a test."))
    with pytest.raises(errors.GlioserveError) as caught:
        ask(transport, kind, retry=NO_RETRY)
    assert caught.value.code is code
    assert caught.value.detail == "Found by a test."
    assert type(caught.value).__name__ == "".join(word.capitalize() for word in code.name.split("_")) + "Error"


def test_codes_of_the_operators_tools_never_reach_a_caller() -> None:
    assert set(ErrorCode) - set(WIRE_ERRORS) == {code for code in ErrorCode if code.token >= "GLIO-42"}
    with pytest.raises(ValueError, match="never reaches a caller"):
        failure(ErrorCode.SERVER_FAILED)
    with pytest.raises(ValueError, match="one of necrosis, recurrence, abstained"):
        answer("unsure")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"0\.9 is not one of necrosis"):
        answer("necrosis", score=0.9)
    with pytest.raises(ValueError, match="needs a step"):
        FakeTransport()


@KINDS
def test_attempts_are_seen_as_a_server_would_see_them(kind: str) -> None:
    transport = FakeTransport(failure(ErrorCode.UNAVAILABLE), Failure("NOT_FOUND", "draining"), answer("recurrence"))
    study = DicomStudy.from_bytes([file_bytes(mr_dataset())])
    got = ask(transport, kind, study, request_id="case.1", heatmap=False, timeout_s=20, headers={"X-Site": "a"})
    assert (got.attempts, got.heatmap) == (3, None)
    assert [request.request_id for request in transport.requests] == ["case.1"] * 3
    last = transport.requests[-1]
    assert (last.model, last.parameters["heatmap"], last.metadata["x-site"]) == ("glioma", False, "a")
    assert "HEATMAP" not in last.outputs
    assert 0 < last.timeout_s <= 20
    (sent,) = last.inputs["INSTANCES"]
    assert sent[128:132] == b"DICM"
    assert b"Zyxquist" not in sent


@KINDS
def test_volumes_arrive_as_they_are(kind: str) -> None:
    transport = FakeTransport(answer("necrosis"))
    voxels = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    ask(transport, kind, VolumeStudy({Modality.T1CE: Volume(voxels, np.eye(4))}))
    assert np.array_equal(transport.requests[0].inputs["T1CE"], voxels)
    assert np.array_equal(transport.requests[0].inputs["T1CE_AFFINE"], np.eye(4))


@KINDS
def test_a_slow_answer_meets_the_deadline(kind: str) -> None:
    with pytest.raises(errors.DeadlineExceededError):
        ask(FakeTransport(answer("recurrence", delay_s=60)), kind, timeout_s=0.2)
    assert ask(FakeTransport(answer("recurrence", delay_s=0.05)), kind).client_timings_s["call"] >= 0.05


def test_readiness_futures_and_closing() -> None:
    transport = FakeTransport(answer("recurrence", delay_s=60), ready=False)
    client = GliomaClient("fake:1", transport=transport)
    assert not client.ready()
    transport.ready = True
    client.wait_until_ready(5)
    assert client.server_info().server == "fake"
    future = client.submit(STUDY)
    while not transport.requests:
        time.sleep(0.01)
    assert future.cancel()
    other = client.submit(STUDY)
    while len(transport.requests) < 2:
        time.sleep(0.01)
    client.close()
    with pytest.raises(RuntimeError, match="is closed"):
        other.result(30)


def test_asyncio_readiness_and_closing() -> None:
    async def course() -> None:
        client = AsyncGliomaClient("fake:1", transport=FakeTransport(answer("recurrence", delay_s=60)))
        assert (await client.server_info()).ready
        task = await client.submit(STUDY)
        await asyncio.sleep(0.1)
        await client.close()
        with pytest.raises(RuntimeError, match="is closed"):
            await task

    asyncio.run(course())


def pytest_in(folder: Path, code: str, conftest: str = "") -> str:
    """The output of pytest over one file, in a process of its own."""
    (folder / "test_board.py").write_text(code, encoding="utf-8")
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_pages_example_runs(tmp_path: Path) -> None:
    """The example of docs/api/client.md is a file of tests that pass by themselves."""
    (code,) = re.findall(r"```python title=\"test_board\.py\"\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert "2 passed" in pytest_in(tmp_path, code)


PLUGIN = 'pytest_plugins = ["glioserve_client.testing.plugin"]\n'
READY = """
from glioserve_client import GliomaClient

def test_it(glioserve_server):
    with GliomaClient(glioserve_server.url) as client:
        assert client.server_info().model == "glioma"
        assert client.ready()
"""


@pytest.mark.slow
@pytest.mark.triton
def test_the_fixture_starts_a_real_server(tmp_path: Path) -> None:
    assert "1 passed" in pytest_in(tmp_path, READY, PLUGIN)


def test_the_fixture_skips_without_a_server(tmp_path: Path) -> None:
    absent = "import sys\nsys.modules['glioserve_registry'] = None\n"
    said = pytest_in(tmp_path, READY, absent + PLUGIN)
    assert "1 skipped" in said
    assert "the server is not installed: install glioserve with its extra serve" in said
