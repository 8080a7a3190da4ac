"""A stand-in for TensorRT's Python package, for processes that find it on PYTHONPATH.

It has the members that ``names.json`` of ``support/tensorrt/tensorrt_api`` lists for ``FAKE_TRT_VERSION`` and that our
worker calls, no others (a wrong name raises AttributeError, for reading and for writing), and holds the worker to the
order, the types and the lifetimes that the documentation asks for. Its plans are those of
``support.tensorrt.fake_trtexec``.
"""

from __future__ import annotations

import ctypes
import enum
import json
import math
import os
import pickle
import signal
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np

_TESTS = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(_TESTS))
from support.tensorrt.fake_trtexec import SEPARATOR, building, dimensions, look_up, studies_of  # noqa: E402

__version__ = os.environ.get("FAKE_TRT_VERSION", "10.16.1.11")
_FAULT = os.environ.get("FAKE_TRT_FAULT", "")
_NAMES = json.loads((_TESTS / "support" / "tensorrt" / "tensorrt_api" / "names.json").read_text())["versions"][
    {"10.12": "10.12.0.36", "11.4": "11.4.0.106"}.get(".".join(__version__.split(".")[:2]), "10.16.1.11")
]


class _BoundEnum(enum.Enum):
    """A member has a number and is not one itself: ``1 << member`` is a TypeError."""

    def __int__(self) -> int:
        return int(self.value)


def _enumeration(name: str) -> Any:
    """The enumeration with the members that this version of TensorRT has."""
    members = dict(_NAMES["enums"][name])
    if _FAULT == "has dropped the flag":
        members.pop("STRONGLY_TYPED", None)
    functional: Any = _BoundEnum  # the type checker takes this for a look-up of a member
    return functional(name, members)


def _hold(value: object, kind: Any) -> None:
    """Hold an argument to its type, as pybind11 does."""
    if not isinstance(value, kind):
        raise TypeError(f"incompatible function arguments: {value!r}")


NetworkDefinitionCreationFlag = _enumeration("NetworkDefinitionCreationFlag")
MemoryPoolType = _enumeration("MemoryPoolType")
BuilderFlag = _enumeration("BuilderFlag")
TensorIOMode = _enumeration("TensorIOMode")
float32, int32 = "float32", "int32"
Shape = tuple[int, ...]


def nptype(dtype: str) -> type[np.generic]:
    types: dict[str, type[np.generic]] = {"float32": np.float32, "int32": np.int32}
    return types[dtype]


