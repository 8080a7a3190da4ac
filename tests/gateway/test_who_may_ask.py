"""Credentials, and the rate of each caller, through the real Envoy to the real server."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from glioserve_client import errors
from glioserve_client.status import error_from_status
from glioserve_triton.process.server import TritonServer
from support.network.gateways import Caller, Outcome, Running, running_gateway
from support.network.tokens import AUDIENCE, ISSUER, Issuer, unsigned
from support.server.triton import wait_until

pytestmark = pytest.mark.triton

KEY, HASHED_KEY = "a-key-of-the-archive-0123456789abcdef", "another-key-0123456789abcdefghijklmn"
PLANTED = ("MUSTERMANN", "ERIKA", "planted")


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def by_token(tmp_path_factory: pytest.TempPathFactory, server: TritonServer, issuer: Issuer) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("jwt")
    keys = issuer.write_keys(folder / "jwks.json")
    jwt = {"issuer": ISSUER, "audiences": [AUDIENCE, "another"], "jwks_file": str(keys)}
    rate = {"studies_per_minute": 1, "burst": 4}
    with running_gateway(folder, server.grpc_url, jwt=jwt, rate=rate) as running:
        yield running


def keys_file(folder: Path) -> Path:
    digest = hashlib.sha256(HASHED_KEY.encode()).hexdigest()
    file = folder / "keys"
    file.write_text(f"# who may ask\n\narchive:{KEY}\nward-7:sha256:{digest}\n")
    return file


@pytest.fixture(scope="module")
def by_key(tmp_path_factory: pytest.TempPathFactory, server: TritonServer) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("keys")
    with running_gateway(folder, server.grpc_url, api_keys_file=str(keys_file(folder))) as running:
        yield running


def ask(running: Running, token: str | None) -> Outcome:
    with Caller(running.url, token) as caller:
        return caller.infer()


def refused(outcome: Outcome, said: str) -> None:
    assert (outcome.status, outcome.code) == ("UNAUTHENTICATED", "GLIO-4109")
    assert said in outcome.text
    error = error_from_status(outcome.status, outcome.text)
    assert isinstance(error, errors.UnauthenticatedError)
    assert not error.retryable


def test_a_good_token(by_token: Running, issuer: Issuer) -> None:
    assert ask(by_token, issuer.token(sub="good", aud=["another", "third"])).status == "OK"


def test_a_bad_token(by_token: Running, issuer: Issuer) -> None:
    refused(ask(by_token, None), "Jwt is missing")
    refused(ask(by_token, issuer.token(lifetime_s=-120)), "Jwt is expired")
    refused(ask(by_token, issuer.token(aud="a-scheduler")), "Audiences in Jwt are not allowed")
    refused(ask(by_token, issuer.token(iss="https://elsewhere.example")), "issuer is not configured")
    refused(ask(by_token, issuer.token(lifetime_s=None)), "Jwt")
    refused(ask(by_token, Issuer().token()), "Jwt verification fails")
    refused(ask(by_token, Issuer("other").token()), "Jwt")
    refused(ask(by_token, unsigned(exp=4102444800)), "Jwt")
    refused(ask(by_token, "no.token.at-all"), "Jwt")


def test_the_issuers_keys_change_while_the_gateway_runs(tmp_path: Path, server: TritonServer) -> None:
    first, second = Issuer("first"), Issuer("second")
    keys = first.write_keys(tmp_path / "jwks.json")
    jwt = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(keys)}
    with running_gateway(tmp_path, server.grpc_url, jwt=jwt) as running:
        assert ask(running, first.token()).status == "OK"
        second.write_keys(keys)
        running.gateway.tend(lambda _: None)
        wait_until(lambda: ask(running, second.token()).status == "OK", "the new keys in force")
        refused(ask(running, first.token()), "Jwt")


def test_readiness_needs_a_token_and_health_does_not(by_token: Running) -> None:
    with Caller(by_token.url) as caller:
        refused(caller.raw("/inference.GRPCInferenceService/ServerReady", b""), "Jwt is missing")
        refused(caller.raw("/inference.GRPCInferenceService/RepositoryIndex", b""), "Jwt is missing")
        assert caller.healthy()


def test_each_caller_has_a_rate_of_its_own(by_token: Running, issuer: Issuer) -> None:
    with Caller(by_token.url, issuer.token(sub="busy")) as busy, Caller(by_token.url, issuer.token(sub="calm")) as calm:
        outcomes = [busy.infer() for _ in range(6)]
        assert [outcome.status for outcome in outcomes[:4]] == ["OK"] * 4
        for outcome in outcomes[4:]:
            assert (outcome.status, outcome.code) == ("RESOURCE_EXHAUSTED", "GLIO-4111")
            assert error_from_status(outcome.status, outcome.text).retryable
        assert calm.infer().status == "OK"
        # Readiness does not count as a study; another token or a forged name gains the busy caller nothing.
        assert busy.raw("/inference.GRPCInferenceService/ServerReady", b"").status == "OK"
        assert busy.infer(metadata=[*busy.metadata, ("x-glioserve-caller", "calm")]).code == "GLIO-4111"
        assert ask(by_token, issuer.token(sub="busy", jti="second")).code == "GLIO-4111"


def test_keys_plain_and_hashed(by_key: Running) -> None:
    assert ask(by_key, KEY).status == "OK"
    assert ask(by_key, HASHED_KEY).status == "OK"
    refused(ask(by_key, None), "a key is missing")
    digest = hashlib.sha256(HASHED_KEY.encode()).hexdigest()
    for wrong in (KEY[:-1], KEY + "x", KEY.upper(), digest, f"sha256:{digest}", "x" * 257, "archive"):
        refused(ask(by_key, wrong), "the key is not valid")
    with Caller(by_key.url) as caller:
        caller.metadata = [("x-glioserve-caller", "archive")]
        refused(caller.infer(), "a key is missing")
        assert caller.healthy()


def test_keys_of_every_length_are_taken_while_the_gateway_runs(by_key: Running) -> None:
    """The digest is computed by the gateway's own script, in blocks of 64 bytes."""
    lengths = [32, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 256]
    keys = [f"k{length}" + "~" * (length - len(f"k{length}")) for length in lengths]
    told: list[str] = []
    file = by_key.file.parent / "keys"
    file.write_text("".join(f"caller-{len(key)}:{key}\n" for key in keys))
    by_key.gateway.tend(told.append)
    assert told == ["the gateway has taken its changed options"]
    wait_until(lambda: ask(by_key, keys[0]).status == "OK", "the new keys in force")
    assert [ask(by_key, key).status for key in keys] == ["OK"] * len(keys)
    refused(ask(by_key, keys[0][:-1] + "!"), "the key is not valid")
    refused(ask(by_key, KEY), "the key is not valid")

    file.write_text("no key at all\n")
    by_key.gateway.tend(told.append)
    assert "goes on as before: line 1 of api_keys_file" in told[-1]
    assert ask(by_key, keys[0]).status == "OK"
    keys_file(by_key.file.parent)
    by_key.gateway.tend(told.append)
    wait_until(lambda: ask(by_key, KEY).status == "OK", "the old keys in force again")


