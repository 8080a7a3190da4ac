"""The whole examination: every area that was asked for, in the order of the report."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from glioserve_triton.channel import ChannelTls
from glioserve_triton.diagnosis.brain_models import brain_models
from glioserve_triton.diagnosis.findings import Finding
from glioserve_triton.diagnosis.machine import machine_findings
from glioserve_triton.diagnosis.packages import package_findings
from glioserve_triton.diagnosis.reached import reached_findings
from glioserve_triton.diagnosis.repository import repository_findings
from glioserve_triton.diagnosis.server import server_findings


def examine(
    repository: Path | None = None,
    profile: str | None = None,
    url: str | None = None,
    tritonserver: Path | None = None,
    tls: ChannelTls | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    shadow: int | None = None,
) -> Iterator[Finding]:
    """Yield all findings.

    Args:
        repository: A model repository to check; a server is then needed on this machine.
        profile: The profile that the repository is to be served under.
        url: The gRPC address of a running server to check.
        tritonserver: The server binary to check; it is then needed.
        tls: The credentials for the server at ``url``; None for plain text.
        headers: gRPC metadata of the calls to it, such as a gateway's token.
        shadow: The version of the repository that is to see live studies too.
    """
    yield from machine_findings()
    yield from package_findings()
    yield from brain_models()
    if sys.platform == "linux":
        yield from server_findings(tritonserver, repository, profile)
    if repository is not None:
        yield from repository_findings(repository, profile, shadow)
    if url is not None:
        yield from reached_findings(url, tls, headers)
