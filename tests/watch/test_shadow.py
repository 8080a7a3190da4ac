"""A candidate beside the server: asked about live studies, compared, held to the gate, and never in anybody's way."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract import metrics as m
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.report import ModelRecord
from glioserve_contract.records.studies.shadow import ShadowAnswer, ShadowRecord
from glioserve_contract.records.studies.study import StudyFeatures, StudyRecord
from glioserve_registry.promoting.promotion import promote
from glioserve_registry.publishing.gate import Gate, shadow_rules
from glioserve_triton.diagnosis.repository import repository_findings
from glioserve_triton.served.versions import load_manifest
from glioserve_triton.shadow.candidate import CandidateProcess, find_candidate
from glioserve_triton.shadow.runner import MOST_WAITING, ShadowRunner
from glioserve_triton.supervisor.metrics import SupervisorMetrics
from glioserve_watch.drift.distance import psi
from glioserve_watch.shadow import images
from glioserve_watch.shadow.comparison import compared, shadow_file, shadow_records
from support.models.promotable import promotable_repository
from support.models.served_cases import LOGITS, MEANS, RECIPE, graph, score_of, with_case
from support.server.triton import wait_until

IMAGE = np.stack([np.full((8, 8, 8), mean, dtype=np.float32) for mean in MEANS])
SERVED = ModelRecord("tiny", "1", "sha256:" + "a" * 64, "resnet10")


def study(number: int, **changes: object) -> StudyRecord:
    answered = StudyRecord(
        f"{number:020d}-7-0", "2026-01-31T23:59:59.000Z", f"r-{number}", "answered", "", "report", "2.1.0",
        image_digest=f"sha256:{number:064x}", model=SERVED, score=0.9, label="recurrence",
        features=StudyFeatures(categories={"manufacturer": "GE"}),
    )  # fmt: skip
    return replace(answered, **changes)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 serves; version 2 has the same graph, version 3 one whose every run fails."""
    folder = with_case(tmp_path_factory.mktemp("shadow") / "repository", versions=(1, 2, 3))
    (folder / "classifier" / "3" / "model.onnx").write_bytes(
        graph(fails=True).replace(b"GatherElements", b"NoSuchOperator")
    )
    return folder


def version(repository: Path, number: int) -> ServedVersion:
    return ServedVersion("classifier", str(number), load_manifest(repository / "classifier" / str(number)))


class Told:
    def __init__(self) -> None:
        self.results: list[str] = []
        self.records: list[ShadowRecord] = []

    def __call__(self, result: str, record: ShadowRecord | None) -> None:
        if record is not None:
            self.records.append(record)
        self.results.append(result)


# the process


def test_the_candidate_answers_as_it_would_serve(repository: Path) -> None:
    process = CandidateProcess(version(repository, 2), repository)
    try:
        assert process.score(IMAGE) == pytest.approx(score_of(LOGITS, RECIPE), abs=1e-6)
        (child,) = [
            int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split() if _is_worker(pid)
        ]
        assert os.getpriority(os.PRIO_PROCESS, child) == 19
        os.kill(child, signal.SIGKILL)
        assert process.score(IMAGE) is None
        assert process.score(IMAGE) == pytest.approx(score_of(LOGITS, RECIPE), abs=1e-6)  # a new process
    finally:
        process.close()
    assert not Path(f"/proc/{child}").exists()


def _is_worker(pid: str) -> bool:
    return b"glioserve_triton.shadow.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_temperature_of_the_candidate_counts(repository: Path) -> None:
    served = version(repository, 2)
    cooler = replace(served, manifest=replace(served.manifest, recipe=replace(served.manifest.recipe, temperature=2.0)))
    process = CandidateProcess(cooler, repository)
    try:
        assert process.score(IMAGE) == pytest.approx(score_of([v / 2 for v in LOGITS], RECIPE), abs=1e-6)
    finally:
        process.close()


# the runner


