"""The images' packages come by version and hash, are those that were tested, and none that is imported is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.cluster.image import DOCKER, locked, only_the_image
from support.scripts import ROOT, script

lock = script("lock", "docker")
FILES = [entry.file for entry in lock.LOCKS]
PYTHON_OF_TRITONS_CONTAINER = "3.12"
NOT_INSTALLED_HERE = {"ziglang"}
"""Needs nothing itself; a checkout is built by the machine's own compiler."""


@pytest.fixture(params=lock.LOCKS, ids=FILES)
def entry(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_each_list_is_for_the_python_that_runs_it() -> None:
    dockerfile = (DOCKER / "Dockerfile").read_text()
    slim = re.search(r"library/python:(\d+\.\d+)\.", dockerfile)
    assert slim is not None
    pythons = {each.file: each.python for each in lock.LOCKS}
    assert pythons == {
        "requirements.txt": PYTHON_OF_TRITONS_CONTAINER,
        "development-requirements.txt": slim[1],
        "pacs-requirements.txt": slim[1],
        "build-requirements.txt": slim[1],
    }


def test_it_fits_the_requirements(entry: Any) -> None:
    for requirement in entry.direct_requirements():
        version = locked(entry.file)[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: run docker/lock.py"


def test_its_versions_are_those_that_were_tested(entry: Any) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    found = locked(entry.file)
    assert found == {name: tested.get(name) for name in found}, "run docker/lock.py"


def test_it_has_what_its_packages_need(entry: Any) -> None:
    """Nothing may be resolved at build time: the requirements of all that is installed, followed to their end."""
    environment: Any = {"python_version": entry.python, "python_full_version": f"{entry.python}.3"}
    open_, seen = list(entry.direct_requirements()), set()
    while open_:
        requirement = open_.pop()
        name = canonicalize_name(requirement.name)
        assert name in locked(entry.file), f"{name}: run docker/lock.py"
        if name in NOT_INSTALLED_HERE:
            continue
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if (name, text) not in seen and (
                needed.marker is None or any(needed.marker.evaluate(environment | {"extra": extra}) for extra in extras)
            ):
                seen.add((name, text))
                open_.append(needed)


RUN_IN_THE_IMAGES = [
    "glioserve_cli.serving.serve",
    "glioserve_cli.serving.gateway",
    "glioserve_cli.diagnosis.doctor",
    "glioserve_cli.models.repository",
    "glioserve_cli.models.engine",
    "glioserve_triton.adapters.adapter",
    "glioserve_preprocess.pipeline",
    "glioserve_preprocess.report.answer",
    "glioserve_client",
]
"""The commands of a container, and what the models' adapters import."""


RUN_BY_THE_BRIDGE = [
    "glioserve_cli.pacs.command",
    "glioserve_pacs.bridge",
    "glioserve_pacs.metrics",
    "glioserve_client.filing",
    "pynetdicom",
    "dicomweb_client",
]


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "modules"),
    [
        ("requirements.txt", RUN_IN_THE_IMAGES),
        ("development-requirements.txt", RUN_IN_THE_IMAGES),
        ("pacs-requirements.txt", RUN_BY_THE_BRIDGE),
    ],
)
def test_what_the_image_runs_imports_nothing_else(file: str, modules: list[str]) -> None:
    code = only_the_image(file) + "".join(f"import {module}\n" for module in modules)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("file", FILES)
def test_it_is_installed_by_hash(file: str) -> None:
    joined = re.sub(r"\\\n\s*", " ", (DOCKER / "Dockerfile").read_text())
    installs = [line.split() for line in joined.splitlines() if " pip install " in line and ".txt" in line]
    copied = re.search(rf"^COPY docker/{re.escape(file)} (\S+)$", joined, re.MULTILINE)
    assert copied is not None
    at = file if copied[1] == "./" else copied[1]
    assert any("--require-hashes" in words and words[words.index("-r") + 1] == at for words in installs)


def test_nothing_else_is_fetched_by_a_build() -> None:
    joined = re.sub(r"\\\n\s*", " ", (DOCKER / "Dockerfile").read_text())
    steps = [part for line in joined.splitlines() if line.startswith("RUN") for part in line.split("&&")]
    for step in steps:
        if " pip install " in step:
            assert "--require-hashes" in step or "--no-index --no-deps" in step, step
        if " pip wheel " in step:
            assert "--no-deps --no-build-isolation" in step, step
        assert not re.search(r"\b(apt-get|curl|wget|git clone)\b", step), step
    assert not re.search(r"venv|PYTHONPATH=|pip install.* --target", joined)  # Triton's stub would not find it
