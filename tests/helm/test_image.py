"""The image's recipe, as far as it can be held to the rest without a container engine."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest
import tomllib
import yaml

from support.cluster.helm_tools import CHART, CLAIM, ROOT, Helm, parse_serve, server
from support.cluster.image import DOCKER
from support.scripts import script

OLDEST_BASE = (26, 11)
"""Triton 2.75; see the comment at the head of the Dockerfile."""
PID_1 = ["/usr/local/bin/dumb-init", "--single-child", "--"]
"""Command of process 1, at the path where pip puts it in both images."""


def instructions() -> list[tuple[str, str]]:
    """Keyword and arguments of every instruction, in order."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def of_stage(name: str) -> list[tuple[str, str]]:
    """The instructions of the stage of this name; the last one has none."""
    starts = [i for i, (word, _) in enumerate(instructions()) if word == "FROM"] + [len(instructions())]
    stages = [instructions()[a:b] for a, b in itertools.pairwise(starts)]
    return next(stage for stage in stages if stage[0][1].partition(" AS ")[2] == name)


def last(keyword: str, stage: str = "") -> str:
    return [rest for word, rest in of_stage(stage) if word == keyword][-1]


def test_every_stage_starts_from_a_pinned_image() -> None:
    arguments = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG")
    pinned = re.fullmatch(
        r"nvcr\.io/nvidia/tritonserver:(\d\d)\.(\d\d)-py3(@sha256:[a-f0-9]{64})?", arguments["TRITON_IMAGE"]
    )
    assert pinned is not None
    assert (int(pinned[1]), int(pinned[2])) >= OLDEST_BASE
    stages = [rest for word, rest in instructions() if word == "FROM"]
    slim = [f"${{PYTHON_IMAGE}} AS {name}" for name in ("wheel", "development", "pacs")]
    assert stages == [*slim, "${TRITON_IMAGE}"]
    assert re.fullmatch(
        r"docker\.io/library/python:3\.11\.\d+-slim-\w+(@sha256:[a-f0-9]{64})?", arguments["PYTHON_IMAGE"]
    )


def test_it_runs_as_the_user_that_the_chart_runs_it_as() -> None:
    context = yaml.safe_load((CHART / "values.yaml").read_text())["podSecurityContext"]
    assert last("USER") == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert context["runAsUser"] > 0
    for stage in ("development", "pacs", ""):
        words = [word for word, _ in of_stage(stage)]
        assert "RUN" not in words[words.index("USER") :]  # nothing is built that this user could have changed
    owned = [rest for word, rest in of_stage("") if word == "RUN" and " -o 1000 " in rest]
    assert owned == ["install -d -o 1000 -g 1000 -m 0700 /var/lib/glioserve/gateway"]  # and it is empty


def test_the_supervisor_is_the_entry_point_after_nvidias() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    *init, first, glioserve, serve = json.loads(last("ENTRYPOINT"))
    command = [glioserve, serve]
    assert init == PID_1
    assert ("COPY", f"--chmod=0555 docker/entrypoint.sh {first}") in of_stage("")
    assert command == ["glioserve", "serve"]
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


@pytest.mark.parametrize("stage", ["development", "pacs", ""])
def test_it_writes_only_where_the_chart_lets_it(stage: str) -> None:
    environment = dict(pair.split("=", 1) for word, rest in of_stage(stage) if word == "ENV" for pair in rest.split())
    serves = {} if stage == "pacs" else {"ORT_DISABLE_TELEMETRY": "1"}
    assert environment == {"HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"} | serves
    assert last("WORKDIR", stage) == "/tmp"


def test_the_development_server_stays_on_the_loopback(tmp_path: Path) -> None:
    arguments = parse_serve(json.loads(last("CMD", "development")), tmp_path)
    assert (arguments.host, arguments.allow_known_cves, arguments.http) == ("127.0.0.1", False, False)
    assert arguments.profile == "onnxruntime-cpu"
    assert json.loads(last("ENTRYPOINT", "development")) == [*PID_1, "glioserve", "serve"]
    assert json.loads(last("ENTRYPOINT", "pacs")) == [*PID_1, "glioserve", "pacs"]
    assert last("USER", "development") == last("USER", "pacs") == last("USER")


def test_its_version_is_the_packages() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    client = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]["version"]
    assert version == client  # the wheels are built with the client by this version
    versions = {rest for word, rest in instructions() if word == "ARG" and rest.startswith("VERSION")}
    assert versions == {f"VERSION={version}"}


