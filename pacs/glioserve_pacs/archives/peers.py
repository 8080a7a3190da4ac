"""The allow-list of the bridge's DICOM port: AE titles, each with the host or network that it may call from."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

LONGEST_AE_TITLE = 16
"""Length of an AE title (PS3.5, VR AE)."""


@dataclass(frozen=True)
class Peer:
    """One line of the allow-list."""

    ae_title: str
    host: str
    """Name, address, or network as ``10.1.0.0/16``."""

    @classmethod
    def parse(cls, text: str) -> Peer:
        """Return the peer of ``AETITLE@HOST``.

        Raises:
            ValueError: the text has another form.
        """
        ae_title, at, host = text.partition("@")
        if not at or not host or " " in host:
            raise ValueError(f"must be AETITLE@HOST, as PACS@10.0.0.5 or PACS@10.0.0.0/24, not {text!r}")
        if "/" in host:
            ip_network(host)
        return cls(checked_ae_title(ae_title), host)

    def is_host(self, address: str) -> bool:
        """Return whether an address is this peer's; a name is looked up now, so that a change of its address counts."""
        caller = ip_address(address)
        if isinstance(caller, IPv6Address) and caller.ipv4_mapped is not None:  # a port of both versions tells it so
            caller = caller.ipv4_mapped
        return any(caller in network for network in _networks(self.host))


def checked_ae_title(text: str) -> str:
    """Return an AE title: 1 to 16 printable ASCII characters without a backslash, blanks around it dropped.

    Raises:
        ValueError: the text is not one.
    """
    title = text.strip()
    if not 1 <= len(title) <= LONGEST_AE_TITLE or not (title.isascii() and title.isprintable()) or "\\" in title:
        raise ValueError(f"an AE title has 1 to {LONGEST_AE_TITLE} characters, not {text!r}")
    return title


def admitted(peers: Iterable[Peer], ae_title: str, address: str) -> bool:
    """Return whether a caller's AE title and address are on the allow-list, both on one line of it."""
    return any(peer.ae_title == ae_title.strip() and peer.is_host(address) for peer in peers)


def _networks(host: str) -> list[IPv4Network | IPv6Network]:
    try:
        return [ip_network(host)]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except OSError:
        return []
    return [ip_network(str(place[4][0]).partition("%")[0]) for place in found]
