"""Arguments of ``glioserve serve`` for traces, callers and the log: what is refused before a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from glioserve_cli import client_tracing
from glioserve_cli.main import main
from glioserve_registry.demo_model import demo_repository


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--trace-sampling", "1.5"), "must be a number from 0 to 1"),
        (("--trace-sampling", "half"), "must be a number from 0 to 1"),
        (("--callers", "ward,ward"), "each once"),
        (("--callers", "ward 3"), "a caller's name must be"),
        (("--callers", "other"), "not 'other'"),
        (("--log-level", "loud"), "invalid choice"),
    ],
)
def test_a_malformed_argument_is_wrong_usage(
    arguments: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--repository", "nowhere", *arguments])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("endpoint", "packages", "said"),
    [
        ("collector:4318", client_tracing.PACKAGES, "must be http://HOST:PORT"),
        ("http://127.0.0.1:9", ("opentelemetry.absent", "absent.package"), "glioserve[otel]"),
    ],
)
def test_traces_that_cannot_be_sent_end_the_command_before_the_server_starts(
    endpoint: str,
    packages: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(client_tracing, "PACKAGES", packages)
    repository = demo_repository(tmp_path)
    code = main(["serve", "--repository", str(repository), "--probe-port", "0", "--otlp-endpoint", endpoint])
    error = capsys.readouterr().err
    assert code == 1
    assert said in error
    assert "GLIO-5135" in error
    assert "starting" not in error
