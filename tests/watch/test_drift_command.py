"""A reference comes from a cohort, travels with the weights, and is drawn beside a site's studies."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from glioserve_cli.main import main
from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.studies.drift import DRIFT_REFERENCE_FILE, MIN_REFERENCE_STUDIES, DriftReference
from glioserve_evaluation.drift import make_reference as module
from glioserve_evaluation.drift.make_reference import reference_of, write_reference
from glioserve_networks import load_artifact
from glioserve_registry.demo_model import demo_model_dir
from glioserve_registry.export import export
from glioserve_registry.layout.repository import add_version
from glioserve_registry.layout.serving import version_folder
from glioserve_registry.publishing.publication import checked_export
from glioserve_registry.recipe_override import with_recipe_override
from glioserve_triton.served.drift import DriftReferences, load_drift_reference
from glioserve_triton.served.versions import load_manifest
from glioserve_watch.drift.monitor import DriftMonitor
from glioserve_watch.drift.values import values_of
from support.models.networks import tiny_artifact
from support.models.recipes import fake_export, tiny_recipe
from support.results.drifting import a_reference, records


def reference_for(folder: Path) -> DriftReference:
    manifest = load_manifest(folder)
    found = a_reference(recipe=manifest.recipe)
    return DriftReference(**{**found.__dict__, "weights_digest": manifest.weights_digest})


def test_a_reference_joins_an_exported_version_and_its_published_one(tmp_path: Path) -> None:
    exported = fake_export(tmp_path / "exported")
    reference = reference_for(exported)
    file = write_reference(reference, exported)
    assert checked_export(exported).files[DRIFT_REFERENCE_FILE].startswith("sha256:")
    version = add_version(tmp_path / "repository", exported)
    published = version_folder(tmp_path / "repository", version)
    assert load_drift_reference(published) == reference
    with pytest.raises(GlioserveError, match="sealed"):
        write_reference(reference, published)
    file.write_text(file.read_text() + " ")
    with pytest.raises(GlioserveError) as caught:
        load_drift_reference(exported)
    assert caught.value.code is ErrorCode.INVALID_MANIFEST


def test_another_recipe_leaves_the_reference_behind(tmp_path: Path) -> None:
    exported = fake_export(tmp_path / "exported")
    write_reference(reference_for(exported), exported)
    with_recipe_override(exported, tmp_path / "variant", min_slices=20)
    assert DRIFT_REFERENCE_FILE not in checked_export(tmp_path / "variant").files
    assert load_drift_reference(tmp_path / "variant") is None


def test_a_version_without_a_reference_or_with_other_weights_is_told_once(tmp_path: Path) -> None:
    add_version(tmp_path, fake_export(tmp_path.parent / f"{tmp_path.name}-export"))
    told: list[tuple[str, str]] = []
    find = DriftReferences(tmp_path / "classifier", lambda *problem: told.append(problem))
    for _ in range(2):
        assert find("1", "sha256:" + "a" * 64) is None
        assert find("7", "sha256:" + "a" * 64) is None
    assert [version for version, _ in told] == ["1", "7"]
    assert told[0][1] == f"the version has no {DRIFT_REFERENCE_FILE}"


def test_an_artifact_holds_its_reference_and_another_networks_is_refused(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "artifact")
    artifact = load_artifact(tmp_path / "artifact")
    found = a_reference(recipe=artifact.recipe)
    mine = DriftReference(**{**found.__dict__, "weights_digest": artifact.weights_digest})
    file = write_reference(mine, tmp_path / "artifact")
    assert load_artifact(tmp_path / "artifact").drift_reference == file.read_bytes()
    write_reference(found, tmp_path / "artifact")
    with pytest.raises(GlioserveError, match="other weights") as caught:
        load_artifact(tmp_path / "artifact")
    assert caught.value.code is ErrorCode.INVALID_ARTIFACT


def test_the_exporter_takes_an_artifacts_reference_along(tmp_path: Path) -> None:
    """The reference passes from the artifact over the graph and the repository to the server's file, byte for byte."""
    tiny_artifact(tmp_path / "artifact")
    artifact = load_artifact(tmp_path / "artifact")
    found = a_reference(recipe=artifact.recipe)
    file = write_reference(replace(found, weights_digest=artifact.weights_digest), tmp_path / "artifact")
    published = export(tmp_path / "artifact", tmp_path / "repository", progress=lambda _: None)
    folder = version_folder(tmp_path / "repository", published.version)
    assert (folder / DRIFT_REFERENCE_FILE).read_bytes() == file.read_bytes()
    assert DRIFT_REFERENCE_FILE in checked_export(folder).files
    assert load_drift_reference(folder) == replace(found, weights_digest=artifact.weights_digest)


