"""A stand-in for TensorRT's Python package, for processes that find it on PYTHONPATH.

It has the members that ``names.json`` of ``support/tensorrt_api`` lists for ``FAKE_TRT_VERSION`` and that our worker
calls, no others (a wrong name raises AttributeError, for reading and for writing), and holds the worker to the order,
the types and the lifetimes that the documentation asks for. Its plans are those of ``support.fake_trtexec``.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np

_TESTS = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(_TESTS))
from support.fake_trtexec import SEPARATOR, building, look_up  # noqa: E402

__version__ = os.environ.get("FAKE_TRT_VERSION", "10.16.1.11")
_FAULT = os.environ.get("FAKE_TRT_FAULT", "")
_NAMES = json.loads((_TESTS / "support" / "tensorrt_api" / "names.json").read_text())["versions"][
    {"10.12": "10.12.0.36", "11.4": "11.4.0.106"}.get(".".join(__version__.split(".")[:2]), "10.16.1.11")
]


def _enumeration(name: str) -> Any:
    """The enumeration with the members that this version of TensorRT has."""
    return enum.IntEnum(name, _NAMES["enums"][name])


NetworkDefinitionCreationFlag = _enumeration("NetworkDefinitionCreationFlag")
MemoryPoolType = _enumeration("MemoryPoolType")
BuilderFlag = _enumeration("BuilderFlag")
TensorIOMode = _enumeration("TensorIOMode")
float32, int32 = "float32", "int32"
Shape = tuple[int, ...]


def nptype(dtype: str) -> type[np.generic]:
    types: dict[str, type[np.generic]] = {"float32": np.float32, "int32": np.int32}
    return types[dtype]


class Logger:
    __slots__ = ("severity",)
    WARNING = 2

    def __init__(self, severity: int) -> None:
        self.severity = severity


class IHostMemory(bytearray):
    """Bytes with the buffer protocol, as the bindings' class; a bytearray is the nearest that Python 3.10 has."""


class INetworkDefinition:
    __slots__ = ("_flags", "_onnx")

    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._onnx: bytes | None = None


class ParserError:
    __slots__ = ()

    def desc(self) -> str:
        return "No importer registered for op: Hardmax"

    def node_name(self) -> str:
        return "node_hardmax"

    def node_operator(self) -> str:
        return "Hardmax"


class OnnxParser:
    __slots__ = ("_errors", "_network")

    def __init__(self, network: INetworkDefinition, logger: Logger) -> None:
        assert isinstance(network, INetworkDefinition)
        assert isinstance(logger, Logger)
        self._network = network
        self._errors: list[ParserError] = []

    def parse(self, model: bytes, path: str | None = None) -> bool:
        memoryview(model)
        if _FAULT == "refuses a node":
            self._errors.append(ParserError())
            return False
        self._network._onnx = bytes(model)
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class IOptimizationProfile:
    __slots__ = ("_shapes",)

    def __init__(self) -> None:
        self._shapes: dict[str, list[Shape]] = {}

    def set_shape(self, input: str, min: Shape, opt: Shape, max: Shape) -> None:
        shapes = [tuple(int(n) for n in shape) for shape in (min, opt, max)]
        if not all(a <= b <= c for a, b, c in zip(*shapes, strict=True)):
            raise ValueError("inconsistent shapes")
        self._shapes[input] = shapes


class ITimingCache:
    __slots__ = ("__weakref__", "_content")

    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._content)


class IBuilderConfig:
    __slots__ = ("_cache", "_flags", "_pools", "_profiles", "builder_optimization_level")

    def __init__(self) -> None:
        self._cache: weakref.ref[ITimingCache] | None = None
        self._flags = {BuilderFlag.TF32}
        self._pools: dict[Any, int] = {}
        self._profiles: list[IOptimizationProfile] = []
        self.builder_optimization_level = 3

    def set_memory_pool_limit(self, pool: object, pool_size: int) -> None:
        assert isinstance(pool, MemoryPoolType)
        self._pools[pool] = int(pool_size)

    def clear_flag(self, flag: object) -> None:
        assert isinstance(flag, BuilderFlag)
        self._flags.discard(flag)

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        content = bytes(serialized_timing_cache)
        return None if content and not content.startswith(b"timing") else ITimingCache(content or b"timing\n")

    def set_timing_cache(self, cache: ITimingCache | None, ignore_mismatch: bool) -> bool:
        if cache is None:
            raise TypeError("incompatible function arguments")
        if f"for {__version__}" not in cache._content.decode() and cache._content != b"timing\n":
            return False  # another TensorRT's: its header says so
        self._cache = weakref.ref(cache)
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache() if self._cache else None

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1


