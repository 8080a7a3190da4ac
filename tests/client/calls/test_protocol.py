"""The inference protocol that ships with the client is Triton's, and its descriptor is that of its .proto."""

import json
import socket
import subprocess
import urllib.request
from importlib.resources import files

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import service_pb2

from glioserve_client import protocol
from glioserve_client.calls.message import ModelInferRequest, ModelInferResponse, arrays_of, infer_message
from glioserve_client.request import Request, Tensor
from glioserve_contract import GlioserveError
from glioserve_triton.gateway.messages import CONNECTION_MANAGER, ROUTER, named, type_url
from glioserve_triton.gateway.process import find_envoy
from glioserve_triton.process.options import free_ports
from support.scripts import script
from support.server.fake_server import FakeServer
from support.server.triton import wait_until

(FILE,) = FileDescriptorSet.FromString(files(protocol).joinpath(protocol.DESCRIPTOR_SET).read_bytes()).file


def fields(message):
    return {f.number: (f.name, f.type, f.label) for f in message.field}


@pytest.mark.parametrize("message", FILE.message_type, ids=lambda m: m.name)
def test_every_message_is_tritons(message):
    theirs = service_pb2.DESCRIPTOR.message_types_by_name[message.name]
    proto = type(message)()
    theirs.CopyToProto(proto)
    assert fields(message) == fields(proto)
    for nested in message.nested_type:
        (their,) = [n for n in proto.nested_type if n.name == nested.name]
        assert fields(nested) == fields(their)


def test_the_descriptor_is_that_of_the_text(tmp_path):
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    script("compile_protocol").compile_to(tmp_path / "inference.binpb")
    compiled = (tmp_path / "inference.binpb").read_bytes()
    assert compiled == files(protocol).joinpath(protocol.DESCRIPTOR_SET).read_bytes()


def test_envoy_reads_the_descriptor(tmp_path):
    """It turns JSON into calls by it, for callers without gRPC."""
    try:
        envoy = find_envoy(None)
    except GlioserveError as error:
        pytest.skip(str(error))
    (port,) = free_ports("127.0.0.1", 1)
    with FakeServer() as server:
        config = tmp_path / "envoy.json"
        config.write_text(json.dumps(_transcoder(port, int(server.url.rpartition(":")[2]))))
        command = [envoy, "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: _listens(port) or process.poll() is not None, "Envoy to listen", timeout_s=20)
            assert process.poll() is None, process.stderr.read()
            asked = urllib.request.Request(
                f"http://127.0.0.1:{port}/{protocol.SERVICE}/ModelReady", b'{"name": "glioma"}'
            )
            with urllib.request.urlopen(asked, timeout=20) as answer:
                assert json.load(answer) == {"ready": True}
        finally:
            process.kill()
            process.communicate(timeout=20)


def _transcoder(port, upstream):
    def at(number):
        return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": number}}}

    transcoder = {
        "@type": type_url("extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"),
        "proto_descriptor": str(files(protocol).joinpath(protocol.DESCRIPTOR_SET)),
        "services": [protocol.SERVICE],
        "auto_mapping": True,
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "server"}}
    manager = {
        "@type": type_url(CONNECTION_MANAGER),
        "stat_prefix": "callers",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [named("transcoder", transcoder), named("router", {"@type": type_url(ROUTER)})],
    }
    http2 = {
        "@type": type_url("extensions.upstreams.http.v3.HttpProtocolOptions"),
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster = {
        "name": "server",
        "load_assignment": {
            "cluster_name": "server",
            "endpoints": [{"lb_endpoints": [{"endpoint": at(upstream)}]}],
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
    }
    listener = {**at(port), "filter_chains": [{"filters": [named("callers", manager)]}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_message_is_what_protobuf_would_have_written():
    tensors = (
        Tensor("A", "BYTES", (2,), (b"\1\0\0\0x", memoryview(b"\0\0\0\0"))),
        Tensor("B", "FP32", (1, 70), (bytes(280),)),
    )
    content = infer_message(
        Request(tensors, 0), model_name="m", request_id="r", outputs=("O",), parameters={"a": True, "b": 7, "c": "x"}
    )
    parsed = ModelInferRequest.FromString(content)
    assert (parsed.model_name, parsed.id, [o.name for o in parsed.outputs]) == ("m", "r", ["O"])
    assert [(t.name, t.datatype, list(t.shape)) for t in parsed.inputs] == [("A", "BYTES", [2]), ("B", "FP32", [1, 70])]
    assert list(parsed.raw_input_contents) == [b"\1\0\0\0x\0\0\0\0", bytes(280)]
    values = {name: getattr(v, v.WhichOneof("parameter_choice")) for name, v in parsed.parameters.items()}
    assert values == {"a": True, "b": 7, "c": "x"}
    assert type(values["a"]) is bool


def test_an_answer_may_come_in_typed_fields_too():
    response = ModelInferResponse()
    score = response.outputs.add(name="SCORE", datatype="FP32", shape=[1])
    score.contents.fp32_contents.append(0.5)
    label = response.outputs.add(name="LABEL", datatype="BYTES", shape=[1])
    label.contents.bytes_contents.append(b"recurrence")
    arrays = arrays_of(response.SerializeToString(), ["SCORE", "LABEL", "REPORT"])
    assert {name: list(array) for name, array in arrays.items()} == {"SCORE": [0.5], "LABEL": [b"recurrence"]}


@pytest.mark.parametrize("answer", [b"\xff" * 40, b"<html>", b"\x2a\x05\x0a"])
def test_bytes_that_are_no_answer_are_told_as_such(answer):
    with pytest.raises(GlioserveError) as caught:
        arrays_of(answer, ["SCORE"])
    assert caught.value.token == "GLIO-4105"
