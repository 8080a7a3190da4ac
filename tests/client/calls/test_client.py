"""The client against a scripted peer: deadlines, retries, statuses, malformed answers, threads, forks, TLS."""

import json
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from glioserve_client import (
    NO_RETRY,
    ConnectionOptions,
    DicomStudy,
    ErrorCode,
    GliomaClient,
    Modality,
    RetryPolicy,
    TlsOptions,
    Volume,
    VolumeStudy,
    errors,
)
from glioserve_client import client as client_module
from glioserve_client.calls import shell
from glioserve_client.options import check_headers, check_url
from glioserve_contract import GlioserveError
from glioserve_contract.parameters import parse_parameters
from support.results.answers import outputs_of, report_of, small_answer
from support.server.fake_server import Answer, Fail, FakeServer, Raw
from support.studies.dicom_files import file_bytes, mr_dataset

QUICK = RetryPolicy(max_attempts=3, first_pause_s=0.001, longest_pause_s=0.002)
STUDY = VolumeStudy({Modality.T1CE: Volume(np.zeros((4, 5, 6), np.float32), np.eye(4))})


def full(details: str = "Exceeds maximum queue size") -> Fail:
    return Fail("UNAVAILABLE", details)


def failure(*steps: Any, retry: RetryPolicy = QUICK, **call: Any) -> tuple[GlioserveError, FakeServer]:
    """The error of a call to a server of these steps, and the server as it was left."""
    with FakeServer(*steps) as server, GliomaClient(server.url, retry=retry) as client:
        try:
            client.predict(STUDY, **call)
        except GlioserveError as error:
            return error, server
    pytest.fail("the call did not fail")


def test_a_study_is_answered() -> None:
    study = DicomStudy.from_bytes([file_bytes(mr_dataset())])
    with FakeServer(Answer(small_answer(0.87))) as server, GliomaClient(server.url) as client:
        prediction = client.predict(study, request_id="case.1", headers={"Traceparent": "00-1-2-01"})
    assert prediction.score == pytest.approx(0.87)
    assert (prediction.request_id, prediction.attempts) == ("case.1", 1)
    assert list(prediction.original_series_uids.values()) == ["1.2.840.99999.1.7"]
    assert set(prediction.client_timings_s) == {"prepare", "call"}
    (received,) = server.requests
    assert (received.model, received.request_id) == ("glioma", "case.1")
    assert received.outputs == ("SCORE", "LABEL", "PROBABILITIES", "HEATMAP", "HEATMAP_AFFINE", "REPORT")
    assert received.metadata["traceparent"] == "00-1-2-01"
    assert set(received.inputs) == {"INSTANCES"}
    assert b"Zyxquist" not in received.inputs["INSTANCES"][0]


def test_the_heat_map_is_not_asked_for_in_vain() -> None:
    report = report_of(None, np.eye(4), shape=(4, 5, 6))
    with FakeServer(Answer(outputs_of(report, None))) as server, GliomaClient(server.url) as client:
        assert client.predict(STUDY, heatmap=False).heatmap is None
    assert server.requests[0].outputs == ("SCORE", "LABEL", "PROBABILITIES", "REPORT")
    assert server.requests[0].parameters["heatmap"] is False


def test_every_parameter_that_is_sent_is_one_of_the_contract() -> None:
    dataset = mr_dataset()
    study = DicomStudy.from_bytes([file_bytes(dataset)])
    with FakeServer(Answer(small_answer())) as server, GliomaClient(server.url) as client:
        client.predict(STUDY)
        client.predict(study, series={Modality.T1: dataset.SeriesInstanceUID})
        for wrong in ("false", 0, None):
            with pytest.raises(ValueError, match="heatmap"):
                client.predict(STUDY, heatmap=wrong)  # type: ignore[arg-type]
    plain, named = server.requests
    assert parse_parameters(json.dumps(named.parameters)) == named.parameters
    assert set(plain.parameters) == {"deadline_unix_ms"}
    assert set(named.parameters) == {"series", "deadline_unix_ms"}


