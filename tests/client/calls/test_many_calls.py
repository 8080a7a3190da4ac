"""Many studies, futures, asyncio: the same calls, under the same rules, by both clients."""

import asyncio
import inspect
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from glioserve_client import (
    NO_RETRY,
    AsyncGliomaClient,
    DicomStudy,
    GliomaClient,
    Modality,
    RetryPolicy,
    Volume,
    VolumeStudy,
    __version__,
    errors,
)
from glioserve_client import study as study_module
from glioserve_contract import ErrorCode, GlioserveError
from support.results.answers import small_answer
from support.server.fake_server import Answer, Fail, FakeServer
from support.studies.dicom_files import file_bytes, mr_dataset

STUDY = VolumeStudy({Modality.T1CE: Volume(np.zeros((4, 5, 6), np.float32), np.eye(4))})
SOON = RetryPolicy(first_pause_s=0.001, longest_pause_s=0.002)
ANSWER = Answer(small_answer(0.87))
SLOW = Answer(small_answer(0.87), delay_s=60)


def dicom_study(count: int = 3) -> DicomStudy:
    return DicomStudy.from_bytes([file_bytes(mr_dataset(InstanceNumber=str(n))) for n in range(1, count + 1)])


def public(kind: type) -> dict[str, Any]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_")}


def test_both_clients_have_the_same_methods_and_arguments() -> None:
    one, other = public(GliomaClient), public(AsyncGliomaClient)
    assert set(one) == set(other)
    assert inspect.signature(GliomaClient) == inspect.signature(AsyncGliomaClient)
    for name, method in one.items():
        if not isinstance(method, property):
            assert inspect.signature(method).parameters == inspect.signature(other[name]).parameters, name
            assert inspect.iscoroutinefunction(other[name]) or inspect.isasyncgenfunction(other[name]), name


def test_a_future_has_the_answer() -> None:
    with FakeServer(ANSWER) as server, GliomaClient(server.url) as client:
        future = client.submit(STUDY, request_id="case.1")
        assert future.result(30).score == pytest.approx(0.87)
        assert (future.done(), future.cancel()) == (True, False)
    assert server.requests[0].request_id == "case.1"


def test_a_cancelled_future_ends_the_call_at_the_server_too() -> None:
    with FakeServer(SLOW) as server, GliomaClient(server.url, retry=NO_RETRY) as client:
        future = client.submit(STUDY)
        until(lambda: len(server.requests) == 1)
        assert future.cancel()
        assert future.cancelled()
        until(lambda: not client._under_way)


def test_many_studies_come_as_they_are_done_and_one_failure_loses_nothing() -> None:
    refused = Fail("INVALID_ARGUMENT", str(GlioserveError(ErrorCode.NOT_MR, "Found: nothing.")))

    def unreadable() -> DicomStudy:
        return DicomStudy.from_bytes([b"no DICOM"])

    studies: list[Any] = [STUDY, STUDY, unreadable, lambda: STUDY, "folder", STUDY]
    counted: list[int] = []
    with FakeServer(ANSWER, refused, ANSWER) as server, GliomaClient(server.url) as client:
        outcomes = list(client.predict_many(iter(studies), concurrency=1, progress=counted.append))
    assert [outcome.index for outcome in outcomes] == [0, 1, 2, 3, 4, 5]
    assert counted == [1, 2, 3, 4, 5, 6]
    assert [type(o.error).__name__ for o in outcomes] == [
        "NoneType", "NotMrError", "NotDicomError", "NoneType", "TypeError", "NoneType"
    ]  # fmt: skip
    assert outcomes[0].result().score == pytest.approx(0.87)
    with pytest.raises(errors.NotMrError):
        outcomes[1].result()


def test_no_more_than_asked_are_under_way_and_studies_are_drawn_as_there_is_room() -> None:
    drawn = []

    def studies() -> Any:
        for number in range(12):
            drawn.append(number)
            yield STUDY

    with FakeServer(Answer(small_answer(), delay_s=0.05)) as server, GliomaClient(server.url) as client:
        outcomes = client.predict_many(studies(), concurrency=3)
        next(outcomes)
        assert len(drawn) <= 5
        assert sum(1 for _ in outcomes) == 11
    assert server.together <= 3


def test_an_iterator_that_is_left_cancels_what_is_under_way() -> None:
    with FakeServer(ANSWER, SLOW) as server, GliomaClient(server.url) as client:
        outcomes = client.predict_many([STUDY] * 4, concurrency=2)
        next(outcomes)
        outcomes.close()  # type: ignore[attr-defined]
        until(lambda: not client._under_way)


def test_a_client_closed_by_another_thread_says_so() -> None:
    with FakeServer(SLOW) as server:
        client = GliomaClient(server.url)
        closing = threading.Timer(0.3, client.close)
        closing.start()
        with pytest.raises(RuntimeError, match="this GliomaClient is closed"):
            client.predict(STUDY)
        closing.join()


def test_a_client_closed_during_preparation_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(ANSWER) as server:
        client = GliomaClient(server.url)
        _slow_files(monkeypatch, client.close)
        with pytest.raises(RuntimeError, match="this GliomaClient is closed"):
            client.predict(dicom_study())
        assert server.requests == []


def test_preparation_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    rebuilt = _slow_files(monkeypatch, lambda: time.sleep(0.1))
    with FakeServer(ANSWER) as server, GliomaClient(server.url) as client:
        with pytest.raises(errors.DeadlineExceededError):
            client.predict(dicom_study(9), timeout_s=0.15)
        assert server.requests == []
    assert len(rebuilt) < 9


