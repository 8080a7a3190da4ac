"""``classifier/config.pbtxt`` and one ``configs/<profile>.pbtxt`` per profile, from the recipe and the contract.

Triton's ``--model-config-name=<profile>`` picks the file in ``configs/``; ``config.pbtxt`` serves where none is
named. The text depends on nothing but the shapes and the number of the version that serves.
Fields: Triton's ``model_config.proto``; parameters: the READMEs of the onnxruntime and openvino backends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from glioserve_contract import CONTRACT_VERSION
from glioserve_contract.limits import MAX_WAIT_S, MAX_WAITING_ANSWERS
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.tensors import CLASSIFIER_MODEL, Tensor
from glioserve_export.shape_profiles import PROFILE_INDICES
from glioserve_export.version_files import INT8_FILE, ONNX_FILE, PLAN_FILE

CamGrid = tuple[int, int, int]
"""(d, h, w) of CAM: the last feature map's grid."""


@dataclass(frozen=True)
class ServingProfile:
    """One way to run the classifier: which backend, on what, batched how."""

    name: str
    summary: str
    backend: str
    model_file: str
    kind: str
    queue_delay_us: int
    """Longest time that a study waits for others to share its batch."""
    max_batch_size: int = CLASSIFIER_MODEL.max_batch_size
    preferred_batch_sizes: tuple[int, ...] = ()
    warmup_batch_sizes: tuple[int, ...] = (1,)
    """Run at load, so that a graph which cannot run never becomes ready and the first study pays no set-up."""
    platform: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    cuda_options: tuple[tuple[str, str], ...] = ()
    """Options of ONNX Runtime's CUDA execution provider."""
    plan_profiles: tuple[int, ...] = ()
    """TensorRT's optimisation profiles to run by; Triton would take the first alone."""


ONNXRUNTIME_CPU = ServingProfile(
    name="onnxruntime-cpu",
    summary="ONNX Runtime on one CPU core. Batches bring nothing there, so no study waits for another.",
    backend="onnxruntime",
    model_file=ONNX_FILE,
    kind="KIND_CPU",
    queue_delay_us=0,
    # One thread: no spinning pool takes cores from preprocessing, which is most of a study's cost.
    parameters=(("intra_op_thread_count", "1"),),
)
OPENVINO_CPU = ServingProfile(
    name="openvino-cpu",
    summary="OpenVINO on one CPU core. (Triton's own openvino backend takes bf16 wherever the processor has it.)",
    backend="openvino",
    model_file=ONNX_FILE,
    kind="KIND_CPU",
    queue_delay_us=0,
    # Triton's own openvino backend runs every batch at its maximum size: with 8 each study would cost eight.
    max_batch_size=1,
    parameters=(("INFERENCE_NUM_THREADS", "1"), ("NUM_STREAMS", "1"), ("PERFORMANCE_HINT", "LATENCY")),
)
OPENVINO_CPU_BF16 = replace(
    OPENVINO_CPU,
    name="openvino-cpu-bf16",
    summary="OpenVINO on one CPU core in bf16; for versions that were shown to answer alike in it.",
    parameters=(*OPENVINO_CPU.parameters, ("HINT_BF16", "YES")),
)
OPENVINO_CPU_INT8 = replace(
    OPENVINO_CPU,
    name="openvino-cpu-int8",
    summary="OpenVINO on one CPU core on 8-bit integers; for versions that were exported with them.",
    model_file=INT8_FILE,
)
ONNXRUNTIME_GPU = ServingProfile(
    name="onnxruntime-gpu",
    summary="ONNX Runtime on every GPU that Triton sees, in full 32-bit floats.",
    backend="onnxruntime",
    model_file=ONNX_FILE,
    kind="KIND_GPU",
    queue_delay_us=5000,
    preferred_batch_sizes=(4, 8),
    warmup_batch_sizes=(1, 4, 8),
    # 1 = HEURISTIC. The exhaustive search (the default) picks by timing: it stalls on each new batch size, and two
    # starts may answer differently in the sixth digit. Among the CUDA provider's options below it would be
    # overwritten without a word (https://github.com/triton-inference-server/server/issues/8808).
    parameters=(("cudnn_conv_algo_search", "1"),),
    # TF32 keeps ten bits of mantissa: it would move the answer away from the one that parity was shown for.
    cuda_options=(("use_tf32", "0"),),
)
TENSORRT_GPU = ServingProfile(
    name="tensorrt-gpu",
    summary="A TensorRT plan, built from the ONNX file on the GPU that serves it, on every GPU that Triton sees.",
    backend="tensorrt",
    platform="tensorrt_plan",
    model_file=PLAN_FILE,
    kind="KIND_GPU",
    queue_delay_us=5000,
    preferred_batch_sizes=(4, 8),
    warmup_batch_sizes=(1, 4, 8),
    # The backend makes one context for each optimisation profile. By default each takes the memory of the largest of
    # them; so each takes its own. A Triton that is older than the parameter passes over it.
    parameters=(("execution_context_allocation_strategy", "ON_PROFILE_CHANGE"),),
    plan_profiles=PROFILE_INDICES,
)
PROFILES = (ONNXRUNTIME_CPU, OPENVINO_CPU, OPENVINO_CPU_BF16, OPENVINO_CPU_INT8, ONNXRUNTIME_GPU, TENSORRT_GPU)
DEFAULT_PROFILE = ONNXRUNTIME_CPU