def test_answered_studies_are_compared_and_others_are_not(repository: Path, tmp_path: Path) -> None:
    told, drop = Told(), tmp_path / "images"
    drop.mkdir()
    first, flipped, unsure, refused = (
        study(1),
        study(2, label="necrosis"),
        study(3, label="", abstained_because=("x",)),
        study(4, model=None),
    )
    for one in (first, flipped, unsure):
        assert one.image_digest is not None
        assert images.leave(drop, one.image_digest, IMAGE)
    runner = ShadowRunner(version(repository, 2), repository, drop, tmp_path, told)
    try:
        runner.take([first, flipped, unsure, refused, study(5)])
        wait_until(lambda: len(told.results) == 4, "four results")
    finally:
        runner.close()
    expected = "recurrence" if score_of(LOGITS, RECIPE) >= RECIPE.threshold else "necrosis"
    same, other = ("same", "flip") if expected == "recurrence" else ("flip", "same")
    assert told.results == [same, other, "abstained", "skipped"]
    records = shadow_records(tmp_path)
    assert records == told.records
    assert [r.request_id for r in records] == ["r-1", "r-2", "r-3"]
    assert records[0].candidate.digest == version(repository, 2).manifest.weights_digest
    assert (records[2].candidate.label, records[0].groups) == ("", {"manufacturer": "GE"})
    assert list(drop.iterdir()) == []


def test_a_candidate_that_cannot_run_fails_its_studies_and_nothing_else(repository: Path, tmp_path: Path) -> None:
    told = Told()
    runner = ShadowRunner(version(repository, 3), repository, tmp_path, tmp_path, told)
    try:
        for number in (1, 2):
            images.leave(tmp_path, f"sha256:{number:064x}", IMAGE)
            runner.take([study(number)])
        wait_until(lambda: told.results == ["failed", "failed"], "both failed")
    finally:
        runner.close()
    assert not shadow_file(tmp_path).path.exists()