def test_the_command_makes_a_reference_of_a_cohort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The studies' answers are made up; what answers real ones is the evaluation's predictor, which has tests."""
    exported = fake_export(tmp_path / "exported")
    rows = ["study,label"]
    for number in range(MIN_REFERENCE_STUDIES + 1):
        (tmp_path / f"s{number}").mkdir()
        rows.append(f"s{number},{'necrosis' if number % 2 else 'recurrence'}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n")
    stream = records(4)

    def asked(_: object, study: Path) -> object:
        if study.name == "s3":
            return GlioserveError(ErrorCode.BRAIN_NOT_FOUND, "no brain")
        record = next(stream)
        return values_of(record.features, record.score)

    monkeypatch.setattr(module.Asked, "__call__", asked)
    command = ["drift", "reference", str(exported), "--cohort", str(tmp_path / "cohort.csv")]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "6 features of 30 of 31 studies" in said.out
    assert "left out: 4 (GLIO-1601): no brain" in said.err
    assert load_drift_reference(exported).studies == MIN_REFERENCE_STUDIES


def test_too_few_studies_are_told() -> None:
    with pytest.raises(GlioserveError, match="0 studies were answered; a drift reference needs 30") as caught:
        reference_of([], tiny_recipe(), "sha256:" + "a" * 64, "none")
    assert caught.value.code is ErrorCode.INVALID_COHORT


def test_the_report_draws_what_the_study_log_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported = fake_export(tmp_path / "exported")
    reference = reference_for(exported)
    write_reference(reference, exported)
    add_version(tmp_path / "repository", exported)
    log = tmp_path / "log"
    log.mkdir()
    monitor = DriftMonitor(lambda *_: reference, log, lambda *_: None)
    digest = reference.weights_digest
    monitor.take(list(islice(records(1, digest=digest), 60)))
    monitor.take(list(islice(records(2, digest=digest, site="<south>", vendors=("CANON",)), 60)))
    command = ["drift", "report", "--study-log", str(log), "--repository", str(tmp_path / "repository")]
    assert main([*command, "--out", str(tmp_path / "report.html")]) == 0
    said = capsys.readouterr().out
    assert "version 1, site north: 60 studies: nothing differs" in said
    assert "version 1, site <south>: 60 studies: manufacturer" in said
    page = (tmp_path / "report.html").read_text()
    assert page.index("site &lt;south&gt;") < page.index("site north"), "what differs comes first"
    assert '<tr class="flagged"><td>manufacturer</td>' in page
    assert page.count("data:image/svg+xml;base64,") == 2
    shared = tmp_path / "shared"
    for server in ("server-1", "server-2"):
        shutil.copytree(log, shared / server)
    assert main([*command[:3], str(shared), *command[4:], "--out", str(tmp_path / "shared.html")]) == 0
    said = capsys.readouterr().out
    assert "version 1, site north (server-1): 60 studies: nothing differs" in said
    assert "version 1, site <south> (server-2): 60 studies: manufacturer" in said
    assert main([*command[:3], str(tmp_path), *command[4:], "--out", str(tmp_path / "none.html")]) == 1
    assert "GLIO-5134" in capsys.readouterr().err


def test_the_demo_model_ships_with_a_reference_of_its_own() -> None:
    folder = demo_model_dir()
    reference = load_drift_reference(folder)
    assert reference is not None
    assert reference.studies >= MIN_REFERENCE_STUDIES
    assert {"score", "t1ce_intensity_median", "t2_displacement_mm"} <= set(reference.numbers)
    assert set(reference.categories["manufacturer"]) == {"GE", "PHILIPS", "SIEMENS"}
    assert len(json.dumps(to_dict(reference))) < 200_000
