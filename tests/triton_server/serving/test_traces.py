"""Traces: where they go, which are made, and what becomes of spans that a receiver does not take."""

from __future__ import annotations

import io
import json
import ssl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_triton.process.logs import Log
from glioserve_triton.process.options import Ports, ServerOptions
from glioserve_triton.tracing.options import MOST_WAITING, TraceExport, trace_export
from glioserve_triton.tracing.outbox import Outbox
from glioserve_triton.tracing.requests import Parent, RequestTraces, parent_of
from support.network.otlp import OtlpReceiver
from support.network.pki import Authority
from support.server.triton import wait_until

BASE = "http://collector:4318"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def of(**variables: str) -> TraceExport | None:
    return trace_export(None, None, {f"OTEL_{name}": value for name, value in variables.items()})


def test_nothing_is_exported_where_nobody_names_a_receiver() -> None:
    assert trace_export(None, None, {}) is None
    assert trace_export(None, 0.5, {}) is None
    assert of(TRACES_SAMPLER="always_on") is None
    assert of(EXPORTER_OTLP_ENDPOINT=BASE, TRACES_SAMPLER="always_off") is None


def test_the_option_goes_before_the_variables() -> None:
    variables = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://other:1/x", "OTEL_TRACES_SAMPLER": "always_off"}
    assert trace_export(BASE, 0.25, variables) == TraceExport(f"{BASE}/v1/traces", 0.25)
    assert trace_export(f"{BASE}/v1/traces", None, {}) == TraceExport(f"{BASE}/v1/traces", 1.0)


def test_the_variables_are_read_as_opentelemetry_has_them() -> None:
    assert of(EXPORTER_OTLP_ENDPOINT=f"{BASE}/") == TraceExport(f"{BASE}/v1/traces")
    whole = of(EXPORTER_OTLP_ENDPOINT=BASE, EXPORTER_OTLP_TRACES_ENDPOINT="https://c/in", SERVICE_NAME="mri")
    assert whole == TraceExport("https://c/in", 1.0, "mri")


@pytest.mark.parametrize(
    ("sampler", "ratio", "rate"),
    [
        ("always_on", "", 1),
        ("parentbased_always_on", "", 1),
        ("parentbased_always_off", "", 0),
        ("parentbased_traceidratio", "0.1", 10),
        ("parentbased_traceidratio", "0", 0),
        ("parentbased_traceidratio", "", 1),
    ],
)
def test_each_sampler_is_one_study_in_so_many(sampler: str, ratio: str, rate: int) -> None:
    found = of(EXPORTER_OTLP_ENDPOINT=BASE, TRACES_SAMPLER=sampler, TRACES_SAMPLER_ARG=ratio)
    assert found is not None
    assert found.rate == rate


