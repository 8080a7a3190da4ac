"""``glioserve serve --gateway`` and ``glioserve gateway config`` as an operator meets them."""

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tritonclient.grpc as triton

from glioserve_cli.main import main
from glioserve_triton.gateway.process import find_envoy
from glioserve_triton.process.options import free_ports
from glioserve_triton.process.server import TritonServer
from support.network.gateways import Caller
from support.network.pki import Authority
from support.server.serve import TIMEOUT_S, Serve, serving
from support.server.tiny_repository import hold, write_tiny_repository
from support.server.triton import living_processes, wait_until

JWT = {"issuer": "https://issuer.example", "audiences": ["glioserve"]}
KEY = "a-key-of-the-archive-0123456789abcdef"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_tiny_repository(tmp_path / "repository")


def write_options(folder: Path, **options: object) -> Path:
    (folder / "keys").write_text(f"archive:{KEY}\n")
    file = folder / "gateway.yaml"
    file.write_text(json.dumps({"listen": {"port": 0}, "api_keys_file": str(folder / "keys"), **options}))
    return file


def gateway_url(serve: Serve) -> str:
    serve.grpc_url()
    match = re.search(r"gateway=(\S+)", serve.log)
    assert match, serve.log
    return match[1]


def not_ready(serve: Serve) -> str:
    """Return what keeps the server from being ready; empty where it is."""
    try:
        with urllib.request.urlopen(serve.probe_url("/readyz"), timeout=10):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


