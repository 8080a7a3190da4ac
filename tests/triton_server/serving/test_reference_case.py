"""The reference case at load, on the real server: a classifier that answers it wrongly must answer no caller."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from glioserve_contract import ErrorCode, GlioserveError, sha256_digest
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.records.reference_case import REFERENCE_CASE_FILE, score_of
from glioserve_triton.process.server import TritonServer
from glioserve_triton.reference_case import ServedCases, check_reference_case
from glioserve_triton.served.versions import load_manifest, save_manifest
from support.models.served_cases import DIGEST, LOGITS, RECIPE, T1, T1CE, T2, publish, with_case
from support.server.serve import polled, serving
from support.server.triton import running_server, wait_until

pytestmark = pytest.mark.triton

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Two versions that are right, and what they are served from."""
    repository = with_case(tmp_path_factory.mktemp("cases") / "repository", versions=(1, 3))
    with running_server(repository) as running:
        yield running


@pytest.fixture
def folder(server: TritonServer, tmp_path: Path) -> Path:
    """A copy of version 1's files, to say something else of the same server."""
    repository = tmp_path / "claims"
    shutil.copytree(server.repository / "classifier" / "1", repository / "classifier" / "1")
    return repository


def claimed(repository: Path, recipe: Recipe = RECIPE, **changes: object) -> Path:
    publish(repository, 1, recipe, **changes)
    return repository / "classifier" / "1"


def test_right_answers_pass_and_every_loaded_version_is_asked(server: TritonServer) -> None:
    scores = ServedCases(server.repository / "classifier").check(server.grpc_url)
    wanted = pytest.approx(score_of(LOGITS, RECIPE), abs=1e-6)
    assert scores == {"1": wanted, "3": wanted}
    with triton.InferenceServerClient(server.grpc_url) as client:
        assert check_reference_case(client, server.repository / "classifier" / "3", "3") == wanted
        assert client.is_server_live()  # a client that was handed in stays open


def test_a_version_without_a_case_is_not_asked(folder: Path) -> None:
    version = claimed(folder)
    manifest = load_manifest(version)
    save_manifest(replace(manifest, recipe=replace(manifest.recipe, reference_case=None)), version)
    assert check_reference_case("127.0.0.1:1", version, "1") is None


SWAPPED = {
    "classes": (replace(RECIPE, classes=("recurrence", "necrosis")), "classes in the other order"),
    "channels": (replace(RECIPE, channels=(T1CE, T1, T2)), "version 1 as it is served gives the reference case"),
}


@pytest.mark.parametrize("swap", SWAPPED)
def test_swapped_orders_are_caught(server: TritonServer, folder: Path, swap: str) -> None:
    recipe, says = SWAPPED[swap]
    with pytest.raises(GlioserveError, match=says) as caught:
        check_reference_case(server.grpc_url, claimed(folder, recipe), "1")
    assert caught.value.code is ErrorCode.REFERENCE_CASE_FAILED


def test_other_weights_than_the_manifests_are_caught(server: TritonServer, folder: Path) -> None:
    other = sha256_digest(b"others")
    with pytest.raises(GlioserveError, match=f"answered by weights {DIGEST}, not by its manifest's {other}") as caught:
        check_reference_case(server.grpc_url, claimed(folder, weights_digest=other), "1")
    assert caught.value.code is ErrorCode.REFERENCE_CASE_FAILED


def test_a_version_that_is_not_loaded_does_not_answer(server: TritonServer, folder: Path) -> None:
    with pytest.raises(GlioserveError, match="Version 2 does not answer") as caught:
        check_reference_case(server.grpc_url, claimed(folder), "2")
    assert caught.value.code is ErrorCode.REFERENCE_CASE_FAILED


def test_a_file_that_is_not_the_recipes_is_refused(server: TritonServer, folder: Path) -> None:
    version = claimed(folder)
    np.savez(version / REFERENCE_CASE_FILE, image=np.zeros((3, 8, 8, 8), dtype=np.float32))
    with pytest.raises(GlioserveError, match="is not the recipe's") as caught:
        check_reference_case(server.grpc_url, version, "1")
    assert caught.value.code is ErrorCode.INVALID_MANIFEST
    (version / REFERENCE_CASE_FILE).unlink()
    with pytest.raises(GlioserveError, match="is not the recipe's"):
        check_reference_case(server.grpc_url, version, "1")


def test_nobody_waits_for_a_server_that_does_not_answer(tmp_path: Path) -> None:
    """Triton holds a request back where it waits for a batch: as a stuck server does."""
    repository = with_case(tmp_path / "repository")
    with (repository / "classifier" / "config.pbtxt").open("a") as config:
        config.write("dynamic_batching { preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 30000000 }\n")
    with running_server(repository, exit_timeout_s=0, drain_timeout_s=0) as running, ThreadPoolExecutor(1) as pool:
        version = repository / "classifier" / "1"
        with pytest.raises(GlioserveError, match="does not answer the reference case") as caught:
            check_reference_case(running.grpc_url, version, "1", timeout_s=0.5)
        assert caught.value.code is ErrorCode.REFERENCE_CASE_FAILED
        told: list[float] = []

        def give_up() -> bool:
            told.append(time.monotonic())
            return len(told) > 3

        waiting = pool.submit(check_reference_case, running.grpc_url, version, "1", give_up=give_up)
        error = waiting.exception(TIMEOUT_S)
        assert isinstance(error, GlioserveError)
        assert error.code is ErrorCode.SERVER_FAILED


# glioserve serve


def test_serve_is_ready_when_the_case_is_answered(tmp_path: Path) -> None:
    with serving(with_case(tmp_path / "repository", versions=(1, 2)), "--log-format", "json") as serve:
        wait_until(lambda: '"message": "ready"' in serve.log, "ready")
        records = [json.loads(line) for line in serve.lines]
        messages = [record["message"] for record in records if record["source"] == "glioserve"]
        until_ready = messages[: messages.index("ready")]
        assert until_ready[:-1] == ["room", "probes", "starting", *["reference case answered"] * 2]
        assert until_ready[-1].startswith("development server: ")
        answered = [record for record in records if record["message"] == "reference case answered"]
        assert {record["classifier_version"] for record in answered} == {"1", "2"}
        assert {record["score"] for record in answered} == {f"{score_of(LOGITS, RECIPE):.4f}"}
        serve.process.terminate()
        assert serve.end() == 0


@pytest.mark.parametrize("swap", SWAPPED)
def test_serve_refuses_to_go_on_when_the_answer_is_wrong(swap: str, tmp_path: Path) -> None:
    recipe, says = SWAPPED[swap]
    with serving(with_case(tmp_path / "repository", recipe)) as serve:
        answers = list(polled(serve))
        assert serve.end() == 1
        assert answers
        assert set(answers) == {HTTPStatus.SERVICE_UNAVAILABLE}
        assert "successfully loaded 'glioma'" not in serve.log
        assert f"[{ErrorCode.REFERENCE_CASE_FAILED.token}]" in serve.log
        assert says in serve.log
        assert " ready grpc=" not in serve.log