class Builder:
    __slots__ = ()

    def __init__(self, logger: Logger) -> None:
        assert isinstance(logger, Logger)
        if _FAULT == "finds no GPU":
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        strong = 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        if flags != strong:  # another bit is another flag: in TensorRT 11 the bit of 10 chooses a kind of plugin
            raise ValueError(f"flags {flags}: not STRONGLY_TYPED and nothing else")
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        if network._onnx is None or not config._profiles:
            raise RuntimeError("nothing was parsed, or a dynamic input has no profile")
        cache = config.get_timing_cache()
        if config._cache and cache is None:
            raise RuntimeError("the timing cache was destroyed before the engine was built")
        if BuilderFlag.TF32 in config._flags or MemoryPoolType.WORKSPACE not in config._pools:
            raise RuntimeError("TF32 is on, or the workspace has no limit")
        if _FAULT == "makes no plan":
            print("[TRT] [E] Error Code 10: Internal Error (Could not find any implementation)", file=sys.stderr)
            return None
        if _FAULT == "crashes":
            os.abort()
        building()
        if cache is not None:
            cache._content += f"timed once for {__version__}\n".encode()
        spell = "x".join
        flags = []
        for index, profile in enumerate(config._profiles):
            ((name, shapes),) = profile._shapes.items()
            flags.append(f"--profile={index}")
            for which, shape in zip(("min", "opt", "max"), shapes, strict=True):
                flags.append(f"--{which}Shapes={name}:{spell(map(str, shape))}")
        return IHostMemory(json.dumps({"version": __version__, "flags": flags}).encode() + SEPARATOR + network._onnx)


class ICudaEngine:
    __slots__ = ("_head",)
    _OUTPUTS = ("LOGITS", "CAM", "MODEL_ID")

    def __init__(self, head: dict[str, Any]) -> None:
        self._head = head

    def create_execution_context(self) -> IExecutionContext:
        return IExecutionContext(self)

    @property
    def num_io_tensors(self) -> int:
        return 4

    def get_tensor_name(self, index: int) -> str:
        return ("IMAGE", *self._OUTPUTS)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name == "IMAGE" else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> str:
        return int32 if name == "MODEL_ID" else float32


class IExecutionContext:
    __slots__ = ("_addresses", "_engine", "_profile", "_shape")

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._profile: int | None = None
        self._shape: Shape | None = None
        self._addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert isinstance(stream_handle, int)
        self._profile, self._shape, self._addresses = profile_index, None, {}
        return f"--profile={profile_index}" in self._engine._head["flags"]

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        assert isinstance(shape, tuple)
        flags = self._engine._head["flags"]
        at = flags.index(f"--profile={self._profile}")
        low, high = ([int(n) for n in flags[at + k].rpartition(":")[2].split("x")] for k in (1, 3))
        self._shape = shape
        return name == "IMAGE" and all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))

    def infer_shapes(self) -> list[str]:
        return [] if self._shape else ["IMAGE"]

    def get_tensor_shape(self, name: str) -> list[int]:
        assert self._shape is not None
        with np.load(os.environ["FAKE_TRT_ANSWERS"]) as stored:
            shapes = {"IMAGE": stored["images"], "LOGITS": stored["logits"], "CAM": stored["cam"]}
            rest = (8,) if name == "MODEL_ID" else shapes[name].shape[1:]
        return [self._shape[0], *rest]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert isinstance(memory, int)
        self._addresses[name] = memory
        return memory != 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert set(self._addresses) == {"IMAGE", *ICudaEngine._OUTPUTS}
        if _FAULT == "does not run":
            return False
        assert self._shape is not None
        size = 4 * int(np.prod(self._shape))
        image = np.frombuffer(ctypes.string_at(self._addresses["IMAGE"], size), np.float32).reshape(self._shape)
        for name, values in look_up(image, _FAULT).items():
            content = np.ascontiguousarray(values).tobytes()
            ctypes.memmove(self._addresses[name], content, len(content))
        return True


class Runtime:
    __slots__ = ()

    def __init__(self, logger: Logger) -> None:
        assert isinstance(logger, Logger)

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        content = bytes(serialized_engine)
        head = json.loads(content.split(SEPARATOR)[0]) if SEPARATOR in content else {}
        return ICudaEngine(head) if head.get("version") == __version__ else None