def envoys(serve: Serve) -> list[int]:
    """Process ids of Envoy below the supervisor."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid=,comm="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in found.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}
    return [int(pid) for pid, parent, name in rows if name == "envoy" and parents.get(int(parent)) == serve.process.pid]


@pytest.mark.long
@pytest.mark.triton
def test_a_gateway_that_dies_or_hangs_comes_back_and_a_drain_loses_no_study(repository: Path, tmp_path: Path) -> None:
    with serving(repository, "--gateway", str(write_options(tmp_path))) as serve, ThreadPoolExecutor(1) as pool:
        url = gateway_url(serve)
        with Caller(url, KEY) as caller:
            wait_until(lambda: caller.infer().status == "OK", "an answer through the gateway")
            (first,) = envoys(serve)
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: caller.infer().status == "OK", "an answer through the next gateway")
            assert "the gateway ended by itself with code 137; it is started again" in serve.log
            (second,) = envoys(serve)
            assert second != first
            os.kill(second, signal.SIGSTOP)
            wait_until(lambda: not_ready(serve) == "gateway: it does not answer\n", "not ready for the gateway's sake")
            wait_until(lambda: caller.infer(timeout_s=2).status == "OK", "an answer through the third gateway")
            assert "the gateway does not answer; it is started again" in serve.log
            (third,) = envoys(serve)
            with hold(repository) as held:
                study = pool.submit(caller.infer)
                wait_until(held.reached, "the study in its first step")
                serve.process.send_signal(signal.SIGTERM)
                with triton.InferenceServerClient(serve.grpc_url()) as server:
                    wait_until(lambda: not server.is_model_ready("glioma"), "draining")
                assert caller.infer().status in ("NOT_FOUND", "UNAVAILABLE")
                assert not study.done()
            assert study.result(TIMEOUT_S).status == "OK"
        assert serve.end() == 0
        assert "cut off" not in serve.log
        assert '"method":"infer"' in serve.log
        assert "MUSTERMANN" not in serve.log
        assert KEY not in serve.log
        assert living_processes(second) == living_processes(third) == []


@pytest.mark.triton
def test_the_server_itself_is_reached_on_the_loopback_only(repository: Path, tmp_path: Path) -> None:
    arguments = ("--gateway", str(write_options(tmp_path)), "--host", "0.0.0.0", "--allow-network-with-known-cves")
    with serving(repository, *arguments) as serve:
        wait_until(lambda: "ready grpc=127.0.0.1:" in serve.log or serve.process.poll() is not None, "ready")
        match = re.search(r"ready grpc=127\.0\.0\.1:(\d+)", serve.log)
        assert match
        listening = Path(f"/proc/{serve.server_pid()}/net/tcp").read_text()
        assert f"0100007F:{int(match[1]):04X}" in listening
        assert f"00000000:{int(match[1]):04X}" not in listening


def test_a_server_with_known_holes_is_not_led_to_the_network_by_a_gateway(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_options(tmp_path, listen={"host": "0.0.0.0", "port": 0})
    arguments = ["--repository", str(repository), "--probe-port", "0", "--gateway", str(file)]
    assert main(["serve", "--profile", "onnxruntime-cpu", *arguments]) == 1
    assert "GLIO-5129" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"api_keys_file": None}, "says not who may ask"),
        ({"anonymous": True}, "must not be true"),
        ({"listne": {}}, "gateway.listne: unknown key"),
        ({"listen": {"host": "localhost"}}, "must be an IP address"),
        ({"limits": {"max_request_bytes": 10}}, "gateway.limits.max_request_bytes: must be"),
        ({"limits": {"max_heap_bytes": 1 << 20}}, "gateway.limits.max_heap_bytes: must be"),
        ({"jwt": {**JWT, "audiences": [], "jwks_file": "k"}}, "gateway.jwt.audiences: must name"),
        ({"jwt": JWT}, "needs jwks_file or jwks_uri"),
        ({"jwt": {**JWT, "jwks_uri": "http://x"}}, "must begin with https"),
        ({"jwt": {**JWT, "jwks_file": "k"}}, "exclude each other"),
        ({"api_keys_file": None, "jwt": {**JWT, "jwks_file": "/nowhere"}}, "jwks_file cannot be read"),
        ({"api_keys_file": None, "jwt": {**JWT, "jwks_file": __file__}}, "is not a JSON Web Key Set"),
        ({"servers": ["x:1"]}, "gateway.servers: must be left out"),
        ({"api_keys_file": "/nowhere/keys"}, "api_keys_file cannot be read"),
    ],
)
def test_options_that_cannot_be_meant(
    repository: Path, tmp_path: Path, options: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_options(tmp_path, **options)
    content = {name: value for name, value in json.loads(file.read_text()).items() if value is not None}
    file.write_text(json.dumps(content))
    arguments = ["--repository", str(repository), "--probe-port", "0", "--gateway", str(file)]
    assert main(["serve", "--profile", "onnxruntime-cpu", *arguments]) == 1
    error = capsys.readouterr().err
    assert "GLIO-5131" in error
    assert said in error


@pytest.mark.parametrize(
    "content", ["short:abc", "no colon here", "a b:" + KEY, f"x:{KEY}\ny:{KEY}", "x:sha256:zz", ""]
)
def test_keys_that_cannot_be_meant(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_options(tmp_path, servers=["127.0.0.1:8001"])
    (tmp_path / "keys").write_text(content)
    assert main(["gateway", "config", str(file), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "GLIO-5131" in error
    assert KEY not in error


def test_tls_of_the_server_and_a_gateway_exclude_each_other(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--repository", str(repository), "--probe-port", "0", "--gateway", str(write_options(tmp_path))]
    assert main(["serve", "--profile", "onnxruntime-cpu", *arguments, "--tls-cert", "x.pem"]) == 1
    assert "Callers meet the gateway's TLS" in capsys.readouterr().err


def test_a_configuration_for_a_pod_is_one_that_envoy_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is switched on; the folder is seen under another path in the pod."""
    certificate = Authority(tmp_path, "ca").issue("server", hosts=["glioma.example"])
    out, seen = tmp_path / "out", tmp_path / "seen"
    (port,) = free_ports("127.0.0.1", 1)
    tls = {"certificate": str(certificate), "private_key": str(certificate.with_suffix(".key"))}
    jwt = {"issuer": "https://i.example", "audiences": ["a"], "jwks_uri": "https://i.example/keys"}
    file = tmp_path / "pod.yaml"
    options = {
        "servers": ["glioserve-headless.glioma.svc:8001", "[::1]:8001"],
        "listen": {"host": "::", "port": 8443},
        "status": {"host": "0.0.0.0", "port": port},
        "tls": {**tls, "client_ca": str(tmp_path / "ca.pem")},
        "servers_tls": {"ca": str(tmp_path / "ca.pem"), "server_name": "glioma.example"},
        "jwt": {**jwt, "jwks_ca": str(tmp_path / "ca.pem")},
    }
    file.write_text(json.dumps(options))
    assert main(["gateway", "config", str(file), "--out", str(out), "--seen-as", str(seen)]) == 0
    assert f"--config-path {seen}/gateway.json" in capsys.readouterr().out
    out.rename(seen)
    start = json.loads((seen / "gateway.json").read_text())
    assert start["admin"]["address"] == {"pipe": {"path": f"{seen}/admin.sock", "mode": 0o600}}
    (listener,) = json.loads((seen / "listener.json").read_text())["resources"]
    whole = {**start, "static_resources": {**start["static_resources"]}}
    del whole["dynamic_resources"]
    whole["static_resources"]["listeners"].append({k: v for k, v in listener.items() if k != "@type"})
    for name, content in (("start", start), ("whole", whole)):
        checked = seen / f"{name}.json"
        checked.write_text(json.dumps(content))
        result = subprocess.run(
            [str(find_envoy(None)), "--mode", "validate", "--config-path", str(checked), "--log-level", "error"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert result.returncode == 0, result.stderr


def test_a_pods_configuration_names_its_servers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gateway", "config", str(write_options(tmp_path)), "--out", str(tmp_path / "out")]) == 1
    assert "must name at least one server" in capsys.readouterr().err


def test_no_envoy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: TritonServer) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Exception, match="Envoy was not found"):
        find_envoy(None)
    with pytest.raises(Exception, match="not a program"):
        find_envoy(tmp_path)
