"""The proof that comes with every exported version: ONNX Runtime answers as the trained network does.

Logits are held to the network itself, CAM to Grad-CAM by autograd through what follows the feature map (not to the
closed form that the graph uses) and, on some studies, to MONAI's own Grad-CAM; MODEL_ID to the weights' digest. The
probe studies, and those of a calibration set where there is one, go through in batches of 1, 2, 3 and 8; each
reference is computed alone, so a graph that mixes studies of one batch is caught too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from monai.visualize.class_activation_maps import GradCAM
from torch import nn

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.facts.parity import ParityFigure, ParityRecord, ReferenceCaseParity
from glioserve_contract.records.manifest import model_id
from glioserve_contract.records.recipe import Recipe
from glioserve_contract.tensors import CAM, IMAGE, LOGITS, MODEL_ID
from glioserve_export.graphs.graph import cam_method
from glioserve_export.graphs.probes import INPUTS, Array, probe_studies
from glioserve_export.graphs.vectors import Vectors
from glioserve_export.progress import Progress, quiet
from glioserve_networks import Artifact
from glioserve_networks.gradcam import EPSILON, SplitNetwork

LOGITS_TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the study's largest logit and at least to 1.

Where the answer is open (logits of order 1) it moves the probability by less than 5e-5. Our networks reach 2e-6."""
CAM_TOLERANCE = 1e-4
"""Largest difference of a map, relative to the largest value in the study's maps before their ReLU.

An empty map is held to a scale too by that. The shown map has 256 grey levels. Our networks reach 8e-6."""

BATCHES = ((0, 1, 2, 3, 4, 5, 6, 7), (4,), (0, 7), (5, 1, 6))
"""Indices into :data:`INPUTS` of the studies that share a batch: of 8, 1, 2 and 3."""
MONAI_STUDIES = ("random", "brain")
"""Those of :data:`INPUTS` that MONAI's Grad-CAM goes over too: a forward and a backward pass per class each."""


@dataclass(frozen=True)
class Parity:
    """Result of the comparison, and what was compared."""

    figures: tuple[ParityFigure, ...]
    model_id_equal: bool
    runtime: str
    inputs: tuple[str, ...]
    batches: tuple[int, ...]
    vectors: Vectors
    """The probe studies and the network's answers to them."""

    @property
    def held(self) -> bool:
        """True where the version may be published."""
        return self.model_id_equal and all(figure.held for figure in self.figures)

    def record(self, reference_case: ReferenceCaseParity | None = None) -> ParityRecord:
        """Return the manifest's ``parity``, with the answers to the reference case."""
        return ParityRecord(self.figures, self.model_id_equal, self.inputs, self.batches, self.runtime, reference_case)

    def __str__(self) -> str:
        parts = [f"{f.output} {f.difference:.1e} (at most {f.tolerance:.0e})" for f in self.figures]
        return ", ".join([*parts, f"MODEL_ID {'equal' if self.model_id_equal else 'different'}"])


def check_parity(
    model: bytes, artifact: Artifact, progress: Progress = quiet, calibration: Array | None = None
) -> Parity:
    """Compare the ONNX ``model`` with the artifact's network; GLIO-5105 with the figures where they differ.

    ``calibration`` FP32 [n, C, D, H, W]: studies as the network is shown them, besides the probes.
    """
    parity = compare(model, artifact, progress, calibration)
    if not parity.held:
        raise GlioserveError(ErrorCode.PARITY_FAILED, f"{parity}.")
    return parity


