"""A scripted peer: a gRPC server in this process that speaks KServe's protocol and does what a test tells it.

    with FakeServer(Fail("UNAVAILABLE", "full"), Answer(small_answer())) as server:
        GliomaClient(server.url).predict(study)
    assert len(server.requests) == 2

Steps are taken in turn, one per inference request; the last one stays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor, np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

from glioserve_contract.parameters import TRITON_PARAMETERS
from glioserve_contract.tensors import ENSEMBLE


@dataclass(frozen=True)
class Answer:
    """Give these output tensors (those that the request asks for), after a delay that a closing server cuts short."""

    outputs: Mapping[str, Any]
    delay_s: float = 0.0


@dataclass(frozen=True)
class Fail:
    """End the call with a gRPC status (its name) and details."""

    status: str
    details: str
    delay_s: float = 0.0


@dataclass(frozen=True)
class Raw:
    """Change the well-formed response of ``outputs`` before it leaves: for answers that no server should give."""

    outputs: Mapping[str, Any]
    spoil: Callable[[Any], None]
    delay_s: float = 0.0


Step = Answer | Fail | Raw


@dataclass
class Received:
    """One request as it arrived."""

    model: str
    request_id: str
    outputs: tuple[str, ...]
    metadata: dict[str, str]
    timeout_us: int
    remaining_s: float
    parameters: dict[str, Any]
    """All but Triton's own."""
    inputs: dict[str, Any] = field(repr=False, default_factory=dict)
    caller: bytes = b""
    """The caller's own certificate in PEM, where it showed one."""


class FakeServer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # tritonclient is not typed
    """Scripted gRPC server on a free port of 127.0.0.1, or on its ``address`` where one is given.

    ``ready`` is what it says of its models, and may change while it runs. Where another model than ``glioma`` is not
    ``known``, it says that it never had it, as Triton does. ``refusal`` ends every call, as a proxy's does that asks
    for credentials; it may change too.
    """

    def __init__(
        self,
        *steps: Step,
        ready: bool = True,
        known: bool = True,
        refusal: Fail | None = None,
        credentials: Any = None,
        address: str = "127.0.0.1:0",
        threads: int = 16,
    ) -> None:
        self.ready, self._known, self.refusal = ready, known, refusal
        self.requests: list[Received] = []
        self.together = 0
        """Most requests that were being served at one time."""
        self._steps, self._now = list(steps), 0
        self._lock, self._closing = threading.Lock(), threading.Event()
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._server = grpc.server(ThreadPoolExecutor(threads), options=options)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        add = self._server.add_secure_port if credentials else self._server.add_insecure_port
        port = add(address, *([credentials] if credentials else []))
        self.url = f"127.0.0.1:{port}"

    def __enter__(self) -> FakeServer:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.stop(grace=None).wait(timeout=10)

    def ModelReady(self, request: Any, context: Any) -> Any:
        self._admit(context)
        return service_pb2.ModelReadyResponse(ready=self._has(request.name) and self.ready)

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        self._admit(context)
        if self._has(request.name) and self.ready:
            return service_pb2.ModelMetadataResponse(name=request.name, versions=["1"], platform="ensemble")
        reason = "has no available versions" if self._has(request.name) else "is not found"
        return context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' {reason}")

    def ServerMetadata(self, request: Any, context: Any) -> Any:
        self._admit(context)
        return service_pb2.ServerMetadataResponse(name="fake", version="1.2.3", extensions=["none"])

    def ModelInfer(self, request: Any, context: Any) -> Any:
        self._admit(context)
        with self._lock:
            step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
            self.requests.append(_received(request, context))
            self._now += 1
            self.together = max(self.together, self._now)
        try:
            self._closing.wait(step.delay_s)
            if isinstance(step, Fail):
                return context.abort(grpc.StatusCode[step.status], step.details)  # raises
            response = _response(request, step.outputs)
            if isinstance(step, Raw):
                step.spoil(response)
            return response
        finally:
            with self._lock:
                self._now -= 1

    def _has(self, model: str) -> bool:
        return self._known or model == ENSEMBLE.name

    def _admit(self, context: Any) -> None:
        if self.refusal is not None:
            context.abort(grpc.StatusCode[self.refusal.status], self.refusal.details)


def _received(request: Any, context: Any) -> Received:
    inputs = {}
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.datatype == "BYTES":
            array = deserialize_bytes_tensor(raw)
        else:
            array = np.frombuffer(raw, dtype=triton_to_np_dtype(tensor.datatype))
        inputs[tensor.name] = array.reshape(tuple(tensor.shape))
    return Received(
        model=request.model_name,
        request_id=request.id,
        outputs=tuple(output.name for output in request.outputs),
        metadata=dict(context.invocation_metadata()),
        timeout_us=request.parameters["timeout"].int64_param,
        remaining_s=context.time_remaining(),
        parameters={
            k: getattr(v, v.WhichOneof("parameter_choice"))
            for k, v in request.parameters.items()
            if k not in TRITON_PARAMETERS
        },
        inputs=inputs,
        caller=next(iter(context.auth_context().get("x509_pem_cert", ())), b""),
    )


def _response(request: Any, outputs: Mapping[str, Any]) -> Any:
    response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    for asked in request.outputs:
        if asked.name not in outputs:
            continue
        array = np.asarray(outputs[asked.name])
        tensor = response.outputs.add(name=asked.name, datatype=np_to_triton_dtype(array.dtype))
        tensor.shape.extend(array.shape)
        is_bytes = array.dtype == np.object_
        response.raw_output_contents.append(serialize_byte_tensor(array).item() if is_bytes else array.tobytes())
    return response
