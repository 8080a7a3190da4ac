"""``glioserve repository``: what it prints, asks for and exits with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_cli.main import main
from glioserve_contract import GlioserveError
from glioserve_registry.layout.repository import versions
from glioserve_registry.layout.serving import version_folder
from glioserve_registry.promoting.promotion import promote
from glioserve_registry.store import Store, publish_to
from glioserve_triton.served.promotions import serving_version
from glioserve_triton.served.versions import load_manifest
from support.models.promotable import promotable
from support.models.recipes import tiny_recipe
from support.results.evaluations import write_evaluation
from support.server.stand_in_server import StandInServer


def run(*arguments: object) -> int:
    return main(["repository", *map(str, arguments)])


def test_from_publication_to_rollback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository, here = tmp_path / "models", ["--repository", tmp_path / "models"]
    first, second = promotable(tmp_path / "first", 1.0), promotable(tmp_path / "second", 2.0)
    report = write_evaluation(tmp_path / "evaluation.json", load_manifest(second))

    assert run("publish", first, *here) == 0
    told = capsys.readouterr().out
    assert "published tiny as version 1" in told
    assert "  ok      parity of CAM: 5.0e-06 (at most 1.0e-04)" in told
    assert told.endswith("it serves, the first version of this repository\n")

    assert run("publish", second, *here, "--evaluation", report) == 0
    told = capsys.readouterr().out
    assert f"version 1 serves; when it is to: glioserve repository promote 2 --repository {repository}" in told

    assert run("list", repository) == 0
    header, one, two = capsys.readouterr().out.splitlines()
    assert header.split() == ["version", "name", "weights", "AUC", "parity", "published", "override"]
    assert one.split()[:3] == ["1", "serves", "tiny"]
    assert "not evaluated" in one
    assert two.split()[:2] == ["2", "tiny"]
    assert "0.830 (0.730 to 0.930)" in two

    assert run("promote", 2, *here) == 0
    told = capsys.readouterr().out
    assert "version 2 serves instead of version 1\na rollback would bring back version 1\n" in told
    assert "only files changed" in told
    assert run("list", repository, "--json") == 0
    roles = {v["version"]: v["role"] for v in json.loads(capsys.readouterr().out)}
    assert roles == {1: "before", 2: "serves"}
    assert run("verify", repository) == 0
    assert capsys.readouterr().out == "versions 1, 2: 8 files, 0 problems\n"

    assert run("rollback", *here) == 0
    told = capsys.readouterr().out
    assert "version 1 serves instead of version 2\nthere is no version to roll back to\n" in told
    assert run("rollback", *here) == 1
    assert capsys.readouterr().err.startswith("[GLIO-5124]")
    assert serving_version(repository) == 1


def test_equal_weights_promoted_on_disk_alone_are_told_to_answer_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report looks a version up by its weights: no load of Triton's stands between."""
    here, recipe = ["--repository", tmp_path / "models"], tiny_recipe()
    for name, logit, temperature in (("trained", 1.0, 1.0), ("calibrated", 1.0, 2.0), ("another", 3.0, 1.0)):
        run("publish", promotable(tmp_path / name, logit, replace(recipe, temperature=temperature)), *here)
    capsys.readouterr()
    told = []
    for version in (2, 3, 3):
        assert run("promote", version, *here) == 0
        told.append(capsys.readouterr().out.splitlines()[-1])
    assert "running servers answer by its recipe now" in told[0]
    assert "at its next start" in told[1]
    assert "at its next start" in told[2]
    (version_folder(tmp_path / "models", 3) / "manifest.json").write_text("{")
    assert run("rollback", *here) == 0
    assert "at its next start" in capsys.readouterr().out


def test_the_gate_and_its_override_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository, source = tmp_path / "models", promotable(tmp_path / "exported", 1.0)
    repository.mkdir()
    (repository / "gate.json").write_text('{"schema": "glioserve/gate/1", "min_auc": 0.8}')
    assert run("publish", source, "--repository", repository) == 1
    assert "[GLIO-5122] evaluation: none (required)." in capsys.readouterr().err
    assert run("publish", source, "--repository", repository, "--override", " ") == 1
    assert "An override needs a reason" in capsys.readouterr().err
    assert versions(repository) == ()
    assert run("publish", source, "--repository", repository, "--override", "first light") == 0
    told = capsys.readouterr().out
    assert "  FAILED  evaluation: none (required)" in told
    assert "the gate was overridden: first light" in told
    assert run("list", repository) == 0
    assert capsys.readouterr().out.rstrip().endswith("overridden")


