"""The proof that comes with every exported version: ONNX Runtime answers as the trained network does.

Logits are held to the network itself, CAM to Grad-CAM by autograd through the network's own head (not to the closed
form that the graph uses), MODEL_ID to the weights' digest. Eight different studies go through in batches of 1, 2,
3 and 8; each reference is computed alone, so a graph that mixes studies of one batch is caught too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import nn

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.manifest import model_id
from glioserve_contract.tensors import CAM, IMAGE, LOGITS, MODEL_ID
from glioserve_export.probes import INPUTS, Array, probe_studies
from glioserve_networks import Artifact, ClassifierNet

LOGITS_TOLERANCE = 1e-4
"""Of the study's largest logit, at least of 1. Where the answer is open (logits of order 1) it moves the
probability by less than 5e-5. Seen for our networks: up to 2e-6."""
CAM_TOLERANCE = 1e-4
"""Of the largest value in the study's maps before their ReLU, so that an empty map is held to a scale too. The
shown map has 256 grey levels. Seen for our networks: up to 8e-6."""

BATCHES = ((0, 1, 2, 3, 4, 5, 6, 7), (4,), (0, 7), (5, 1, 6))
"""Indices into :data:`INPUTS` of the studies that share a batch: of 8, 1, 2 and 3."""


@dataclass(frozen=True)
class Figure:
    """The largest relative difference of one output over all studies and batches, and its tolerance."""

    output: str
    difference: float
    tolerance: float
    relative_to: str

    @property
    def held(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class Parity:
    """What was compared, and how it came out."""

    figures: tuple[Figure, ...]
    model_id_equal: bool
    runtime: str

    @property
    def held(self) -> bool:
        """Whether the version may be published."""
        return self.model_id_equal and all(figure.held for figure in self.figures)

    def record(self) -> dict[str, Any]:
        """The manifest's ``parity``."""
        figures = {
            f.output: {"difference": f.difference, "tolerance": f.tolerance, "relative_to": f.relative_to}
            for f in self.figures
        }
        return {
            **figures,
            MODEL_ID.name: {"equal": self.model_id_equal},
            "inputs": list(INPUTS),
            "batches": [len(batch) for batch in BATCHES],
            "runtime": self.runtime,
        }

    def __str__(self) -> str:
        parts = [f"{f.output} {f.difference:.1e} (at most {f.tolerance:.0e})" for f in self.figures]
        return ", ".join([*parts, f"MODEL_ID {'equal' if self.model_id_equal else 'different'}"])


def _quiet(_: str) -> None:
    pass


def check_parity(model: bytes, artifact: Artifact, progress: Callable[[str], None] = _quiet) -> Parity:
    """Compare the ONNX ``model`` with the artifact's network; GLIO-5105 with the figures where they differ."""
    parity = compare(model, artifact, progress)
    if not parity.held:
        raise GlioserveError(ErrorCode.PARITY_FAILED, f"{parity}.")
    return parity


def compare(model: bytes, artifact: Artifact, progress: Callable[[str], None] = _quiet) -> Parity:
    """The figures, whatever they are."""
    network = artifact.network()
    studies = probe_studies(artifact.recipe)
    references = []
    for index, (name, study) in enumerate(zip(INPUTS, studies, strict=True)):
        progress(f"reference {index + 1} of {len(INPUTS)}: {name}")
        references.append(reference(network, study))
    session = _session(model)
    wanted_id = np.array(model_id(artifact.weights_digest), dtype=np.int32)
    logits_difference, cam_difference, same_id = 0.0, 0.0, True
    for batch in BATCHES:
        progress(f"ONNX Runtime, batch of {len(batch)}")
        logits, cam, identity = _run(session, studies[list(batch)])
        same_id &= identity.dtype == np.int32 and np.array_equal(identity, np.tile(wanted_id, (len(batch), 1)))
        for row, index in enumerate(batch):
            ref = references[index]
            logits_difference = max(
                logits_difference, _relative(logits[row], ref.logits, max(1.0, float(np.abs(ref.logits).max())))
            )
            cam_difference = max(cam_difference, _relative(cam[row], ref.cam, float(np.abs(ref.unrectified).max())))
    figures = (
        Figure(LOGITS.name, logits_difference, LOGITS_TOLERANCE, "the largest logit, at least 1"),
        Figure(CAM.name, cam_difference, CAM_TOLERANCE, "the largest value before the ReLU"),
    )
    return Parity(figures, bool(same_id), f"onnxruntime {onnxruntime.__version__}, CPU")


@dataclass(frozen=True, eq=False)
class Reference:
    """What PyTorch says of one study."""

    logits: Array
    """[2]."""
    cam: Array
    """[2, d, h, w], Grad-CAM by autograd."""
    unrectified: Array
    """[2, d, h, w], before the ReLU."""


def reference(network: nn.Module, study: Array) -> Reference:
    """Logits and Grad-CAM of both of one study [C, D, H, W], by autograd through whatever follows the features."""
    with _captured_features(network) as captured:
        logits = network(torch.from_numpy(study)[None])[0]
    features = captured[0]
    maps = []
    for logit in logits:
        (gradient,) = torch.autograd.grad(logit, features, retain_graph=True)
        weights = gradient.mean(dim=(2, 3, 4), keepdim=True)
        maps.append((weights * features).sum(dim=1)[0])
    unrectified = torch.stack(maps).detach().numpy()
    return Reference(logits.detach().numpy(), np.maximum(unrectified, 0), unrectified)


@contextmanager
def _captured_features(network: nn.Module) -> Iterator[list[torch.Tensor]]:
    """While it holds, the network's last feature map is a leaf that takes gradients, and is handed out."""
    original = cast(ClassifierNet, network).features
    captured: list[torch.Tensor] = []

    def features(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            leaf = original(x)
        captured.append(leaf.requires_grad_())
        return leaf

    network.features = features  # type: ignore[assignment]  # shadows the method on this instance only
    try:
        yield captured
    finally:
        del network.features


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with _runtime_errors("load"):
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, images: Array) -> list[npt.NDArray[Any]]:
    with _runtime_errors(f"run a batch of {len(images)} through"):
        outputs = session.run([LOGITS.name, CAM.name, MODEL_ID.name], {IMAGE.name: images})
    return [np.asarray(output) for output in outputs]


@contextmanager
def _runtime_errors(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # ONNX Runtime's errors share no narrower base
        raise GlioserveError(
            ErrorCode.PARITY_FAILED, f"ONNX Runtime {onnxruntime.__version__} cannot {what} the graph: {error}."
        ) from error


def _relative(found: Array, wanted: Array, scale: float) -> float:
    """Largest difference over ``scale``; infinite for another shape or a value that is not finite."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    difference = float(np.abs(found.astype(np.float64) - wanted).max())
    return difference / scale if scale > 0 else (0.0 if difference == 0 else float("inf"))
