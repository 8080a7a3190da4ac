"""The generated configurations: what Triton's own schema reads in them is what the contract says."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from glioserve_contract import Modality
from glioserve_contract.limits import DEFAULT_TIMEOUT_S, MAX_CLASSIFIER_BATCH
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_export.classifier_config import DEFAULT_PROFILE, PROFILES, config_files
from support.recipes import T1_T1CE_T2, tiny_recipe

RECIPES = (
    tiny_recipe((Modality.T1CE,)),
    tiny_recipe(T1_T1CE_T2, (24, 16, 20)),
    tiny_recipe(tuple(Modality), (96, 96, 96)),
)
CAM_GRID = (5, 4, 6)
SERVING = 3
NAMES = tuple(profile.name for profile in PROFILES)


def parsed(recipe: Recipe = RECIPES[1]) -> dict[str, model_config_pb2.ModelConfig]:
    """Every file, as Triton reads it: an unknown field or value raises."""
    files = config_files(recipe, CAM_GRID, SERVING)
    return {path: text_format.Parse(text, model_config_pb2.ModelConfig()) for path, text in files.items()}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: f"{len(r.channels)} channels")
def test_every_profile_has_the_contracts_tensors(recipe: Recipe) -> None:
    depth, height, width = recipe.grid.shape
    wanted_dims = {
        "IMAGE": [len(recipe.channels), depth, height, width],
        "LOGITS": [2],
        "CAM": [2, *CAM_GRID],
        "MODEL_ID": [8],
    }
    for path, config in parsed(recipe).items():
        assert config.name == CLASSIFIER_MODEL.name, path
        # Triton's own openvino backend pads each batch to the maximum, or refuses it.
        wanted_batch = 1 if config.backend == "openvino" else MAX_CLASSIFIER_BATCH
        assert config.max_batch_size == wanted_batch <= CLASSIFIER_MODEL.max_batch_size
        for ports, tensors in ((config.input, CLASSIFIER_MODEL.inputs), (config.output, CLASSIFIER_MODEL.outputs)):
            assert [p.name for p in ports] == [t.name for t in tensors]
            for port, tensor in zip(ports, tensors, strict=True):
                assert model_config_pb2.DataType.Name(port.data_type) == f"TYPE_{tensor.dtype}"
                assert list(port.dims) == wanted_dims[tensor.name]


def test_the_profiles_are_files_and_the_default_is_the_cpus() -> None:
    files = config_files(RECIPES[0], CAM_GRID, SERVING)
    assert sorted(files) == sorted(["config.pbtxt", *(f"configs/{name}.pbtxt" for name in NAMES)])
    assert files["config.pbtxt"] == files[f"configs/{DEFAULT_PROFILE.name}.pbtxt"]
    openvino = ("openvino-cpu", "openvino-cpu-bf16", "openvino-cpu-int8")
    assert ("onnxruntime-cpu", *openvino, "onnxruntime-gpu", "tensorrt-gpu") == NAMES


@pytest.mark.parametrize("path", ["config.pbtxt", *(f"configs/{name}.pbtxt" for name in NAMES)])
def test_no_queue_is_without_bounds(path: str) -> None:
    batching = parsed()[path].dynamic_batching
    policy = batching.default_queue_policy
    assert policy.max_queue_size > 0
    assert 0 < policy.default_timeout_microseconds < DEFAULT_TIMEOUT_S * 1e6
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert all(size <= MAX_CLASSIFIER_BATCH for size in batching.preferred_batch_size)


def test_the_cpu_profile_waits_for_nobody_and_the_gpus_do() -> None:
    configs = parsed()
    cpu = configs["configs/onnxruntime-cpu.pbtxt"]
    assert (cpu.backend, cpu.platform, cpu.default_model_filename) == ("onnxruntime", "", "model.onnx")
    assert [(g.kind, g.count) for g in cpu.instance_group] == [(model_config_pb2.ModelInstanceGroup.KIND_CPU, 1)]
    assert cpu.dynamic_batching.max_queue_delay_microseconds == 0
    assert cpu.parameters["intra_op_thread_count"].string_value == "1"
    for name in ("onnxruntime-gpu", "tensorrt-gpu"):
        gpu = configs[f"configs/{name}.pbtxt"]
        assert [(g.kind, g.count) for g in gpu.instance_group] == [(model_config_pb2.ModelInstanceGroup.KIND_GPU, 1)]
        assert gpu.dynamic_batching.max_queue_delay_microseconds == 5000
        assert list(gpu.dynamic_batching.preferred_batch_size) == [4, 8]
    plan = configs["configs/tensorrt-gpu.pbtxt"]
    assert (plan.backend, plan.platform, plan.default_model_filename) == ("tensorrt", "tensorrt_plan", "model.plan")


def test_openvino_s_profiles_differ_in_precision_alone() -> None:
    """By the parameters that Triton's own backend reads: HINT_BF16 knows YES and nothing else."""
    configs = {name: parsed()[f"configs/{name}.pbtxt"] for name in NAMES if name.startswith("openvino")}
    common = {"INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"}
    wanted = {
        "openvino-cpu": ("model.onnx", common),
        "openvino-cpu-bf16": ("model.onnx", {**common, "HINT_BF16": "YES"}),
        "openvino-cpu-int8": ("model_int8.onnx", common),
    }
    for name, config in configs.items():
        parameters = {key: value.string_value for key, value in config.parameters.items()}
        assert (config.default_model_filename, parameters) == wanted[name]
        assert [(g.kind, g.count) for g in config.instance_group] == [(model_config_pb2.ModelInstanceGroup.KIND_CPU, 1)]
        assert not config.dynamic_batching.preferred_batch_size


def test_the_gpus_convolution_search_stands_where_the_backend_reads_it() -> None:
    """Among the CUDA provider's options the backend overwrites it with the exhaustive search."""
    config = parsed()["configs/onnxruntime-gpu.pbtxt"]
    assert config.parameters["cudnn_conv_algo_search"].string_value == "1"
    (cuda,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (cuda.name, dict(cuda.parameters)) == ("cuda", {"use_tf32": "0"})


def test_every_profile_runs_before_it_is_ready() -> None:
    for path, config in parsed().items():
        sizes = [warmup.batch_size for warmup in config.model_warmup]
        assert sizes[0] == 1, path
        assert all(size <= MAX_CLASSIFIER_BATCH for size in sizes)
        for warmup in config.model_warmup:
            (port,) = config.input
            assert list(warmup.inputs) == [port.name]
            assert warmup.inputs[port.name].dims == port.dims
            assert warmup.inputs[port.name].data_type == port.data_type
            assert warmup.inputs[port.name].WhichOneof("input_data_type") == "zero_data"


def test_one_version_serves_at_a_time() -> None:
    for config in parsed().values():
        assert list(config.version_policy.specific.versions) == [SERVING]


def test_the_text_depends_on_shapes_and_the_version_alone() -> None:
    """A version that may join a repository never changes the configuration of the versions there."""
    one, other = tiny_recipe(name="one"), tiny_recipe(name="other", classes=("recurrence", "necrosis"))
    assert config_files(one, CAM_GRID, SERVING) == config_files(other, CAM_GRID, SERVING)
    assert config_files(one, CAM_GRID, SERVING) != config_files(one, (4, 4, 4), SERVING)
    assert config_files(one, CAM_GRID, SERVING) != config_files(one, CAM_GRID, SERVING + 1)
