"""The tiny repository with a classifier that takes an image and has a reference case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from glioserve_contract import sha256_digest
from glioserve_contract.records.manifest import model_id
from glioserve_contract.records.recipe import Grid, Recipe, ReferenceCase, preprocessing_digest
from glioserve_contract.records.reference_case import REFERENCE_CASE_FILE, score_of
from glioserve_preprocess.files import file_digest, save_recipe
from glioserve_triton.served.versions import load_manifest, save_manifest
from support.models.recipes import tiny_recipe
from support.server.tiny_repository import write_tiny_repository

RECIPE = replace(tiny_recipe(), grid=Grid((8, 8, 8), (8.0, 8.0, 8.0)))
T1, T1CE, T2 = RECIPE.channels
WEIGHTS = np.array([[0.0, 4.0], [0.0, -3.0], [0.0, 1.0]], dtype=np.float32)
"""Channel to logit: the classifier's answer is the mean of each channel times these."""
MEANS = (0.9, 0.3, 0.5)
DIGEST = sha256_digest(WEIGHTS.tobytes())
LOGITS = [0.0, float(np.dot(MEANS, WEIGHTS[:, 1]))]


def graph(weights_digest: str = DIGEST, *, sign: int = 1, fails: bool = False, hangs: bool = False) -> bytes:
    """IMAGE [N, 3, 8, 8, 8] to LOGITS and MODEL_ID, of the contract's names and types.

    With ``sign`` -1 its logits are those of the other class; one that ``fails`` does so at each run, not at its load,
    and one that ``hangs`` never ends a run on zeros, which is what a canary sends.
    """
    words = np.array([model_id(weights_digest)], dtype=np.int32)
    constants = {"W": sign * WEIGHTS, "ID": words, "ZERO": np.zeros((3, 8), dtype=np.float32)}
    nodes = [
        helper.make_node("ReduceMean", ["IMAGE"], ["MEAN"], axes=[2, 3, 4], keepdims=0),
        helper.make_node("MatMul", ["MEAN", "W"], ["LOGITS"]),
        helper.make_node("MatMul", ["MEAN", "ZERO"], ["ROWS"]),
        helper.make_node("Cast", ["ROWS"], ["EMPTY"], to=TensorProto.INT32),
        helper.make_node("Add", ["EMPTY", "ID"], ["MODEL_ID" if not fails else "BEYOND"]),
    ]
    if fails:
        nodes.append(helper.make_node("GatherElements", ["ID", "BEYOND"], ["MODEL_ID"], axis=1))
    if hangs:
        nodes[1:1] = _endless_on_zeros()
        nodes[-4].input[0] = "LOOPED"
    outputs = [
        helper.make_tensor_value_info("LOGITS", TensorProto.FLOAT, ["N", 2]),
        helper.make_tensor_value_info("MODEL_ID", TensorProto.INT32, ["N", 8]),
    ]
    image = helper.make_tensor_value_info("IMAGE", TensorProto.FLOAT, ["N", 3, 8, 8, 8])
    initial = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "means", [image], outputs, initial),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _endless_on_zeros() -> list[onnx.NodeProto]:
    """MEAN [N, 3] to LOOPED, the same, by a loop that ends at once where there is something in it, and else never."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("BEFORE", "AFTER")]
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("GOES", "STILL_GOES")]
    step = helper.make_tensor_value_info("STEP", TensorProto.INT64, [])
    passed_on = [
        helper.make_node("Identity", ["BEFORE"], ["AFTER"]),
        helper.make_node("Identity", ["GOES"], ["STILL_GOES"]),
    ]
    body = helper.make_graph(passed_on, "body", [step, flags[0], value[0]], [flags[1], value[1]])
    return [
        helper.make_node("ReduceMax", ["MEAN"], ["LARGEST"], keepdims=0),
        helper.make_node("Cast", ["LARGEST"], ["SOMETHING"], to=TensorProto.BOOL),
        helper.make_node("Not", ["SOMETHING"], ["NOTHING"]),
        helper.make_node("Loop", ["", "NOTHING", "MEAN"], ["LOOPED"], body=body),
    ]


def publish(repository: Path, version: int, recipe: Recipe = RECIPE, network: bytes = b"", **changes: Any) -> None:
    """A version with a case that was made where the network was trained: RECIPE's orders, whatever ``recipe`` says."""
    folder = repository / "classifier" / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(network or graph())
    image = np.stack([np.full((8, 8, 8), mean, dtype=np.float32) for mean in MEANS])
    np.savez_compressed(
        folder / REFERENCE_CASE_FILE, image=image, channels=np.array([m.value for m in RECIPE.channels])
    )
    case = ReferenceCase(file_digest(folder / REFERENCE_CASE_FILE), round(score_of(LOGITS, RECIPE), 4))
    described = replace(recipe, reference_case=case)
    save_recipe(described, folder / "recipe.json")
    manifest = replace(
        load_manifest(repository / "classifier" / "1"),
        recipe=described,
        weights_digest=DIGEST,
        preprocessing_digest=preprocessing_digest(described),
        files={n: file_digest(folder / n) for n in ("model.onnx", "recipe.json", REFERENCE_CASE_FILE)},
    )
    save_manifest(replace(manifest, **changes), folder)


def with_case(folder: Path, recipe: Recipe = RECIPE, versions: tuple[int, ...] = (1,)) -> Path:
    """The tiny repository with a classifier that takes an image, each of ``versions`` loaded."""
    repository = write_tiny_repository(folder)
    for file in repository.rglob("config.pbtxt"):
        text = (
            file.read_text().replace("[ -1, 4 ]", "[ -1, 3, 8, 8, 8 ]").replace("dims: [ 4 ]", "dims: [ 3, 8, 8, 8 ]")
        )
        text = text.replace('"PICK" data_type: TYPE_FP32 dims: [ 3 ]', '"MODEL_ID" data_type: TYPE_INT32 dims: [ 8 ]')
        if file.parent.name == "classifier":
            text += f"version_policy {{ specific {{ versions: {list(versions)} }} }}\n"
        file.write_text(text)
    for version in versions:
        publish(repository, version, recipe)
    return repository
