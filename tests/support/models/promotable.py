"""Versions to promote: graphs of a few nodes with the contract's signature, and a repository that answers at once.

Every version answers with logits of its own, so an answer says which version gave it. With :func:`quick_models` in
the place of the package's static models, preprocessing hands on a study that is made up, so that thousands of requests
take seconds; the classifier, the report and the ensemble stay the real ones.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from glioserve_client import DicomStudy
from glioserve_contract import CONTRACT_VERSION, Modality, sha256_digest, to_dict
from glioserve_contract.records.manifest import model_id
from glioserve_contract.records.preprocess import PreprocessRecord, Quality, QualityCheck
from glioserve_contract.records.recipe import Recipe, preprocessing_digest
from glioserve_dicom.volumes.geometry import network_geometry
from glioserve_registry.layout.repository import add_version
from glioserve_registry.layout.static_models import static_repository
from support.models.recipes import fake_export, tiny_recipe
from support.studies.dicom_files import file_bytes, mr_dataset

CAM_GRID = (4, 4, 4)

_PREPROCESS = """
import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

RECORD = (Path(__file__).parent / "record.json").read_text()
SHAPE = {shape}


class TritonPythonModel:
    def execute(self, requests):
        values = {{
            "IMAGE": np.zeros((1, *SHAPE), dtype=np.float32),
            "BRAIN_MASK": np.ones(SHAPE[1:], dtype=np.uint8),
            "PREPROCESS": np.array([RECORD], dtype=object),
        }}
        tensors = [pb_utils.Tensor(name, value) for name, value in values.items()]
        return [pb_utils.InferenceResponse(tensors) for _ in requests]
"""


def weights_digest(recurrence_logit: float) -> str:
    """Return the digest of the version that answers with this logit."""
    return sha256_digest(f"weights {recurrence_logit}".encode())


def promotable(
    folder: Path, recurrence_logit: float, recipe: Recipe | None = None, *, model: bytes | None = None
) -> Path:
    """An exported version whose logits are (0, ``recurrence_logit``) whatever it is shown."""
    recipe = recipe or tiny_recipe()
    digest = weights_digest(recurrence_logit)
    graph = _graph(recipe, recurrence_logit, digest).SerializeToString() if model is None else model
    return fake_export(folder, recipe, model=graph, weights_digest=digest, cam_grid=CAM_GRID)


def score_of(recurrence_logit: float, temperature: float = 1.0) -> float:
    """Return the score that such a version answers."""
    return 1 / (1 + math.exp(-recurrence_logit / temperature))


def quick_models(folder: Path) -> Path:
    """The static models with a preprocessing that makes up its study: a batch of one of :func:`tiny_recipe`'s."""
    shutil.copytree(static_repository(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    recipe = tiny_recipe()
    shape = (len(recipe.channels), *recipe.grid.shape)
    model = folder / "preprocess" / "1"
    (model / "model.py").write_text(_PREPROCESS.format(shape=shape))
    (model / "record.json").write_text(json.dumps(to_dict(_record(recipe))))
    return folder


def promotable_repository(folder: Path, logits: Sequence[float]) -> Path:
    """A repository whose versions 1, 2, … answer with these logits. The first serves."""
    for number, logit in enumerate(logits, start=1):
        assert add_version(folder, promotable(folder.parent / f"exported {number}", logit)) == number
    return folder


def any_study() -> DicomStudy:
    """One DICOM file: enough for a preprocessing that does not look at it."""
    return DicomStudy.from_bytes([file_bytes(mr_dataset())])


def any_study_folder(folder: Path) -> Path:
    """The same as a file of a folder."""
    folder.mkdir()
    (folder / "1.dcm").write_bytes(file_bytes(mr_dataset()))
    return folder


def _record(recipe: Recipe) -> PreprocessRecord:
    network = network_geometry(recipe.grid, np.zeros(3)).record()
    return PreprocessRecord(
        contract_version=CONTRACT_VERSION,
        preprocessing_digest=preprocessing_digest(recipe),
        reference=Modality.T1CE,
        reference_grid=network,
        network_grid=network,
        series=(),
        registrations=(),
        quality=Quality("ok", (QualityCheck("brain_volume", 1.5, "litre", 0.9, 2.2, "ok"),)),
    )


def _graph(recipe: Recipe, recurrence_logit: float, digest: str) -> onnx.ModelProto:
    """LOGITS [N, 2], CAM [N, 2, d, h, w] and MODEL_ID [N, 8] that depend on IMAGE by their first axis alone."""
    index = recipe.recurrence_index
    constants: dict[str, npt.NDArray[Any]] = {
        "ZERO": np.zeros((1, 1), dtype=np.float32),
        "LOGIT_ROW": np.array([[recurrence_logit if i == index else 0.0 for i in range(2)]], dtype=np.float32),
        "MAP": np.ones((1, 2, *CAM_GRID), dtype=np.float32),
        "WORDS": np.array([model_id(digest)], dtype=np.int32),
        "AXES": np.array([1, 2, 3, 4], dtype=np.int64),
        "FLAT": np.array([-1, 1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["IMAGE", "AXES"], ["MEAN"], keepdims=1),
        helper.make_node("Reshape", ["MEAN", "FLAT"], ["COLUMN"]),
        helper.make_node("Mul", ["COLUMN", "ZERO"], ["NOTHING"]),
        helper.make_node("Add", ["NOTHING", "LOGIT_ROW"], ["LOGITS"]),
        helper.make_node("Mul", ["MEAN", "MAP"], ["CAM"]),
        helper.make_node("Cast", ["NOTHING"], ["NONE"], to=TensorProto.INT32),
        helper.make_node("Add", ["NONE", "WORDS"], ["MODEL_ID"]),
    ]
    image: list[str | int | None] = ["N", len(recipe.channels), *recipe.grid.shape]
    outputs = {"LOGITS": [2], "CAM": [2, *CAM_GRID], "MODEL_ID": [8]}
    graph = helper.make_graph(
        nodes,
        "promotable",
        [helper.make_tensor_value_info("IMAGE", TensorProto.FLOAT, image)],
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT32 if name == "MODEL_ID" else TensorProto.FLOAT, ["N", *dims]
            )
            for name, dims in outputs.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
