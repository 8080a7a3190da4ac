"""A running server: whether it answers, is ready, and keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tritonclient.utils import InferenceServerException

from glioserve_client.connect.tls import TlsOptions
from glioserve_client.options import check_url
from glioserve_client.reachability import connection_fault
from glioserve_client.status import error_from_status
from glioserve_contract import CONTRACT_VERSION, ErrorCode, GlioserveError
from glioserve_contract.tensors import ENSEMBLE
from glioserve_triton.channel import ChannelTls, open_client
from glioserve_triton.diagnosis.findings import Finding
from glioserve_triton.process.floors import Standing, standing_of

CALL_TIMEOUT_S = 5.0


def reached_findings(
    url: str, tls: ChannelTls | None = None, headers: Mapping[str, str] | None = None
) -> Iterator[Finding]:
    """Yield the findings of the area ``reached``, of the server at ``url``; ``headers`` are gRPC metadata of calls."""
    try:
        check_url(url)
    except ValueError as error:
        yield Finding("reached", url, "fail", str(error), "name the server's gRPC port as HOST:PORT")
        return
    sent = {"headers": dict(headers or {}), "client_timeout": CALL_TIMEOUT_S}
    client = open_client(url, tls)
    try:
        server = client.get_server_metadata(**sent)
        yield _version(url, standing_of(str(server.version)))
        if not client.is_model_ready(ENSEMBLE.name, **sent):
            action = "look at the server's log: it is starting, draining, or could not load the model"
            yield Finding("reached", ENSEMBLE.name, "fail", "not ready", action)
            return
        model = client.get_model_metadata(ENSEMBLE.name, **sent)
        yield _contract_kept({t.name for t in model.inputs}, {t.name for t in model.outputs})
    except InferenceServerException as error:
        reason = _reason(url, tls, error)
        yield Finding("reached", url, "fail", f"no answer: {reason.detail}", reason.action)
    finally:
        client.close()


def _reason(url: str, tls: ChannelTls | None, error: InferenceServerException) -> GlioserveError:
    """Return what the typed client would raise of the failed call."""
    failure = error_from_status(error.status(), error.message())
    if failure.code is not ErrorCode.UNAVAILABLE:
        return failure
    given = None
    if tls is not None:
        given = TlsOptions(tls.root_certificates, tls.private_key, tls.certificate_chain, tls.server_name)
    return connection_fault(url, given, failure.detail) or failure


def _version(url: str, standing: Standing) -> Finding:
    if standing.fault is None:
        return Finding("reached", url, "ok", standing.name)
    action = "use NVIDIA's container of a later release; docs/security.md has the list"
    return Finding("reached", url, "warn", f"{standing.name} {standing.fault}", action)


def _contract_kept(inputs: set[str], outputs: set[str]) -> Finding:
    lacking = {t.name for t in ENSEMBLE.inputs} - inputs | {t.name for t in ENSEMBLE.outputs} - outputs
    if lacking:
        action = "upgrade the older of client and server"
        return Finding("reached", ENSEMBLE.name, "fail", f"ready, but lacks {', '.join(sorted(lacking))}", action)
    return Finding("reached", ENSEMBLE.name, "ok", f"ready, with the tensors of contract {CONTRACT_VERSION}")