def compare(model: bytes, artifact: Artifact, progress: Progress = quiet, calibration: Array | None = None) -> Parity:
    """Return the figures, whether they hold or not."""
    network, recipe = artifact.network(), artifact.recipe
    studies = probe_studies(recipe)
    names: tuple[str, ...] = INPUTS
    batches: tuple[tuple[int, ...], ...] = BATCHES
    if calibration is not None:
        added = range(len(studies), len(studies) + len(calibration))
        names = (*names, *(f"calibration {i + 1}" for i in range(len(calibration))))
        studies = np.concatenate([studies, calibration])
        batches = (*batches, *(tuple(added[i : i + 3]) for i in range(0, len(added), 3)))
    references = []
    for index, (name, study) in enumerate(zip(names, studies, strict=True)):
        progress(f"reference {index + 1} of {len(names)}: {name}")
        references.append(reference(network, study, recipe))
    session = open_session(model)
    wanted_id = np.array(model_id(artifact.weights_digest), dtype=np.int32)
    logits_difference, cam_difference, same_id = 0.0, 0.0, True
    maps: dict[int, Array] = {}
    for batch in batches:
        progress(f"ONNX Runtime, batch of {len(batch)}")
        logits, cam, identity = _run(session, studies[list(batch)])
        same_id &= identity.dtype == np.int32 and np.array_equal(identity, np.tile(wanted_id, (len(batch), 1)))
        for row, index in enumerate(batch):
            ref = references[index]
            maps[index] = cam[row]
            logits_difference = max(
                logits_difference, _relative(logits[row], ref.logits, max(1.0, float(np.abs(ref.logits).max())))
            )
            cam_difference = max(cam_difference, _relative(cam[row], ref.cam, ref.scale))
    figures = [
        ParityFigure(LOGITS.name, logits_difference, LOGITS_TOLERANCE, "the largest logit, at least 1"),
        ParityFigure(CAM.name, cam_difference, CAM_TOLERANCE, "the largest value before the ReLU"),
    ]
    if recipe.heatmap == "gradcam" and cam_method(network, recipe) != "none":
        chosen = [i for i, name in enumerate(names) if name in MONAI_STUDIES or name == "calibration 1"]
        difference = 0.0
        for index in chosen:
            progress(f"MONAI's Grad-CAM: {names[index]}")
            difference = max(
                difference, _relative(maps[index], monai_map(network, studies[index]), references[index].scale)
            )
        figures.append(
            ParityFigure(f"{CAM.name} (MONAI)", difference, CAM_TOLERANCE, "the largest value before the ReLU")
        )
    probes = references[: len(INPUTS)]
    vectors = Vectors(studies[: len(INPUTS)], np.stack([r.logits for r in probes]), np.stack([r.cam for r in probes]))
    return Parity(
        tuple(figures),
        bool(same_id),
        f"onnxruntime {onnxruntime.__version__}, CPU",
        names,
        tuple(len(batch) for batch in batches),
        vectors,
    )


@dataclass(frozen=True, eq=False)
class Reference:
    """PyTorch's answer to one study."""

    logits: Array
    """[2]."""
    cam: Array
    """[2, d, h, w], by autograd; [2, 1, 1, 1] of zeros where the network has no map."""
    unrectified: Array
    """The same before the ReLU."""

    @property
    def scale(self) -> float:
        """Value that CAM's differences are divided by; 1 where there is no map."""
        return float(np.abs(self.unrectified).max()) if self.unrectified.size > 2 else 1.0


def reference(network: nn.Module, study: Array, recipe: Recipe) -> Reference:
    """Return the network's own logits for one study [C, D, H, W], and the map of both classes by autograd."""
    image = torch.from_numpy(study)[None]
    with torch.no_grad():
        logits = network(image)[0]
    if cam_method(network, recipe) == "none":
        nothing = np.zeros((len(logits), 1, 1, 1), dtype=np.float32)
        return Reference(logits.numpy(), nothing, nothing)
    split = SplitNetwork(network)
    with torch.no_grad():
        a = split.last(image)
    a.requires_grad_()
    maps = []
    for logit in split.tail(a)[0]:
        (gradient,) = torch.autograd.grad(logit, a, retain_graph=True)
        with torch.no_grad():
            weights = gradient if recipe.heatmap == "gradcam" else _plus_plus_share(gradient, a)
            reduce = torch.mean if recipe.heatmap == "gradcam" else torch.sum
            maps.append((reduce(weights, dim=(2, 3, 4), keepdim=True) * a).sum(dim=1)[0])
    unrectified: Array = torch.stack(maps).numpy()
    return Reference(logits.numpy(), np.maximum(unrectified, 0), unrectified)


def _plus_plus_share(gradient: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Return what each voxel adds to its channel's weight in Grad-CAM++ (Chattopadhay 2018, equations 18 and 19)."""
    square = gradient**2
    alpha = square / (2 * square + a.sum(dim=(2, 3, 4), keepdim=True) * gradient**3 + EPSILON)
    return torch.relu(gradient) * alpha


def monai_map(network: nn.Module, study: Array) -> Array:
    """Return MONAI's Grad-CAM of both classes [2, d, h, w] for one study [C, D, H, W], not scaled to [0, 1]."""
    image = torch.from_numpy(study)[None].requires_grad_()  # else its hooks warn
    cam = GradCAM(SplitNetwork(network).eval(), target_layers="last")
    maps = [cam.compute_map(image, class_idx=c)[0, 0].detach().numpy() for c in range(2)]
    result: Array = np.stack(maps)
    return result


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """Open ONNX Runtime on the CPU, which parity is shown on; GLIO-5105 where it cannot load the graph."""
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
    """Return the largest difference over ``scale``; infinite for another shape or a value that is not finite."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    difference = float(np.abs(found.astype(np.float64) - wanted).max())
    return difference / scale if scale > 0 else (0.0 if difference == 0 else float("inf"))
