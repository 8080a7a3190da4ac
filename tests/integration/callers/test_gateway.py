"""The Python client through the gateway: the same answer as without it, and typed errors where it refuses."""

import numpy as np
import pytest

from glioserve_cli.main import main
from glioserve_client import DicomStudy, GliomaClient, RetryPolicy, errors
from support.network.gateways import running_gateway
from support.network.tokens import AUDIENCE, ISSUER, Issuer

pytestmark = [pytest.mark.triton, pytest.mark.long]


@pytest.fixture(scope="module")
def issuer():
    return Issuer()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, server, issuer):
    folder = tmp_path_factory.mktemp("gateway")
    keys = issuer.write_keys(folder / "jwks.json")
    jwt = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(keys)}
    rate = {"studies_per_minute": 1, "burst": 2}
    with running_gateway(folder, server.grpc_url, jwt=jwt, rate=rate) as running:
        yield running


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def test_the_answer_is_the_same_and_a_caller_over_its_rate_tries_again(gateway, issuer, client, files):
    study = DicomStudy.from_bytes(files)
    direct = client.predict(study)
    retry = RetryPolicy(max_attempts=2, first_pause_s=0.01)
    with GliomaClient(gateway.url, headers=bearer(issuer.token()), retry=retry) as through:
        through.wait_until_ready(60)
        answer = through.predict(study)
        assert (answer.score, answer.label) == (direct.score, direct.label)
        np.testing.assert_array_equal(answer.heatmap.voxels, direct.heatmap.voxels)
        through.predict(study, heatmap=False)
        with pytest.raises(errors.TooManyStudiesError) as caught:
            through.predict(study, heatmap=False)
        assert (caught.value.retryable, caught.value.attempts) == (True, 2)


def test_a_caller_without_a_token_is_told_so_once(gateway, files):
    with GliomaClient(gateway.url) as anonymous:
        with pytest.raises(errors.UnauthenticatedError) as caught:
            anonymous.predict(DicomStudy.from_bytes(files))
        assert (caught.value.retryable, caught.value.attempts) == (False, 1)
        assert not anonymous.is_ready()


def test_the_command_line_sends_a_token(gateway, issuer, files, tmp_path, capsys):
    study, token = tmp_path / "study", tmp_path / "token"
    study.mkdir()
    for number, content in enumerate(files):
        (study / f"{number}.dcm").write_bytes(content)
    token.write_text(issuer.token(sub="ward-7") + "\n")
    arguments = ["predict", str(study), "--url", gateway.url, "--no-heatmap"]
    assert main([*arguments, "--token-file", str(token)]) == 0
    assert main([*arguments, "--no-retry"]) == 5
    assert "GLIO-4109" in capsys.readouterr().err
    token.write_text("two words")
    with pytest.raises(SystemExit):
        main([*arguments, "--token-file", str(token)])
    assert "must hold one token" in capsys.readouterr().err
