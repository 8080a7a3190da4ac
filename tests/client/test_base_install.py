"""Both distributions in environments of their own: the client alone, and glioserve's base, are working clients."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tomllib

from glioserve_contract import Modality
from support.results.answers import blob, outputs_of, report_of, small_answer
from support.server.fake_server import Answer, FakeServer
from support.studies.dicom_files import file_bytes, mr_dataset
from support.studies.heads import LESION_LPS_MM, ORIENTATIONS, head_grid, head_volume

ROOT = Path(__file__).resolve().parents[2]
CLIENT = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
NOT_IN_BASE = ("torch", "monai", "SimpleITK", "scipy", "onnx", "onnxruntime", "pytriton", "matplotlib", "pylibjpeg")
NOT_IN_CLIENT = (*NOT_IN_BASE, "tritonclient", "filelock", "glioserve_cli", "glioserve_preprocess")
PYTHONS = sorted((Path.home() / ".pyenv" / "versions").glob("3.1[0-3].*/bin/python")) or [Path(sys.executable)]
NEWEST, NUMPY_1 = (), ("numpy==1.26.4",)
LOWEST = tuple(
    re.sub(r">=([\d.]+),.*", r"==\1.*", d) for d in CLIENT["dependencies"] if d.startswith(("grpcio", "proto"))
)

pytestmark = pytest.mark.slow


def run(*command: str, timeout_s: float, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | more
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment, cwd="/")


def environment(folder: Path, python: Path | str, *packages: str) -> Path:
    """The bin folder of a fresh environment with the packages in it."""
    assert run(str(python), "-m", "venv", str(folder), timeout_s=120).returncode == 0
    pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input")
    if run(*pip, "download", "--no-deps", "--dest", str(folder / "probe"), "hatchling", timeout_s=120).returncode:
        pytest.skip("no package index is reachable to install from")
    # A compiler must not be needed: none is on this PATH.
    installed = run(*pip, "install", "--prefer-binary", *packages, timeout_s=580, CC="/bin/false")
    assert installed.returncode == 0, installed.stderr[-3000:]
    return folder / "bin"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the base of glioserve in it."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    assert run(sys.executable, "-m", "venv", str(folder), timeout_s=120).returncode == 0
    pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input")
    if run(*pip, "download", "--no-deps", "--dest", str(folder / "probe"), "hatchling", timeout_s=120).returncode:
        pytest.skip("no package index is reachable to install the base dependencies from")
    installed = run(*pip, "install", str(ROOT), timeout_s=580)
    assert installed.returncode == 0, installed.stderr[-3000:]
    return folder / "bin"


def snippets() -> dict[str, str]:
    """The Python of both READMEs."""
    pages = {"README.md": ROOT / "README.md", "client/README.md": ROOT / "client" / "README.md"}
    return {name: re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[0] for name, page in pages.items()}


def cases() -> list[tuple[Path, tuple[str, ...]]]:
    found = [(python, NEWEST) for python in PYTHONS] + [(python, LOWEST) for python in PYTHONS]
    # NumPy 1.26 has wheels up to Python 3.12.
    return found + [(python, NUMPY_1) for python in PYTHONS if "/3.13." not in str(python)]


@pytest.mark.parametrize(("python", "pins"), cases(), ids=lambda v: v.parts[-3] if isinstance(v, Path) else "+".join(v))
def test_the_client_alone_runs_the_readmes_snippet(python: Path, pins: tuple[str, ...], tmp_path: Path) -> None:
    scripts = environment(tmp_path / "venv", python, str(ROOT / "client"), *pins)
    code = f"import importlib.util as u, glioserve_client; print([m for m in {NOT_IN_CLIENT!r} if u.find_spec(m)])"
    done = run(str(scripts / "python"), "-I", "-W", "error", "-c", code, timeout_s=120)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    study = tmp_path / "study"
    study.mkdir()
    (study / "image.dcm").write_bytes(file_bytes(mr_dataset()))
    for snippet in snippets().values():
        with FakeServer(Answer(small_answer(0.87))) as server:
            code = snippet.replace("triton:8001", server.url).replace('"study"', repr(str(study)))
            code = code.replace('"out"', repr(str(tmp_path / "out")))
            done = run(str(scripts / "python"), "-I", "-W", "error", "-c", code, timeout_s=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("0.87")
        assert (tmp_path / "out" / "report.html").is_file()
        assert b"Zyxquist" not in server.requests[0].inputs["INSTANCES"][0]


def test_the_wheels_are_pure_and_of_manylinux(tmp_path: Path) -> None:
    wheels = {"GLIOSERVE_WHEELS": "1", "GLIOSERVE_CLIENT": f"=={CLIENT['version']}"}
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path))
    done = run(*pip, str(ROOT / "client"), str(ROOT), timeout_s=580, **wheels)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("no package index is reachable to build with")
    assert done.returncode == 0, done.stderr[-3000:]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[1] == f"glioserve_client-{CLIENT['version']}-py3-none-any.whl"
    assert re.fullmatch(r"glioserve-[\d.]+-py3-none-manylinux_2_17_(x86_64|aarch64)\.whl", names[0])
    main, client = (zipfile.ZipFile(tmp_path / name) for name in names)
    assert not [n for n in client.namelist() if n.endswith((".so", ".c", ".h"))]
    assert "glioserve_client/protocol/inference.proto" in client.namelist()
    (metadata,) = [n for n in main.namelist() if n.endswith("METADATA")]
    assert f"Requires-Dist: glioserve-client=={CLIENT['version']}\n" in main.read(metadata).decode()
    shared = set(main.namelist()) & set(client.namelist())
    assert not shared
    for name in main.namelist():
        if name.endswith(".so"):
            versions = re.findall(rb"GLIBC_(\d+)\.(\d+)", main.read(name))
            assert all((int(a), int(b)) <= (2, 17) for a, b in versions), name


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