def test_the_configuration_holds_no_key(by_key: Running) -> None:
    for file in by_key.gateway.process.run.path.glob("*.json"):
        assert KEY not in file.read_text()
        assert file.stat().st_mode & 0o077 == 0


def test_the_access_log_names_the_caller_and_nothing_of_the_patient(
    tmp_path: Path, server: TritonServer, issuer: Issuer
) -> None:
    keys = issuer.write_keys(tmp_path / "jwks.json")
    jwt = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(keys)}
    with running_gateway(tmp_path, server.grpc_url, jwt=jwt) as running:
        token = issuer.token(sub="ward-7", name="planted")
        with Caller(running.url, token) as caller:
            planted = [("user-agent", "planted"), ("x-patient", "MUSTERMANN"), ("x-request-id", "planted")]
            planted.append(("traceparent", "00-MUSTERMANN-planted-01"))
            assert caller.infer(metadata=[*caller.metadata, *planted]).status == "OK"
            caller.infer(model="planted")
            caller.raw("/planted.MUSTERMANN/ERIKA", b"planted", planted)
            caller.raw("/inference.GRPCInferenceService/ModelInfer", b"planted", planted)
        assert ask(running, token[:-4] + "AAAA").code == "GLIO-4109"
        entries = running.logged(6)[1:]
        assert [entry["status"] for entry in entries] == [
            "OK",
            "PERMISSION_DENIED",
            "PERMISSION_DENIED",
            "PERMISSION_DENIED",
            "UNAUTHENTICATED",
        ]
        assert [entry["caller"] for entry in entries] == ["ward-7"] * 4 + [None]
        assert [entry["method"] for entry in entries] == ["infer", "infer", "closed", "infer", "infer"]
        assert [entry["trace_id"] for entry in entries] == [None] * 5
        assert entries[0]["bytes_received"] > 16
        assert entries[0]["duration_ms"] >= 0
        trace = "0af7651916cd43dd8448eb211c80319c"
        with Caller(running.url, issuer.token(sub="ward-8")) as caller:
            traced = [*caller.metadata, ("traceparent", f"00-{trace}-b7ad6b7169203331-01")]
            assert caller.infer(metadata=traced).status == "OK"
        assert running.logged(7)[6]["trace_id"] == trace
        log = "\n".join(running.lines)
        assert not [word for word in (*PLANTED, token, token.split(".")[1]) if word in log]


def test_keys_that_cannot_be_fetched_are_no_fault_of_the_callers(
    tmp_path: Path, server: TritonServer, issuer: Issuer
) -> None:
    """The issuer's host has no address, as where DNS fails: a good token is to be sent again."""
    jwt = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_uri": "https://issuer.invalid/keys"}
    with running_gateway(tmp_path, server.grpc_url, jwt=jwt) as running:
        outcome = ask(running, issuer.token())
        assert (outcome.status, outcome.code) == ("UNAVAILABLE", "GLIO-4101")
        assert "cannot fetch the keys" in outcome.text
        assert error_from_status(outcome.status, outcome.text).retryable
        refused(ask(running, None), "Jwt is missing")
