"""The process that imports TensorRT: ``python -m glioserve_tensorrt.builders.worker build|run REQUEST.json``.

Written against the Python API of TensorRT 10.12 to 11.4 (docs.nvidia.com/deeplearning/tensorrt, "Python API"); what it
calls was held to the names in the bindings' own wheels. It imports nothing of ours but :mod:`cuda`, and says on
standard error why it ends with code 3.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glioserve_tensorrt.builders.cuda import Cuda, CudaError

REFUSED = 3
"""Exit code of what TensorRT refuses, as against a crash of it."""

Json = dict[str, Any]


class RefusedError(Exception):
    """Told in one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do one task; the request's relative names are in the working folder."""
    task, request_file = sys.argv[1:] if argv is None else argv
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    import tensorrt

    try:
        if task == "build":
            build(tensorrt, request)
        else:
            run(tensorrt, request, Cuda())
    except (RefusedError, CudaError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    except RuntimeError as error:  # the bindings' word for arguments that TensorRT does not take
        print(f"TensorRT refuses a call: {error}", file=sys.stderr)
        return REFUSED
    return 0


def build(trt: Any, request: Json) -> None:
    """Write the plan and the timing cache, each whole. RefusedError names every node that the parser refuses."""
    logger = trt.Logger(trt.Logger.WARNING)
    builder = _made(trt.Builder, logger)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(Path(request["onnx"]).read_bytes()):
        raise RefusedError("The ONNX parser refuses the graph: " + "; ".join(parser_errors(parser)))
    config = builder.create_builder_config()
    configure(trt, builder, config, request)
    cache_file = Path(request["timing_cache"])
    used = use_timing_cache(config, cache_file.read_bytes() if cache_file.is_file() else b"")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RefusedError("The builder made no plan; its reasons are above.")
    Path(request["plan"]).write_bytes(plan)
    if used is not None:
        cache_file.write_bytes(used.serialize())


def network_flags(trt: Any) -> int:
    """Return the flags of a strongly typed network, by the member's own value: 1 in TensorRT 10 and 0 in 11.

    TensorRT 11 takes the flag and ignores it, and declares it deprecated: 0 where a later one has no such member.
    """
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def parser_errors(parser: Any) -> list[str]:
    """Return what the parser found, node by node."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return [f"{error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors]


def configure(trt: Any, builder: Any, config: Any, request: Json) -> None:
    """Set the options, and one optimisation profile after the other."""
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace_mib"] << 20)
    config.builder_optimization_level = request["optimization_level"]
    if not request["tf32"]:
        config.clear_flag(trt.BuilderFlag.TF32)  # set by default
    for index, shapes in enumerate(request["profiles"]):
        profile = builder.create_optimization_profile()
        profile.set_shape(request["input"], *(tuple(shapes[which]) for which in ("smallest", "best", "largest")))
        if config.add_optimization_profile(profile) != index:
            raise RefusedError(f"Optimisation profile {index} is refused: {shapes}")


def use_timing_cache(config: Any, content: bytes) -> Any:
    """Begin with what is known; with nothing where it is damaged or of another GPU or TensorRT.

    The cache that is used; it must outlive the build. None where none is taken.
    """
    for candidate in (content, b"") if content else (b"",):
        cache = config.create_timing_cache(candidate)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
        print("The timing cache is not used: damaged, or of another GPU.", file=sys.stderr)
    return None


def run(trt: Any, request: Json, cuda: Cuda) -> None:
    """Answer batches of studies by the profiles that are named; write each output as ``<run>:<name>``."""
    logger = trt.Logger(trt.Logger.WARNING)
    runtime = _made(trt.Runtime, logger)  # must outlive the engine
    engine = runtime.deserialize_cuda_engine(Path(request["plan"]).read_bytes())
    if engine is None:
        raise RefusedError("TensorRT cannot read the plan; its reasons are above.")
    profiles, wanted = engine.num_optimization_profiles, max(profile for profile, _, _ in request["runs"])
    if wanted >= profiles:  # TensorRT 10.12 crashes where such a profile is set
        raise RefusedError(f"The plan has {profiles} optimisation profiles and so none of index {wanted}")
    context = engine.create_execution_context()
    if context is None:
        raise RefusedError("TensorRT cannot make an execution context: too little GPU memory?")
    images = np.load(request["images"], allow_pickle=False)
    found: dict[str, Any] = {}
    for number, (profile, start, stop) in enumerate(request["runs"]):
        outputs = answer(trt, engine, context, cuda, profile, request["input"], images[start:stop])
        found.update({f"{number}:{name}": array for name, array in outputs.items()})
    np.savez(request["to"], **found)


def answer(
    trt: Any, engine: Any, context: Any, cuda: Cuda, profile: int, input_name: str, images: Any
) -> dict[str, Any]:
    """Run one batch by one profile and return output name to array."""
    context.set_optimization_profile_async(profile, cuda.stream)  # RuntimeError where it is refused
    cuda.synchronise()
    if not context.set_input_shape(input_name, tuple(images.shape)):
        raise RefusedError(f"The plan does not take {input_name} {images.shape} by profile {profile}")
    missing = context.infer_shapes()
    if missing:
        raise RefusedError(f"The plan has inputs that are not {input_name}: {', '.join(missing)}")
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    arrays: dict[str, Any] = {}
    with cuda.memory() as memory:
        for name in names:
            dtype = trt.nptype(engine.get_tensor_dtype(name))
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            array = np.ascontiguousarray(images, dtype) if is_input else np.empty(_shape(context, name), dtype)
            arrays[name] = array
            if not context.set_tensor_address(name, memory.allocate(name, array.nbytes)):
                raise RefusedError(f"The plan does not take an address for {name}")
            if is_input:
                memory.to_device(name, array)
        if not context.execute_async_v3(cuda.stream):
            raise RefusedError("The plan's execution failed; its reasons are above.")
        outputs = {n: a for n, a in arrays.items() if engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT}
        for name, array in outputs.items():
            memory.to_host(array, name)
        cuda.synchronise()
    return outputs


def _shape(context: Any, name: str) -> tuple[int, ...]:
    return tuple(int(n) for n in context.get_tensor_shape(name))


def _made(what: Any, logger: Any) -> Any:
    """Return a builder or a runtime; without a usable GPU the bindings raise TypeError."""
    try:
        return what(logger)
    except TypeError as error:
        raise RefusedError(f"TensorRT makes no {what.__name__}: {error}. Is there a GPU?") from error


if __name__ == "__main__":
    sys.exit(main())
