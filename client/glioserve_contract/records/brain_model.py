"""The sidecar of a brain extraction network: all that must be known to run an ONNX file that was trained elsewhere.

A brain model is two files: ``<name>.onnx`` and, beside it, ``<name>.json`` with a :class:`BrainModelCard`. The graph
takes one FP32 tensor [1, 1, a, b, c] (one head, one sequence, any contrast) and gives one of the same size with the
brain in it. A recipe names the ONNX file and the digest of both (:func:`brain_model_digest`).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Literal

from glioserve_contract.codec import SchemaError, from_dict

BrainModelSchema = Literal["glioserve/brain-model/1"]
BRAIN_MODEL_SCHEMA: BrainModelSchema = "glioserve/brain-model/1"
DEFAULT_BRAIN_MODEL = "glioserve-brain.onnx"
"""Our brain model, which comes with the preprocessing package."""
DEFAULT_BRAIN_DIGEST = "sha256:ca6ba5c5368fcb795ccb61514c85185cae31efc1b34036e55d465fe64550f300"
"""Digest of our model's two files; a test holds it to them."""
BRAIN_MODELS_VARIABLE = "GLIOSERVE_BRAIN_MODELS"
"""Environment variable: a site's own folder of brain models. It is looked into before the package's."""

AXIS_OF_LETTER = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}
"""The patient's axis of a letter, in (x, y, z) of LPS."""
MAX_TENSOR_VOXELS = 384
"""Most voxels along one axis of the tensor: a head of 38 cm at 1 mm."""
DEFAULT_BRAIN_PERCENTILES = (0.0, 99.0)

OutputKind = Literal["signed_distance_mm", "logit", "probability", "class_logits"]


@dataclass(frozen=True)
class BrainIntensity:
    """Scaling of a head's intensities to the tensor's numbers. Padding is 0 in the tensor, except where noted."""

    method: Literal["percentile", "zscore"]
    """``percentile``: (v - low) / (high - low). ``zscore``: (v - mean) / standard deviation."""
    percentiles: tuple[float, float] | None = None
    """Low and high percentile, in percent, for ``percentile`` alone; :data:`DEFAULT_BRAIN_PERCENTILES` by default."""
    clip: bool | None = None
    """Clipping of what lies beyond to 0 and 1 (the default), for ``percentile`` alone."""
    over: Literal["field_of_view", "nonzero", "tensor"] | None = None
    """The voxels that the figures are taken over, on the model's grid: all of the scan (default of ``percentile``),
    those that are not 0, which then stay 0 (default of ``zscore``), or the whole tensor, padded with zeros first."""

    def __post_init__(self) -> None:
        percentile = self.method == "percentile"
        if percentile and self.percentiles is None:  # one spelling of one thing
            object.__setattr__(self, "percentiles", DEFAULT_BRAIN_PERCENTILES)
        if percentile and self.clip is None:
            object.__setattr__(self, "clip", True)
        if self.over is None:
            object.__setattr__(self, "over", "field_of_view" if percentile else "nonzero")

    def check(self, path: str) -> None:
        """Raise SchemaError unless 0 <= low < high <= 100, or for values that the method does not take."""
        if self.method != "percentile":
            for name in ("percentiles", "clip"):
                if getattr(self, name) is not None:
                    raise SchemaError(f"{path}.{name}", f"is only for the method 'percentile', not {self.method!r}")
        elif self.percentiles is not None:
            low, high = self.percentiles
            if not 0 <= low < high <= 100:
                raise SchemaError(f"{path}.percentiles", f"must be 0 <= low < high <= 100, not {self.percentiles}")