@pytest.fixture(scope="module")
def hadolint() -> Path:
    tools = script("get_tools")
    try:
        return Path(tools.get_tools("hadolint")["hadolint"]) / "hadolint"
    except tools.FetchError as error:
        pytest.skip(f"no hadolint: {error}")


def test_hadolint_finds_no_fault(hadolint: Path) -> None:
    command = [str(hadolint), "--no-color", "--failure-threshold", "style", "docker/Dockerfile"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint ignore" not in (DOCKER / "Dockerfile").read_text()


# --- Its entry point ---

NVIDIAS = """#!/bin/bash
export LD_LIBRARY_PATH=/usr/local/cuda/compat/lib
echo checking
sleep {pause}
exec "$@"
"""
IN_A_CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]
"""The command is PID 1 of a namespace of its own: what the kernel does with signals there is what a container gets."""


@pytest.fixture
def entry_point(tmp_path: Path) -> Callable[..., list[str]]:
    """The entry point's command line over an entry point of NVIDIA's that takes a while."""
    if subprocess.run([*IN_A_CONTAINER, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no PID namespace")

    def start(pause_s: float, *command: str) -> list[str]:
        (tmp_path / "nvidia_entrypoint.sh").write_text(NVIDIAS.format(pause=pause_s))
        ours = (DOCKER / "entrypoint.sh").read_text()
        assert "source /opt/nvidia/nvidia_entrypoint.sh" in ours
        (tmp_path / "entrypoint.sh").write_text(ours.replace("/opt/nvidia", str(tmp_path)))
        return [*IN_A_CONTAINER, "bash", str(tmp_path / "entrypoint.sh"), *command]

    return start


def test_the_command_becomes_pid_1_with_what_nvidia_has_set(entry_point: Callable[..., list[str]]) -> None:
    program = "import os, sys; print(os.getpid(), os.environ['LD_LIBRARY_PATH'], sys.argv[1:])"
    command = entry_point(0, sys.executable, "-c", program, "two words", "*", "")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "checking\n1 /usr/local/cuda/compat/lib ['two words', '*', '']\n"


def test_a_stop_while_nvidias_part_runs_is_not_lost(entry_point: Callable[..., list[str]]) -> None:
    command = entry_point(0.5, "sleep", "600")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "checking\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.wait(60) == 143


EARLY_MS = (0, 1, 2, 5, 10, 20, 50, 100, 200)
SERVE = """
import sys
sys.argv = ["glioserve", "serve"]
from glioserve_cli import stop_signals
stop_signals.catch_for(sys.argv[1:])
import time
until = time.monotonic() + 30
while not stop_signals.STOP.first():
    assert time.monotonic() < until, "the signal was lost"
    time.sleep(0.001)
"""
"""The beginning of `glioserve serve`, which ends at the first stop signal."""


@pytest.mark.parametrize("after_ms", EARLY_MS)
def test_a_stop_ends_the_container_from_its_first_moments_on(after_ms: int) -> None:
    """A command that cannot take the signal yet ends by its default action, with nothing in flight; later in order."""
    init = shutil.which(Path(PID_1[0]).name, path=str(Path(sys.executable).parent))
    if init is None or subprocess.run([*IN_A_CONTAINER, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs dumb-init and a PID namespace")
    with subprocess.Popen([*IN_A_CONTAINER, init, *PID_1[1:], sys.executable, "-c", SERVE]) as process:
        until = time.monotonic() + 30
        while (pid_1 := holder_of_signals(process.pid)) is None:
            assert time.monotonic() < until
        time.sleep(after_ms / 1000)
        os.kill(pid_1, signal.SIGTERM)
        assert process.wait(60) in (0, 128 + signal.SIGTERM)


def holder_of_signals(parent: int) -> int | None:
    """The child that is dumb-init and has started the command: between fork and exec it drops a signal."""
    for child in children(parent):
        with suppress(OSError):  # unshare's helper, which has ended
            if name_of(child) == "dumb-init" and any(name_of(command) != "dumb-init" for command in children(child)):
                return child
    return None


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# --- The build context ---


def ignored(path: PurePosixPath) -> bool:
    """Return whether Dockerfile.dockerignore keeps a file out of the context: the last pattern that fits decides."""
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
    words = [rest.split()[:-1] for word, rest in instructions() if word == "COPY"]
    return [source for sources in words for source in sources if not source.startswith("--")]


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
    wanted = [s for word, rest in of_stage("wheel") if word == "COPY" for s in rest.split()[:-1]]
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
