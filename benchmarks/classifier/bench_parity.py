"""Every network at its full width on the production grid: exported, and held to PyTorch and to MONAI's Grad-CAM.

The tests do this with thin networks; here it is done with the ones that a site would train. Weights are random, with
random normalisation statistics, so that folding them into convolutions is really tested.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx
import torch

from common import ROOT, print_table, write_result
from glioserve_contract import GlioserveError, Modality
from glioserve_contract.records.recipe import CLASSES, RECIPE_SCHEMA, Architecture, Grid, Recipe
from glioserve_export.exporter import convert
from glioserve_networks import architectures, load_artifact, save_artifact

sys.path.insert(0, str(ROOT / "tests"))
from support.models.networks import random_network


@dataclass(frozen=True)
class Row:
    """One network's export. Differences are relative to the largest logit and to the largest unrectified map value."""

    network: str
    held: bool
    parameters_million: float = 0.0
    onnx_mb: float = 0.0
    nodes: int = 0
    cam: str = ""
    cam_grid: str = ""
    logits_difference: float = float("nan")
    cam_difference: float = float("nan")
    monai_difference: float = float("nan")
    trace_s: float = 0.0
    parity_s: float = 0.0
    problem: str = ""


def measure(job: tuple[str, float, int, int]) -> Row:
    """One network, in a process of its own: its memory goes with it."""
    name, width, size, channels = job
    torch.set_num_threads(2)
    recipe = Recipe(
        schema=RECIPE_SCHEMA,
        name=name,
        architecture=Architecture(name, {} if width == 1 else {"widen_factor": width}),
        channels=tuple(Modality)[:channels],
        classes=CLASSES,
        grid=replace(Grid(), size_voxels=(size,) * 3),
    )
    with tempfile.TemporaryDirectory() as scratch:
        save_artifact(Path(scratch) / "artifact", recipe, random_network(recipe).state_dict())
        artifact = load_artifact(Path(scratch) / "artifact")
    started = time.perf_counter()
    try:
        exported = convert(artifact, lambda step: print(f"{name} {time.perf_counter() - started:6.1f} s  {step}"))
    except GlioserveError as error:
        return Row(name, held=False, problem=str(error))
    differences = {f.output: f.difference for f in exported.parity.figures}
    return Row(
        name,
        held=exported.parity.held,
        parameters_million=sum(t.numel() for t in artifact.state_dict.values()) / 1e6,
        onnx_mb=len(exported.onnx) / 1e6,
        nodes=len(onnx.load_from_string(exported.onnx).graph.node),
        cam=exported.cam_method,
        cam_grid="x".join(map(str, exported.cam_grid)),
        logits_difference=differences["LOGITS"],
        cam_difference=differences["CAM"],
        monai_difference=differences.get("CAM (MONAI)", float("nan")),
        trace_s=exported.trace_s,
        parity_s=exported.parity_s,
    )


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(architectures()))
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=96, help="voxels along each axis")
    parser.add_argument("--channels", type=int, default=3, choices=(1, 2, 3, 4))
    args = parser.parse_args()
    jobs = [(name, args.width, args.size, args.channels) for name in args.networks]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        rows = list(pool.imap(measure, jobs))
    columns = [c for c in asdict(rows[0]) if c not in ("problem", "trace_s", "parity_s")]
    cells = [[f"{asdict(row)[c]:.1e}" if c.endswith("difference") else asdict(row)[c] for c in columns] for row in rows]
    print_table(f"Parity at {args.size} cubed, width {args.width:g}, {args.channels} sequences", columns, cells)
    for row in rows:
        if row.problem:
            print(f"{row.network}: {row.problem}")
    print(f"\n{sum(row.held for row in rows)} of {len(rows)} networks held")
    settings = {"networks": args.networks, "width": args.width, "size": args.size, "channels": args.channels}
    write_result("parity", settings, {row.network: asdict(row) for row in rows}, ("torch", "monai", "onnxruntime"))


if __name__ == "__main__":
    main()
