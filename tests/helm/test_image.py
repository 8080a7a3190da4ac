"""The image's recipe, as far as it can be held to the rest without a container engine."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import pytest
import tomllib
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.helm_tools import CHART, CLAIM, ROOT, Helm, parse_serve, server
from support.image import DOCKER, locked

OLDEST_BASE = (26, 11)
"""Triton 2.75; see the comment at the head of the Dockerfile."""
PYTHON_OF_THE_BASE = "3.12"


def instructions() -> list[tuple[str, str]]:
    """Keyword and arguments of every instruction, in order."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def last(keyword: str) -> str:
    return [rest for word, rest in instructions() if word == keyword][-1]


def test_every_stage_starts_from_one_pinned_triton() -> None:
    arguments = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG")
    pinned = re.fullmatch(
        r"nvcr\.io/nvidia/tritonserver:(\d\d)\.(\d\d)-py3(@sha256:[a-f0-9]{64})?", arguments["TRITON_IMAGE"]
    )
    assert pinned is not None
    assert (int(pinned[1]), int(pinned[2])) >= OLDEST_BASE
    stages = [rest for word, rest in instructions() if word == "FROM"]
    assert [stage.split()[0] for stage in stages] == ["${TRITON_IMAGE}", "${TRITON_IMAGE}"]


def test_it_runs_as_the_user_that_the_chart_runs_it_as() -> None:
    context = yaml.safe_load((CHART / "values.yaml").read_text())["podSecurityContext"]
    assert last("USER") == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert context["runAsUser"] > 0
    words = [word for word, _ in instructions()]
    assert "RUN" not in words[words.index("USER") :]  # nothing is built that this user could have changed


def test_the_supervisor_is_the_entry_point() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert json.loads(last("ENTRYPOINT")) == ["glioserve", "serve"]
    assert scripts["glioserve"] == "glioserve_cli.main:main"
    assert last("HEALTHCHECK") == "NONE"
    assert last("STOPSIGNAL") == "SIGTERM"


@pytest.mark.helm
def test_its_default_arguments_are_the_charts(helm4: Helm, tmp_path: Path) -> None:
    default = parse_serve(json.loads(last("CMD")), tmp_path)
    charts = parse_serve(server(helm4.template(CLAIM))["args"], tmp_path)
    for name in ("repository", "host", "grpc_port", "http", "metrics_port", "probe_port", "profile"):
        assert getattr(default, name) == getattr(charts, name)
    ports = {default.grpc_port, default.probe_port}
    assert {int(port) for port in last("EXPOSE").split()} == ports


