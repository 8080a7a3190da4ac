"""The real server beside the offline pipeline: the same scores to 1e-5, whichever of them is evaluated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.conftest import Evaluated, OneNetwork, PhantomCohort, evaluate
from glioserve_cli.main import main
from glioserve_evaluation.reports.report import load_report
from glioserve_evaluation.runs.predictors import open_offline
from glioserve_evaluation.runs.results import RESULTS_FILE
from glioserve_registry.demo_model import demo_repository
from glioserve_registry.layout.repository import add_version
from glioserve_triton.process.server import TritonServer
from support.server.triton import running_server

pytestmark = [pytest.mark.triton, pytest.mark.long]
SAME_SCORE = 1e-5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """The demo model's."""
    with running_server(demo_repository(tmp_path_factory.mktemp("served"))) as running:
        yield running


@pytest.fixture(scope="module")
def live_run(server: TritonServer, phantoms: PhantomCohort, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The phantoms by the server, two at a time."""
    out = tmp_path_factory.mktemp("live") / "out"
    return evaluate(out, phantoms.table, "--url", server.grpc_url, "--workers", 2)


def predicted(url: str, study: Path, capsys: pytest.CaptureFixture[str]) -> float:
    """SCORE by ``glioserve predict``."""
    capsys.readouterr()
    assert main(["predict", str(study), "--url", url, "--json"]) == 0
    score: float = json.loads(capsys.readouterr().out)["score"]
    return score


def test_a_server_gives_the_scores_of_the_offline_pipeline(live_run: Evaluated, offline_run: Evaluated) -> None:
    assert (live_run.code, offline_run.code) == (0, 0), live_run.aside
    live, offline = live_run.cases, offline_run.cases
    assert list(live) == list(offline) == ["a", "b", "c"]
    for case in ("a", "b"):
        assert float(live[case]["score"]) == pytest.approx(float(offline[case]["score"]), abs=SAME_SCORE)
        assert live[case]["weights_digest"] == offline[case]["weights_digest"]
        assert live[case]["model_version"] == "1"
    assert (live["c"]["error"], live["c"]["detail"]) == (offline["c"]["error"], offline["c"]["detail"])


def test_its_report_is_of_the_served_version(live_run: Evaluated, offline_run: Evaluated) -> None:
    live, offline = (load_report(run.out / "evaluation.json") for run in (live_run, offline_run))
    assert (live.model.source, live.model.version) == ("server", "1")
    assert live.model.same_network(offline.model), "so either report joins the version's manifest"
    assert live.model.preprocessing_digest == offline.model.preprocessing_digest
    assert (live.counts, live.cohort_digest) == (offline.counts, offline.cohort_digest)
    assert live.answered.rates == offline.answered.rates
    assert live.answered.brier == pytest.approx(offline.answered.brier, abs=SAME_SCORE)


@pytest.mark.slow
def test_what_a_server_refused_is_asked_again_for_it_did_not_say_of_which_network(
    live_run: Evaluated, server: TritonServer, phantoms: PhantomCohort
) -> None:
    assert live_run.cases["c"]["weights_digest"] == ""
    assert "may have passed" not in live_run.told, "too few slices stay too few"
    before = (live_run.out / RESULTS_FILE).read_bytes()
    again = evaluate(live_run.out, phantoms.table, "--url", server.grpc_url)
    assert (again.code, "2 of 3 studies are done" in again.aside) == (0, True)
    added = (live_run.out / RESULTS_FILE).read_bytes().removeprefix(before).splitlines()
    assert [json.loads(line)["case"] for line in added] == ["c"]
    assert again.cases["a"] == live_run.cases["a"]


def test_the_offline_predictor_says_what_predict_says(
    server: TritonServer, phantoms: PhantomCohort, offline_run: Evaluated, capsys: pytest.CaptureFixture[str]
) -> None:
    served = predicted(server.grpc_url, phantoms.folder_study, capsys)
    assert served == pytest.approx(float(offline_run.cases["a"]["score"]), abs=SAME_SCORE)


@pytest.mark.slow
def test_an_artifact_says_what_its_served_version_says(
    one_network: OneNetwork, phantoms: PhantomCohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = tmp_path / "repository"
    add_version(repository, one_network.version)
    with running_server(repository) as own:
        served = predicted(own.grpc_url, phantoms.folder_study, capsys)
    assert 0.001 < served < 0.999
    assert open_offline(one_network.artifact)(phantoms.folder_study).score == pytest.approx(served, abs=SAME_SCORE)
