"""The trained network as the files that are served: the ONNX graph, its sidecar and its card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.sequences import PixelKind
from glioserve_preprocess.opinion.coarse import GRID_MM, GRID_SHAPE
from glioserve_preprocess.opinion.model import OPINION_MODEL, OPINION_SCHEMA, OpinionModelCard, opinion_model_digest
from glioserve_training.brain.atlas import NOTICE
from glioserve_training.onnx_graph import drift_of, onnx_graph
from glioserve_training.weighting.calibration import Calibration
from glioserve_training.weighting.net import KindNet
from glioserve_training.weighting.trainer import KindProgress, KindSettings

MAX_DRIFT = 0.01
"""Largest difference between the logits of PyTorch and of the exported graph: sums are taken in another order."""


def write_package(
    net: KindNet,
    settings: KindSettings,
    heads: int,
    reached: KindProgress,
    calibration: Calibration,
    folder: Path,
    *,
    start: bytes | None = None,
) -> str:
    """Write ``glioserve-opinion.onnx``, ``.json`` (sidecar) and ``.md`` (card) to ``folder``, and return the digest.

    ``start`` is the graph whose weights training began with; the card names its digest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graph = exported(net)
    card = OpinionModelCard(
        schema=OPINION_SCHEMA,
        name="glioserve-opinion",
        licence="Apache-2.0",
        source=f"glioserve train-opinion, {heads} synthetic heads, no patient",
        input="image",
        output="logits",
        kinds=tuple(PixelKind),
        temperature=calibration.temperature,
        thresholds=calibration.thresholds,
    )
    sidecar = json.dumps(to_dict(card), indent=2).encode() + b"\n"
    onnx_file = folder / OPINION_MODEL.name
    onnx_file.write_bytes(graph)
    onnx_file.with_suffix(".json").write_bytes(sidecar)
    digest = opinion_model_digest(graph, sidecar)
    parameters = sum(p.numel() for p in net.parameters())
    begun = f", begun with the weights of `sha256:{hashlib.sha256(start).hexdigest()}`" if start else ""
    text = _card(settings, heads, reached, calibration, parameters, digest, begun)
    onnx_file.with_suffix(".md").write_text(text, encoding="utf-8")
    return digest


def exported(net: KindNet) -> bytes:
    """Export the network as ONNX of one size; refuse it where it answers otherwise than PyTorch."""
    graph = onnx_graph(net, torch.zeros(1, 2, *GRID_SHAPE), "logits")
    image = torch.rand((1, 2, *GRID_SHAPE), generator=torch.Generator().manual_seed(0))
    drift = drift_of(net, graph, image)
    if drift > MAX_DRIFT:
        raise GlioserveError(ErrorCode.PARITY_FAILED, f"The opinion's network drifts by {drift:.2g}.")
    return graph


def weights_of(graph: bytes) -> dict[str, torch.Tensor]:
    """Return the network's weights, by the names of its state, from a graph that :func:`exported` made.

    The exporter keeps the names of all weights but those of the group normalisations, whose scales and shifts stand in
    the graph in the order of the network.
    """
    model = onnx.load_model_from_string(graph)
    kept = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in model.graph.initializer}
    unnamed = {
        kind: [
            kept[name] for node in model.graph.node if node.op_type == operator for name in node.input if name in kept
        ]
        for kind, operator in (("weight", "Mul"), ("bias", "Add"))
    }
    found = {}
    for name, value in KindNet().state_dict().items():
        weight = kept[name] if name in kept else unnamed[name.rpartition(".")[2]].pop(0)
        found[name] = weight.reshape(value.shape)
    return found


def _card(
    settings: KindSettings,
    heads: int,
    reached: KindProgress,
    calibration: Calibration,
    parameters: int,
    digest: str,
    begun: str,
) -> str:
    made = datetime.now(timezone.utc).date().isoformat()
    rows = "\n".join(f"| {name} | {value} |" for name, value in asdict(settings).items())
    thresholds = ", ".join(f"{k} {t:g}" for k, t in zip(PixelKind, calibration.thresholds, strict=True))
    return f"""# glioserve-opinion

A 3D convolutional network of {parameters / 1e6:.2f} million parameters that tells what kind of MR image a series is by
its voxels alone, on a grid of {GRID_MM:g} mm. Digest `{digest}`.

- **Trained on** {heads} synthetic heads, scanned anew for every step by signal equations with drawn tissues, timings,
  agent, flow, lesions, slices and faults; no patient, no volunteer, and not the project's own phantom. A tenth of T1,
  T1ce, T2 and FLAIR come from the brain network's table of contrasts.
- **Made** {made} with torch {torch.__version__} by `glioserve train-opinion`, {reached.step} steps{begun}.
  On heads held out: {reached.right:.1%} of all scans and {reached.t1_right:.1%} of T1 and T1ce are recognised.
- **Calibrated** on further scans of held-out heads, each averaged with its mirror image: temperature
  {calibration.temperature:g}; {calibration.answered:.1%} are answered, {calibration.wrong:.2%} of those wrong.
- **Thresholds**: {thresholds}.
- **Meant for** a second opinion beside what headers say. It must not overrule them alone.
- **Not known** is how it does on children, on animals and on other parts of the body.
{NOTICE}

| setting | value |
|---|---|
{rows}
"""
