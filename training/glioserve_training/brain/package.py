"""The trained network as the files that are served: the ONNX graph, its sidecar and its card."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import torch

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.brain_model import (
    BRAIN_MODEL_SCHEMA,
    DEFAULT_BRAIN_MODEL,
    BrainIntensity,
    BrainModelCard,
    brain_model_digest,
    sidecar_name,
)
from glioserve_training.brain.atlas import NOTICE
from glioserve_training.brain.scan import GRID_MM, SCALED_PERCENTILES, SIZE_MULTIPLE
from glioserve_training.brain.trainer import BrainProgress, BrainSettings
from glioserve_training.brain.unet import BrainNet
from glioserve_training.onnx_graph import drift_of, onnx_graph

MAX_SIZE_VOXELS = (112, 96, 96)
"""(z, y, x): 336 x 288 x 288 mm. A larger field of view is cropped around the head."""
MAX_DRIFT_MM = 0.02
"""Largest difference between PyTorch and the exported graph, on random input of several sizes: sums over a whole volume
are taken in another order. A trained network drifts by 0.004."""


def write_package(net: BrainNet, settings: BrainSettings, heads: int, reached: BrainProgress, folder: Path) -> str:
    """Write ``glioserve-brain.onnx``, ``.json`` (sidecar) and ``.md`` (card) to ``folder``, and return the digest."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = exported(net)
    sidecar = json.dumps(to_dict(card_of(heads)), indent=2).encode() + b"\n"
    onnx_file = folder / DEFAULT_BRAIN_MODEL
    onnx_file.write_bytes(graph)
    (folder / sidecar_name(DEFAULT_BRAIN_MODEL)).write_bytes(sidecar)
    digest = brain_model_digest(graph, sidecar)
    parameters = sum(p.numel() for p in net.parameters())
    onnx_file.with_suffix(".md").write_text(_card(settings, heads, reached, parameters, digest), encoding="utf-8")
    return digest


def exported(net: BrainNet) -> bytes:
    """Export the network as ONNX with free sizes; refuse it where it answers otherwise than PyTorch."""
    depth, height, width = (torch.export.Dim(name, min=1) * SIZE_MULTIPLE for name in ("d", "h", "w"))
    graph = onnx_graph(net, torch.zeros(1, 1, 48, 64, 80), "distance_mm", {"image": {2: depth, 3: height, 4: width}})
    _check_drift(net, graph)
    return graph


def card_of(heads: int) -> BrainModelCard:
    """Return the model's card: the form of the graph's input and the meaning of its answer."""
    return BrainModelCard(
        schema=BRAIN_MODEL_SCHEMA,
        name="glioserve-brain",
        licence="Apache-2.0",
        source=f"glioserve train-brain, {heads} synthetic heads, no patient",
        input="image",
        output="distance_mm",
        spacing_mm=GRID_MM,
        orientation="SPL",
        size_multiple=SIZE_MULTIPLE,
        min_size_voxels=(SIZE_MULTIPLE * 2,) * 3,
        max_size_voxels=MAX_SIZE_VOXELS,
        intensity=BrainIntensity("percentile", SCALED_PERCENTILES, clip=True),
        output_kind="signed_distance_mm",
        threshold=0.0,
    )


def _check_drift(net: BrainNet, graph: bytes) -> None:
    generator = torch.Generator().manual_seed(0)
    for size in ((32, 32, 32), (48, 80, 64), (80, 64, 96)):
        drift = drift_of(net, graph, torch.rand((1, 1, *size), generator=generator))
        if drift > MAX_DRIFT_MM:
            raise GlioserveError(ErrorCode.PARITY_FAILED, f"The brain model drifts by {drift:.2g} mm at {size}.")


def _card(settings: BrainSettings, heads: int, reached: BrainProgress, parameters: int, digest: str) -> str:
    made = datetime.now(timezone.utc).date().isoformat()
    rows = "\n".join(f"| {name} | {value} |" for name, value in asdict(settings).items())
    return f"""# glioserve-brain

A 3D U-Net of {parameters / 1e6:.2f} million parameters that gives the signed distance to the brain's surface, on a grid
of {GRID_MM:g} mm, for any one MR sequence of a head. Digest `{digest}`.

- **Trained on** {heads} synthetic heads, rendered anew for every step with random contrast, lesions, craniotomies,
  slices and faults; no patient, no volunteer. The brains are warps of the MNI152 2009a tissue maps.
- **Made** {made} with PyTorch {torch.__version__} by `glioserve train-brain`: step {reached.step} of {settings.steps}.
  Dice on {settings.validation_scans} scans of held-out synthetic heads at {GRID_MM:g} mm: median
  {reached.median_dice:.4f}, least {reached.least_dice:.4f}.
- **Meant for** the mask that normalisation and the heat map need, behind the quality gate. Not for volumetry.
- **Its mask** is what a ball of 5 mm cannot reach when it is rolled over the brain: with sulci, ventricles, lesions and
  resection cavities, without the fluid over the convexity; the brain stem down to the foramen magnum.
- **Not known** is how it does on children, on animals, on specimens: heads come from one adult template.
{NOTICE}

| setting | value |
|---|---|
{rows}
"""
