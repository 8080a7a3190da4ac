"""The inference protocol that ships with the client is Triton's, and its descriptor is that of its .proto."""

import re
from importlib.resources import files

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import service_pb2

from glioserve_client import protocol
from glioserve_client.calls.message import ModelInferRequest, ModelInferResponse, arrays_of, infer_message
from glioserve_client.request import Request, Tensor
from glioserve_contract import GlioserveError

(FILE,) = FileDescriptorSet.FromString(files(protocol).joinpath(protocol.DESCRIPTOR_SET).read_bytes()).file
TEXT = files(protocol).joinpath("inference.proto").read_text()


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


def test_the_descriptor_is_that_of_the_text():
    found = re.findall(r"^\s+(?:repeated )?[\w.<>, ]+? (\w+) = (\d+);", TEXT, re.MULTILINE)
    described = [
        (field.name, str(field.number))
        for message in FILE.message_type
        for part in (*[n for n in message.nested_type if not n.options.map_entry], message)
        for field in part.field
    ]
    assert sorted(found) == sorted(described)
    assert re.findall(r"rpc (\w+)", TEXT) == [method.name for method in FILE.service[0].method]


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
