"""Networks between pods of :mod:`support.cluster.pods`: a pair of virtual interfaces for every two that talk."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol

_NUMBERS = itertools.count(1)


class HasNetwork(Protocol):
    """A pod as far as its network goes."""

    @property
    def network(self) -> int:
        """Process id of the holder of the network namespace."""


def connect_to(network: int, services: Mapping[str, Sequence[HasNetwork]]) -> str:
    """Lead the names of services to other pods, each by a link of its own.

    Returns lines of ``/etc/hosts`` for the pod whose network namespace the process ``network`` holds: they stand for
    the cluster's name server, which answers a headless service with the addresses of its pods.
    """
    return "".join(f"{_link(network, pod.network)} {name}\n" for name, pods in services.items() for pod in pods)


def _link(here: int, there: int) -> str:
    """Join two network namespaces. Return the address of the second."""
    number = next(_NUMBERS)
    subnet = f"10.77.{number % 256}"
    ends = {here: (f"to{number}", f"{subnet}.1"), there: (f"from{number}", f"{subnet}.2")}
    _ip(here, "link", "add", ends[here][0], "type", "veth", "peer", "name", ends[there][0], "netns", str(there))
    for network, (name, address) in ends.items():
        _ip(network, "addr", "add", f"{address}/24", "dev", name)
        _ip(network, "link", "set", name, "up")
    return ends[there][1]


def _ip(network: int, *arguments: str) -> None:
    command = ["nsenter", f"--net=/proc/{network}/ns/net", "ip", *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=20)