def test_it_writes_only_where_the_chart_lets_it() -> None:
    environment = dict(pair.split("=", 1) for word, rest in instructions() if word == "ENV" for pair in rest.split())
    assert environment == {"HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    assert last("WORKDIR") == "/tmp"


def test_its_version_is_the_packages() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ("ARG", f"VERSION={version}") in instructions()


# --- The build context ---


def ignored(path: PurePosixPath) -> bool:
    """Whether docker/Dockerfile.dockerignore keeps a file out of the context: the last pattern that fits decides."""
    out = False
    for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if pattern and not pattern.startswith("#"):
            candidates = [path, *path.parents][:-1]
            if pattern.startswith("**/"):
                hit = any(fnmatch(candidate.name, pattern[3:]) for candidate in candidates)
            else:
                hit = any(len(c.parts) == pattern.count("/") + 1 and fnmatch(str(c), pattern) for c in candidates)
            out = not line.startswith("!") if hit else out
    return out


def copied() -> list[str]:
    """Sources of every COPY from the context."""
    return [source for word, rest in instructions() if word == "COPY" for source in rest.split()[:-1]]


def context_files() -> list[Path]:
    """Files of the checkout that the engine gets to see."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    paths = [PurePosixPath(name) for name in listed.stdout.split("\0") if name]
    return [Path(path) for path in paths if not ignored(path) and (ROOT / path).is_file()]


def test_the_context_is_what_is_copied_and_no_more() -> None:
    files = context_files()
    for source in copied():
        assert any(Path(source) in (file, *file.parents) for file in files), f"{source} is copied and not there"
    for file in files:
        assert any(Path(source) in (file, *file.parents) for source in copied()), f"{file} is sent and not copied"


@pytest.mark.parametrize(
    "path",
    [".git/config", "build/repository/x", "out/report.json", ".venv/bin/python", "study/1.dcm", "docker/lock.py"],
)
def test_nothing_else_can_slip_into_a_layer(path: str) -> None:
    assert ignored(PurePosixPath(path))


def test_the_wheels_build_from_what_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "src"
    first_stage = next(i for i, (word, _) in enumerate(instructions()) if word == "RUN")
    wanted = [s for word, rest in instructions()[:first_stage] if word == "COPY" for s in rest.split()[:-1]]
    for file in context_files():
        if any(Path(s) in (file, *file.parents) for s in wanted):
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, source / file)
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *isolation, "-w", str(tmp_path), "./client",
         "."], cwd=source, timeout=300, check=True, capture_output=True,
    )  # fmt: skip
    client, wheel = sorted(tmp_path.glob("glioserve*.whl"), key=lambda path: "client" not in path.name)
    names = set(zipfile.ZipFile(client).namelist())
    with zipfile.ZipFile(wheel) as archive:
        names |= set(archive.namelist())
        entry_points = archive.read(next(n for n in archive.namelist() if n.endswith("entry_points.txt"))).decode()
    assert "glioserve = glioserve_cli.main:main" in entry_points
    modules = "contract/__init__ client/py triton/process/guardian preprocess/registration/register cli/serving/serve"
    for module in modules.split():
        assert any(name.startswith(f"glioserve_{module}") for name in names), module
    for text in ("LICENSE", "NOTICE"):
        assert any(name.endswith(f".dist-info/licenses/{text}") for name in names), text
    assert "glioserve_registry/_model_repository/glioma/config.pbtxt" in names
    for page in ("client/outputs/page", "registry/publishing/model_card", "evaluation/reports/page"):
        assert f"glioserve_{page}.html.j2" in names
    models = {file.name for file in context_files() if file.parent.parts[-2:] == ("glioserve_preprocess", "models")}
    assert "README.md" in models
    assert {f"glioserve_preprocess/models/{name}" for name in models} <= names


# --- Its packages ---


def lock_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image_lock", DOCKER / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lock_fits_the_packages_requirements() -> None:
    module, versions = lock_module(), locked()
    assert module.PYTHON == PYTHON_OF_THE_BASE
    for requirement in module.direct_requirements():
        name = canonicalize_name(requirement.name)
        assert requirement.specifier.contains(versions[name]), f"{requirement}: run docker/lock.py"


def test_the_image_has_the_versions_that_were_tested() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    assert locked() == {name: tested[name] for name in locked()}, "run docker/lock.py"


def test_the_lock_has_what_its_packages_need() -> None:
    """Nothing may be resolved at build time: the requirements of all that is installed, followed to their end."""
    environment: Any = {"python_version": PYTHON_OF_THE_BASE, "python_full_version": f"{PYTHON_OF_THE_BASE}.3"}
    open_, seen = list(lock_module().direct_requirements()), set()
    while open_:
        requirement = open_.pop()
        name = canonicalize_name(requirement.name)
        assert name in locked(), f"{name}: run docker/lock.py"
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if (name, text) not in seen and (
                needed.marker is None or any(needed.marker.evaluate(environment | {"extra": extra}) for extra in extras)
            ):
                seen.add((name, text))
                open_.append(needed)


def test_the_build_backend_is_installed_by_hash() -> None:
    (build,) = (rest for word, rest in instructions() if word == "RUN" and "pip wheel" in rest)
    assert re.search(r"pip install [^&]*--require-hashes -r /opt/glioserve/build-requirements\.txt +&&", build)
    assert "--no-build-isolation" in build
    text = lock_module().BUILD_OUTPUT.read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\\n    --hash=sha256:[a-f0-9]{64}", text, re.MULTILINE))
    for requirement in lock_module().build_requirements():
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), "run docker/lock.py"


def test_packages_are_installed_by_hash_into_the_containers_own_python() -> None:
    (install,) = (rest for word, rest in instructions() if word == "RUN" and "/requirements.txt" in rest)
    assert install.startswith("python3 -m pip install ")
    assert {"--require-hashes", "--break-system-packages"} <= set(install.split())
    assert not re.search(r"venv|PYTHONPATH=|--target", (DOCKER / "Dockerfile").read_text())