def test_a_candidate_that_is_too_slow_holds_nothing_up(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(CandidateProcess, "score", lambda self, image: asked.append(time.sleep(0.2)))
    told = Told()
    runner = ShadowRunner(version(repository, 2), repository, tmp_path, tmp_path, told)
    images.leave(tmp_path, study(0).image_digest or "", IMAGE)
    try:
        runner.take([study(n) for n in range(MOST_WAITING + 40)])
        assert told.results.count("skipped") >= 30
    finally:
        runner.close()


def test_inputs_are_bounded_and_those_without_an_answer_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MOST_BYTES", 3 * IMAGE.nbytes)
    kept = [images.leave(tmp_path, f"sha256:{n:064x}", IMAGE) for n in range(5)]
    assert kept == [True, True, False, False, False]
    taken = images.take(tmp_path, f"sha256:{0:064x}")
    assert taken is not None
    np.testing.assert_array_equal(taken, IMAGE)
    assert images.take(tmp_path, f"sha256:{0:064x}") is None
    images.sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    old = time.time() - images.OLDEST_S - 1
    os.utime(next(tmp_path.iterdir()), (old, old))
    images.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not images.leave(tmp_path / "gone", "sha256:1", IMAGE)


def test_an_input_that_is_taken_meanwhile_keeps_no_other_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidate's process may take a file after the folder was listed and before the file is looked at."""
    listed = Path.iterdir

    def with_one_that_is_gone(folder: Path) -> Iterator[Path]:
        yield from listed(folder)
        yield folder / "gone.npy"

    monkeypatch.setattr(Path, "iterdir", with_one_that_is_gone)
    image = np.zeros((1, 2, 2, 2), np.float32)
    assert images.leave(tmp_path, "sha256:aa", image)
    images.sweep(tmp_path)
    taken = images.take(tmp_path, "sha256:aa")
    assert taken is not None
    assert taken.shape == image.shape


def test_what_cannot_be_a_candidate_is_refused(tmp_path: Path) -> None:
    repository = promotable_repository(tmp_path / "repository", [1.0, -1.0])
    candidate = find_candidate(repository, 2)
    assert candidate is not None
    assert candidate.version == "2"
    assert find_candidate(repository, 1) is None  # it serves
    with pytest.raises(GlioserveError) as caught:
        find_candidate(repository, 9)
    assert caught.value.code is ErrorCode.VERSION_NOT_FOUND


@pytest.mark.parametrize(
    ("version", "state", "words"), [(2, "ok", "can see"), (1, "warn", "serves"), (9, "fail", "GLIO-5124")]
)
def test_the_doctor_says_how_a_shadow_will_be(version: int, state: str, words: str, tmp_path: Path) -> None:
    repository = promotable_repository(tmp_path / "repository", [1.0, -1.0])
    (finding,) = (f for f in repository_findings(repository, None, version) if f.name == "shadow")
    assert finding.state == state
    assert words in finding.found


def test_the_doctor_wants_the_repository_of_a_shadow(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--shadow", "3"]) == 2
    assert "--repository" in capsys.readouterr().err


# the comparison and the gate


def record(number: int, candidate: str, served: str = "recurrence", **groups: str) -> ShadowRecord:
    theirs, ours = ("sha256:" + letter * 64 for letter in "ab")
    return ShadowRecord(
        "now", f"r-{number}", f"sha256:{number:064x}",
        ShadowAnswer("1", theirs, 0.8, served), ShadowAnswer("2", ours, 0.8 if candidate == served else 0.3, candidate),
        groups,
    )  # fmt: skip


def test_flips_are_counted_over_all_and_by_subgroup_each_study_once() -> None:
    r, n = "recurrence", "necrosis"
    records = [record(k, n if k % 5 == 0 else r, manufacturer="GE" if k < 10 else "SIEMENS") for k in range(20)]
    (standing,) = compared([*records, records[0], record(99, "", "")])
    assert (standing.candidate, standing.served) == ("2", "1")
    assert (standing.over_all.flips, standing.over_all.studies) == (4, 20)
    assert standing.over_all.flips_lower < 0.2 < standing.over_all.flips_upper
    assert standing.over_all.mean_difference == pytest.approx(-0.5 * 4 / 21)
    served, candidate = np.zeros(10), np.zeros(10)
    served[8], candidate[8], candidate[3] = 21, 17, 4
    assert standing.over_all.score_psi == pytest.approx(psi(served, candidate))
    assert {g: (c.flips, c.studies) for g, c in standing.subgroups.items()} == {
        "manufacturer GE": (2, 10),
        "manufacturer SIEMENS": (2, 10),
    }


def test_the_gate_holds_a_candidate_to_its_live_studies() -> None:
    r, n = "recurrence", "necrosis"
    records = [record(k, n if k >= 97 else r, manufacturer="GE" if k >= 75 else "SIEMENS") for k in range(100)]
    (standing,) = compared(records)
    gate = Gate(min_shadow_studies=100, max_shadow_flips=0.05)
    assert [str(rule) for rule in shadow_rules(gate, standing) if not rule.passed] == [
        "shadow flips of manufacturer GE: 3 of 25 (at most 0.05)"
    ]
    assert all(rule.passed for rule in shadow_rules(replace(gate, max_shadow_flips=0.12), standing))
    assert [str(rule) for rule in shadow_rules(gate, None)] == [
        "shadow studies: 0 (at least 100)",
        "shadow flips: no live study (at most 0.05)",
    ]
    assert shadow_rules(Gate(), None) == ()


def test_a_promotion_asks_for_the_pair_of_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = promotable_repository(tmp_path / "repository", [1.0, -1.0])
    (repository / "gate.json").write_text(json.dumps({"schema": "glioserve/gate/1", "min_shadow_studies": 2}))
    with pytest.raises(GlioserveError, match=r"shadow studies: 0 \(at least 2\)") as caught:
        promote(repository, 2)
    assert caught.value.code is ErrorCode.GATE_REFUSED
    serves, candidate = (load_manifest(repository / "classifier" / str(n)).weights_digest for n in (1, 2))
    for number in range(2):
        one = record(number, "recurrence")
        shadow_file(tmp_path).append(
            replace(one, served=replace(one.served, digest=serves), candidate=replace(one.candidate, digest=candidate))
        )
    arguments = ["repository", "promote", "2", "--repository", str(repository), "--study-log", str(tmp_path)]
    assert main(arguments) == 0
    assert "version 2 serves instead of version 1" in capsys.readouterr().out
    assert main(["shadow", "report", "--study-log", str(tmp_path)]) == 0
    assert "0 of 2 flips" in capsys.readouterr().out
    assert main(["shadow", "report", "--json", "--study-log", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["candidates"][0]["over_all"]["studies"] == 2


def test_a_candidates_series_are_there_before_its_first_study() -> None:
    metrics = SupervisorMetrics()
    metrics.watch_candidate("3")
    page = metrics.page(lambda: "").decode()
    for result in m.SHADOW_RESULTS:
        for manufacturer in ("", "SIEMENS"):
            assert f'{m.SHADOW_STUDIES.name}{{manufacturer="{manufacturer}",result="{result}",version="3"}} 0.0' in page
    assert f'{m.SHADOW_DIFFERENCE.name}_count{{version="3"}} 0.0' in page
