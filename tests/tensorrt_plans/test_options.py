"""Profiles and options: what the plan takes, how Triton chooses, what trtexec is told."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from glioserve_contract.limits import MAX_CLASSIFIER_BATCH
from glioserve_export.classifier_config import PROFILES, TENSORRT_GPU, config_text
from glioserve_export.shape_profiles import BATCHES, PROFILE_INDICES, profiles
from glioserve_tensorrt.options import BuildOptions, build_arguments, build_options, spell_shape
from support.models.recipes import tiny_recipe
from support.tensorrt.tensorrt_options import ONLY_10, OPTIONS, VERSIONS, refused

RECIPE = tiny_recipe(size_voxels=(24, 16, 20))
OPTIONS_HERE = build_options(RECIPE)


def test_there_is_a_profile_for_batches_of_1_4_and_8() -> None:
    assert sorted(profile.best[0] for profile in profiles(RECIPE)) == [1, 4, 8]
    for profile in profiles(RECIPE):
        assert profile.smallest == (1, 3, 20, 16, 24)  # z, y, x
        assert profile.best == profile.largest == (profile.batch, 3, 20, 16, 24)


def test_the_first_takes_every_batch() -> None:
    """Triton takes profile 0 where a configuration names none, and proceeds with it where none fits."""
    first = profiles(RECIPE)[0]
    assert (first.smallest[0], first.largest[0]) == (1, MAX_CLASSIFIER_BATCH)


def test_triton_is_told_of_all_of_them_and_only_for_tensorrt() -> None:
    config = text_format.Parse(config_text(TENSORRT_GPU, RECIPE, (4, 4, 4), 1), model_config_pb2.ModelConfig())
    (group,) = config.instance_group
    assert list(group.profile) == [str(index) for index in PROFILE_INDICES] == ["0", "1", "2"]
    for other in PROFILES:
        if other is not TENSORRT_GPU:
            assert "profile:" not in config_text(other, RECIPE, (4, 4, 4), 1)
    assert set(TENSORRT_GPU.preferred_batch_sizes) | {1} == set(BATCHES) == set(TENSORRT_GPU.warmup_batch_sizes)


def triton_s_choice(batch: int) -> int:
    """``GetMostOptimizedProfile`` of Triton's backend: of those that take it, the first at the least distance."""
    fitting = [(abs(p.best[0] - batch), i) for i, p in enumerate(profiles(RECIPE)) if p.smallest[0] <= batch <= p.batch]
    return min(fitting)[1]


def test_each_batch_runs_by_the_profile_that_is_nearest_and_no_two_are_as_near() -> None:
    chosen = [BATCHES[triton_s_choice(batch)] for batch in range(1, MAX_CLASSIFIER_BATCH + 1)]
    assert chosen == [1, 4, 4, 4, 8, 8, 8, 8]
    for batch in range(1, MAX_CLASSIFIER_BATCH + 1):
        distances = [abs(p.best[0] - batch) for p in profiles(RECIPE) if p.smallest[0] <= batch <= p.batch]
        assert distances.count(min(distances)) == 1


def test_the_command_line_as_it_is() -> None:
    assert build_arguments(build_options(RECIPE, workspace_gib=0.5, optimization_level=5)) == (
        "--stronglyTyped",
        "--noTF32",
        "--memPoolSize=workspace:512M",
        "--builderOptimizationLevel=5",
        "--profile=0",
        "--minShapes=IMAGE:1x3x20x16x24",
        "--optShapes=IMAGE:8x3x20x16x24",
        "--maxShapes=IMAGE:8x3x20x16x24",
        "--profile=1",
        "--minShapes=IMAGE:1x3x20x16x24",
        "--optShapes=IMAGE:4x3x20x16x24",
        "--maxShapes=IMAGE:4x3x20x16x24",
        "--profile=2",
        "--minShapes=IMAGE:1x3x20x16x24",
        "--optShapes=IMAGE:1x3x20x16x24",
        "--maxShapes=IMAGE:1x3x20x16x24",
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("options", [OPTIONS_HERE, replace(OPTIONS_HERE, tf32=True)], ids=["default", "tf32"])
def test_every_documented_version_takes_it(version: str, options: BuildOptions) -> None:
    assert refused(["--onnx=m.onnx", *build_arguments(options), "--skipInference", "--saveEngine=p"], version) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--optimisationLevel=3"], "Unknown option: --optimisationLevel=3"),
        (["--stronglyTyped=1"], "--stronglyTyped takes no value"),
        (["--memPoolSize"], "--memPoolSize wants a value"),
        (["--noTF32", "--noTF32"], "--noTF32 twice"),
        (["--profile=0", "--noTF32", "--minShapes=a:1"], "without --profile"),
        (["--profile=0", "--minShapes=a:1", "--optShapes=a:1"], "missing shape spec"),
        (["--profile=1", "--minShapes=a:1", "--optShapes=a:1", "--maxShapes=a:1"], r"profile indices \[1\]"),
    ],
)
def test_the_table_itself_refuses_what_trtexec_would(arguments: list[str], said: str) -> None:
    assert any(re.search(said, problem) for problem in refused(arguments, "10.16")), refused(arguments, "10.16")


@pytest.mark.parametrize("option", ["--refPair=a:b", "--loadRefOutputs=a:b", "--accuracyThreshold=1"])
def test_what_came_with_11_1_is_in_no_earlier_one(option: str) -> None:
    """Asked of the option parsers of 10.12 to 11.1, compiled from NVIDIA's source."""
    assert [version for version in VERSIONS if not refused([option], version)] == ["11.1", "11.4"]


def test_weak_typing_is_in_no_command_line() -> None:
    assert refused(["--fp16"], "11.0") == ["Unknown option: --fp16"]
    assert refused(["--fp16"], "11.4") == ["Unknown option: --fp16"]
    weak = {name for name, option in OPTIONS.items() if option.versions == ONLY_10}
    assert not weak & {argument.split("=")[0] for argument in build_arguments(OPTIONS_HERE)}


def test_what_shapes_the_plan_is_in_the_keys_flags() -> None:
    flags = OPTIONS_HERE.flags()
    assert flags[:2] == ("stronglyTyped", "noTF32")
    for other in (
        build_options(RECIPE, workspace_gib=2),
        build_options(RECIPE, optimization_level=4),
        build_options(tiny_recipe()),
        replace(OPTIONS_HERE, tf32=True),
    ):
        assert other.flags() != flags
    assert not any("/" in flag for flag in flags)


@pytest.mark.parametrize(("gib", "level"), [(0.001, 3), (2000, 3), (4, 6), (4, -1)])
def test_options_beyond_their_ranges_are_refused(gib: float, level: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        build_options(RECIPE, gib, level)


def test_a_shape_as_trtexec_reads_it() -> None:
    assert spell_shape((8, 3, 96, 96, 96)) == "IMAGE:8x3x96x96x96"
