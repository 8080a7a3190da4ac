"""A name server for one name, on the loopback: what a headless Kubernetes service answers, and how that changes."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType

_A, _IN = 1, 1
_ANSWER, _TTL_S = 0x8180, 1


class NameServer:
    """Answers every question for addresses with ``addresses``, which may change, and all others with none."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(4096)
            if not query:
                return
            end = query.index(b"\0", 12) + 5  # behind the name, its type and its class
            kind, _ = struct.unpack_from("!HH", query, end - 4)
            found = list(self.addresses) if kind == _A else []
            self.asked += kind == _A
            head = struct.pack("!2sHHHHH", query[:2], _ANSWER, 1, len(found), 0, 0)
            # 0xC00C: the name of the question.
            records = (struct.pack("!HHHIH4s", 0xC00C, _A, _IN, _TTL_S, 4, socket.inet_aton(a)) for a in found)
            self._socket.sendto(head + query[12:end] + b"".join(records), sender)
