import io
import json
import re

import pytest

from glioserve_triton.process.logs import Log

TRITON_LINES = """\
2026-11-23T17:54:14Z I 8543 model_lifecycle.cc:839] "successfully loaded 'glioma'"
2026-11-23T17:54:14Z E 8543 server.cc:241] "CudaDriverHelper has not been initialized."
2026-11-23T17:54:14Z I 8543 server.cc:604]
+---------+------+
| Backend | Path |
+---------+------+

{"time": "2026-11-23T17:54:15Z", "level": "info", "source": "preprocess", "message": "request done", "request_id": "a"}
error: creating server: Invalid argument
""".splitlines()


def test_text_is_triton_s_own_with_our_events_in_its_manner() -> None:
    stream = io.StringIO()
    log = Log(stream, "text")
    for line in TRITON_LINES:
        log.server_line(line)
    log.event("ready", grpc="127.0.0.1:8001", http=None)
    *lines, event = stream.getvalue().splitlines()
    assert lines == [*TRITON_LINES[:7], "2026-11-23T17:54:15Z I preprocess] request done request_id=a", TRITON_LINES[8]]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ I glioserve\] ready grpc=127\.0\.0\.1:8001", event)


def test_json_is_an_object_a_line() -> None:
    stream = io.StringIO()
    log = Log(stream, "json")
    for line in TRITON_LINES:
        log.server_line(line)
    log.event("studies in flight may have been cut off", "warning", grpc="127.0.0.1:8001")
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(r["level"], r.get("source"), r["message"]) for r in records] == [
        ("info", "model_lifecycle.cc:839", "successfully loaded 'glioma'"),
        ("error", "server.cc:241", "CudaDriverHelper has not been initialized."),
        ("info", "preprocess", "request done"),
        ("info", "server", "error: creating server: Invalid argument"),
        ("warning", "glioserve", "studies in flight may have been cut off"),
    ]
    assert records[0]["time"] == "2026-11-23T17:54:14Z"
    assert records[-1]["grpc"] == "127.0.0.1:8001"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_lines_below_the_level_are_left_out_and_those_without_one_never(log_format: str) -> None:
    stream = io.StringIO()
    log = Log(stream, log_format, "warning")  # type: ignore[arg-type]
    for line in TRITON_LINES:
        log.server_line(line)
    log.event("ready")
    log.event("studies in flight may have been cut off", "warning")
    text = stream.getvalue()
    for shown in ("CudaDriverHelper", "error: creating server", "cut off"):
        assert shown in text
    log.server_line('{"source": "gateway", "status": "OK"}')
    assert stream.getvalue().endswith('{"source": "gateway", "status": "OK"}\n')
    for hidden in ("successfully loaded", "request done", "ready"):
        assert hidden not in text


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_every_line_is_flushed(log_format: str) -> None:
    class Stream(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    stream = Stream()
    log = Log(stream, log_format)  # type: ignore[arg-type]
    log.event("starting")
    log.server_line("line")
    assert stream.flushed == 2