class ILogger:
    class Severity(_BoundEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class Logger(ILogger):
    __slots__ = ("min_severity",)
    WARNING = ILogger.Severity.WARNING

    def __init__(self, min_severity: ILogger.Severity = WARNING) -> None:
        _hold(min_severity, ILogger.Severity)
        self.min_severity = min_severity


class Dims:
    """Numbers that are counted and gone through; neither a tuple nor a list, and equal to tuples all the same."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: Shape) -> None:
        self._numbers = tuple(numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> int:
        return self._numbers[index]


class IHostMemory(ctypes.Structure):
    """A buffer and nothing else, as the bindings' class: without a length, and not to be cut."""

    @property
    def nbytes(self) -> int:
        return ctypes.sizeof(self)


def _host_memory(content: bytes) -> IHostMemory:
    class Filled(IHostMemory):
        _fields_ = [("_content", ctypes.c_char * len(content))]

    return Filled.from_buffer_copy(content)


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
        _hold(network, INetworkDefinition)
        _hold(logger, Logger)
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
            raise RuntimeError("Shape provided for min, opt or max is inconsistent with other shapes.")
        self._shapes[input] = shapes


class ITimingCache:
    __slots__ = ("__weakref__", "_content")

    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> IHostMemory:
        return _host_memory(self._content)


class IBuilderConfig:
    __slots__ = ("_cache", "_flags", "_pools", "_profiles", "builder_optimization_level")

    def __init__(self) -> None:
        self._cache: weakref.ref[ITimingCache] | None = None
        self._flags = {BuilderFlag.TF32}
        self._pools: dict[Any, int] = {}
        self._profiles: list[IOptimizationProfile] = []
        self.builder_optimization_level = 3

    def set_memory_pool_limit(self, pool: object, pool_size: int) -> None:
        _hold(pool, MemoryPoolType)
        _hold(pool_size, int)
        self._pools[pool] = pool_size

    def clear_flag(self, flag: object) -> None:
        _hold(flag, BuilderFlag)
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


def _made(logger: object) -> None:
    """Hold a builder's or runtime's argument to its type; without a GPU there is none."""
    _hold(logger, ILogger)
    if _FAULT == "finds no GPU":
        raise TypeError("pybind11::init(): factory function returned nullptr")


class Builder:
    __slots__ = ()

    def __init__(self, logger: Logger) -> None:
        _made(logger)

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        member = getattr(NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        # Another bit is another flag: in TensorRT 11 the bit of 10 chooses a kind of plugin.
        if flags != (0 if member is None else 1 << int(member)):
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
        if _FAULT == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if cache is not None:
            cache._content += f"timed once for {__version__}\n".encode()
        spell = "x".join
        flags = []
        for index, profile in enumerate(config._profiles):
            ((name, shapes),) = profile._shapes.items()
            flags.append(f"--profile={index}")
            for which, shape in zip(("min", "opt", "max"), shapes, strict=True):
                flags.append(f"--{which}Shapes={name}:{spell(map(str, shape))}")
        head = json.dumps({"version": __version__, "flags": flags}).encode()
        return _host_memory(head + SEPARATOR + network._onnx)


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

    @property
    def num_optimization_profiles(self) -> int:
        return sum(flag.startswith("--profile=") for flag in self._head["flags"])

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
        _hold(stream_handle, int)
        if not 0 <= profile_index < self._engine.num_optimization_profiles:
            if __version__.startswith("10.12."):
                os.kill(os.getpid(), signal.SIGSEGV)
            raise RuntimeError("Error in set optimization profile.")
        self._profile, self._shape, self._addresses = profile_index, None, {}
        return True

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        _hold(shape, tuple | list | Dims)
        flags = self._engine._head["flags"]
        at = flags.index(f"--profile={self._profile}")
        low, high = ([int(n) for n in flags[at + k].rpartition(":")[2].split("x")] for k in (1, 3))
        self._shape = shape
        return name == "IMAGE" and all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))

    def infer_shapes(self) -> list[str]:
        return [] if self._shape else ["IMAGE"]

    def get_tensor_shape(self, name: str) -> Dims:
        assert self._shape is not None
        with open(os.environ["FAKE_TRT_ANSWERS"], "rb") as stored:
            answer = next(iter(pickle.load(stored).values()))
        rest = self._shape[1:] if name == "IMAGE" else dimensions(answer[name])
        return Dims((self._shape[0], *rest))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        _hold(memory, int)
        self._addresses[name] = memory
        return memory != 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert set(self._addresses) == {"IMAGE", *ICudaEngine._OUTPUTS}
        if _FAULT == "is killed in the run":
            os.kill(os.getpid(), signal.SIGKILL)
        if _FAULT == "does not run":
            return False
        assert self._shape is not None
        content = ctypes.string_at(self._addresses["IMAGE"], 4 * math.prod(self._shape))
        for name, values in look_up(studies_of(content, self._shape[0]), _FAULT).items():
            written = np.array(values, np.int32 if name == "MODEL_ID" else np.float32).tobytes()
            ctypes.memmove(self._addresses[name], written, len(written))
        return True


class Runtime:
    __slots__ = ()

    def __init__(self, logger: Logger) -> None:
        _made(logger)

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        content = bytes(serialized_engine)
        head = json.loads(content.split(SEPARATOR)[0]) if SEPARATOR in content else {}
        return ICudaEngine(head) if head.get("version") == __version__ else None
