"""Names, types, shapes, axes and units of every tensor of every model: the wire, as one table.

``docs/wire.md`` is generated from it; the static configs, the generated classifier configs, the ONNX signature
and the live server's metadata are tested against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glioserve_contract.limits import MAX_CLASSIFIER_BATCH
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.sequences import SEQUENCES, Modality

Dtype = Literal["FP32", "FP64", "INT32", "UINT8", "BYTES"]
Dimension = int | str
"""A number, -1 for any, or a symbol of the recipe: C channels; D, H, W the grid's z, y, x sizes."""


@dataclass(frozen=True)
class Tensor:
    """One input or output. ``shape`` leaves out the batch dimension of a model that has one."""

    name: str
    dtype: Dtype
    shape: tuple[Dimension, ...]
    axes: str
    unit: str
    description: str
    optional: bool = False

    def dims(self, recipe: Recipe) -> tuple[int, ...]:
        """Return the shape with the recipe's numbers in it."""
        depth, height, width = recipe.grid.shape
        symbols = {"C": len(recipe.channels), "D": depth, "H": height, "W": width}
        return tuple(symbols[d] if isinstance(d, str) else d for d in self.shape)


@dataclass(frozen=True)
class Model:
    """One model of the repository."""

    name: str
    kind: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def volume_tensor(modality: Modality) -> str:
    """Return the name of a sequence's volume tensor: ``T1CE`` for t1ce."""
    return SEQUENCES[modality].volume_tensor


def affine_tensor(modality: Modality) -> str:
    """Return the name of a sequence's affine tensor: ``T1CE_AFFINE`` for t1ce."""
    return SEQUENCES[modality].affine_tensor


INSTANCES = Tensor(
    "INSTANCES",
    "BYTES",
    (-1,),
    "file",
    "–",
    "The study's DICOM files, or zip archives of them; any order, all series.",
    optional=True,
)
VOLUMES = tuple(
    tensor
    for m in SEQUENCES
    for tensor in (
        Tensor(
            volume_tensor(m),
            "FP32",
            (-1, -1, -1),
            "z, y, x",
            "any",
            f"The {m} volume, instead of INSTANCES.",
            optional=True,
        ),
        Tensor(
            affine_tensor(m),
            "FP64",
            (4, 4),
            "row, column",
            "mm",
            f"Voxel (x, y, z) of the {m} volume to LPS.",
            optional=True,
        ),
    )
)

IMAGE = Tensor(
    "IMAGE",
    "FP32",
    (-1, "C", "D", "H", "W"),
    "study, channel, z, y, x",
    "0 to 1",
    "The network's input: the recipe's channels on its LPS grid, 0 outside the brain.",
)
BRAIN_MASK = Tensor("BRAIN_MASK", "UINT8", ("D", "H", "W"), "z, y, x", "0 or 1", "The brain on the network's grid.")
PREPROCESS = Tensor(
    "PREPROCESS",
    "BYTES",
    (1,),
    "–",
    "JSON",
    "What was done to the study: series, geometry, transforms, quality, warnings, timings.",
)

LOGITS = Tensor("LOGITS", "FP32", (2,), "class", "logit", "In the order of the recipe's classes.")
CAM = Tensor(
    "CAM",
    "FP32",
    (2, -1, -1, -1),
    "class, z, y, x",
    "≥ 0",
    "Grad-CAM of each class's logit on the last feature map's grid, which spans IMAGE's.",
)
MODEL_ID = Tensor("MODEL_ID", "INT32", (8,), "word", "–", "SHA-256 of the trained weights as eight big-endian words.")

SCORE = Tensor("SCORE", "FP32", (1,), "–", "probability", "Of recurrence: 0 to 1.")
LABEL = Tensor(
    "LABEL",
    "BYTES",
    (1,),
    "–",
    "–",
    "recurrence iff SCORE >= threshold, else necrosis; empty when the server abstains.",
)
PROBABILITIES = Tensor(
    "PROBABILITIES",
    "FP32",
    (2,),
    "class",
    "probability",
    "Necrosis, recurrence; sum 1; after the recipe's temperature.",
)
HEATMAP = Tensor(
    "HEATMAP",
    "FP32",
    (-1, -1, -1),
    "z, y, x",
    "0 to 1",
    "Grad-CAM of the predicted class on the reference series' own grid.",
)
HEATMAP_PARAMETER = "heatmap"
"""Name of a request parameter, as the next five are; :mod:`glioserve_contract.parameters` has types and meanings."""
SERIES_PARAMETER = "series"
MODALITIES_PARAMETER = "modalities"
DEADLINE_PARAMETER = "deadline_unix_ms"
CALLER_PARAMETER = "x-glioserve-caller"
"""Also the header by which a client or a gateway names the caller: Triton makes a parameter of it."""
TRACE_PARAMETER = "traceparent"
"""Also the header of W3C Trace Context, of which Triton makes a parameter where traces are exported."""
HEATMAP_AFFINE = Tensor("HEATMAP_AFFINE", "FP64", (4, 4), "row, column", "mm", "Voxel (x, y, z) of HEATMAP to LPS.")
REPORT = Tensor("REPORT", "BYTES", (1,), "–", "JSON", "The whole answer but for the heat map's voxels.")


def _batched(tensor: Tensor) -> Tensor:
    """Return the tensor as a model without batching sees it: the batch is an explicit first axis."""
    return Tensor(
        tensor.name,
        tensor.dtype,
        (-1, *tensor.shape),
        f"study, {tensor.axes}",
        tensor.unit,
        tensor.description,
    )


_CLASSIFIER_OUTPUTS = (LOGITS, CAM, MODEL_ID)
_ANSWER = (SCORE, LABEL, PROBABILITIES, HEATMAP, HEATMAP_AFFINE, REPORT)
_UNBATCHED_IMAGE = Tensor(IMAGE.name, IMAGE.dtype, IMAGE.shape[1:], "channel, z, y, x", IMAGE.unit, IMAGE.description)

PREPROCESS_MODEL = Model("preprocess", "python", 0, (INSTANCES, *VOLUMES), (IMAGE, BRAIN_MASK, PREPROCESS))
CLASSIFIER_MODEL = Model(
    "classifier", "onnxruntime, openvino or tensorrt", MAX_CLASSIFIER_BATCH, (_UNBATCHED_IMAGE,), _CLASSIFIER_OUTPUTS
)
REPORT_MODEL = Model("report", "python", 0, (*map(_batched, _CLASSIFIER_OUTPUTS), BRAIN_MASK, PREPROCESS), _ANSWER)
ENSEMBLE = Model("glioma", "ensemble", 0, PREPROCESS_MODEL.inputs, _ANSWER)

MODELS = (ENSEMBLE, PREPROCESS_MODEL, CLASSIFIER_MODEL, REPORT_MODEL)
