"""Methods, models, sizes and times, through the real Envoy to the real server."""

import os
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2

from glioserve_triton.process.options import free_ports
from glioserve_triton.process.server import TritonServer
from support.network.frames import DATA, HEADERS, PING, PREFACE, RESET, SETTINGS, WINDOW_UPDATE, frame
from support.network.gateways import Caller, Running, running_gateway, study
from support.server.tiny_repository import hold
from support.server.triton import listening_ports, living_processes, wait_until

pytestmark = pytest.mark.triton

SERVICE = "/inference.GRPCInferenceService"
MIB = 1 << 20
CLOSED = (
    "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "ModelConfig", "ModelStatistics", "TraceSetting",
    "LogSettings", "SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister", "ModelStreamInfer",
)  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, server: TritonServer) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gateway")
    (port,) = free_ports("127.0.0.1", 1)
    options = {
        "anonymous": True,
        "rate": {"studies_per_minute": 10000, "burst": 1000},
        "limits": {"max_requests_in_flight": 2, "max_request_bytes": 16 * MIB},
        "timeouts": {"study_s": 3, "upload_s": 2},
        "status": {"port": port},
    }
    with running_gateway(folder, server.grpc_url, **options) as running:
        yield running


@pytest.fixture
def caller(gateway: Running) -> Iterator[Caller]:
    with Caller(gateway.url) as connected:
        yield connected


def test_what_is_open(caller: Caller) -> None:
    assert caller.infer().status == "OK"
    assert caller.ask("ServerLive", service_pb2.ServerLiveRequest()).status == "OK"
    assert caller.ask("ServerReady", service_pb2.ServerReadyRequest()).status == "OK"
    assert caller.ask("ServerMetadata", service_pb2.ServerMetadataRequest()).status == "OK"
    assert caller.ask("ModelReady", service_pb2.ModelReadyRequest(name="glioma")).status == "OK"
    assert caller.ask("ModelMetadata", service_pb2.ModelMetadataRequest(name="glioma")).status == "OK"


@pytest.mark.parametrize("path", [*(f"{SERVICE}/{name}" for name in CLOSED), "/grpc.reflection.v1.Any/Thing", "/"])
def test_what_is_closed(caller: Caller, server: TritonServer, path: str) -> None:
    """Also with the server's own admin token."""
    token = ("triton-grpc-protocol-admin-key", server.options.admin_token)
    for metadata in ((), (token,)):
        outcome = caller.raw(path, b"", metadata)
        assert (outcome.status, outcome.code) == ("PERMISSION_DENIED", "GLIO-4110"), outcome


@pytest.mark.parametrize("method", ["ModelInfer/", "modelinfer", "ModelInfer?x=1", "./ModelInfer", "%4dodelInfer"])
def test_no_way_around_by_another_spelling(caller: Caller, method: str) -> None:
    """A path that is not a method of the server's gets no further, or to no other model than the ensemble."""
    outcome = caller.raw(f"{SERVICE}/{method}", study(model="classifier").SerializeToString())
    assert outcome.status != "OK"
    assert outcome.code in ("GLIO-4110", None)


def requests() -> dict[str, tuple[bytes, str]]:
    good, other = study().SerializeToString(), study(model="classifier").SerializeToString()
    name = bytes([0x0A, 6]) + b"glioma"
    assert good.startswith(name)
    return {
        "another model": (other, "GLIO-4110"),
        "the ensemble first, another last": (good + other, "GLIO-4110"),
        "another first, the ensemble last": (other + good, "GLIO-4110"),
        "a longer name": (bytes([0x0A, 7]) + b"gliomas", "GLIO-4110"),
        "no name": (good[len(name) :], "GLIO-4110"),
        "nothing": (b"", "GLIO-4110"),
        "a name of a wrong type": (bytes([0x08, 1]), "GLIO-4110"),
        "a name that the message ends in": (bytes([0x0A, 200]) + b"glioma", "GLIO-4110"),
        "a number without an end": (b"\xff" * 40, "GLIO-4110"),
        "a group": (name + bytes([0x0B, 0x0C]), "GLIO-4110"),
        "a name in an overlong tag": (name + bytes([0x8A, 0x80, 0x00, 10]) + b"classifier", "GLIO-4110"),
    }


@pytest.mark.parametrize("case", requests())
def test_only_the_ensemble(caller: Caller, case: str) -> None:
    content, code = requests()[case]
    outcome = caller.raw(f"{SERVICE}/ModelInfer", content)
    assert (outcome.status, outcome.code) == ("PERMISSION_DENIED", code), outcome


