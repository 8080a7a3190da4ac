"""Stand-ins of NVIDIA's programs: TensorRT cannot be had where these tests run."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.tensorrt.engines import Machine, engine_version, make_machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One A30, no TensorRT yet."""
    return make_machine(tmp_path / "machine", monkeypatch)


@pytest.fixture
def version(tmp_path: Path, machine: Machine) -> Path:
    """A version's folder; the stand-ins answer as its stored answers do."""
    folder = engine_version(tmp_path / "classifier" / "1")
    machine.answers(folder)
    return folder
