"""Doors of a network namespace: connections to one end go to the other, through sockets in the file system.

Run as a script inside a namespace, it brings its loopback up, opens the doors and runs a program:

    unshare --user --map-root-user --net python doors.py FOLDER --out 4242 --in 11112 -- program arguments

A port that is named with ``--out`` is served to the outside by the socket ``FOLDER/out-4242``; a connection inside to a
port that is named with ``--in`` goes out through ``FOLDER/in-11112``, where the outside listens.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_SIOCSIFFLAGS, _IFF_UP_RUNNING = 0x8914, 0x41
_CHUNK = 1 << 16


def listening_unix(path: Path) -> socket.socket:
    """A socket in the file system that listens."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen(64)
    return made


def listening_tcp(port: int) -> socket.socket:
    """A port of 127.0.0.1 that listens; 0 for any."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    made.listen(64)
    return made


def to_unix(path: Path) -> Callable[[], socket.socket]:
    """Connects to a socket in the file system."""

    def connect() -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(str(path))
        except OSError:
            made.close()
            raise
        return made

    return connect


def to_tcp(port: int) -> Callable[[], socket.socket]:
    """Connects to a port of 127.0.0.1."""
    return lambda: socket.create_connection(("127.0.0.1", port))


def forward(listening: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Send on what comes to ``listening``, in threads, until it is closed; without another end, a caller is cut off."""
    threading.Thread(target=_accept, args=(listening, connect), daemon=True).start()


def close(listening: socket.socket) -> None:
    """End :func:`forward` of a socket; a thread that waits for a caller notices a shutdown alone."""
    with contextlib.suppress(OSError):
        listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def _accept(listening: socket.socket, connect: Callable[[], socket.socket]) -> None:
    while True:
        try:
            near, _ = listening.accept()
        except OSError:  # closed
            return
        threading.Thread(target=_serve, args=(near, connect), daemon=True).start()


def _serve(near: socket.socket, connect: Callable[[], socket.socket]) -> None:
    with near:
        try:
            far = connect()
        except OSError:
            return
        with far:
            back = threading.Thread(target=_pump, args=(far, near), daemon=True)
            back.start()
            _pump(near, far)
            back.join()


def _pump(here: socket.socket, there: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := here.recv(_CHUNK):
            there.sendall(data)
    with contextlib.suppress(OSError):
        there.shutdown(socket.SHUT_WR)


def _bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING))


def main() -> int:
    """Inside the namespace."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=int, action="append", default=[])
    parser.add_argument("--in", type=int, action="append", default=[], dest="inward")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    _bring_loopback_up()
    for port in args.out:
        forward(listening_unix(args.folder / f"out-{port}"), to_tcp(port))
    for port in args.inward:
        forward(listening_tcp(port), to_unix(args.folder / f"in-{port}"))
    return subprocess.call(args.command)


if __name__ == "__main__":
    sys.exit(main())
