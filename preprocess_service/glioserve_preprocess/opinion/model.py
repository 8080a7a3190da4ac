"""The packaged network of the second opinion: held to its digest, loaded once a process, run on one thread."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from glioserve_contract import ErrorCode, GlioserveError, SchemaError
from glioserve_contract.codec import from_dict
from glioserve_contract.sequences import PixelKind
from glioserve_preprocess.arrays import FloatArray
from glioserve_preprocess.opinion.coarse import GRID_SHAPE

OPINION_MODEL = Path(__file__).parent / "glioserve-opinion.onnx"
"""The graph; its card, a :class:`OpinionModelCard`, lies beside it as ``.json`` and is described in ``.md``."""
OPINION_DIGEST = "sha256:1a6003170987194f78311cbacce54d5978cc9cfaa1279f80bb4921ee23679837"
"""Digest of graph and card; ``make opinion-model`` writes it, and nothing of another file is parsed."""

OpinionSchema = Literal["glioserve/opinion-model/1"]
OPINION_SCHEMA: OpinionSchema = "glioserve/opinion-model/1"


@dataclass(frozen=True)
class OpinionModelCard:
    """Inputs and outputs of the graph, and what makes its logits shares that can be relied on."""

    schema: OpinionSchema
    name: str
    licence: str
    source: str
    input: str
    """Name of the graph's input, FP32 [1, 2, z, y, x] as :func:`coarse.coarse_head` gives it."""
    output: str
    """Name of the graph's output, logits FP32 [1, number of kinds]."""
    kinds: tuple[PixelKind, ...]
    """Kinds in the order of the logits."""
    temperature: float
    """Divisor of the logits before the softmax."""
    thresholds: tuple[float, ...]
    """Share of each kind from which it is taken for the answer, in the order of ``kinds``."""

    def check(self, path: str) -> None:
        """Raise SchemaError for kinds that are missing or double, or figures out of their bounds."""
        if sorted(self.kinds) != sorted(PixelKind):
            raise SchemaError(f"{path}.kinds", f"must be each of {', '.join(PixelKind)} once")
        if not 0.05 <= self.temperature <= 20:
            raise SchemaError(f"{path}.temperature", f"must be 0.05 to 20, not {self.temperature}")
        if len(self.thresholds) != len(self.kinds) or not all(0.5 <= t <= 1 for t in self.thresholds):
            raise SchemaError(f"{path}.thresholds", f"must be {len(self.kinds)} numbers from 0.5 to 1")


@dataclass(frozen=True, eq=False)
class OpinionModel:
    """A network ready to run. Any number of threads may run it at once."""

    card: OpinionModelCard
    session: Any
    """An ``onnxruntime.InferenceSession``."""

    def shares(self, tensor: FloatArray) -> Mapping[PixelKind, float]:
        """Return the calibrated share of each kind for FP32 [2, z, y, x]; they sum to 1.

        The network sees the scan and its mirror image, left for right, and its logits are averaged.
        """
        both = (tensor, np.ascontiguousarray(tensor[..., ::-1]))
        found = [self.session.run([self.card.output], {self.card.input: image[None]})[0][0] for image in both]
        logits = np.mean(found, axis=0, dtype=np.float64)
        scaled = np.exp((logits - logits.max()) / self.card.temperature)
        return dict(zip(self.card.kinds, (scaled / scaled.sum()).tolist(), strict=True))


def opinion_model_digest(onnx_bytes: bytes, sidecar_bytes: bytes) -> str:
    """Return ``sha256:…`` of the ONNX file's bytes and then the card's: another threshold is another model."""
    return "sha256:" + hashlib.sha256(onnx_bytes + sidecar_bytes).hexdigest()


def load_opinion_model(path: Path = OPINION_MODEL, digest: str = OPINION_DIGEST) -> OpinionModel:
    """Return the network of ``path`` and its card, ready to run; the same one for every call of a process.

    Raises:
        GlioserveError: GLIO-5126 where a file is missing, is another than ``digest`` says, or does not fit its card.
    """
    with _LOCK:
        if (path, digest) not in _LOADED:
            _LOADED[path, digest] = _load(path, digest)
        return _LOADED[path, digest]


_LOADED: dict[tuple[Path, str], OpinionModel] = {}
_LOCK = threading.Lock()


def _load(path: Path, digest: str) -> OpinionModel:
    try:
        model, sidecar = path.read_bytes(), path.with_suffix(".json").read_bytes()
    except OSError as error:
        raise _invalid(f"{path.name} or its card cannot be read: {error.strerror}") from error
    found = opinion_model_digest(model, sidecar)
    if found != digest:
        raise _invalid(f"{path.name} with its card is {found}, the package names {digest}")
    try:
        card = from_dict(OpinionModelCard, json.loads(sidecar.decode("utf-8")), "card")
    except (SchemaError, ValueError) as error:
        raise _invalid(f"The card of {path.name}: {error}") from error
    session = _session(path.name, model)
    shapes = [i.shape for i in session.get_inputs()], [o.shape for o in session.get_outputs()]
    if shapes != ([[1, 2, *GRID_SHAPE]], [[1, len(card.kinds)]]):
        raise _invalid(f"{path.name} takes and gives {shapes}, which its card does not say")
    return OpinionModel(card, session)


def _session(name: str, model: bytes) -> Any:
    import onnxruntime  # here, for the commands that run no network do without it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.log_severity_level = 4  # what goes wrong is raised
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise _invalid(f"{name} cannot be loaded: {reason}") from error


def _invalid(detail: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_OPINION_MODEL, f"{detail}.")
