"""A candidate beside a real ``glioserve serve``, and the truth that is added later: seen in the log and on the page."""

import json
import shutil
import signal
import urllib.request
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tritonclient.grpc as triton
from prometheus_client.parser import text_string_to_metric_families

from glioserve_cli.main import main
from glioserve_contract import metrics as m
from glioserve_contract import sha256_digest
from glioserve_contract.records.studies.shadow import ShadowRecord
from glioserve_triton.served.promotions import load_serving
from glioserve_triton.served.versions import load_manifest, save_manifest
from glioserve_watch.shadow.comparison import shadow_records
from support.server.serve import serving
from support.server.triton import wait_until

from .test_metrics import infer

pytestmark = [pytest.mark.triton, pytest.mark.long]

DIGEST = sha256_digest(b"the candidate's weights")


@pytest.fixture(scope="module")
def shadowed(repository, files, tmp_path_factory):
    """A study that version 1 answers and version 2 sees; then its truth is added while the server runs."""
    folder = tmp_path_factory.mktemp("shadow")
    log, own = folder / "log", folder / "repository"
    shutil.copytree(repository, own)
    serves = load_serving(own).version
    candidate = str(int(serves) + 1)
    shutil.copytree(own / "classifier" / serves, own / "classifier" / candidate)
    manifest = load_manifest(own / "classifier" / candidate)
    save_manifest(replace(manifest, weights_digest=DIGEST), own / "classifier" / candidate)
    with serving(own, "--study-log", str(log), "--shadow", candidate) as serve:
        server = SimpleNamespace(grpc_url=serve.grpc_url())
        answer = infer(server, files, request_id="seen")
        with triton.InferenceServerClient(server.grpc_url) as raw:
            told = [raw.get_server_metadata(), raw.get_model_metadata("glioma"), raw.get_model_metadata("classifier")]
        wait_until(lambda: (log / "shadow.jsonl").exists() and shadow_records(log), "the candidate has answered")
        wait_until(lambda: "seen" in "".join(p.read_text() for p in (log / "audit").iterdir()), "the study is logged")
        added = main(["outcome", "add", "seen", "necrosis", "--source", "pathology", "--study-log", str(log)])
        with urllib.request.urlopen(serve.probe_url("/metrics"), timeout=60) as page:
            text = page.read().decode()
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0
    wire = b"".join(message.SerializeToString() for message in (answer.get_response(), *told))
    report = json.loads(answer.as_numpy("REPORT")[0])
    samples = {
        (s.name, *sorted(s.labels.items())): s.value for f in text_string_to_metric_families(text) for s in f.samples
    }
    return SimpleNamespace(
        log=log, repository=own, candidate=candidate, serves=serves, wire=wire, report=report, added=added,
        samples=samples, families=text, server_log=serve.log,
    )  # fmt: skip


def test_the_candidate_gives_the_answer_that_it_would_serve(shadowed):
    (record,) = shadow_records(shadowed.log)
    assert isinstance(record, ShadowRecord)
    assert (record.candidate.version, record.candidate.digest) == (shadowed.candidate, DIGEST)
    assert (record.served.version, record.served.score) == (shadowed.serves, shadowed.report["score"])
    assert record.candidate.score == pytest.approx(shadowed.report["score"], abs=1e-5)  # the same graph
    assert (record.request_id, record.result) == ("seen", "same")


def test_nobody_is_told_of_the_candidate(shadowed):
    served = shadowed.report["model"]["digest"].removeprefix("sha256:")
    assert served.encode() in shadowed.wire
    assert DIGEST.removeprefix("sha256:").encode() not in shadowed.wire
    assert DIGEST.removeprefix("sha256:")[:12].encode() not in shadowed.wire


def test_the_page_counts_it(shadowed):
    version = ("version", shadowed.candidate)
    counted = {k: v for k, v in shadowed.samples.items() if k[0] == m.SHADOW_STUDIES.name and v}
    assert list(counted.values()) == [1]
    ((_, *labels),) = counted
    assert {version, ("result", "same")} <= set(labels)
    assert shadowed.samples[m.SHADOW_SCORE.name + "_count", version] == 1
    for metric in (m.OUTCOME_STUDIES, m.OUTCOME_RATE, m.OUTCOME_EVIDENCE, m.OUTCOME_WORSE, m.SHADOW_DIFFERENCE):
        assert f"# TYPE {metric.name} {metric.kind}" in shadowed.families


def test_a_truth_is_on_the_page_while_the_server_runs_and_in_the_report(shadowed, capsys):
    assert shadowed.added == 0
    label = shadowed.report["label"] or "abstained"
    cell = (("answer", label), ("truth", "necrosis"), ("version", shadowed.serves))
    assert shadowed.samples[(m.OUTCOME_STUDIES.name, *cell)] == 1
    arguments = ["--study-log", str(shadowed.log)]
    assert main(["outcome", "report", *arguments, "--repository", str(shadowed.repository), "--json"]) == 0
    (standing,) = json.loads(capsys.readouterr().out)["versions"]
    assert standing["digest"] == shadowed.report["model"]["digest"]
    assert standing["rates"]["sensitivity"]["n"] == int(label != "abstained")
    assert main(["outcome", "add", "seen", "recurrence", "--source", "pathology", *arguments]) == 1
    assert "GLIO-5136" in capsys.readouterr().err
    assert main(["outcome", "add", "unseen", "recurrence", "--source", "pathology", *arguments]) == 1
    assert "has no answer to the request 'unseen'" in capsys.readouterr().err
    assert main(["outcome", "add", "seen", "recurrence", "--source", "pathology", "--correct", *arguments]) == 0
    assert main(["outcome", "report", *arguments]) == 0
    assert f"Version {shadowed.serves}" in capsys.readouterr().out


def test_what_cannot_be_is_refused_before_the_start(shadowed):
    for arguments, says in (
        (("--shadow", shadowed.candidate), "no place without a --study-log"),
        (("--shadow", "77", "--study-log", str(shadowed.log)), "no version 77"),
    ):
        with serving(shadowed.repository, *arguments) as serve:
            assert serve.end() == 1
            assert says in serve.log


def test_a_candidate_that_was_promoted_does_not_keep_a_server_from_its_start(shadowed, tmp_path):
    arguments = ("--study-log", str(tmp_path / "log"), "--shadow", shadowed.serves)
    with serving(shadowed.repository, *arguments) as serve:
        assert serve.grpc_url()
        assert (
            f"the candidate serves, so that no shadow runs: leave --shadow out version={shadowed.serves}" in serve.log
        )
        serve.process.send_signal(signal.SIGTERM)
        assert serve.end() == 0
