"""A classifier whose Grad-CAM is known: it is hot where the reference sequence is brightest.

Its map is average pooling of IMAGE to the 16th power, 4 voxels to one, so that a marker put into a patient must come
out of the heat map at the marker's own place: the whole way is tested, and no trained network's opinion.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from glioserve_contract import Modality
from glioserve_contract.records.manifest import MANIFEST_SCHEMA, Manifest, model_id
from glioserve_contract.records.recipe import Recipe, preprocessing_digest
from glioserve_preprocess.files import file_digest, save_recipe
from glioserve_triton.served.versions import save_manifest
from support.models.recipes import HELD_PARITY

POOL = 4
DIGEST = "sha256:" + "5e" * 32


def bright_spot_recipe(base: Recipe) -> Recipe:
    """``base`` for the T1ce alone: there is nothing to register."""
    return replace(base, name="bright-spot", channels=(Modality.T1CE,), min_slices=16)


def write_bright_spot(folder: Path, recipe: Recipe) -> None:
    """An exported version of it: model, recipe and manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    depth, height, width = recipe.grid.shape
    cam = (depth // POOL, height // POOL, width // POOL)
    nodes, name = [], "IMAGE"
    for power in (2, 4, 8, 16):
        nodes.append(helper.make_node("Mul", [name, name], [f"power{power}"]))
        name = f"power{power}"
    nodes += [
        helper.make_node("AveragePool", [name], ["pooled"], kernel_shape=[POOL] * 3, strides=[POOL] * 3),
        helper.make_node("Concat", ["pooled", "pooled"], ["CAM"], axis=1),
        helper.make_node("Shape", ["IMAGE"], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "two"], ["logits_shape"], axis=0),
        helper.make_node("Expand", ["recurrence", "logits_shape"], ["LOGITS"]),
        helper.make_node("Concat", ["batch", "eight"], ["id_shape"], axis=0),
        helper.make_node("Expand", ["id", "id_shape"], ["MODEL_ID"]),
    ]
    constants = [
        helper.make_tensor("two", TensorProto.INT64, [1], [2]),
        helper.make_tensor("eight", TensorProto.INT64, [1], [8]),
        helper.make_tensor("recurrence", TensorProto.FLOAT, [1, 2], [-1.0, 1.0]),
        helper.make_tensor("id", TensorProto.INT32, [1, 8], model_id(DIGEST)),
    ]
    image = helper.make_tensor_value_info("IMAGE", TensorProto.FLOAT, ["batch", 1, depth, height, width])
    outputs = [
        helper.make_tensor_value_info("LOGITS", TensorProto.FLOAT, ["batch", 2]),
        helper.make_tensor_value_info("CAM", TensorProto.FLOAT, ["batch", 2, *cam]),
        helper.make_tensor_value_info("MODEL_ID", TensorProto.INT32, ["batch", 8]),
    ]
    graph = helper.make_graph(nodes, "bright-spot", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    save_recipe(recipe, folder / "recipe.json")
    manifest = Manifest(
        schema=MANIFEST_SCHEMA,
        recipe=recipe,
        weights_digest=DIGEST,
        preprocessing_digest=preprocessing_digest(recipe),
        cam_grid=cam,
        cam_start_voxels=(POOL - 1) / 2,
        cam_step_voxels=float(POOL),
        files={name: file_digest(folder / name) for name in ("model.onnx", "recipe.json")},
        parity=HELD_PARITY,
        created=datetime.now(timezone.utc).isoformat(),
    )
    save_manifest(manifest, folder)