@pytest.mark.parametrize(
    "variables",
    [
        {"TRACES_SAMPLER": "traceidratio"},
        {"TRACES_SAMPLER": "parentbased_traceidratio", "TRACES_SAMPLER_ARG": "1.5"},
        {"TRACES_SAMPLER": "parentbased_traceidratio", "TRACES_SAMPLER_ARG": "half"},
        {"EXPORTER_OTLP_PROTOCOL": "grpc"},
        *({"EXPORTER_OTLP_ENDPOINT": url} for url in (
            "collector:4318", "ftp://c:1", "http://", "http://user:key@c:1", "http://c:1/?key=a", "http://c:99999",
            "http://c c",
        )),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(GlioserveError) as caught:
        of(**{"EXPORTER_OTLP_ENDPOINT": BASE, **variables})
    assert caught.value.code is ErrorCode.INVALID_TRACING
    assert "key" not in str(caught.value).replace("a key belongs into", "")


def test_triton_and_the_models_are_told_the_same() -> None:
    options = ServerOptions(traces=TraceExport("http://c:1/v1/traces", 0.5), callers=("ward", "pacs"), http=True)
    flags = options.flags(Ports(1, 2, 3), SimpleNamespace(), ())  # type: ignore[arg-type]
    assert [flag for flag in flags if "trace-config" in flag] == [
        "--trace-config=mode=opentelemetry",
        "--trace-config=level=TIMESTAMPS",
        "--trace-config=rate=0",
        "--trace-config=opentelemetry,url=http://c:1/v1/traces",
        "--trace-config=opentelemetry,resource=service.name=glioserve",
        "--trace-config=opentelemetry,bsp_max_queue_size=2048",
        "--trace-config=opentelemetry,bsp_schedule_delay=1000",
    ]
    assert "--grpc-header-forward-pattern=^(x-glioserve-caller|traceparent)$" in flags
    assert "--http-header-forward-pattern=^(x-glioserve-caller|traceparent)$" in flags
    inherited = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://stale", "GLIOSERVE_CALLERS": "stale"}
    installation: Any = SimpleNamespace(environment=lambda: dict(inherited))
    told = options.environment(installation)
    assert told["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == "http://c:1/v1/traces"
    assert told["GLIOSERVE_CALLERS"] == "ward,pacs"
    assert not set(inherited) & set(ServerOptions().environment(installation))
    with pytest.raises(ValueError, match="--trace-config is set by the options"):
        ServerOptions(traces=TraceExport(BASE), extra_flags=("--trace-config=level=TENSORS",))


@pytest.mark.parametrize("callers", [("a b",), ("",), ("other",), ("a", "a"), tuple(f"c{n}" for n in range(65))])
def test_names_that_cannot_be_labels_are_refused(callers: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="caller"):
        ServerOptions(callers=callers)


def request(context: str | None, request_id: str = "", parameters: str = "{}") -> Any:
    return SimpleNamespace(
        trace=lambda: SimpleNamespace(get_context=lambda: context),
        request_id=lambda: request_id,
        parameters=lambda: parameters,
    )


def test_the_parent_is_the_span_that_triton_tells() -> None:
    told = json.dumps({"traceparent": f"00-{TRACE}-{SPAN}-01"})
    assert parent_of(request(told)) == Parent(TRACE, SPAN, 1)
    for untraced in (None, "", "{}", "no JSON", '{"traceparent":"00-1-2-01"}'):
        assert parent_of(request(untraced)) is None
    without = {"parameters": lambda: ""}
    assert parent_of(SimpleNamespace(**without)) is None  # a Triton before 24.06
    assert parent_of(SimpleNamespace(trace=lambda: None, **without)) is None


def test_the_parent_is_the_callers_span_where_triton_overlooked_its_header() -> None:
    """Triton 2.51 reads the header to a zero byte that is not always there."""
    ours, asked = "1" * 32, json.dumps({"heatmap": False, "traceparent": f"00-{TRACE}-{SPAN}-01"})
    for context in (None, json.dumps({"traceparent": f"00-{ours}-{SPAN}-01"})):
        assert parent_of(request(context, parameters=asked)) == Parent(TRACE, SPAN, 1)
    followed = json.dumps({"traceparent": f"00-{TRACE}-{'2' * 16}-01"})
    assert parent_of(request(followed, parameters=asked)) == Parent(TRACE, "2" * 16, 1)
    for unasked in (asked.replace("-01", "-00"), '{"traceparent": "00-1-2-01"}', '{"traceparent": "nonsense"}'):
        assert parent_of(request(None, parameters=unasked)) is None


@pytest.fixture
def receiver() -> Any:
    with OtlpReceiver() as running:
        yield running


def spans_into(outbox: Outbox, count: int) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(outbox)
    tracer = provider.get_tracer("test")
    for _ in range(count):
        tracer.start_span("a").end()


def test_a_receiver_that_hangs_costs_a_bounded_queue_and_holds_nobody() -> None:
    """The queue takes what it is meant to and counts the rest, and the end does not wait for the receiver."""
    entered, for_ever = threading.Event(), threading.Event()

    class Stuck(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            entered.set()
            for_ever.wait()
            return SpanExportResult.FAILURE

    outbox = Outbox(Stuck())
    spans_into(outbox, MOST_WAITING + 10)
    assert outbox.taken() == (0, 10)
    assert entered.wait(60)
    end = threading.Thread(target=outbox.shutdown, daemon=True)
    end.start()
    end.join(20)  # OpenTelemetry's own would wait for 30 s
    assert not end.is_alive()
    for_ever.set()


def test_what_the_receiver_takes_and_refuses_is_counted(receiver: OtlpReceiver) -> None:
    outbox = Outbox(OTLPSpanExporter(endpoint=receiver.url))
    counts = [0, 0]

    def counted() -> list[int]:
        exported, dropped = outbox.taken()
        counts[0], counts[1] = counts[0] + exported, counts[1] + dropped
        return counts

    spans_into(outbox, 3)
    wait_until(lambda: counted() == [3, 0], "three are exported")
    receiver.status = 400
    spans_into(outbox, 2)
    wait_until(lambda: counted() == [3, 2], "two are lost")
    outbox.shutdown()


def test_the_span_of_a_request_has_its_stages_below_and_a_failure_is_marked(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")  # Triton has decided already
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mri")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc")
    gone: list[tuple[str, int, int]] = []
    traces = RequestTraces("preprocess", lambda *counts: gone.append(counts))
    with traces.request(request(json.dumps({"traceparent": f"00-{TRACE}-{SPAN}-01"}), "case.1")):
        traces.stage("read", 10**18, 10**18 + 5)
        traces.ended(ErrorCode.INTERNAL)
        assert traces.reference == f"request case.1, trace {TRACE}"
    with traces.request(request(None)):
        traces.stage("read", 10**18, 10**18 + 5)
    traces.close()
    assert [model for model, _, _ in gone] == ["preprocess", "preprocess"]
    found = receiver.of_trace(TRACE)
    assert set(found) == {"glioserve.preprocess", "glioserve.preprocess.read"} == {s.name for s in receiver.spans}
    whole, read = found["glioserve.preprocess"], found["glioserve.preprocess.read"]
    assert (whole.parent_id, read.parent_id) == (SPAN, whole.span_id)
    assert (read.begin_unix_ns, read.end_unix_ns) == (10**18, 10**18 + 5)
    assert whole.failed
    assert whole.service == "mri"
    assert receiver.headers[0]["x-key"] == "abc"
    assert whole.attributes == {
        "glioserve.request_id": "case.1", "glioserve.outcome": "failed", "error.type": "GLIO-3101",
    }  # fmt: skip
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines() if line)
    assert first.items() >= {"level": "error", "trace_id": TRACE, "request_id": "case.1", "code": "GLIO-3101"}.items()
    assert second["message"] == "request done"
    assert not {"trace_id", "request_id", "code"} & set(second)


def test_a_request_has_its_record_in_the_log_though_triton_writes_a_line_in_pieces(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Triton writes a line and its end apart, and a library's lines wait until a buffer is full."""
    traces = RequestTraces("preprocess", lambda *_: None)
    sys.stderr.write('2026-11-23T17:54:14Z I 8543 server.cc:604] "a line whose end"')
    with traces.request(request(None, "case.1")):
        pass
    sys.stderr.write("\nError: an export that fai")
    with traces.request(request(None, "case.2")):
        pass
    sys.stderr.write("led\n")
    stream = io.StringIO()
    log = Log(stream, "json")
    for line in capsys.readouterr().err.splitlines():
        log.server_line(line)
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [r["message"] for r in records] == [
        "a line whose end", "request done", "Error: an export that fai", "request done", "led",
    ]  # fmt: skip
    assert [r["request_id"] for r in records if r["source"] == "preprocess"] == ["case.1", "case.2"]


def test_a_receiver_s_certificate_is_checked_against_the_authorities_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the environment names another bundle for everything else, as behind an inspecting proxy."""
    Authority(tmp_path, "others")
    certificate = Authority(tmp_path, "ours").issue("receiver", hosts=("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "others.pem"))
    named = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "ours.pem")}
    with OtlpReceiver(context) as receiver:
        export = trace_export(receiver.base_url, None, named)
        assert export is not None
        for name, told in {**named, **export.environment()}.items():
            monkeypatch.setenv(name, told)
        traces = RequestTraces("report", lambda *_: None)
        with traces.request(request(json.dumps({"traceparent": f"00-{TRACE}-{SPAN}-01"}))):
            pass
        traces.close()
        assert [span.name for span in receiver.spans] == ["glioserve.report"]