def test_there_is_always_a_deadline_and_the_server_is_told() -> None:
    with FakeServer(Answer(small_answer())) as server, GliomaClient(server.url) as client:
        client.predict(STUDY)
        client.predict(STUDY, timeout_s=33)
    default, own = server.requests
    assert 60 < default.remaining_s < 125  # gRPC rounds up
    assert 60e6 < default.timeout_us <= 120e6
    assert 20 < own.remaining_s < 38


def test_each_attempt_states_what_is_left_by_this_machines_clock() -> None:
    with FakeServer(full(), Answer(small_answer())) as server, GliomaClient(server.url, retry=QUICK) as client:
        before_s = time.time()
        client.predict(STUDY, timeout_s=33)
        after_s = time.time()
    first, second = (request.parameters["deadline_unix_ms"] / 1000 for request in server.requests)
    assert before_s + 33 - 0.1 <= min(first, second) <= max(first, second) <= after_s + 33
    assert abs(first - second) < 0.1  # one deadline for both


def test_a_server_whose_clock_is_ahead_is_asked_again_without_a_deadline(caplog: pytest.LogCaptureFixture) -> None:
    """It dropped the study though the caller still waits: only the clocks can differ."""
    dropped = Fail("CANCELLED", "in ensemble 'glioma', [GLIO-3104] Passed. What to do: Set the clocks.")
    script = (dropped, Answer(small_answer()), Answer(small_answer()))
    with FakeServer(*script) as server, GliomaClient(server.url, retry=NO_RETRY) as client:
        assert client.predict(STUDY).attempts == 2
        assert client.predict(STUDY).attempts == 1
    assert ["deadline_unix_ms" in request.parameters for request in server.requests] == [True, False, False]
    assert [r.levelname for r in caplog.records if r.name == "glioserve_client"] == ["WARNING"]


def test_request_ids_are_random_and_checked() -> None:
    with FakeServer(Answer(small_answer())) as server, GliomaClient(server.url) as client:
        ids = {client.predict(STUDY).request_id for _ in range(3)}
        for bad in ("", "Mr Smith", "a" * 65, "ä"):
            with pytest.raises(ValueError, match="request_id"):
                client.predict(STUDY, request_id=bad)
    assert len(ids) == 3
    assert ids == {received.request_id for received in server.requests}


@pytest.mark.parametrize("first", [full(), Fail("NOT_FOUND", "Request for unknown model: 'glioma' is not found")])
def test_what_another_attempt_may_cure_is_tried_again(first: Fail, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "glioserve_client")
    steps = first, full("[GLIO-4101] Server is stopping."), Answer(small_answer())
    with FakeServer(*steps) as server, GliomaClient(server.url, retry=QUICK) as client:
        assert client.predict(STUDY, request_id="same").attempts == 3
    assert [received.request_id for received in server.requests] == ["same"] * 3
    assert [record.args[:2] for record in caplog.records if record.name == "glioserve_client"] == [
        ("same", 1),
        ("same", 2),
        ("same", "answered"),
    ]
    assert server.requests[0].timeout_us > server.requests[2].timeout_us


def test_a_model_that_the_server_has_never_heard_of_is_not_waited_for() -> None:
    unknown = Fail("NOT_FOUND", "Request for unknown model: 'gliomma' is not found")
    with FakeServer(unknown) as server, GliomaClient(server.url, retry=QUICK, model_name="gliomma") as client:
        with pytest.raises(errors.RequestRefusedError, match="no model 'gliomma'") as caught:
            client.predict(STUDY)
        assert (caught.value.retryable, caught.value.attempts) == (False, 1)
        assert len(server.requests) == 1


def test_attempts_are_bounded_and_counted() -> None:
    error, server = failure(full(), request_id="r")
    assert isinstance(error, errors.UnavailableError)
    assert "queue size" in error.detail
    assert len(server.requests) == 3
    assert (error.attempts, error.request_id, error.retryable) == (3, "r", True)


