"""Spans, metrics and log lines of calls: what they say, whose they are, and that they are free where not asked for."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import CollectorRegistry

from glioserve_client import (
    AsyncGliomaClient,
    DicomStudy,
    GliomaClient,
    Modality,
    Prediction,
    RetryPolicy,
    Volume,
    VolumeStudy,
    errors,
)
from glioserve_client.telemetry.counts import counts_in
from glioserve_contract import metrics as m
from support.results.answers import small_answer
from support.server.fake_server import Answer, Fail, FakeServer
from support.studies.dicom_files import file_bytes, mr_dataset

VOLUMES = VolumeStudy({Modality.T1CE: Volume(np.zeros((4, 5, 6), np.float32), np.eye(4))})
SOON = RetryPolicy(first_pause_s=0.001, longest_pause_s=0.002)
ANSWER = Answer(small_answer(0.87))
BUSY = Fail("UNAVAILABLE", "the queue is full")
REFUSED = Fail("INVALID_ARGUMENT", "[GLIO-1201] File 1 of 1 is not DICOM. What to do: Send DICOM.")
PLANTED = ("Planted^Patient", "PLANTED-ID", "PLANTED words")
ATTEMPT = "inference.GRPCInferenceService/ModelInfer"


def dicom_study() -> DicomStudy:
    name, number, words = PLANTED
    planted = mr_dataset(PatientName=name, PatientID=number, SeriesDescription=words, StudyDescription=words)
    return DicomStudy.from_bytes([file_bytes(planted)])


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """An application's own provider."""
    made, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(made))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield made
    provider.shutdown()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def parent_id(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def span_id(span: ReadableSpan) -> int:
    return span.get_span_context().span_id


def ask(kind: type, url: str, study: Any, **arguments: Any) -> Prediction:
    if kind is GliomaClient:
        with GliomaClient(url, retry=SOON) as client:
            return client.predict(study, **arguments)

    async def call() -> Prediction:
        async with AsyncGliomaClient(url, retry=SOON) as client:
            return await client.predict(study, **arguments)

    return asyncio.run(call())


@pytest.mark.parametrize("kind", [GliomaClient, AsyncGliomaClient])
def test_a_call_is_a_span_with_its_stages_and_attempts_below(kind: type, exporter: InMemorySpanExporter) -> None:
    with FakeServer(BUSY, ANSWER) as server:
        with trace.get_tracer("app").start_as_current_span("app"):
            ask(kind, server.url, dicom_study(), request_id="case.1")
        received = [request.metadata["traceparent"] for request in server.requests]
    spans = by_name(exporter)
    call = spans["glioserve.predict"]
    assert parent_id(call) == span_id(spans["app"])
    assert parent_id(spans["glioserve.encode"]) == span_id(call)
    assert parent_id(spans["glioserve.deidentify"]) == span_id(spans["glioserve.encode"])
    attempts = [span for span in exporter.get_finished_spans() if span.name == ATTEMPT]
    assert [parent_id(span) for span in attempts] == [span_id(call)] * 2
    trace_id = call.get_span_context().trace_id
    flags = int(call.get_span_context().trace_flags)
    assert flags & 1
    assert received == [f"00-{trace_id:032x}-{span_id(span):016x}-{flags:02x}" for span in attempts]
    first, second = (dict(span.attributes or {}) for span in attempts)
    assert (first["error.type"], first["glioserve.attempt"], second["glioserve.attempt"]) == ("GLIO-4101", 1, 2)
    assert "error.type" not in second
    assert dict(call.attributes or {}) == {
        "glioserve.request_id": "case.1", "server.address": server.url, "glioserve.outcome": "answered",
    }  # fmt: skip


def test_a_failure_ends_its_spans_with_the_code_and_without_the_text(exporter: InMemorySpanExporter) -> None:
    with FakeServer(REFUSED) as server, pytest.raises(errors.NotDicomError):
        ask(GliomaClient, server.url, VOLUMES)
    call = by_name(exporter)["glioserve.predict"]
    assert call.attributes is not None
    assert (call.attributes["error.type"], call.attributes["glioserve.outcome"]) == ("GLIO-1201", "refused")
    assert call.status.status_code is trace.StatusCode.ERROR
    assert call.status.description is None
    assert not call.events


def test_a_submitted_call_belongs_to_the_span_of_who_submits(exporter: InMemorySpanExporter) -> None:
    with FakeServer(ANSWER) as server, GliomaClient(server.url) as client:
        with trace.get_tracer("app").start_as_current_span("app"):
            future = client.submit(VOLUMES)
        future.result(30)
    spans = by_name(exporter)
    assert parent_id(spans["glioserve.predict"]) == span_id(spans["app"])


def test_a_trace_that_the_caller_names_stands(exporter: InMemorySpanExporter) -> None:
    with FakeServer(ANSWER) as server:
        ask(GliomaClient, server.url, VOLUMES, headers={"traceparent": "00-1-2-01"})
        assert server.requests[0].metadata["traceparent"] == "00-1-2-01"


def test_a_call_that_is_not_sampled_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton would follow any trace, whatever its flag says."""
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    with FakeServer(ANSWER) as server:
        ask(GliomaClient, server.url, VOLUMES)
        assert "traceparent" not in server.requests[0].metadata
        assert server.requests[0].parameters.keys() == {"deadline_unix_ms"}


def test_who_asks_for_nothing_loads_nothing() -> None:
    code = """
import sys
import numpy as np
from glioserve_client import GliomaClient, Modality, Volume, VolumeStudy
from glioserve_client.testing import FakeTransport, answer
study = VolumeStudy({Modality.T1CE: Volume(np.zeros((4, 5, 6), np.float32), np.eye(4))})
with GliomaClient("fake:1", transport=FakeTransport(answer("recurrence"))) as client:
    client.predict(study)
print(" ".join(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert not {name.split(".")[0] for name in done.stdout.split()} & {"opentelemetry", "prometheus_client"}


def value(registry: CollectorRegistry, metric: m.Metric, suffix: str = "", **labels: str) -> float:
    return registry.get_sample_value(metric.name + suffix, labels) or 0.0


def test_clients_count_their_calls_in_one_registry() -> None:
    registry = CollectorRegistry()
    with FakeServer(BUSY, ANSWER, REFUSED) as server:
        with GliomaClient(server.url, retry=SOON, metrics=registry) as client:
            client.predict(VOLUMES)
        with GliomaClient(server.url, retry=SOON, metrics=registry) as client, pytest.raises(errors.NotDicomError):
            client.predict(VOLUMES)
    assert value(registry, m.CLIENT_CALLS, outcome="answered", code="") == 1
    assert value(registry, m.CLIENT_CALLS, outcome="refused", code="GLIO-1201") == 1
    assert value(registry, m.CLIENT_RETRIES, code="GLIO-4101") == 1
    assert value(registry, m.CLIENT_SECONDS, "_count", outcome="answered") == 1
    voxels = 4 * 5 * 6 * 4
    assert 3 * voxels < value(registry, m.CLIENT_SENT) < 3 * (voxels + 4096)
    assert value(registry, m.CLIENT_RECEIVED) > 0
    declared = {metric.name: metric for metric in m.CLIENT_METRICS}
    for family in registry.collect():
        metric = declared.pop(family.name + ("_total" if family.type == "counter" else ""))
        assert family.type == metric.kind.value
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                assert set(sample.labels) - {"le"} == set(metric.label_names)
                for label in metric.labels:
                    assert sample.labels[label.name] in label.values
    assert not declared


def test_every_series_is_there_before_the_first_call() -> None:
    """A rate sees nothing of a series whose first value is 1."""
    registry = CollectorRegistry()
    counts_in(registry)
    for metric in m.CLIENT_METRICS:
        name = metric.name + ("_count" if metric.kind is m.Kind.HISTOGRAM else "")
        for values in metric.series():
            assert registry.get_sample_value(name, dict(zip(metric.label_names, values, strict=True))) == 0, values


def test_an_abstention_and_a_closed_client_have_outcomes_of_their_own() -> None:
    registry = CollectorRegistry()
    abstained = Answer(small_answer(0.87, abstained_because=("brain_volume 2.9 l is outside 0.8 to 2.2",), label=""))
    with FakeServer(abstained) as server, GliomaClient(server.url, metrics=registry) as client:
        client.predict(VOLUMES)
    slow = Answer(small_answer(0.87), delay_s=60)
    with FakeServer(slow) as server:
        client = GliomaClient(server.url, metrics=registry)
        future = client.submit(VOLUMES)
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            future.result(30)
    assert value(registry, m.CLIENT_CALLS, outcome="abstained", code="") == 1
    assert value(registry, m.CLIENT_CALLS, outcome="cancelled", code="") == 1


def test_something_else_than_a_registry_is_refused() -> None:
    with pytest.raises(TypeError, match="CollectorRegistry"):
        GliomaClient("localhost:1", metrics="yes")  # type: ignore[arg-type]


def test_the_log_s_records_carry_their_values(exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "glioserve_client"), FakeServer(BUSY, ANSWER) as server:
        ask(GliomaClient, server.url, VOLUMES, request_id="case.1")
    again, ended = (record.__dict__ for record in caplog.records)
    trace_id = f"{by_name(exporter)['glioserve.predict'].get_span_context().trace_id:032x}"
    assert (again["code"], again["attempts"], again["trace_id"]) == ("GLIO-4101", 1, trace_id)
    assert {name: ended[name] for name in ("request_id", "outcome", "code", "attempts", "trace_id")} == {
        "request_id": "case.1", "outcome": "answered", "code": "", "attempts": 2, "trace_id": trace_id,
    }  # fmt: skip
    assert ended["sent_bytes"] > 0
    assert caplog.messages[1].startswith("request case.1: answered in ")


def test_nothing_of_a_patient_is_in_spans_metrics_or_log(
    exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    study, registry = dicom_study(), CollectorRegistry()
    caplog.set_level(logging.DEBUG)
    with FakeServer(BUSY, REFUSED) as server:
        client = GliomaClient(server.url, retry=SOON, metrics=registry)
        with client, pytest.raises(errors.NotDicomError):
            client.predict(study)
    told = "".join(span.to_json() for span in exporter.get_finished_spans())
    told += "".join(str(record.__dict__) for record in caplog.records)
    told += "".join(str(family) for family in registry.collect())
    dataset = mr_dataset()
    assert "glioserve.deidentify" in told
    for text in (*PLANTED, str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID)):
        assert text not in told


def test_a_caller_s_name_is_sent_as_a_header_and_not_as_a_parameter() -> None:
    """The name is a header, so that a server of any version takes it."""
    with FakeServer(ANSWER) as server, GliomaClient(server.url, caller="ward-3") as client:
        client.predict(VOLUMES)
    assert server.requests[0].metadata["x-glioserve-caller"] == "ward-3"
    assert "x-glioserve-caller" not in server.requests[0].parameters
    for malformed in ("", "a b", "x" * 65, "Müller"):
        with pytest.raises(ValueError, match="caller must be"):
            GliomaClient("localhost:1", caller=malformed)
