"""A real gateway for a test, in front of real servers, and calls through it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from glioserve_contract.errors.messages import find_code
from glioserve_triton.gateway.process import Gateway
from support.server.triton import assert_nothing_left, wait_until

TIMEOUT_S = 60.0
_UNBOUNDED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@dataclass
class Running:
    """A gateway and what it has logged."""

    gateway: Gateway
    file: Path
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return the address to which callers connect."""
        return self.gateway.url

    def logged(self, count: int) -> list[dict[str, Any]]:
        """The access log's entries, once there are ``count``."""
        wait_until(lambda: len(self._entries()) >= count, f"{count} entries in the access log")
        return self._entries()

    def _entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.copy() if line.startswith("{")]


@contextmanager
def running_gateway(
    folder: Path, server: str | tuple[str, ...], *, wait: bool = True, **options: Any
) -> Iterator[Running]:
    """A gateway on a free port of 127.0.0.1 in front of one or more servers; nothing of it is left afterwards.

    It has found its servers; with ``wait`` False, for one that wants a certificate, it may still be looking.
    """
    file = folder / "gateway.yaml"
    file.write_text(json.dumps({"listen": {"port": 0}, **options}))
    lines: list[str] = []
    servers = (server,) if isinstance(server, str) else server
    gateway = Gateway(file, servers, lines.append)
    running = Running(gateway, file, lines)
    gateway.start()
    group, run_folder = gateway.process.pid, gateway.process.run.path
    try:
        if wait:
            with Caller(gateway.url) as caller:
                wait_until(caller.healthy, "the gateway to have found its server")
        yield running
    finally:
        gateway.stop()
        assert_nothing_left(group, run_folder)


@dataclass(frozen=True)
class Outcome:
    """The end of a call: gRPC's status, its text, and our token in it."""

    status: str
    text: str = ""

    @property
    def code(self) -> str | None:
        """Our token, where the text has one that is known."""
        code = find_code(self.text)
        return code.token if code else None


class Caller:
    """A connection through a gateway, with or without a bearer token."""

    def __init__(
        self, url: str, token: str | None = None, credentials: grpc.ChannelCredentials | None = None, name: str = ""
    ) -> None:
        options: list[tuple[str, int | str]] = [
            *_UNBOUNDED,
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
        ]
        if name:
            options.append(("grpc.ssl_target_name_override", name))
        secure = grpc.secure_channel(url, credentials, options) if credentials else None
        self._channel = secure or grpc.insecure_channel(url, options)
        self.metadata = [("authorization", f"Bearer {token}")] if token else []

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def infer(self, padding: int = 0, model: str = "glioma", timeout_s: float = TIMEOUT_S, **options: Any) -> Outcome:
        """One study that is longer than it need be by ``padding`` bytes, and whose id is a patient's name."""
        return self.ask("ModelInfer", study(padding, model), timeout_s, **options)

    def ask(self, method: str, request: Any, timeout_s: float = TIMEOUT_S, **options: Any) -> Outcome:
        """One call of Triton's service."""
        call = getattr(service_pb2_grpc.GRPCInferenceServiceStub(self._channel), method)
        return self._outcome(call, request, timeout_s, **options)

    def raw(self, method: str, content: bytes, metadata: Sequence[tuple[str, str]] = ()) -> Outcome:
        """One call of any method with any bytes."""
        call = self._channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        return self._outcome(call, content, TIMEOUT_S, metadata=[*self.metadata, *metadata])

    def healthy(self) -> bool:
        """Return whether a server behind the gateway says that it serves."""
        return self.raw("/grpc.health.v1.Health/Check", b"").status == "OK"

    def _outcome(self, call: Any, request: Any, timeout_s: float, **options: Any) -> Outcome:
        try:
            call(request, timeout=timeout_s, **{"metadata": self.metadata, **options})
        except grpc.RpcError as error:
            return Outcome(error.code().name, error.details() or "")
        return Outcome("OK")


def study(padding: int = 0, model: str = "glioma") -> Any:
    """An inference of the tiny ensemble, with ``padding`` bytes beside its tensor, which Triton ignores."""
    request = service_pb2.ModelInferRequest(model_name=model, id="MUSTERMANN^ERIKA")
    request.inputs.add(name="RAW", datatype="FP32", shape=[1, 4])
    request.raw_input_contents.append(np.ones((1, 4), np.float32).tobytes())
    request.outputs.add(name="SCORE")
    if padding:
        request.inputs[0].parameters["padding"].string_param = "x" * padding
    return request
