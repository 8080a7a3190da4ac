"""Callers that give up, hang up or dawdle: deadlines and disconnects at random, and slow-loris connections."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from chaos.deployment import Deployment
from chaos.entrance import HOST
from chaos.faults.fault import ANSWERED, Fault, Others
from chaos.studies import Studies
from glioserve_client import RetryPolicy
from glioserve_client.options import NO_RETRY
from glioserve_contract import GlioserveError
from support.network.frames import HEADERS, PREFACE, SETTINGS, frame

CALLERS = 4
DAWDLERS = 60
"""Slow connections of each kind; with the three kinds they stay within the gateway's 256."""
_ENDLESS_HEADERS = frame(HEADERS, b"\x82", stream=1)
"""A block of headers without its end."""


class Forwarder:
    """A TCP relay to the gateway that breaks each connection after a random number of bytes, by reset or half close."""

    def __init__(self, port: int, draw: random.Random) -> None:
        self._target, self._draw = (HOST, port), draw
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Forwarder:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._accepting, *self._threads):
            thread.join(10)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                with suppress(OSError):
                    server = socket.create_connection(self._target, 5)
                    allowance = self._draw.randrange(1000, 3_000_000)
                    abrupt = self._draw.random() < 0.5
                    for source, sink, most in ((caller, server, allowance), (server, caller, 1 << 40)):
                        thread = threading.Thread(target=_relay, args=(source, sink, most, abrupt), daemon=True)
                        self._threads.append(thread)
                        thread.start()


def _relay(source: socket.socket, sink: socket.socket, most: int, abrupt: bool) -> None:
    source.settimeout(20)
    with suppress(OSError):
        while most > 0 and (block := source.recv(min(most, 1 << 16))):
            sink.sendall(block)
            most -= len(block)
        if most <= 0 and not abrupt:
            sink.shutdown(socket.SHUT_WR)
            return
    for end in (source, sink):
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()


@contextmanager
def impatient(deployment: Deployment) -> Iterator[Others]:
    """Callers give up at random: by a deadline, by cancelling, by a connection that breaks in the middle."""
    others, lock, stop = Others(), threading.Lock(), threading.Event()
    study = Studies().same()

    def caller(seed: int) -> None:
        draw = random.Random(seed)
        kinds: list[Callable[[random.Random], str]] = [late, cancelled, broken]
        while not stop.is_set():
            outcome = draw.choice(kinds)(draw)
            with lock:
                others[outcome] += 1

    def late(draw: random.Random) -> str:
        with deployment.entrance.client() as client:
            return _outcome(lambda: client.predict(study, timeout_s=draw.uniform(0.01, 1.0), heatmap=False))

    def cancelled(draw: random.Random) -> str:
        with deployment.entrance.client() as client:
            future = client.submit(study, timeout_s=30, heatmap=False)
            time.sleep(draw.uniform(0, 0.5))
            return "cancelled" if future.cancel() else _outcome(future.result)

    def broken(draw: random.Random) -> str:
        with (
            Forwarder(deployment.entrance.port, draw) as forwarder,
            deployment.entrance.client(NO_RETRY, forwarder.port) as client,
        ):
            return _outcome(lambda: client.predict(study, timeout_s=5, heatmap=False))

    threads = [threading.Thread(target=caller, args=(seed,)) for seed in range(CALLERS)]
    for thread in threads:
        thread.start()
    yield others
    stop.set()
    for thread in threads:
        thread.join()


@contextmanager
def dawdling(deployment: Deployment) -> Iterator[Others]:
    """Connections that send one byte a second: of a handshake, of HTTP/2 headers, of a probe's request.

    A new caller must be answered meanwhile, and so must a probe.
    """
    others = Others()
    with ExitStack() as stack:
        slow: list[tuple[socket.socket, bytes]] = []
        for _ in range(DAWDLERS):
            tls = stack.enter_context(deployment.entrance.socket(5))
            tls.sendall(PREFACE + frame(SETTINGS) + _ENDLESS_HEADERS)
            handshake = stack.enter_context(socket.create_connection((HOST, deployment.entrance.port), 5))
            probe = stack.enter_context(socket.create_connection((HOST, deployment.probe_port), 5))
            slow += [(tls, b"\0"), (handshake, b"\x16\x03\x01\x02\x00"), (probe, b"GET /readyz HTTP/1.1\r\nx: y")]
        stop = threading.Event()

        def dribble() -> None:
            place = 0
            while not stop.wait(1.0):
                for connection, content in slow:
                    with suppress(OSError):
                        connection.send(content[place % len(content) :][:1])
                place += 1

        thread = threading.Thread(target=dribble)
        thread.start()
        with deployment.entrance.client(RetryPolicy(max_attempts=5)) as newcomer:
            others[_outcome(lambda: newcomer.predict(Studies().same(), timeout_s=60, heatmap=False))] += 1
        others["probe answered" if deployment.probe() in (200, 503) else "probe silent"] += 1
        yield others
        stop.set()
        thread.join()


def _outcome(act: Callable[[], object]) -> str:
    try:
        act()
    except GlioserveError as error:
        return error.token
    return ANSWERED


CALLER_FAULTS = (
    Fault(
        "deadlines, cancellations and broken connections at random for 8 s",
        impatient,
        lasts_s=8.0,
        others=frozenset({ANSWERED, "cancelled", "GLIO-3104", "GLIO-4101", "GLIO-4102"}),
    ),
    Fault(
        f"slow-loris: {3 * DAWDLERS} connections for 6 s",
        dawdling,
        lasts_s=6.0,
        others=frozenset({ANSWERED, "probe answered"}),
    ),
)
