"""docs/tensorrt.md, docker/README.md and the chart's README: what they say to run is understood by what runs it."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from glioserve_cli.models import engine as command
from glioserve_cli.serving import serve as serve_command
from glioserve_contract.records.recipe import Grid
from glioserve_tensorrt.attempts import MARK_FILE
from glioserve_tensorrt.build import DEFAULT_TIMEOUT_S
from glioserve_tensorrt.options import DEFAULT_OPTIMIZATION_LEVEL, DEFAULT_WORKSPACE_GIB, build_arguments, build_options
from glioserve_tensorrt.toolkit import OLDEST
from support.models.recipes import tiny_recipe
from support.tensorrt.engines import TESTS

ROOT = TESTS.parent
PAGE = ROOT / "docs" / "tensorrt.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"^```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")


def commands(name: str) -> list[list[str]]:
    """Arguments of every ``glioserve NAME`` in the page's blocks, also of those that name it behind an image."""
    lines = [shlex.split(line, comments=True) for line in BLOCKS.splitlines()]
    return [words[words.index(name) + 1 :] for words in lines if name in words and "glioserve" in " ".join(words)]


def test_every_engine_command_of_the_page_is_understood() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add_arguments(parser)
    parsed = [parser.parse_args(arguments) for arguments in commands("engine")]
    assert [args.task for args in parsed] == ["key", "build", "check", "build"]
    assert all(args.repository for args in parsed)
    in_a_container = parsed[-1]
    assert (in_a_container.into, in_a_container.cache) == (Path("/served"), Path("/cache"))
    assert in_a_container.allow_failure


def test_the_containers_serve_what_was_built() -> None:
    (build, serve) = (shlex.split(line) for line in BLOCKS.splitlines() if line.startswith("docker run"))
    volumes = [
        dict(reversed(words[i + 1].removesuffix(":ro").rsplit(":", 1)) for i, w in enumerate(words) if w == "-v")
        for words in (build, serve)
    ]
    image = build.index("registry.example.org/imaging/glioserve:0.1.0")
    assert build[build.index("--entrypoint") + 1] == "/opt/glioserve/entrypoint.sh"
    assert build[image + 1 : image + 3] == ["glioserve", "engine"]
    assert serve[serve.index(build[image]) :][0] == build[image]
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve_command.add_arguments(parser)
    options = parser.parse_args(serve[serve.index(build[image]) + 1 :])
    assert options.profile == "tensorrt-gpu"
    assert volumes[1][str(options.repository)] == volumes[0]["/served"]


def test_the_command_line_of_trtexec_is_the_one_that_is_run() -> None:
    (block,) = re.findall(r"^```\n(trtexec .*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    recipe = replace(tiny_recipe(), grid=Grid((96, 96, 96), (2.0, 2.0, 2.0)))
    assert tuple(block.split()) == (
        "trtexec",
        "--onnx=model.onnx",
        *build_arguments(build_options(recipe)),
        "--timingCacheFile=timing.cache",
        "--skipInference",
        "--saveEngine=model.plan",
    )


@pytest.mark.parametrize(
    "said",
    [
        f"| `--workspace-gib` | {DEFAULT_WORKSPACE_GIB:g} |",
        f"| `--optimization-level` | {DEFAULT_OPTIMIZATION_LEVEL}, TensorRT's own |",
        f"| `--timeout-s` | {DEFAULT_TIMEOUT_S:g} |",
        f"TensorRT {OLDEST[0]}.{OLDEST[1]} or later",
        "no TensorRT plan serves: ONNX Runtime does instead",
        f"`<cache>/<key>/{MARK_FILE}`",
        "execution_context_allocation_strategy` to `ON_PROFILE_CHANGE`",
    ],
)
def test_figures_and_words_are_the_codes(said: str) -> None:
    assert said in TEXT


def test_an_image_is_derived_with_the_bindings_and_without_a_second_library() -> None:
    """Packages with libraries of their own would build for another TensorRT than the one that Triton loads."""
    (line,) = re.findall(r"^pip install .*$", TEXT, re.MULTILINE)
    program, task, option, *packages = line.split()
    assert (program, task, option) == ("pip", "install", "--no-deps")
    names, versions = zip(*(package.split("==") for package in packages), strict=True)
    assert names == ("tensorrt-cu13", "tensorrt-cu13-bindings")
    assert len(set(versions)) == 1


def test_the_logs_words_are_those_that_operators_are_told_to_look_for() -> None:
    from glioserve_triton.plans import discovery as plans

    words = "no TensorRT plan serves: ONNX Runtime does instead"
    assert words in Path(plans.__file__).read_text(encoding="utf-8")
    assert words in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["docker/README.md", "helm/glioserve/README.md", "docs/bring-your-own-model.md"])
def test_the_page_is_led_to(page: str) -> None:
    assert "tensorrt.md" in (ROOT / page).read_text(encoding="utf-8")
