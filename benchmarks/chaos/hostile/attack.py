"""An attack of many hostile requests on a deployment: on the gateway, on Triton's own ports and on the probes."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
from tritonclient.grpc import service_pb2_grpc

from chaos.deployment import Deployment
from chaos.entrance import HOST
from chaos.hostile import frames
from chaos.hostile.grpc_requests import admin, malformed, metadata
from chaos.hostile.http_requests import hostile_http

ATTACKERS = 3
_SOCKET_TIMEOUT_S = 2.0


def attack(deployment: Deployment, count: int, seed: int) -> Counter[str]:
    """Send ``count`` hostile requests; return what came of them: gRPC's or HTTP's status, or the socket's fate."""
    shares = [count // ATTACKERS + (n < count % ATTACKERS) for n in range(ATTACKERS)]
    with ThreadPoolExecutor(ATTACKERS) as pool:
        parts = pool.map(partial(_attacker, deployment), shares, range(seed, seed + ATTACKERS))
        return sum(parts, Counter())


def _attacker(deployment: Deployment, count: int, seed: int) -> Counter[str]:
    draw = random.Random(seed)
    fates: Counter[str] = Counter()
    entrance, server_url = deployment.entrance, deployment.server_url
    key = [("authorization", f"Bearer {entrance.key}")]
    http_ports = (deployment.http_port, deployment.http_port, deployment.probe_port, entrance.status_port)
    with (
        entrance.channel() as gateway,
        grpc.insecure_channel(server_url, [("grpc.use_local_subchannel_pool", 1)]) as server,
    ):
        stubs = [service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in (gateway, server)]

        def by_grpc() -> str:
            kind = draw.choice((malformed, malformed, malformed, admin, metadata))
            return kind(draw, draw.choice(stubs), draw.choice((key, ())))

        def by_frames() -> str:
            connect = draw.choice((partial(entrance.socket, _SOCKET_TIMEOUT_S), partial(_plain, server_url)))
            return draw.choice(frames.KINDS)(draw, connect)

        kinds: tuple[Callable[[], str], ...] = (by_grpc, by_grpc, by_frames, lambda: hostile_http(draw, http_ports))
        for _ in range(count):
            fates[draw.choice(kinds)()] += 1
    return fates


def _plain(url: str) -> socket.socket:
    return socket.create_connection((HOST, int(url.rpartition(":")[2])), _SOCKET_TIMEOUT_S)
