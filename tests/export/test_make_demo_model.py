"""The script behind `make demo-model`, with a small network in place of an hour's training."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from glioserve_registry.layout.repository import checked_export
from support.models.networks import tiny_artifact

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "models" / "make_demo_model.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_demo_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def train(_: argparse.Namespace, artifact: Path) -> int:
        tiny_artifact(artifact)
        return 0

    monkeypatch.setattr(module, "train", train)
    return module


@pytest.mark.long
def test_it_exports_and_publishes(script: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "demo_model"
    out.mkdir()
    (out / "README.md").write_text("kept")
    assert script.main(["--work", str(tmp_path / "work"), "--out", str(out)]) == 0
    assert checked_export(out).recipe.name == "tiny"
    wanted = ["README.md", "manifest.json", "model.onnx", "recipe.json", "vectors.npz"]
    assert sorted(p.name for p in out.iterdir()) == wanted


def test_what_is_too_large_to_be_stored_is_not_published(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.MAX_BYTES == 5_000_000
    monkeypatch.setattr(script, "MAX_BYTES", 100_000)
    assert script.main(["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
    assert "over the" in capsys.readouterr().out


def test_a_failed_training_ends_it(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "train", lambda *_: 1)
    assert script.main(["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()


def test_the_shipped_model_is_trained_by_the_public_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_demo_model_whole", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    commands: list[list[str]] = []
    monkeypatch.setattr(module, "glioserve", lambda command: commands.append(command) or 0)
    assert module.train(module.arguments(["--work", str(tmp_path)]), tmp_path / "artifact") == 0
    (command,) = commands
    from glioserve_cli.training import train as train_command

    parser = argparse.ArgumentParser()
    train_command.add_arguments(parser)
    args = parser.parse_args(command[1:])
    assert (command[0], args.preset, args.seed, args.phantoms, args.resume) == ("train", "demo", 0, 400, True)
