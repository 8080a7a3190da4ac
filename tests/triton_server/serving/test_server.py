"""A running server answers, refuses strangers, batches, and keeps one request's fault to itself."""

import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from glioserve_contract import ErrorCode, find_code
from glioserve_triton.process.options import GRPC_ADMIN_HEADER, ServerOptions
from glioserve_triton.process.server import TritonServer
from support.server.tiny_repository import TABLE, TABLE_ROWS, WEIGHTS, ask, expected_score, tensor_in
from support.server.triton import living_processes

pytestmark = pytest.mark.triton

RAW = np.array([[1, 2, 3, 4], [0, 1, 0, 1]], dtype=np.float32)
BAD_ROW = TABLE_ROWS + 5


def _admin(server: TritonServer) -> dict[str, str]:
    return {GRPC_ADMIN_HEADER: server.options.admin_token}


def _pick(client: triton.InferenceServerClient, first: float) -> np.ndarray:
    row = np.array([[first, 0, 0, 0]])
    result = client.infer(
        "classifier", [tensor_in("IMAGE", row)], outputs=[triton.InferRequestedOutput("PICK")], client_timeout=60
    )
    answer = result.as_numpy("PICK")
    assert answer is not None
    return answer


def _executions(client: triton.InferenceServerClient, server: TritonServer) -> tuple[int, int]:
    statistics = client.get_inference_statistics("classifier", headers=_admin(server)).model_stats[0]
    return statistics.inference_count, statistics.execution_count


def test_a_batch_goes_through_the_ensemble(client: triton.InferenceServerClient) -> None:
    four_rows = np.concatenate([RAW, RAW])  # a preferred batch: it does not wait for others
    np.testing.assert_allclose(ask(client, four_rows), expected_score(four_rows))


def test_concurrent_requests_become_one_batch(client: triton.InferenceServerClient, server: TritonServer) -> None:
    inferences, executions = _executions(client, server)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda first: _pick(client, first), range(4)))
    for first, answer in enumerate(answers):
        np.testing.assert_array_equal(answer, TABLE[[first]])  # each caller gets its own row
    assert _executions(client, server) == (inferences + 4, executions + 1)


def test_a_bad_request_fails_alone(client: triton.InferenceServerClient, server: TritonServer) -> None:
    inferences, executions = _executions(client, server)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(_pick, client, first) for first in (1, BAD_ROW, 2, 3)]
        errors = [future.exception() for future in futures]
    assert [type(error) for error in errors] == [type(None), InferenceServerException, type(None), type(None)]
    for first, future in ((1, futures[0]), (2, futures[2]), (3, futures[3])):
        np.testing.assert_array_equal(future.result(), TABLE[[first]])
    assert _executions(client, server) == (inferences + 4, executions + 1)  # they did share a batch

    message = str(errors[1])
    assert find_code(message) is ErrorCode.INTERNAL
    assert "Traceback" not in message
    assert "/" not in message.replace("StatusCode", "")
    incident = re.search(r"Incident ([0-9a-f]{8})", message)
    assert incident, message
    log = server.process.tail()
    assert f"incident {incident[1]}" in log
    assert "out of data bounds" in log  # the cause is where the operator looks


def test_only_the_outputs_asked_for_come_back(client: triton.InferenceServerClient) -> None:
    rows = np.ones((4, 4), dtype=np.float32)
    outputs = [triton.InferRequestedOutput("LOGITS")]
    result = client.infer("classifier", [tensor_in("IMAGE", rows)], outputs=outputs, client_timeout=60)
    np.testing.assert_allclose(result.as_numpy("LOGITS"), rows @ WEIGHTS)
    assert [output.name for output in result.get_response().outputs] == ["LOGITS"]


@pytest.mark.parametrize("headers", [{}, {GRPC_ADMIN_HEADER: "not-the-admin-token"}])
def test_only_the_admin_token_opens_model_control(
    client: triton.InferenceServerClient, headers: dict[str, str]
) -> None:
    for call in (
        lambda: client.unload_model("glioma", headers=headers),
        lambda: client.get_model_repository_index(headers=headers),
        lambda: client.get_model_config("classifier", headers=headers),
        lambda: client.get_inference_statistics("classifier", headers=headers),
        lambda: client.get_log_settings(headers=headers),
        lambda: client.get_system_shared_memory_status(headers=headers),
    ):
        with pytest.raises(InferenceServerException, match="protocol is restricted"):
            call()
    assert client.is_model_ready("glioma")


def test_http_is_restricted_too_and_metrics_are_open(server: TritonServer) -> None:
    assert _status(f"{server.http_url}/v2/health/ready", "GET") == 200
    index = f"{server.http_url}/v2/repository/index"
    assert _status(index, "POST") == 403
    assert _status(index, "POST", {"admin-key": server.options.admin_token}) == 200
    assert server.metrics_url
    with urllib.request.urlopen(server.metrics_url, timeout=5) as answer:
        assert 'nv_inference_request_success{model="glioma"' in answer.read().decode()


def _status(url: str, method: str, headers: dict[str, str] | None = None) -> int:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers or {}, method=method), timeout=5
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_it_listens_on_the_loopback_only(server: TritonServer) -> None:
    sockets = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()
    ]
    listening = [fields[1].split(":") for fields in sockets if fields[3] == "0A"]
    for url in (server.grpc_url, server.http_url, server.metrics_url):
        port = int(url.removeprefix("http://").split(":")[1].split("/")[0])
        addresses = {address for address, listened in listening if int(listened, 16) == port}
        assert addresses
        assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}  # gRPC's is an IPv6 socket


def test_the_profile_chose_its_configuration(client: triton.InferenceServerClient, server: TritonServer) -> None:
    config = client.get_model_config("classifier", headers=_admin(server)).config
    assert list(config.dynamic_batching.preferred_batch_size) == [4]


def test_identified_dicom_is_accepted_only_where_the_options_say_so(server: TritonServer) -> None:
    stubs = [pid for pid in living_processes(server.process.pid) if pid != server.process.pid]
    assert len(stubs) == 3
    for pid in stubs:
        assert "GLIOSERVE_ACCEPT_IDENTIFIED_DICOM" not in Path(f"/proc/{pid}/environ").read_text()


def test_the_token_is_in_no_repr() -> None:
    options = ServerOptions()
    assert options.admin_token not in repr(options)
    assert ServerOptions().admin_token != options.admin_token