@pytest.mark.parametrize("code", [c for c in ErrorCode if c not in client_module.RETRIED], ids=lambda code: code.name)
def test_every_other_code_arrives_as_its_exception_at_once(code: ErrorCode) -> None:
    message = f"in ensemble 'glioma', {GlioserveError(code, 'Found: t1.')}"
    error, server = failure(Fail(code.row.status.value, message))
    assert type(error) is type(GlioserveError(code))
    assert error.detail == "Found: t1."
    assert len(server.requests) == (2 if code is ErrorCode.DEADLINE_PASSED else 1)


def test_the_deadline_is_one_budget_over_all_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt takes 0.3 s of the 3: without one budget this would go on for a thousand of them."""
    monkeypatch.setattr(RetryPolicy, "pause_s", lambda self, attempt: 0.01)
    steady = Fail("UNAVAILABLE", "full", delay_s=0.3)
    error, server = failure(steady, retry=RetryPolicy(max_attempts=1000), timeout_s=3.0)
    assert isinstance(error, (errors.UnavailableError, errors.DeadlineExceededError))
    assert 1 < len(server.requests) <= 11
    assert error.attempts == len(server.requests)
    budgets = [received.timeout_us for received in server.requests]
    assert budgets == sorted(budgets, reverse=True)


def test_no_pause_outlasts_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RetryPolicy, "pause_s", lambda self, attempt: 1000.0)
    error, server = failure(full(), timeout_s=30)
    assert isinstance(error, errors.UnavailableError)
    assert len(server.requests) == 1


def test_a_server_that_says_nothing_ends_with_the_deadline() -> None:
    error, _ = failure(Answer(small_answer(), delay_s=60), timeout_s=0.3)
    assert isinstance(error, errors.DeadlineExceededError)
    assert error.attempts == 1


def test_a_host_that_takes_the_call_and_never_speaks_ends_with_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"127.0.0.1:{mute.getsockname()[1]}"
        with GliomaClient(url) as client:
            with pytest.raises((errors.DeadlineExceededError, errors.UnavailableError)):
                client.predict(STUDY, timeout_s=0.5)
            assert not client.is_ready(timeout_s=0.3)


def test_a_deadline_spent_on_preparing_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = shell.encode

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(0.05)
        return encode(*args, **options)

    monkeypatch.setattr(shell, "encode", slow)
    error, server = failure(Answer(small_answer()), timeout_s=0.01)
    assert isinstance(error, errors.DeadlineExceededError)
    assert server.requests == []


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"127.0.0.1:{closed.getsockname()[1]}"
    with GliomaClient(url, retry=NO_RETRY) as client:
        with pytest.raises(errors.UnavailableError):
            client.predict(STUDY, timeout_s=20)
        assert not client.is_ready(timeout_s=1)


def _drop_raw(response: Any) -> None:
    del response.raw_output_contents[:]


def _short_raw(response: Any) -> None:
    response.raw_output_contents[0] = b"\0"


def _wrong_type(response: Any) -> None:
    response.outputs[0].datatype = "NONSENSE"


def _wrong_shape(response: Any) -> None:
    response.outputs[3].shape[0] = 99


def _broken_string(response: Any) -> None:
    response.raw_output_contents[1] = b"\xff\xff\xff\x7fx"


@pytest.mark.parametrize("spoil", [_drop_raw, _short_raw, _wrong_type, _wrong_shape, _broken_string])
def test_a_malformed_answer_is_an_error_and_not_retried(spoil: Callable[[Any], None]) -> None:
    error, server = failure(Raw(small_answer(), spoil), request_id="r")
    assert isinstance(error, errors.UnexpectedAnswerError)
    assert len(server.requests) == 1
    assert error.request_id == "r"


def test_another_contract_is_noticed_at_the_first_answer() -> None:
    error, server = failure(Answer(small_answer(contract_version="7.1.0")))
    assert isinstance(error, errors.ContractMismatchError)
    assert "7.1.0" in error.detail
    assert len(server.requests) == 1


def test_one_client_serves_many_threads() -> None:
    scores = [0.05 * n for n in range(1, 17)]
    answers = [Answer(small_answer(score), delay_s=0.2) for score in scores]
    with FakeServer(*answers) as server, GliomaClient(server.url) as client, ThreadPoolExecutor(8) as pool:
        predictions = list(pool.map(lambda _: client.predict(STUDY), scores))
    assert sorted(round(p.score, 3) for p in predictions) == [round(s, 3) for s in scores]
    assert server.together > 1
    by_id = {received.request_id for received in server.requests}
    assert by_id == {p.request_id for p in predictions}


def test_a_closed_client_says_so() -> None:
    with FakeServer(Answer(small_answer())) as server:
        client = GliomaClient(server.url)
        client.predict(STUDY)
        client.close()
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.predict(STUDY)
        with pytest.raises(RuntimeError, match="closed"):
            client.is_ready()


def test_a_client_does_not_hang_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(Answer(small_answer())) as server, GliomaClient(server.url) as client:
        child = os.getpid() + 1
        monkeypatch.setattr(os, "getpid", lambda: child)
        with pytest.raises(RuntimeError, match="fork"):
            client.predict(STUDY)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_deadline_must_be_one(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        GliomaClient("127.0.0.1:1", timeout_s=timeout_s)


@pytest.mark.parametrize("url", ["http://triton:8000", "grpc://triton:8001", "triton", "", "triton :8001"])
def test_a_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        check_url(url)


@pytest.mark.parametrize("url", ["triton:8001", "dns:///triton.svc:8001", "unix:/run/triton.sock", "[::1]:8001"])
def test_grpcs_own_targets_are_taken(url: str) -> None:
    assert check_url(url) == url


def test_headers_are_lowered_and_checked() -> None:
    assert check_headers({"Authorization": "Bearer x"}) == {"authorization": "Bearer x"}
    for headers in ({"a": "line\nbreak"}, {"ü": "x"}, {" ": "x"}):
        with pytest.raises(ValueError, match="ASCII"):
            check_headers(headers)


def test_pauses_grow_are_drawn_and_bounded() -> None:
    policy = RetryPolicy(first_pause_s=1.0, longest_pause_s=3.0)
    for attempt, ceiling in ((1, 1.0), (2, 2.0), (3, 3.0), (30, 3.0)):
        pauses = [policy.pause_s(attempt) for _ in range(200)]
        assert 0 <= min(pauses) < max(pauses) <= ceiling
        assert max(pauses) > ceiling / 2
    for bad in ({"max_attempts": 0}, {"first_pause_s": -1.0}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
            RetryPolicy(**bad)


def test_the_channel_is_told_what_grpcs_defaults_would_get_wrong() -> None:
    arguments = dict(ConnectionOptions().channel_arguments(TlsOptions(server_name="triton")))
    assert arguments["grpc.max_receive_message_length"] == 2**31 - 1
    assert arguments["grpc.keepalive_time_ms"] >= 300_000  # servers hang up on quicker pings
    assert arguments["grpc.enable_http_proxy"] == 0
    assert "round_robin" in str(arguments["grpc.service_config"])
    assert arguments["grpc.ssl_target_name_override"] == "triton"


def test_an_answer_of_more_than_four_megabytes_arrives() -> None:
    affine, shape = np.eye(4), (64, 160, 160)
    heat = np.zeros(shape, np.float32)
    heat[30, 80, 80] = 1
    with FakeServer(Answer(outputs_of(report_of(heat, affine), heat))) as server, GliomaClient(server.url) as client:
        prediction = client.predict(STUDY)
    np.testing.assert_array_equal(prediction.heatmap.voxels, heat)