def in_memory(place: str) -> bytes:
    """A study one of whose tensors lies in shared memory, its parameters as long as they like."""
    request = study()
    tensor = request.inputs[0] if place == "input" else request.outputs.add(name="SCORE")
    tensor.parameters["another"].string_param = "x" * 100
    tensor.parameters["shared_memory_region"].string_param = "region"
    tensor.parameters["shared_memory_byte_size"].int64_param = 16
    return request.SerializeToString()


def test_no_tensor_is_looked_for_in_shared_memory(caller: Caller) -> None:
    """An input would be read from another caller's memory, an output written there."""
    for place in ("input", "output"):
        outcome = caller.raw(f"{SERVICE}/ModelInfer", in_memory(place))
        assert (outcome.status, outcome.code) == ("PERMISSION_DENIED", "GLIO-4110"), outcome
        assert "Shared memory" in outcome.text
    value_first = bytes([0x12, 3, 0x1A, 1]) + b"r" + bytes([0x0A, 20]) + b"shared_memory_region"
    entry = bytes([0x22, len(value_first)]) + value_first
    hidden = study().SerializeToString() + bytes([0x2A, len(entry)]) + entry
    assert caller.raw(f"{SERVICE}/ModelInfer", hidden).code == "GLIO-4110"
    usual = study()
    usual.inputs[0].parameters["binary_data_size"].int64_param = 16
    assert caller.raw(f"{SERVICE}/ModelInfer", usual.SerializeToString()).status == "OK"


def with_text(place: str, text: str) -> bytes:
    """A study with a text at the end of one of its names, identifiers or values."""
    request = study()
    if place == "parameter":
        request.parameters["heatmap" + text].bool_param = False
    elif place == "value":
        request.parameters["series"].string_param = "{}" + text
    elif place == "input":
        request.inputs[0].name += text
    elif place == "type":
        request.inputs[0].datatype += text
    elif place == "input parameter":
        request.inputs[0].parameters["binary_data_size" + text].int64_param = 16
    elif place == "output":
        request.outputs.add(name="SCORE" + text)
    else:
        setattr(request, place, f"1{text}")
    return request.SerializeToString()


@pytest.mark.parametrize(
    "place", ["parameter", "value", "input", "type", "input parameter", "output", "id", "model_version"]
)
def test_no_text_is_cut_off_at_a_nul(caller: Caller, place: str) -> None:
    """Triton reads each up to there: the parameter "heatmap\\0x" would be "heatmap"."""
    for text in ("\0", "\0x", *(["\x01", "\n", "\x7f"] if place != "value" else [])):
        outcome = caller.raw(f"{SERVICE}/ModelInfer", with_text(place, text))
        assert (outcome.status, outcome.code) == ("INVALID_ARGUMENT", "GLIO-4106"), (text, outcome)
        assert "control character" in outcome.text


def test_lines_of_a_value_and_other_languages_are_no_control_characters(caller: Caller) -> None:
    assert caller.raw(f"{SERVICE}/ModelInfer", with_text("value", "\n\té")).status == "OK"
    assert caller.raw(f"{SERVICE}/ModelInfer", with_text("id", "é")).status == "OK"


def test_fields_in_another_order_and_unknown_ones_are_no_reason_to_refuse(caller: Caller) -> None:
    good = study().SerializeToString()
    name, rest = good[:8], good[8:]
    unknown = bytes([0x98, 0x06, 0x01, 0xA1, 0x06, *range(8), 0xA5, 0x06, *range(4)])  # numbers of three kinds
    assert caller.raw(f"{SERVICE}/ModelInfer", rest + unknown + name).status == "OK"


def test_a_compressed_study_is_not_looked_into(caller: Caller) -> None:
    outcome = caller.infer(padding=1000, compression=grpc.Compression.Gzip)
    assert (outcome.status, outcome.code) == ("INVALID_ARGUMENT", "GLIO-4106")
    assert "without gRPC's compression" in outcome.text


def test_a_study_over_the_limit_never_reaches_the_server(
    gateway: Running, caller: Caller, server: TritonServer
) -> None:
    """300 MiB: refused by the gateway as soon as the limit is passed, and nothing of it is kept."""
    before = resident_bytes(server.process.pid)
    outcome = caller.infer(padding=300 * MIB)
    assert (outcome.status, outcome.code) == ("RESOURCE_EXHAUSTED", "GLIO-1104"), outcome
    assert "limit of 16 MiB" in outcome.text
    assert resident_bytes(server.process.pid) - before < 8 * MIB
    wait_until(lambda: resident_bytes(gateway.gateway.process.pid) < 192 * MIB, "the gateway to have given memory back")
    assert caller.infer(padding=12 * MIB).status == "OK"


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_one_study_too_many_is_refused_at_once_and_none_is_lost(gateway: Running, server: TritonServer) -> None:
    with Caller(gateway.url) as caller, ThreadPoolExecutor(3) as pool:
        with hold(server.repository) as held:
            waiting = [pool.submit(caller.infer) for _ in range(2)]
            wait_until(held.reached, "a study in its first step")
            wait_until(lambda: active(gateway) == 2, "two studies in flight")
            outcome = caller.infer()
            assert (outcome.status, outcome.code) == ("UNAVAILABLE", "GLIO-4101"), outcome
        assert [future.result().status for future in waiting] == ["OK", "OK"]