@dataclass(frozen=True)
class BrainModelCard:
    """Inputs and outputs of the graph. Sizes and letters are in the order of the tensor's three spatial axes."""

    schema: BrainModelSchema
    name: str
    """Name for reports and logs, with a version: ``synthstrip-1``."""
    licence: str
    source: str
    """Origin of the weights: address, paper, date; free text."""
    input: str
    """Name of the graph's input, FP32 [1, 1, a, b, c]."""
    output: str
    """Name of the graph's output, FP32 [1, 1, a, b, c], or [1, 2, a, b, c] for ``class_logits``."""
    spacing_mm: float
    """Spacing of the tensor's cubic voxels, in mm."""
    orientation: str
    """Directions of the tensor's axes a, b and c, index rising: one letter each of L or R, P or A, S or I (as nibabel's
    ``aff2axcodes`` and FreeSurfer have it). A volume [z, y, x] in LPS axes is ``SPL``; SynthStrip's is ``LIA``."""
    size_multiple: int
    """Each size must be a multiple of it: two to the number of times that the network halves."""
    min_size_voxels: tuple[int, int, int]
    """Smaller scans are padded to it, evenly on both sides."""
    max_size_voxels: tuple[int, int, int]
    """Larger fields of view are cropped to it, around the head. Equal to the least: the graph has a fixed size."""
    intensity: BrainIntensity
    output_kind: OutputKind
    """``signed_distance_mm``: to the brain's surface, negative inside. ``logit``, ``probability``: of brain, high
    inside. ``class_logits``: two channels, background and brain."""
    threshold: float
    """Brain is where the distance lies below it, or the logit, the probability or the difference of the logits (brain
    less background) above it."""

    def check(self, path: str) -> None:
        """Raise SchemaError for an empty name or a value out of its bounds."""
        for name in ("name", "input", "output"):
            if not getattr(self, name):
                raise SchemaError(f"{path}.{name}", "must not be empty")
        if not 0.5 <= self.spacing_mm <= 8:
            raise SchemaError(f"{path}.spacing_mm", f"must be 0.5 to 8, not {self.spacing_mm}")
        if sorted(AXIS_OF_LETTER.get(letter, -1) for letter in self.orientation) != [0, 1, 2]:
            wanted = "must be three letters, one each of L or R, P or A, S or I"
            raise SchemaError(f"{path}.orientation", f"{wanted}, not {self.orientation!r}")
        if not 1 <= self.size_multiple <= 128:
            raise SchemaError(f"{path}.size_multiple", f"must be 1 to 128, not {self.size_multiple}")
        for name in ("min_size_voxels", "max_size_voxels"):
            sizes = getattr(self, name)
            if not all(8 <= n <= MAX_TENSOR_VOXELS and n % self.size_multiple == 0 for n in sizes):
                wanted = f"each must be 8 to {MAX_TENSOR_VOXELS} and a multiple of {self.size_multiple}"
                raise SchemaError(f"{path}.{name}", f"{wanted}, not {sizes}")
        if any(low > high for low, high in zip(self.min_size_voxels, self.max_size_voxels, strict=True)):
            raise SchemaError(f"{path}.max_size_voxels", f"must not be below min_size_voxels {self.min_size_voxels}")
        if self.output_kind == "probability" and not 0 < self.threshold < 1:
            raise SchemaError(f"{path}.threshold", f"must lie between 0 and 1, not {self.threshold}")

    @property
    def output_channels(self) -> int:
        """Number of channels of the graph's output."""
        return 2 if self.output_kind == "class_logits" else 1

    def tensor_size(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the tensor's size for ``size`` voxels of scan: the next multiple, within least and largest."""
        multiple = self.size_multiple
        rounded = (math.ceil(n / multiple) * multiple for n in size)
        bounds = zip(rounded, self.min_size_voxels, self.max_size_voxels, strict=True)
        a, b, c = (min(max(n, low), high) for n, low, high in bounds)
        return a, b, c


def parse_brain_model_card(sidecar: bytes) -> BrainModelCard:
    """Return the card of its file's bytes; SchemaError names the key that is wrong."""
    try:
        value = json.loads(sidecar.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise SchemaError("card", f"is not JSON: {error}") from error
    return from_dict(BrainModelCard, value, "card")


def sidecar_name(model: str) -> str:
    """Return the name of the card's file beside the ONNX file ``model``."""
    return model.removesuffix(".onnx") + ".json"


def brain_model_digest(onnx_bytes: bytes, sidecar_bytes: bytes) -> str:
    """Return ``sha256:…`` of the ONNX file's bytes and then the card's: another threshold is another model.

    ``cat name.onnx name.json | sha256sum`` prints the same digits.
    """
    hasher = hashlib.sha256(onnx_bytes)
    hasher.update(sidecar_bytes)
    return "sha256:" + hasher.hexdigest()


def is_model_file_name(name: str) -> bool:
    """Return whether ``name`` is a plain ``*.onnx`` file name: ASCII letters, digits, ``.``, ``_``, ``-``; no path."""
    stem = name.removesuffix(".onnx")
    plain = stem.isascii() and stem.replace("-", "").replace("_", "").replace(".", "").isalnum()
    return name != stem and plain and not stem.startswith(".") and ".." not in name and len(name) <= 128
