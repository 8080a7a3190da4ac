"""The options by which every command that sends studies reaches the server: a name, a token, a deadline, traces."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glioserve_cli import client_tracing
from glioserve_cli.client_arguments import connection_of
from glioserve_cli.main import main
from glioserve_cli.models import evaluate
from glioserve_cli.pacs import command as pacs
from glioserve_cli.serving import predict
from glioserve_client.options import TlsOptions
from support.network.otlp import OtlpReceiver
from support.results.answers import small_answer
from support.server.fake_server import Answer, FakeServer
from support.studies.dicom_files import file_bytes, mr_dataset

NEEDED = {
    predict: ["STUDY", "--url", "server:8001"],
    evaluate: ["--url", "server:8001", "--cohort", "cohort.csv", "--out", "out"],
    pacs: ["--url", "server:8001", "--source", "received", "--state", "state", "--recipe", "recipe.json"],
}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (folder := tmp_path / "study").mkdir()
    (folder / "IM1").write_bytes(file_bytes(mr_dataset()))
    return folder


@pytest.mark.parametrize("command", NEEDED, ids=["predict", "evaluate", "pacs"])
def test_every_command_that_sends_studies_has_the_same(command, tmp_path: Path) -> None:
    (token := tmp_path / "token").write_text("abc\n")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    given = ["--timeout-s", "7", "--caller", "tumour-board", "--token-file", str(token), "--tls-server-name", "server"]
    args = parser.parse_args([*NEEDED[command], *given, "--otlp-endpoint", "http://collector:4318"])
    assert connection_of(args) == {
        "timeout_s": 7.0,
        "tls": TlsOptions(server_name="server"),
        "headers": {"authorization": "Bearer abc"},
        "caller": "tumour-board",
    }
    assert args.otlp_endpoint == "http://collector:4318"
    with pytest.raises(SystemExit):
        parser.parse_args([*NEEDED[command], "--caller", "ward 3"])


def test_a_call_has_a_callers_name_and_spans(study: Path) -> None:
    command = [sys.executable, "-m", "glioserve_cli.main", "predict", str(study), "--caller", "tumour-board", "--json"]
    with OtlpReceiver() as receiver, FakeServer(Answer(small_answer())) as server:
        options = ["--url", server.url, "--otlp-endpoint", receiver.base_url]
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    sent = server.requests[0].metadata
    assert sent["x-glioserve-caller"] == "tumour-board"
    (root,) = [span for span in receiver.spans if not span.parent_id]
    assert (root.name, root.service) == ("glioserve.predict", "glioserve-client")
    assert {"glioserve.encode", "glioserve.deidentify"} <= {span.name for span in receiver.spans}
    assert root.trace_id in sent["traceparent"]


@pytest.mark.parametrize(
    ("endpoint", "packages", "said"),
    [
        ("collector:4318", client_tracing.PACKAGES, "must be http://HOST:PORT"),
        ("http://127.0.0.1:9", ("opentelemetry.absent", "absent.package"), "glioserve[otel]"),
    ],
)
def test_traces_that_cannot_be_sent_end_the_command(
    endpoint: str,
    packages: tuple[str, ...],
    said: str,
    study: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(client_tracing, "PACKAGES", packages)
    assert main(["predict", str(study), "--url", "127.0.0.1:9", "--otlp-endpoint", endpoint, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "GLIO-5135"
    monkeypatch.setattr(client_tracing, "PACKAGES", ("opentelemetry.absent",))
    monkeypatch.setitem(os.environ, client_tracing.BASE_URL, "http://127.0.0.1:9")
    with FakeServer(Answer(small_answer())) as server:  # set for every container, whatever is installed in it
        assert main(["predict", str(study), "--url", server.url]) == 0
