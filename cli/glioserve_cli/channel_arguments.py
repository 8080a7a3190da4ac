"""TLS arguments as the connections of this package's own tools take them."""

from __future__ import annotations

import argparse

from glioserve_cli.client_arguments import tls_of
from glioserve_triton.channel import ChannelTls


def channel_tls_of(args: argparse.Namespace) -> ChannelTls | None:
    """Return the TLS that was asked for, its files read; None for plain text."""
    tls = tls_of(args)
    if tls is None:
        return None
    tls.check_files()
    return ChannelTls(*tls.pem, tls.server_name)