def active(gateway: Running) -> int:
    return int(metric(gateway, 'envoy_cluster_upstream_rq_active{envoy_cluster_name="servers"}'))


def metric(gateway: Running, name: str) -> float:
    lines = status(gateway, "/metrics").splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def status(gateway: Running, path: str, method: str = "GET") -> str:
    address = gateway.gateway.options.status
    assert address is not None
    request = urllib.request.Request(f"http://{address.host}:{address.port}{path}", method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        content: bytes = answer.read()
    return content.decode()


def test_deadlines(gateway: Running, caller: Caller, server: TritonServer) -> None:
    """The gateway's own (3 s) where the caller's is longer, the caller's where that is shorter."""
    with hold(server.repository):
        outcome = caller.infer(timeout_s=30)
        # The server is told of the time that is left, and may be the first to say that it is over.
        assert outcome.status == "DEADLINE_EXCEEDED", outcome
        assert outcome.code == "GLIO-4102" or outcome.text == "Deadline Exceeded"
        assert caller.infer(timeout_s=0.2).status == "DEADLINE_EXCEEDED"
    wait_until(lambda: active(gateway) == 0, "nothing left in flight")
    assert caller.infer().status == "OK"


def test_a_request_that_does_not_end_is_ended(gateway: Running) -> None:
    """The body comes too slowly: after 2 s the gateway answers, and no server has seen anything of it."""
    done = threading.Event()
    with grpc.insecure_channel(gateway.url) as channel:
        call = channel.stream_unary(f"{SERVICE}/ModelInfer", request_serializer=bytes, response_deserializer=bytes)

        def slowly() -> Iterator[bytes]:
            yield study().SerializeToString()
            done.wait(30)

        with pytest.raises(grpc.RpcError) as caught:
            call(slowly(), timeout=30)
        done.set()
    assert (caught.value.code().name, "GLIO-4102" in caught.value.details()) == ("DEADLINE_EXCEEDED", True)


def test_the_status_port_shows_readiness_and_metrics_and_nothing_else(gateway: Running) -> None:
    assert status(gateway, "/ready") == "LIVE\n"
    assert metric(gateway, 'envoy_cluster_membership_healthy{envoy_cluster_name="servers"}') == 1
    for path in ("/", "/stats", "/config_dump", "/quitquitquit", "/metrics/../config_dump", "/ready/x"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            status(gateway, path)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        status(gateway, "/ready", method="POST")


def flood(gateway: Running, content: bytes) -> bool:
    """Send it again and again without reading; whether the gateway ends the connection within 20 s."""
    host, _, port = gateway.url.partition(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.sendall(PREFACE + frame(SETTINGS))
        try:
            for _ in range(20000):
                connection.sendall(content)
            while connection.recv(1 << 16):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
    return True


FLOODS = {
    "pings": frame(PING, bytes(8)) * 50,
    "settings": frame(SETTINGS, bytes(6)) * 50,
    "empty frames": frame(DATA, b"", stream=1) * 50,
    "window updates": frame(WINDOW_UPDATE, (1).to_bytes(4, "big")) * 50,
    "no HTTP/2 at all": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_ends_its_own_connection_alone(gateway: Running, caller: Caller, kind: str) -> None:
    assert flood(gateway, FLOODS[kind])
    assert caller.infer().status == "OK"


RESET_STREAM_1 = frame(RESET, bytes(4), stream=1)[:9]


def test_headers_that_do_not_come_are_not_waited_for(gateway: Running) -> None:
    """A block of headers that never ends: its stream is reset, or the connection closed."""
    host, _, port = gateway.url.partition(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(PREFACE + frame(SETTINGS) + frame(HEADERS, b"\x82", stream=1))
        received = b""
        while RESET_STREAM_1 not in received and (block := connection.recv(1 << 16)):
            received += block
    assert received


def test_the_servers_own_http_is_closed(server: TritonServer) -> None:
    """A server without ``--http`` listens for gRPC and metrics alone."""
    assert server.http_url is None
    assert server.metrics_url is not None
    opened = {int(re.findall(r":(\d+)", url)[-1]) for url in (server.grpc_url, server.metrics_url)}
    assert listening_ports(living_processes(server.process.pid)) == opened
