"""Check a checkpoint's tensors against the recipe's network: every name, every shape, finite single precision.

Nothing is left out, and nothing is made up except counters that no answer uses. What does not fit is listed, with the
reasons that the shapes suggest.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from glioserve_contract.records.recipe import CLASSES, Architecture, Recipe
from glioserve_networks.architectures.options import COUNTER, Shapes, defaults_of, likely, shapes_of
from glioserve_networks.checkpoints.checkpoint import Checkpoint, listed, refusal, shown

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True, eq=False)
class Fitted:
    """The state dict of the recipe's network, FP32, and what was changed on the way."""

    state_dict: dict[str, torch.Tensor]
    notes: tuple[str, ...]


def fit(checkpoint: Checkpoint, recipe: Recipe) -> Fitted:
    """Take a common prefix off, check names and shapes against the recipe's network, convert to FP32.

    GLIO-5116 lists what does not fit; GLIO-5106 and 5101 as
    :func:`~glioserve_networks.architectures.registry.build` raises them.
    """
    wanted = shapes_of(recipe.architecture, len(recipe.channels))
    tensors, notes = _without_prefix(checkpoint.tensors, wanted)
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    _check_head(found, wanted)
    counters = [name for name in wanted if name.endswith(COUNTER) and name not in found]
    missing = [name for name in wanted if name not in found and name not in counters]
    unexpected = [name for name in found if name not in wanted]
    other = [name for name in found if name in wanted and found[name] != wanted[name]]
    if missing or unexpected or other:
        raise refusal(
            " ".join([_difference(recipe, found, wanted, missing, unexpected, other), *_hints(found, recipe)])
        )
    if counters:
        notes.append(
            f"{len(counters)} counters (num_batches_tracked), which older files lack, are 0: no answer uses them"
        )
    converted = Counter(str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.dtype in _FLOATS[1:])
    notes += [f"converted {count} tensors from {dtype} to float32" for dtype, count in sorted(converted.items())]
    return Fitted(
        {name: _number(name, tensors[name]) if name in tensors else torch.tensor(0) for name in wanted}, tuple(notes)
    )


def _without_prefix(tensors: dict[str, torch.Tensor], wanted: Shapes) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Take off what wrappers (DataParallel's ``module.``, torch.compile's ``_orig_mod.``) put before every name."""
    common = next(iter(tensors)).split(".")[:-1]
    for name in tensors:
        parts = name.split(".")
        while common and parts[: len(common)] != common:
            common.pop()
    # As much of it as makes the most names fit: a network may well have a prefix of its own.
    prefixes = ["".join(f"{part}." for part in common[:count]) for count in range(len(common) + 1)]
    best = max(prefixes, key=lambda prefix: sum(name[len(prefix) :] in wanted for name in tensors))
    if not best:
        return tensors, []
    return {name[len(best) :]: tensor for name, tensor in tensors.items()}, [
        f"took the prefix {shown(best)} off all {len(tensors)} names"
    ]


def _check_head(found: Shapes, wanted: Shapes) -> None:
    """Raise GLIO-5116, with advice that fits the number, unless the last linear layer has one output for each class."""
    head = _last_linear(wanted)
    if head not in found:
        head = _last_linear(found)
    outputs = found.get(head, (0,))[0]
    if len(found.get(head, ())) != 2 or outputs == len(CLASSES):
        return
    if outputs == 1:
        raise refusal(
            f"{shown(head)} has one output, which a sigmoid makes a probability; the recipe's classes are two. Two "
            "outputs answer the same where the first is always 0: put a row of zeros before the weight's row and a 0 "
            "before the bias, and name the class that the sigmoid is of second in recipe.classes."
        )
    raise refusal(
        f"{shown(head)} has {outputs} outputs; the recipe's classes are two: {', '.join(CLASSES)}. Train a "
        "head of two outputs; outputs of other classes cannot be left out without changing the answer."
    )


def _last_linear(shapes: Shapes) -> str:
    return next((name for name in reversed(list(shapes)) if len(shapes[name]) == 2), "")


def _difference(
    recipe: Recipe, found: Shapes, wanted: Shapes, missing: list[str], unexpected: list[str], other: list[str]
) -> str:
    parts = [f"{len(missing)} missing: {listed(missing)}"] if missing else []
    parts += [f"{len(unexpected)} unexpected: {listed(unexpected)}"] if unexpected else []
    if other:
        first, *rest = other
        shapes = f"{shown(first)} is {list(found[first])}, not {list(wanted[first])}"
        parts.append(f"{len(other)} of another shape: {shapes}" + (f"; {listed(rest)}" if rest else ""))
    channels = len(recipe.channels)
    return f"The checkpoint is not of {recipe.architecture.name} with {channels} channels: {'; '.join(parts)}."


def _hints(found: Shapes, recipe: Recipe) -> Iterator[str]:
    """Yield the shapes' hints about the recipe, a sentence each."""
    exact = likely(found)
    if exact is not None:
        yield from _corrections(*exact, recipe)
        return
    first = next((shape for shape in found.values() if len(shape) >= 4), ())
    if len(first) == 4:
        yield "Its convolutions are 2D: a 3D network is wanted."
    elif first and not recipe.architecture.name.startswith("mresnet") and first[1] != len(recipe.channels):
        yield f"Its first convolution takes {first[1]} channels; recipe.channels names {len(recipe.channels)}."
    if any(name.startswith("layer") for name in found) and not any(".downsample." in name for name in found):
        yield "It has no downsample layers: MONAI's shortcut_type A, which is not read; train with B."
    yield "No architecture of the registry has these names and shapes."


def _corrections(architecture: Architecture, channels: int, recipe: Recipe) -> Iterator[str]:
    """Yield what the recipe must say instead, for a network that is known exactly."""
    stated = {**defaults_of(recipe.architecture.name), **recipe.architecture.options}
    changed = {k: v for k, v in architecture.options.items() if stated.get(k) != v}
    if architecture.name != recipe.architecture.name:
        changed = {k: v for k, v in architecture.options.items() if defaults_of(architecture.name).get(k) != v}
        yield f"Its names and shapes are those of {architecture.name}."
    if changed:
        yield f"recipe.architecture.options should say {json.dumps(changed)}."
    if channels != len(recipe.channels):
        yield f"It takes {channels} channels; recipe.channels names {len(recipe.channels)}."


def _number(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor as FP32, a counter as INT64; GLIO-5116 for values that are not finite."""
    if name.endswith(COUNTER):
        return tensor.detach().to(torch.int64)
    if tensor.dtype not in _FLOATS:
        raise refusal(f"{shown(name)} is {tensor.dtype}: weights of 16, 32 or 64 bit floats are wanted.")
    # A copy of its own: what was loaded may be a map of a file that is about to go.
    value = tensor.detach().to(torch.float32, copy=True).contiguous()
    if not torch.isfinite(value).all():
        raise refusal(f"{shown(name)} has values that are not finite in single precision.")
    if name.endswith("running_var") and (value < 0).any():
        raise refusal(f"{shown(name)} is a variance and has negative values: the file is damaged.")
    return value
