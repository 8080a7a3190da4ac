"""More studies than a server can take: it answers, waits or refuses within its bounds, and is whole afterwards."""

import shutil
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from glioserve_client import errors
from glioserve_client.status import error_from_status
from glioserve_contract.limits import CLOCK_TOLERANCE_S, MAX_WAITING_STUDIES
from glioserve_contract.metrics import STAGE_SECONDS, STUDIES, TRITON_ENDS
from glioserve_triton.supervisor.triton_page import PageReader, triton_page
from support.server.holding import hold_adapter
from support.server.triton import running_server, wait_until

from .test_answer import scrape

pytestmark = pytest.mark.triton

REFUSED_BY_QUEUE, WAITED_TOO_LONG = TRITON_ENDS


@pytest.fixture(scope="module")
def held_repository(repository, tmp_path_factory):
    copied = tmp_path_factory.mktemp("held") / "repository"
    shutil.copytree(repository, copied)
    hold_adapter(copied)
    return copied


@pytest.fixture(scope="module")
def server(held_repository):
    with running_server(held_repository) as running:
        yield running


@contextmanager
def held(repository):
    """No study is begun meanwhile."""
    file = repository / "preprocess" / "hold"
    file.touch()
    try:
        yield
    finally:
        file.unlink()


def instances(repository):
    text = (repository / "preprocess" / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig()).instance_group[0].count


def ask_with_a_bad_file(server, found):
    """Add the typed error to ``found``."""
    tensor = triton.InferInput("INSTANCES", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([b"not DICOM"], dtype=object))
    with triton.InferenceServerClient(server.grpc_url) as raw:
        try:
            raw.infer("glioma", [tensor], client_timeout=120)
        except triton.InferenceServerException as error:
            found.append(error_from_status(error.status(), error.message()))


def waiting(server):
    """Requests in the queue of the model preprocess: taken and not begun."""
    samples = scrape(server)
    return sum(
        value
        for (name, labels), value in samples.items()
        if name == "nv_inference_pending_request_count" and ("model", "preprocess") in labels
    )


def test_a_full_queue_refuses_at_once_and_keeps_what_it_took(server, held_repository):
    """Nothing is answered while no study is begun, so every refusal comes from the queue's own bound."""
    running, refused, kept = instances(held_repository), [], []
    reader = PageReader()
    reader.read(triton_page(server.metrics_url))
    before = reader.ends(lost_canaries=0)
    with held(held_repository):
        waiters = []
        for number in range(1, running + MAX_WAITING_STUDIES + 1):
            waiters.append(threading.Thread(target=ask_with_a_bad_file, args=(server, kept)))
            waiters[-1].start()
            wait_until(lambda taken=number: waiting(server) >= taken - running, "it is taken")
        for _ in range(3):
            ask_with_a_bad_file(server, refused)
        assert [type(error) for error in refused] == [errors.UnavailableError] * 3
        assert all(error.retryable for error in refused)
        assert kept == []
    for waiter in waiters:
        waiter.join(60)
    assert [type(error) for error in kept] == [errors.NotDicomError] * (running + MAX_WAITING_STUDIES)
    reader.read(triton_page(server.metrics_url))
    after = reader.ends(lost_canaries=0)
    assert {end: number - before[end] for end, number in after.items() if number > before[end]} == {REFUSED_BY_QUEUE: 3}


def grown(server, before, name, **labels):
    key = (name, tuple(sorted(labels.items())))
    return scrape(server)[key] - before[key]


def rejected(samples):
    """Requests that Triton itself dropped from the queue of preprocess because their ``timeout`` had passed."""
    return sum(
        value
        for (name, labels), value in samples.items()
        if name == "nv_inference_request_failure_total"
        and {("model", "preprocess"), ("reason", "REJECTED")} <= set(labels)
    )


def infer(server, files, deadline_unix_ms, timeout_s, queue_timeout_s=None):
    tensor = triton.InferInput("INSTANCES", [len(files)], "BYTES")
    tensor.set_data_from_numpy(np.array(files, dtype=object))
    with triton.InferenceServerClient(server.grpc_url) as raw:
        return raw.infer(
            "glioma",
            [tensor],
            client_timeout=timeout_s,
            timeout=queue_timeout_s and int(queue_timeout_s * 1e6),
            parameters={"deadline_unix_ms": deadline_unix_ms},
        )


@pytest.mark.parametrize(
    "queue_timeout_s",
    [pytest.param(None, id="deadline"), pytest.param(6, id="deadline and timeout", marks=pytest.mark.long)],
)
def test_expired_studies_cost_the_next_one_nothing(server, held_repository, files, queue_timeout_s):
    """Eight callers gave up on a server that stood still: when it runs again, it works on the ninth's study alone."""
    before, found, reader = scrape(server), [], PageReader()
    reader.read(triton_page(server.metrics_url))
    ended = reader.ends(lost_canaries=0)

    def give_up():
        with pytest.raises(triton.InferenceServerException) as caught:
            infer(server, files, int((time.time() + 6) * 1000), 6, queue_timeout_s)
        found.append(caught.value.status())

    with held(held_repository):
        callers = [threading.Thread(target=give_up) for _ in range(8)]
        for caller in callers:
            caller.start()
        wait_until(lambda: waiting(server) == 8 - instances(held_repository) or len(found) > 0, "all are taken")
        assert found == []
        for caller in callers:
            caller.join(60)
        time.sleep(2 * CLOCK_TOLERANCE_S)
    assert found == ["StatusCode.DEADLINE_EXCEEDED"] * 8
    assert infer(server, files, int((time.time() + 120) * 1000), 120).as_numpy("SCORE").shape == (1,)
    dropped = grown(server, before, STUDIES.name, outcome="cancelled", code="GLIO-3104")
    dropped += grown(server, before, STUDIES.name, outcome="cancelled", code="GLIO-3102")
    assert dropped + rejected(scrape(server)) - rejected(before) == 8
    assert (rejected(scrape(server)) > rejected(before)) == (queue_timeout_s is not None)
    reader.read(triton_page(server.metrics_url))
    ends = reader.ends(lost_canaries=0)
    assert ends[WAITED_TOO_LONG] - ended[WAITED_TOO_LONG] == rejected(scrape(server)) - rejected(before)
    assert ends[REFUSED_BY_QUEUE] == ended[REFUSED_BY_QUEUE]
    for stage in ("read", "register", "normalise"):
        assert grown(server, before, f"{STAGE_SECONDS.name}_count", stage=stage) == 1, stage
    assert grown(server, before, STUDIES.name, outcome="answered", code="") == 1


def test_a_study_ends_between_its_steps_when_its_deadline_passes(server, files):
    """A caller without the Python client, who waits longer than the deadline that he states."""
    before = scrape(server)
    with pytest.raises(triton.InferenceServerException) as caught:
        infer(server, files, int((time.time() - CLOCK_TOLERANCE_S + 0.2) * 1000), 120)
    error = error_from_status(caught.value.status(), caught.value.message())
    assert type(error) is errors.DeadlinePassedError
    assert grown(server, before, STUDIES.name, outcome="cancelled", code="GLIO-3104") == 1
    assert grown(server, before, f"{STAGE_SECONDS.name}_count", stage="normalise") == 0


def test_a_deadline_in_time_changes_nothing(server, files):
    answer = infer(server, files, int((time.time() + 120) * 1000), 120)
    assert 0 <= answer.as_numpy("SCORE")[0] <= 1
