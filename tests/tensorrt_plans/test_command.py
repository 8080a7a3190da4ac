"""`glioserve engine` as an operator meets it: what it prints, what it ends with, what a signal leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from glioserve_cli.main import main
from glioserve_triton.plans.records import check_plan, load_plan_record
from glioserve_triton.served.versions import load_manifest
from support.cluster.image import only_the_image
from support.server.triton import wait_until
from support.tensorrt.engines import L4, Machine, engine_repository, living

Engine = Callable[..., int]
KEY = re.compile(r"key +(sha256:[0-9a-f]{64})$", re.MULTILINE)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """The command in this process; ``build`` with a cache of the test's own."""
    before = signal.getsignal(signal.SIGTERM)

    def run(task: str, *arguments: object) -> int:
        cache = ["--cache", tmp_path / "cache"] if task == "build" else []
        return main(["engine", task, *map(str, [*arguments, *cache])])

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def api(machine: Machine) -> None:
    machine.python_package()


# --- What it prints ---


def test_build_key_and_check_tell_the_same(
    version: Path, api: None, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engine("key", version) == 0
    key = capsys.readouterr().out
    assert not (version / "model.plan").exists()
    assert engine("build", version) == 0
    built = capsys.readouterr().out
    record = load_plan_record(version)
    assert f"the plan was built: {record.plan_digest}\n" in built
    assert KEY.findall(key) == KEY.findall(built) == [record.key.digest()]
    for line in (
        f"  ONNX      {load_manifest(version).files['model_fp16.onnx']}",
        "  TensorRT  10.16.1.11",
        "  GPU       NVIDIA A30, compute capability 8.0",
    ):
        assert line in key.splitlines()
        assert line in built.splitlines()
    assert "flags     stronglyTyped noTF32 memPoolSize=workspace:4096M builderOptimizationLevel=3 profile=0" in key
    figures = [line.split()[:2] for line in built.splitlines() if "same peak" in line]
    assert figures == [["batch", "8"], ["batch", "4"], ["batch", "1"]]
    assert re.search(r"^\[ +\d+\.\d s\] building from model_fp16\.onnx; this takes minutes$", built, re.MULTILINE)
    assert engine("check", version) == 0
    checked = capsys.readouterr().out
    assert f"the plan fits: {record.plan_digest}, built {record.built} from model_fp16.onnx by tensorrt" in checked
    assert KEY.findall(checked) == [record.key.digest()]
    assert checked.count("100% same peak") == 3


def test_where_the_plan_came_from_is_said(
    tmp_path: Path, machine: Machine, api: None, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = engine_repository(tmp_path / "models")
    machine.answers(repository / "classifier" / "1")
    assert engine("build", "--repository", repository) == 0
    assert engine("build", "--repository", repository) == 0
    assert engine("build", "--repository", repository, "--into", tmp_path / "served") == 0
    said = re.findall(r"^the plan (.*): sha256:", capsys.readouterr().out, re.MULTILINE)
    assert said == ["was built", "was there already", "came from the cache"]


def test_options_are_in_the_key(version: Path, api: None, engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--precision", "fp32", "--workspace-gib", "0.5", "--optimization-level", "5"]
    assert engine("key", version, *options) == 0
    said = capsys.readouterr().out
    assert load_manifest(version).files["model.onnx"] in said
    assert "memPoolSize=workspace:512M builderOptimizationLevel=5" in said


def test_the_cache_is_the_users_where_none_is_named(
    version: Path, tmp_path: Path, api: None, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert main(["engine", "build", str(version)]) == 0
    key = load_plan_record(version).key.digest().removeprefix("sha256:")
    assert (tmp_path / "xdg" / "glioserve" / "engines" / key / "model.plan").is_file()


# --- Which version ---


def test_a_repository_means_its_serving_version_or_the_one_that_is_named(
    tmp_path: Path, machine: Machine, api: None, engine: Engine
) -> None:
    repository = engine_repository(tmp_path / "models", 2)
    machine.answers(repository / "classifier" / "1")
    plans = [repository / "classifier" / number / "plan.json" for number in ("1", "2")]
    assert engine("build", "--repository", repository) == 0
    assert [plan.exists() for plan in plans] == [True, False]
    assert engine("build", "--repository", repository, "--version", 2) == 0
    assert [plan.exists() for plan in plans] == [True, True]
    assert engine("check", "--repository", repository, "--version", 2) == 0


def test_into_makes_a_copy_that_has_the_plan_and_leaves_the_repository(
    tmp_path: Path, machine: Machine, api: None, engine: Engine
) -> None:
    repository, served = engine_repository(tmp_path / "models"), tmp_path / "served"
    machine.answers(repository / "classifier" / "1")
    before = sorted(repository.rglob("*"))
    assert engine("build", "--repository", repository, "--into", served) == 0
    copied = served / "classifier" / "1"
    assert check_plan(copied, load_manifest(copied).files).builder == "tensorrt"
    assert sorted(repository.rglob("*")) == before
    assert engine("check", "--repository", served) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("key", "--repository", "{models}", "--version", "7"), "[GLIO-5124] The repository has no version 7."),
        (("key", "--repository", "{models}", "--version", "0"), "[GLIO-5124] The repository has no version 0."),
        (("key", "{models}/classifier/1", "--version", "1"), "[GLIO-5124] --version is of a --repository"),
        (("build", "{models}/classifier/1", "--into", "{tmp}/served"), "[GLIO-5108] --into copies what a --repository"),
        (
            ("build", "--repository", "{models}", "--version", "1", "--into", "{tmp}/served"),
            "[GLIO-5108] --into copies what a --repository serves: give that, and no --version.",
        ),
        (("build", "--repository", "{models}", "--into", "{models}/own"), "[GLIO-5108] own lies in the repository"),
        (("build", "--repository", "{tmp}/none"), "[GLIO-5108] No version under classifier/."),
        (("build", "{tmp}/none"), "[GLIO-5103]"),
        (("check", "{models}/classifier/1"), "[GLIO-5120] There is no plan.json"),
        (("key", "{models}/classifier/1", "--workspace-gib", "nan"), "[GLIO-5119] Options: the workspace must be"),
        (("key", "{models}/classifier/1", "--workspace-gib", "inf"), "[GLIO-5119] Options: the workspace must be"),
        (("key", "{models}/classifier/1", "--workspace-gib", "1e9"), "[GLIO-5119] Options: the workspace must be"),
        (("key", "{models}/classifier/1", "--optimization-level", "6"), "[GLIO-5119] Options: the optimisation level"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense_is_a_typed_error(
    tmp_path: Path, api: None, engine: Engine, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    models = engine_repository(tmp_path / "models")
    assert engine(*(argument.format(models=models, tmp=tmp_path) for argument in arguments)) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(said)
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "served").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("sharpen", "1"),
        ("build",),
        ("build", "1", "--repository", "models"),
        ("build", "1", "--precision", "int8"),
        ("build", "1", "--timeout-s", "0"),
        ("build", "1", "--timeout-s", "nan"),
        ("build", "--repository", "models", "--version", "latest"),
        ("check", "1", "--allow-failure"),
        ("check", "1", "--precision", "fp16"),
        ("key", "1", "--into", "served"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["engine", *arguments])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: glioserve")


# --- Failures ---


@pytest.mark.parametrize(
    ("fault", "code"), [("makes no plan", "GLIO-5119"), ("answers otherwise", "GLIO-5120")], ids=["build", "check"]
)
def test_a_failure_ends_with_1_and_with_0_only_where_it_is_allowed(
    machine: Machine,
    version: Path,
    api: None,
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
    fault: str,
    code: str,
) -> None:
    machine.set(FAKE_TRT_FAULT=fault)
    assert engine("build", version) == 1
    assert capsys.readouterr().err.startswith(f"[{code}]")
    assert engine("build", version, "--allow-failure") == 0
    said = capsys.readouterr()
    assert said.err.startswith(f"[{code}]")
    assert "ONNX Runtime serves" in said.err
    assert "the plan" not in said.out.replace("checking the plan", "")
    assert not (version / "plan.json").exists()


def test_where_there_is_no_tensorrt_and_no_gpu_the_copy_is_there_all_the_same(
    tmp_path: Path, machine: Machine, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """An init container must leave something that can be served on any node."""
    repository = engine_repository(tmp_path / "models")
    assert engine("build", "--repository", repository, "--into", tmp_path / "served", "--allow-failure") == 0
    assert "TensorRT is not here" in capsys.readouterr().err
    assert load_manifest(tmp_path / "served" / "classifier" / "1", verify_files=True)
    assert not (tmp_path / "served" / "classifier" / "1" / "model.plan").exists()


def test_allowing_a_failure_allows_no_repository_that_cannot_be_served(
    tmp_path: Path, api: None, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").touch()
    repository = engine_repository(tmp_path / "models")
    assert engine("build", "--repository", repository, "--into", tmp_path / "theirs", "--allow-failure") == 1
    assert engine("build", "--repository", tmp_path / "none", "--allow-failure") == 1
    assert capsys.readouterr().err.count("[GLIO-5108]") == 2


def test_check_of_another_machines_plan_ends_with_1(
    machine: Machine, version: Path, api: None, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engine("build", version) == 0
    machine.gpus(L4)
    assert engine("check", version) == 1
    assert "[GLIO-5120] It was built for the GPU NVIDIA A30 (here: NVIDIA L4)" in capsys.readouterr().err


# --- As a process ---


@contextmanager
def process(
    *arguments: object, code: str = "from glioserve_cli.main import main; sys.exit(main())"
) -> Iterator[subprocess.Popen[str]]:
    """``glioserve engine`` with both outputs in one; killed at the end if it still runs."""
    started = subprocess.Popen(
        [sys.executable, "-c", f"import sys; {code}", "engine", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_builder_and_all_that_it_started(
    machine: Machine, version: Path, tmp_path: Path, engine: Engine, number: signal.Signals, code: int
) -> None:
    machine.trtexec()
    machine.set(FAKE_TRT_FAULT="hangs")
    cache = tmp_path / "cache"
    with process("build", version, "--cache", cache) as running:
        wait_until(lambda: any(f.read_text() for f in cache.rglob("child.pid")), "the builder's own child")
        (child,) = (int(f.read_text()) for f in cache.rglob("child.pid"))
        running.send_signal(number)
        said, _ = running.communicate(timeout=60)
    assert running.returncode == code
    assert "Traceback" not in said
    wait_until(lambda: not living(child), "the child is gone")
    assert not (version / "model.plan").exists()
    assert not list(cache.glob("*/.staging*"))
    machine.set(FAKE_TRT_FAULT="")  # and the lock is free
    assert engine("build", version) == 0


def test_a_container_that_was_killed_serves_at_its_second_start(
    machine: Machine, tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kill every process at once, as Kubernetes does for want of memory, so that none can say or undo anything."""
    repository, builds = engine_repository(tmp_path / "models"), tmp_path / "builds"
    machine.answers(repository / "classifier" / "1")
    machine.python_package()
    machine.set(FAKE_TRT_BUILDS=str(builds), FAKE_TRT_BUILD_S="300")
    arguments = ("--repository", repository, "--into", tmp_path / "served", "--allow-failure")
    with process("build", *arguments, "--cache", tmp_path / "cache") as running:
        wait_until(lambda: builds.is_file() and builds.read_text().endswith("\n"), "the builder")
        running.kill()
        builder = int(builds.read_text())
        os.kill(builder, signal.SIGKILL)
        running.wait()
    assert running.returncode == -signal.SIGKILL
    wait_until(lambda: not living(builder), "the builder is gone")
    assert engine("build", *arguments) == 0
    said = capsys.readouterr().err
    assert said.startswith("[GLIO-5119] The attempt that began at ")
    assert "is not repeated. Raise the limit, delete " in said
    assert "ONNX Runtime serves" in said
    assert len(builds.read_text().splitlines()) == 1
    assert load_manifest(tmp_path / "served" / "classifier" / "1", verify_files=True)
    machine.set(FAKE_TRT_BUILD_S="0")
    assert engine("build", *arguments[:-1]) == 0  # by hand
    assert load_plan_record(tmp_path / "served" / "classifier" / "1")
    assert not list((tmp_path / "cache").rglob("attempt.json"))


@pytest.mark.long
@pytest.mark.parametrize("folders", ["one folder", "two folders"])
def test_two_that_build_the_same_at_once_build_once(machine: Machine, tmp_path: Path, api: None, folders: str) -> None:
    repository = engine_repository(tmp_path / "models")
    machine.answers(repository / "classifier" / "1")
    machine.set(FAKE_TRT_BUILDS=str(tmp_path / "builds"), FAKE_TRT_BUILD_S="3")
    into = [["--into", tmp_path / name] for name in "ab"] if folders == "two folders" else [[], []]
    common = ("build", "--repository", repository, "--cache", tmp_path / "cache")
    with process(*common, *into[0]) as first, process(*common, *into[1]) as second:
        said = [running.communicate(timeout=120)[0] for running in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    assert len((tmp_path / "builds").read_text().splitlines()) == 1
    origins = sorted(re.findall(r"^the plan (.*): sha256:", "".join(said), re.MULTILINE))
    assert origins == ["came from the cache", "was built"]
    places = [tmp_path / "a", tmp_path / "b"] if folders == "two folders" else [repository]
    for place in places:
        folder = place / "classifier" / "1"
        assert check_plan(folder, load_manifest(folder).files)


IMAGE_ONLY = f"""
{only_the_image()}
for absent in ("torch", "onnx", "tensorrt", "monai", "openvino", "safetensors"):
    try:
        __import__(absent)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{{absent}} can be imported")
from glioserve_cli.main import main
sys.exit(main())
"""


@pytest.mark.long
def test_the_image_that_serves_can_build(machine: Machine, tmp_path: Path) -> None:
    """Only what docker/requirements.txt brings can be imported, and there is trtexec."""
    repository = engine_repository(tmp_path / "models")
    machine.answers(repository / "classifier" / "1")
    machine.trtexec()
    served = tmp_path / "served"
    for task in (
        ("key", "--repository", repository),
        ("build", "--repository", repository, "--into", served, "--cache", tmp_path / "cache"),
        ("check", "--repository", served),
    ):
        with process(*task, code=IMAGE_ONLY) as running:
            said, _ = running.communicate(timeout=120)
        assert running.returncode == 0, said
        assert ("package onnx is not here" in said) == (task[0] == "build")
    assert load_plan_record(served / "classifier" / "1").builder == "trtexec"


def test_the_environment_of_these_tests_has_what_the_image_has() -> None:
    """Else the test above would let nothing through for want of a package, or for a name that is spelt otherwise."""
    done = subprocess.run(
        [sys.executable, "-c", f"{only_the_image()}print(sorted(MODULES))"], capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    for module in ("numpy", "pydicom", "SimpleITK", "scipy", "onnxruntime", "tritonclient"):
        assert repr(module) in done.stdout
    assert "'torch'" not in done.stdout