def test_an_override_that_was_not_needed_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = ["--repository", tmp_path / "models"]
    for number, reason in ((1, []), (2, ["--override", "to be sure"])):
        assert run("publish", promotable(tmp_path / f"exported {number}", number), *here, *reason) == 0
        assert ("not needed" in capsys.readouterr().out) is bool(reason)
    assert run("promote", 2, *here, "--override", "to be sure") == 0
    assert "the gate passed it: the override was not needed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [("publish", "exported"), ("promote", 1), ("rollback",), ("fetch", "memory://models", "--version", 1)]
)
def test_a_store_is_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...]
) -> None:
    """Else a folder named s3: would be assembled here, and be said to serve."""
    source = promotable(tmp_path / "exported", 1.0)
    if arguments[0] == "fetch":
        publish_to(Store("memory://models"), source)
    monkeypatch.chdir(tmp_path)
    assert run(*arguments, "--repository", "s3://bucket/models") == 1
    assert "[GLIO-5108] s3://… is a store, not a folder: `glioserve repository publish --to" in capsys.readouterr().err
    assert not (tmp_path / "s3:").exists()


def test_what_is_no_export_is_told_with_what_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "recipe.json").write_text("{}")
    assert run("publish", artifact, "--repository", tmp_path / "models") == 1
    told = capsys.readouterr().err
    assert "[GLIO-5103] artifact is not an exported version: it lacks manifest.json." in told
    assert "--model-only" in told
    assert str(tmp_path) not in told


def test_the_list_tells_what_was_tried_and_what_is_at_work(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def roles() -> dict[int, str]:
        assert run("list", repository, "--json") == 0
        return {v["version"]: v["role"] for v in json.loads(capsys.readouterr().out)}

    server = StandInServer(repository)
    server.mute.add(2)
    with pytest.raises(GlioserveError):
        promote(repository, 2, [server])
    assert roles() == {1: "serves", 2: "undone", 3: ""}
    seen = []
    server.before_load = lambda: seen.append(roles())
    promote(repository, 3, [server])
    assert seen == [{1: "before", 2: "undone", 3: "begun"}]
    assert roles() == {1: "before", 2: "undone", 3: "serves"}
    server.mute.clear()
    promote(repository, 2, [server])
    assert roles() == {1: "", 2: "serves", 3: "before"}


def test_verification_that_finds_something_exits_1(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (version_folder(repository, 2) / "model.onnx").write_bytes(b"?")
    assert run("verify", repository) == 1
    assert "PROBLEM  2/model.onnx: is not the file that the manifest names\n" in capsys.readouterr().out
    assert run("verify", repository, "--version", 1) == 0
    capsys.readouterr()
    assert run("verify", repository, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == ["2/model.onnx: is not the file that the manifest names"]


def test_a_broken_version_is_listed_as_such(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (version_folder(repository, 2) / "manifest.json").write_text("{")
    assert run("list", repository) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "BROKEN: Version 2 of the repository: manifest.json" in lines[2]
    assert lines[1].split()[:3] == ["1", "serves", "tiny"]


@pytest.mark.parametrize("action", ["list", "verify"])
def test_a_folder_that_is_no_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str) -> None:
    assert run(action, tmp_path) == 1
    assert "is not a model repository" in capsys.readouterr().err


def test_an_empty_repository_is_listed_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "classifier").mkdir()
    assert run("list", tmp_path) == 0
    assert capsys.readouterr().out == "no version\n"


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (None, "--url wants --admin-token-file FILE"),
        ("short", "admin_token must be 16 to 256"),
        ("", "admin_token must be 16 to 256"),
    ],
)
def test_a_live_server_wants_its_token(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], token: str | None, told: str
) -> None:
    arguments: list[object] = ["promote", 2, "--repository", repository, "--url", "127.0.0.1:9"]
    if token is not None:
        (tmp_path / "token").write_text(token)
        arguments += ["--admin-token-file", tmp_path / "token"]
    assert run(*arguments) == 1
    assert told in capsys.readouterr().err
    assert serving_version(repository) == 1


def test_a_server_that_is_not_there_changes_nothing(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The canary study is read before anything else, so that a wrong folder does not end in half a promotion."""
    (tmp_path / "token").write_text("a-token-for-the-operator")
    live = ["--repository", repository, "--url", "127.0.0.1:9", "--admin-token-file", tmp_path / "token"]
    assert run("promote", 2, *live, "--canary", tmp_path / "none") == 1
    assert "[GLIO-1103]" in capsys.readouterr().err
    assert run("promote", 2, *live) == 1
    assert "127.0.0.1:9 does not report which versions are ready: UNAVAILABLE" in capsys.readouterr().err
    assert serving_version(repository) == 1


def test_publish_goes_to_a_repository_or_to_a_store(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        run("publish", tmp_path, "--repository", tmp_path, "--to", "s3://bucket")
    assert caught.value.code == 2
