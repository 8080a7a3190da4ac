"""More studies than a server can take: it answers, waits or refuses within its bounds, and is whole afterwards."""

import threading

import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from glioserve_client import errors
from glioserve_client.status import error_from_status
from glioserve_contract.limits import MAX_WAITING_STUDIES
from support.triton import halted, wait_until

from .test_answer import scrape

pytestmark = pytest.mark.triton


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


def test_a_full_queue_refuses_at_once_and_keeps_what_it_took(server, repository):
    """Nothing is answered while the instances stand still, so every refusal comes from the queue's own bound."""
    running, refused, kept = instances(repository), [], []
    with halted(server, "preprocess"):
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
