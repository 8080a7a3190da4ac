"""Brain models whose answer is known: plain convolutions that find what is bright, and move it.

The move is what proves orientations: a network that treats all directions alike would give the right mask even where
its axes were swapped. :func:`blob_volume` has an object without any symmetry, so that a mirrored mask is a wrong one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from glioserve_contract import Modality
from glioserve_contract.records.brain_model import brain_model_digest, sidecar_name
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_dicom.volumes.geometry import Geometry, SequenceVolume
from support.studies.geometries import places_lps_mm

Triple = tuple[int, int, int]
Nodes = list[onnx.NodeProto]

MOVE: Triple = (3, -2, 1)
"""Voxels along the tensor's axes by which the networks' answers are moved."""
DIRECTIONS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
"""Directions of the letters, in LPS."""

SYNTHSTRIP_LIKE: dict[str, Any] = {
    "schema": "glioserve/brain-model/1",
    "name": "synthstrip-like",
    "licence": "none",
    "source": "made by a test",
    "input": "image",
    "output": "distance",
    "spacing_mm": 4,
    "orientation": "LIA",
    "size_multiple": 16,
    "min_size_voxels": [48, 48, 48],
    "max_size_voxels": [80, 80, 80],
    "intensity": {"method": "percentile", "percentiles": [0, 99], "over": "tensor"},
    "output_kind": "signed_distance_mm",
    "threshold": 0,
}
NNUNET_LIKE: dict[str, Any] = {
    **SYNTHSTRIP_LIKE,
    "name": "nnunet-like",
    "input": "input",
    "output": "logits",
    "orientation": "SAR",
    "size_multiple": 1,
    "min_size_voxels": [8, 8, 8],
    "max_size_voxels": [96, 96, 96],
    "intensity": {"method": "zscore"},
    "output_kind": "class_logits",
    "threshold": 1.8,  # halfway up the blob's edge, where it fills about a seventh of the scan
}


def distance_network(move: Triple = MOVE, size: Triple | None = None) -> bytes:
    """``image`` -> ``distance``: about the distance in mm, for voxels of 4 mm, to where the blurred image is a half."""
    constants = {"W": _kernel(move)[None, None], "HALF": np.float32(0.5), "SLOPE": np.float32(12)}
    nodes = [
        helper.make_node("Conv", ["image", "W"], ["blurred"], pads=_pads(move)),
        helper.make_node("Sub", ["HALF", "blurred"], ["below"]),
        helper.make_node("Mul", ["below", "SLOPE"], ["distance"]),
    ]
    return graph(nodes, constants, "image", "distance", size=size)


def logits_network(move: Triple = MOVE, size: Triple | None = None) -> bytes:
    """``input`` -> ``logits`` [1, 2, ...]: background and brain, equal where the blurred image is 0."""
    kernel = _kernel(move)
    nodes = [helper.make_node("Conv", ["input", "W"], ["logits"], pads=_pads(move))]
    return graph(nodes, {"W": np.stack([-kernel, kernel])[:, None]}, "input", "logits", channels=2, size=size)


def solid_network(reach: int = 6) -> bytes:
    """``image`` -> ``distance``: below 0 where most of what lies within ``reach`` voxels is bright, deep in a head."""
    width = 2 * reach + 1
    nodes = [
        helper.make_node(
            "AveragePool", ["image"], ["blurred"], kernel_shape=[width] * 3, pads=[reach] * 6, count_include_pad=1
        ),
        helper.make_node("Sub", ["HALF", "blurred"], ["distance"]),
    ]
    return graph(nodes, {"HALF": np.float32(0.5)}, "image", "distance")


def graph(
    nodes: Nodes,
    constants: Mapping[str, Any],
    input_name: str,
    output_name: str,
    *,
    channels: int = 1,
    size: Triple | None = None,
    kind: int = TensorProto.FLOAT,
    further_inputs: tuple[str, ...] = (),
) -> bytes:
    """An ONNX file of FP32 tensors [1, channels, a, b, c], any size where none is given."""
    sizes = size or ("a", "b", "c")
    inputs = [helper.make_tensor_value_info(n, kind, [1, 1, *sizes]) for n in (input_name, *further_inputs)]
    outputs = [helper.make_tensor_value_info(output_name, kind, [1, channels, *sizes])]
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "brain", inputs, outputs, values)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def write_brain_model(
    folder: Path, name: str, model: bytes, card: Mapping[str, Any], **changes: Any
) -> BrainExtraction:
    """The two files, and what a recipe says of them."""
    folder.mkdir(parents=True, exist_ok=True)
    sidecar = json.dumps({**card, **changes}).encode()
    (folder / name).write_bytes(model)
    (folder / sidecar_name(name)).write_bytes(sidecar)
    return BrainExtraction("network", name, brain_model_digest(model, sidecar))


def moved_mm(orientation: str, spacing_mm: float, move: Triple = MOVE) -> npt.NDArray[np.float64]:
    """Return where the networks move things, in LPS mm, if the tensor's axes point as ``orientation`` says."""
    steps = [n * np.array(DIRECTIONS[letter]) for letter, n in zip(orientation, move, strict=True)]
    return np.asarray(np.sum(steps, axis=0) * spacing_mm, dtype=np.float64)


def in_blob(points_lps_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return whether points [..., 3] lie in a body of a litre with an arm to the left front and a foot to the back."""

    def inside(centre: Triple, radii: Triple) -> npt.NDArray[np.bool_]:
        return np.asarray((((points_lps_mm - centre) / np.array(radii)) ** 2).sum(axis=-1) < 1)

    return inside((0, 0, 0), (55, 62, 50)) | inside((40, -45, 30), (26, 30, 22)) | inside((-20, 40, -45), (22, 34, 24))


def blob_volume(geometry: Geometry, dark: float = 100.0, bright: float = 900.0) -> SequenceVolume:
    """The blob on a grid, ``dark`` around it."""
    voxels = np.where(in_blob(places_lps_mm(geometry)), bright, dark).astype(np.float32)
    return SequenceVolume(Modality.T1CE, voxels, geometry)


def blob_geometry(
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 3.0),
    directions: npt.NDArray[np.float64] | None = None,
    extent_mm: tuple[float, float, float] = (196.0, 212.0, 204.0),
    centre_lps_mm: tuple[float, float, float] = (3.0, -5.0, 4.0),
) -> Geometry:
    """A grid around the blob; ``directions`` 3 x 3, columns the LPS directions of x, y and z."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if directions is None else directions) * np.array(spacing_mm)
    x, y, z = (round(e / s) for e, s in zip(extent_mm, spacing_mm, strict=True))
    affine[:3, 3] = np.array(centre_lps_mm) - affine[:3, :3] @ ((np.array([x, y, z]) - 1) / 2)
    return Geometry((x, y, z), affine)


def _kernel(move: Triple) -> npt.NDArray[np.float32]:
    """A blur over 3 x 3 x 3 voxels whose middle is off by ``-move``, so that what it sees comes out moved."""
    kernel = np.zeros([2 * abs(n) + 3 for n in move], dtype=np.float32)
    a, b, c = (abs(n) + 1 - n for n in move)
    kernel[a - 1 : a + 2, b - 1 : b + 2, c - 1 : c + 2] = 1 / 27
    return kernel


def _pads(move: Triple) -> list[int]:
    return [abs(n) + 1 for n in move] * 2
