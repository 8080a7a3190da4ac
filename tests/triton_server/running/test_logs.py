import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from glioserve_triton.log_stream import LogStream
from glioserve_triton.process.logs import Log
from glioserve_triton.stubs import stubs_of
from support.server.serve import children
from support.server.triton import wait_until

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
    assert lines == [*TRITON_LINES[:6], "2026-11-23T17:54:15Z I preprocess] request done request_id=a", TRITON_LINES[8]]
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


def test_a_reader_that_hangs_blocks_no_writer_and_is_told_what_it_missed() -> None:
    read_end, write_end = os.pipe()
    try:
        stream = LogStream(write_end)
        line = "x" * 99 + "\n"
        for _ in range(10_000):
            stream.write(line)
        assert not stream.drained(0.1)
        os.set_blocking(read_end, False)
        received = b""

        def read() -> bool:
            nonlocal received
            while True:
                try:
                    received += os.read(read_end, 1 << 16)
                except BlockingIOError:
                    return stream.drained(0)

        wait_until(read, "all that waited was written")
        stream.write("the next\n")
        wait_until(lambda: read() and b"the next" in received, "it goes on")
        lines = received.decode().splitlines()
        missed = [int(text.split()[0]) for text in lines if "were left out here" in text]
        assert missed
        assert sum(missed) + lines.count("x" * 99) == 10_000
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.triton
def test_a_server_whose_log_has_no_reader_serves_heals_and_ends_in_order(repository: Path) -> None:
    """A log collector that has died must cost no study."""
    command = [sys.executable, "-m", "glioserve_cli.main", "serve", "--repository", str(repository)]
    ports = ["--grpc-port", "0", "--metrics-port", "0", "--probe-port", "0"]
    with subprocess.Popen([*command, *ports], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            text = ""
            while " ready grpc=" not in text:
                text += process.stderr.readline()
            process.stderr.close()
            triton = children(children(process.pid)[0])[0]
            killed = next(stub.pid for stub in stubs_of(triton).values() if stub.model == "report")
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: killed not in stubs_of(triton), "the dead process is gone")
            match = re.search(r"probes port=(\d+)", text)
            assert match

            def ready() -> bool:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{match[1]}/readyz", timeout=10) as answer:
                        return bool(answer.status == 200)
                except urllib.error.HTTPError:
                    return False

            wait_until(ready, "ready again")
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()
