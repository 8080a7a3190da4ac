"""``pip install glioserve`` alone, in an environment of its own, is a working client."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest

from glioserve_contract import Modality
from support.answers import blob, outputs_of, report_of
from support.fake_server import Answer, FakeServer
from support.heads import LESION_LPS_MM, ORIENTATIONS, head_grid, head_volume

ROOT = Path(__file__).resolve().parents[2]
NOT_IN_BASE = ("torch", "monai", "SimpleITK", "scipy", "onnx", "onnxruntime", "pytriton", "matplotlib", "pylibjpeg")

pytestmark = pytest.mark.slow


def run(*command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment, cwd="/")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the base distribution in it."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    assert run(sys.executable, "-m", "venv", str(folder), timeout_s=120).returncode == 0
    pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input")
    if run(*pip, "download", "--no-deps", "--dest", str(folder / "probe"), "hatchling", timeout_s=120).returncode:
        pytest.skip("no package index is reachable to install the base dependencies from")
    installed = run(*pip, "install", str(ROOT), timeout_s=580)
    assert installed.returncode == 0, installed.stderr[-3000:]
    return folder / "bin"


def test_no_heavy_package_comes_along(scripts: Path) -> None:
    code = (
        "import importlib.util as u, glioserve_client, glioserve_cli.serving.predict, glioserve_cli.main;"
        f"print([m for m in {NOT_IN_BASE!r} if u.find_spec(m)])"
    )
    done = run(str(scripts / "python"), "-I", "-W", "error", "-c", code, timeout_s=120)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_its_command_predicts_and_draws(scripts: Path, tmp_path: Path) -> None:
    shape, affine = head_grid(ORIENTATIONS["sagittal"], (4.0, 4.0, 8.0))
    heat = blob(shape, affine, LESION_LPS_MM, 12.0)
    study = _nifti(tmp_path, head_volume(shape, affine), affine)
    with FakeServer(Answer(outputs_of(report_of(heat, affine), heat))) as server:
        options = ("--url", server.url, "--json", "--out", str(tmp_path / "out"))
        done = run(str(scripts / "glioserve"), "predict", *study, *options, timeout_s=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["label"] == "recurrence"
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == ["heatmap.nii.gz", "overlay.png", "report.html", "report.json"]


def _nifti(folder: Path, voxels: np.ndarray, lps_from_voxel: np.ndarray) -> Sequence[str]:
    path = folder / "t1ce.nii.gz"
    ras_from_voxel = np.diag([-1.0, -1, 1, 1]) @ lps_from_voxel
    nibabel.save(nibabel.Nifti1Image(voxels.transpose(), ras_from_voxel), path)
    return [f"{Modality.T1CE}={path}"]
