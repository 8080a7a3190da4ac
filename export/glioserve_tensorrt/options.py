"""The options of a plan's build, typed; :mod:`trtexec` spells them as a command line, :mod:`worker` as calls.

Every network is strongly typed: the precisions are the ONNX file's own. TensorRT 10.12 and later need a flag for that;
TensorRT 11 knows nothing else and ignores the flag (``trtexec --help``: "no-op").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from glioserve_contract import to_dict
from glioserve_contract.records.recipe import Recipe
from glioserve_export.shape_profiles import INPUT, Shape, ShapeProfile, profiles

DEFAULT_WORKSPACE_GIB = 4.0
"""Scratch memory that a kernel may use; TensorRT leaves out those that want more."""
DEFAULT_OPTIMIZATION_LEVEL = 3
"""TensorRT's own default; 5 is the longest search."""


@dataclass(frozen=True)
class BuildOptions:
    """All that shapes a plan besides its ONNX file, its GPU and its TensorRT."""

    profiles: tuple[ShapeProfile, ...]
    workspace_mib: int
    optimization_level: int = DEFAULT_OPTIMIZATION_LEVEL
    tf32: bool = False
    """Ten bits of mantissa for what the file keeps in fp32 (head, CAM): it would move the answer, so never."""

    def __post_init__(self) -> None:
        if not 16 <= self.workspace_mib <= 1 << 20:
            raise ValueError(f"the workspace must be 16 MiB to 1 TiB, not {self.workspace_mib} MiB")
        if not 0 <= self.optimization_level <= 5:
            raise ValueError(f"the optimisation level must be 0 to 5, not {self.optimization_level}")

    def flags(self) -> tuple[str, ...]:
        """Return the key's flags: trtexec's words for the options, without file names."""
        return tuple(argument.removeprefix("--") for argument in build_arguments(self))

    def as_json(self) -> dict[str, Any]:
        """Return the options for the worker."""
        return {"input": INPUT.name, **to_dict(self)}


def build_options(
    recipe: Recipe,
    workspace_gib: float = DEFAULT_WORKSPACE_GIB,
    optimization_level: int = DEFAULT_OPTIMIZATION_LEVEL,
) -> BuildOptions:
    """Return the options of this recipe's plans (ValueError beyond their ranges)."""
    if not math.isfinite(workspace_gib):
        raise ValueError(f"the workspace must be 16 MiB to 1 TiB, not {workspace_gib} GiB")
    return BuildOptions(profiles(recipe), round(workspace_gib * 1024), optimization_level)


def build_arguments(options: BuildOptions) -> tuple[str, ...]:
    """Return trtexec's arguments without its files.

    A profile's shapes must follow it directly: trtexec reads them by place.
    """
    arguments = ["--stronglyTyped"]
    if not options.tf32:
        arguments.append("--noTF32")
    arguments.append(f"--memPoolSize=workspace:{options.workspace_mib}M")
    arguments.append(f"--builderOptimizationLevel={options.optimization_level}")
    for index, profile in enumerate(options.profiles):
        arguments += [
            f"--profile={index}",
            f"--minShapes={spell_shape(profile.smallest)}",
            f"--optShapes={spell_shape(profile.best)}",
            f"--maxShapes={spell_shape(profile.largest)}",
        ]
    return tuple(arguments)


def spell_shape(shape: Shape) -> str:
    """Return a shape as trtexec spells it: ``IMAGE:8x3x96x96x96``."""
    return f"{INPUT.name}:{'x'.join(map(str, shape))}"
