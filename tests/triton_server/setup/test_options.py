import re
import socket
from pathlib import Path

import pytest

from glioserve_triton.process.locate import find_installation
from glioserve_triton.process.options import ACCEPT_IDENTIFIED_DICOM, Ports, ServerOptions, free_ports

PORTS = Ports(1001, 1002, 1003)


def _flags(options: ServerOptions) -> dict[str, str]:
    flags = options.flags(PORTS, Path("/models"), ["glioma"])
    pairs = [flag.partition("=") for flag in flags]
    assert len({name for name, _, _ in pairs}) == len(pairs)
    return {name: value for name, _, value in pairs}


def test_the_defaults_are_closed_to_the_outside() -> None:
    options = ServerOptions()
    flags = _flags(options)
    assert {flags[f"--{service}-address"] for service in ("grpc", "metrics")} == {"127.0.0.1"}
    assert (flags["--grpc-port"], flags["--metrics-port"]) == ("1001", "1003")
    assert flags["--allow-http"] == "false"
    assert not options.allow_known_cves
    assert flags["--model-control-mode"] == "explicit"
    assert flags["--load-model"] == "glioma"
    assert flags["--strict-readiness"] == "false"
    assert flags["--grpc-infer-allocation-pool-size"] == "0"
    assert "--disable-auto-complete-config" in flags
    assert "--model-config-name" not in flags
    closed = "model-repository,model-config,shared-memory,trace,logging,statistics"
    assert flags["--grpc-restricted-protocol"] == f"{closed}:admin-key={options.admin_token}"
    opened = _flags(ServerOptions(http=True, admin_token=options.admin_token))
    assert (opened["--http-address"], opened["--http-port"]) == ("127.0.0.1", "1002")
    assert opened["--http-restricted-api"] == f"{closed}:admin-key={options.admin_token}"


def test_services_can_be_off() -> None:
    flags = _flags(ServerOptions(http=False, metrics=False))
    assert (flags["--allow-http"], flags["--allow-metrics"]) == ("false", "false")
    assert not [name for name in flags if name.startswith(("--http", "--metrics"))]


def test_what_an_operator_sets_arrives() -> None:
    options = ServerOptions(
        profile="onnxruntime-gpu",
        host="0.0.0.0",
        admin_token="x" * 16,
        log_verbosity=2,
        exit_timeout_s=7,
        extra_flags=("--trace-config=level=TIMESTAMPS",),
    )
    flags = _flags(options)
    assert flags["--load-model"] == "glioma"
    assert flags["--model-config-name"] == "onnxruntime-gpu"
    assert flags["--grpc-address"] == "0.0.0.0"
    assert flags["--log-verbose"] == "2"
    assert flags["--exit-timeout-secs"] == "7"
    assert flags["--trace-config"] == "level=TIMESTAMPS"
    assert options.local_host == "127.0.0.1"
    assert ServerOptions(host="::").local_host == "[::1]"


def test_a_flag_that_the_options_own_cannot_be_set_twice() -> None:
    with pytest.raises(ValueError, match="--allow-http is set by the options"):
        ServerOptions(extra_flags=("--allow-http=false",))


@pytest.mark.parametrize("token", ["", "short", "with space in it it", "with,comma,in,it,it", "x" * 257])
def test_a_token_that_triton_would_misread(token: str) -> None:
    with pytest.raises(ValueError, match="16 to 256"):
        ServerOptions(admin_token=token)


def test_each_server_has_a_token_of_its_own_that_no_repr_shows() -> None:
    options = ServerOptions()
    assert re.fullmatch(r"[\w-]{43}", options.admin_token)
    assert ServerOptions().admin_token != options.admin_token
    assert options.admin_token not in repr(options)


def test_accepting_identified_dicom_is_never_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    installation = find_installation()
    monkeypatch.setenv(ACCEPT_IDENTIFIED_DICOM, "1")
    assert ACCEPT_IDENTIFIED_DICOM not in ServerOptions().environment(installation)
    monkeypatch.delenv(ACCEPT_IDENTIFIED_DICOM)
    assert ServerOptions(accept_identified_dicom=True).environment(installation)[ACCEPT_IDENTIFIED_DICOM] == "1"


def test_ports_of_0_are_chosen_and_the_others_kept() -> None:
    chosen = ServerOptions(http_port=4711).choose_ports()
    assert chosen.http == 4711
    assert len({chosen.grpc, chosen.http, chosen.metrics}) == 3
    assert 0 not in (chosen.grpc, chosen.metrics)
    assert ServerOptions(grpc_port=1, http_port=2, metrics_port=3).choose_ports() == Ports(1, 2, 3)
    assert ServerOptions(http_port=1002).chosen_among(PORTS) == (1001, 1003)


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = free_ports("127.0.0.1", 20)
    assert len(set(ports)) == 20
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ports[0]))