def resolved_dims(tensor: Tensor, recipe: Recipe, cam_grid: CamGrid) -> tuple[int, ...]:
    """Return the tensor's dims with the recipe's and the graph's numbers; open ones are the CAM grid's, in order.

    The onnxruntime and openvino backends compare an output's configured dims with the graph's exactly: -1 is
    refused where the graph has a number.
    """
    grid = iter(cam_grid)
    return tuple(next(grid) if d == -1 else d for d in tensor.dims(recipe))


def config_files(recipe: Recipe, cam_grid: CamGrid, serving: int) -> dict[str, str]:
    """Return path below ``classifier/`` to text, for the default and for every profile; version ``serving`` serves."""
    files = {f"configs/{profile.name}.pbtxt": config_text(profile, recipe, cam_grid, serving) for profile in PROFILES}
    return {"config.pbtxt": config_text(DEFAULT_PROFILE, recipe, cam_grid, serving), **files}


def config_text(profile: ServingProfile, recipe: Recipe, cam_grid: CamGrid, serving: int) -> str:
    """Return one complete configuration in protobuf's text format, below a comment that says where it comes from."""
    header = (
        f"# Generated by glioserve (contract {CONTRACT_VERSION}, profile {profile.name}); not to be edited.\n"
        f"# {profile.summary}\n"
        "# `glioserve repository promote` chooses the version that serves; promotion.json has its history.\n"
    )
    config = model_config(profile, recipe, cam_grid, serving)
    fields: str = text_format.MessageToString(config, use_short_repeated_primitives=True)
    return header + fields


def model_config(profile: ServingProfile, recipe: Recipe, cam_grid: CamGrid, serving: int) -> ModelConfig:
    """Return one complete configuration as Triton's own message."""
    # What is the schema's default (REJECT, an empty list) is not written.
    config = ModelConfig(
        name=CLASSIFIER_MODEL.name,
        platform=profile.platform,
        backend=profile.backend,
        default_model_filename=profile.model_file,
        max_batch_size=profile.max_batch_size,
        version_policy={"specific": {"versions": [serving]}},
        instance_group=[{"count": 1, "kind": profile.kind, "profile": [str(index) for index in profile.plan_profiles]}],
        dynamic_batching={
            "preferred_batch_size": profile.preferred_batch_sizes,
            "max_queue_delay_microseconds": profile.queue_delay_us,
            "default_queue_policy": {
                "max_queue_size": MAX_WAITING_ANSWERS,
                "default_timeout_microseconds": int(MAX_WAIT_S * 1e6),
                "allow_timeout_override": True,
                "timeout_action": "REJECT",
            },
        },
    )
    for ports, tensors in ((config.input, CLASSIFIER_MODEL.inputs), (config.output, CLASSIFIER_MODEL.outputs)):
        for tensor in tensors:
            ports.add(name=tensor.name, data_type=_data_type(tensor), dims=resolved_dims(tensor, recipe, cam_grid))
    for key, value in profile.parameters:
        config.parameters[key].string_value = value
    if profile.cuda_options:
        accelerators = config.optimization.execution_accelerators
        accelerators.gpu_execution_accelerator.add(name="cuda", parameters=dict(profile.cuda_options))
    for size in profile.warmup_batch_sizes:
        warmup = config.model_warmup.add(name=f"batch of {size}", batch_size=size)
        for tensor in CLASSIFIER_MODEL.inputs:
            example = warmup.inputs[tensor.name]
            example.data_type = _data_type(tensor)
            example.dims.extend(resolved_dims(tensor, recipe, cam_grid))
            example.zero_data = True
    return config


def _data_type(tensor: Tensor) -> int:
    return int(DataType.Value(f"TYPE_{tensor.dtype}"))