def test_a_study_is_de_identified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rebuilt = _slow_files(monkeypatch, lambda: None)
    study = dicom_study()
    with FakeServer(ANSWER) as server, GliomaClient(server.url) as client:
        client.predict(study)
        client.predict(study)
    assert len(rebuilt) == 3
    first, second = (list(request.inputs["INSTANCES"]) for request in server.requests)
    assert first == second
    again = pickle.loads(pickle.dumps(study))
    assert [f.content for f in again.files] == [f.content for f in study.files]
    assert list(again.deidentified().contents) != first  # the pseudonyms stayed behind


def _slow_files(monkeypatch: pytest.MonkeyPatch, each: Callable[[], None]) -> list[int]:
    """Call ``each`` before every file, and count them."""
    deidentify = study_module.deidentify
    counted: list[int] = []

    def slow(files: Any, check: Callable[[], None]) -> Any:
        def checked() -> None:
            each()
            check()
            counted.append(1)

        return deidentify(files, check=checked)

    monkeypatch.setattr(study_module, "deidentify", slow)
    return counted


def test_a_study_is_sent_again_until_its_deadline_and_not_for_four_attempts() -> None:
    full = [Fail("UNAVAILABLE", "full")] * 9
    with FakeServer(*full, ANSWER) as server, GliomaClient(server.url, retry=SOON) as client:
        assert client.predict(STUDY).attempts == 10


def test_retries_have_a_budget_over_all_calls_of_a_client() -> None:
    policy = RetryPolicy(first_pause_s=0.0, longest_pause_s=0.0, most_a_minute=5)
    with FakeServer(Fail("UNAVAILABLE", "full")) as server, GliomaClient(server.url, retry=policy) as client:
        attempts = []
        for _ in range(3):
            with pytest.raises(errors.UnavailableError) as caught:
                client.predict(STUDY)
            attempts.append(caught.value.attempts)
    assert attempts == [6, 1, 1]


def test_the_server_is_told_which_client_calls() -> None:
    with FakeServer(ANSWER) as server, GliomaClient(server.url) as client:
        client.predict(STUDY)
    assert server.requests[0].metadata["user-agent"].startswith(f"glioserve-client/{__version__} grpc")


def test_the_server_says_what_it_is() -> None:
    with FakeServer(ANSWER) as server, GliomaClient(server.url) as client:
        info = client.server_info()
    assert (info.server, info.server_version, info.ready) == ("fake", "1.2.3", True)


@pytest.mark.parametrize("wrong", ["folder", b"bytes", None, [1], Volume(np.zeros((2, 2, 2)), np.eye(4))])
def test_what_is_no_study_is_told_how_to_become_one(wrong: Any) -> None:
    with FakeServer(ANSWER) as server, GliomaClient(server.url) as client:
        for call in (client.predict, client.submit):
            with pytest.raises(TypeError, match=r"a study is needed, not .*(Study|read)"):
                call(wrong)


def test_studies_have_short_representations() -> None:
    assert repr(dicom_study(9)) == "DicomStudy(9 files, 0 skipped)"
    assert len(repr(STUDY)) < 120


# --- asyncio ---


def run(course: Callable[[AsyncGliomaClient], Any], *steps: Any, **options: Any) -> tuple[Any, FakeServer]:
    async def main(url: str) -> Any:
        async with AsyncGliomaClient(url, **options) as client:
            return await course(client)

    with FakeServer(*steps) as server:
        return asyncio.run(main(server.url)), server


def test_the_asynchronous_client_answers_and_tries_again() -> None:
    async def course(client: AsyncGliomaClient) -> Any:
        await client.wait_until_ready(30)
        info = await client.server_info()
        return await client.predict(dicom_study(), request_id="a"), await client.ready(), info

    (prediction, ready, info), server = run(course, Fail("UNAVAILABLE", "full"), ANSWER, retry=SOON)
    assert (prediction.attempts, prediction.request_id, ready, info.ready) == (2, "a", True, True)
    assert b"Zyxquist" not in server.requests[0].inputs["INSTANCES"][0]


def test_the_asynchronous_client_raises_the_same_errors() -> None:
    async def course(client: AsyncGliomaClient) -> Any:
        with pytest.raises(errors.DeadlineExceededError) as caught:
            await client.predict(STUDY, timeout_s=0.3, request_id="late")
        assert caught.value.request_id == "late"
        with pytest.raises(TypeError):
            await client.predict("folder")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="heatmap"):
            await client.predict(STUDY, heatmap=None)  # type: ignore[arg-type]

    run(course, SLOW)


def test_a_cancelled_task_ends_the_call_and_a_closed_client_says_so() -> None:
    async def course(client: AsyncGliomaClient) -> None:
        task = await client.submit(STUDY)
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not client._under_way
        other = await client.submit(STUDY)
        await asyncio.sleep(0.3)
        await client.close()
        with pytest.raises(RuntimeError, match="this AsyncGliomaClient is closed"):
            await other
        with pytest.raises(RuntimeError, match="closed"):
            await client.ready()

    run(course, SLOW)


def test_many_studies_by_asyncio() -> None:
    async def course(client: AsyncGliomaClient) -> list[Any]:
        studies: list[Any] = [STUDY, "folder", lambda: STUDY]
        return [outcome async for outcome in client.predict_many(studies, concurrency=2)]

    outcomes, server = run(course, ANSWER)
    assert sorted(o.index for o in outcomes) == [0, 1, 2]
    assert {o.index: type(o.error).__name__ for o in outcomes} == {0: "NoneType", 1: "TypeError", 2: "NoneType"}
    assert len(server.requests) == 2


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
