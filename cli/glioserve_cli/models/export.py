"""``glioserve export``: an artifact into a model repository, or into a folder alone."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from glioserve_export.exporter import Exported, check_brain_model, export_model
from glioserve_export.progress import Progress
from glioserve_export.variants.build import VARIANTS, WantedVariants
from glioserve_networks import load_artifact
from glioserve_preprocess.brain.model import site_folder
from glioserve_registry.export import export


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``glioserve export ARTIFACT [--repository DIR] [--version N] | [--model-only DIR]``."""
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="folder with weights.safetensors, recipe.json")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--repository",
        type=Path,
        default=Path("build/repository"),
        metavar="DIR",
        help="model repository to publish into; assembled where it is not there (default: %(default)s)",
    )
    target.add_argument(
        "--model-only",
        type=Path,
        metavar="DIR",
        help="write the version's files (model.onnx, recipe.json, manifest.json, …) into this folder instead",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="DIR",
        help="dataset of this recipe (`glioserve dataset`): some of its studies join the parity's probes, and "
        "variants are held to all of them",
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        choices=VARIANTS,
        help="another precision to make and to hold to the recipe's variant_limits; again for more (docs/variants.md)",
    )
    parser.add_argument(
        "--variants-optional",
        action="store_true",
        help="leave out a variant that its gate refuses; else the export fails (GLIO-5118)",
    )
    parser.add_argument("--version", type=int, metavar="N", help="the version's number (default: the next)")


def run(args: argparse.Namespace) -> int:
    """Export, show each step, print the figures."""
    progress, brain_models = _progress(), site_folder()
    wanted = WantedVariants(tuple(args.variant), args.variants_optional)
    if args.model_only is not None:
        artifact = load_artifact(args.artifact)
        check_brain_model(artifact.recipe, brain_models, progress)
        exported = export_model(
            artifact, args.model_only, progress=progress, calibration=args.calibration, wanted=wanted
        )
        where = f"{args.model_only}"
    else:
        published = export(
            args.artifact,
            args.repository,
            args.version,
            progress=progress,
            brain_models=brain_models,
            calibration=args.calibration,
            wanted=wanted,
        )
        exported = published.exported
        where = f"version {published.version} of {args.repository}"
    for line in summary(exported, where):
        print(line)
    return 0


def summary(exported: Exported, where: str) -> list[str]:
    """Return what was published and what was shown of it, a line each."""
    figures = [
        f"  {f.output:<11} {f.difference:.1e} of {f.relative_to} (tolerance {f.tolerance:.0e})"
        for f in exported.parity.figures
    ]
    return [
        f"exported {exported.recipe.name} as {where}",
        f"  ONNX      {len(exported.onnx) / 1e6:.2f} MB, traced in {exported.trace_s:.1f} s",
        f"  weights   {exported.weights_digest}",
        f"  CAM       {exported.cam_method}, grid {exported.cam_grid}",
        f"parity with PyTorch and autograd Grad-CAM, in {exported.parity_s:.1f} s ({exported.parity.runtime}):",
        *figures,
        f"  MODEL_ID    {'equal' if exported.parity.model_id_equal else 'different'}",
        *_case_line(exported),
        *_variant_lines(exported),
    ]


def _case_line(exported: Exported) -> list[str]:
    case = exported.case_figures
    if case is None:
        return ["reference case: none. A swapped channel or class order would go unseen (docs/networks.md)."]
    answers = f"network {case.pytorch:.4f}, graph {case.onnx:.4f}"
    return [f"reference case: {answers}, expected {case.expected:.4f} (within {case.tolerance:g})"]


def _variant_lines(exported: Exported) -> list[str]:
    lines = []
    for name, record in exported.variants.records.items():
        figures = record.figures
        lines.append(
            f"variant {name}: SCORE within {figures.max_probability_drift:.1e}, {figures.label_flips} flips, "
            f"heat maps correlate at {figures.min_heatmap_correlation:.4f} or more, {figures.same_peak:.0%} same "
            f"peak ({figures.studies} studies, {record.runtime})"
        )
    return lines


def _progress() -> Progress:
    """Every step as it begins; of the many small ones (indented) at most one a second."""
    started = shown = time.perf_counter()

    def show(step: str) -> None:
        nonlocal shown
        now = time.perf_counter()
        if not step.startswith(" ") or now - shown >= 1:
            print(f"[{now - started:6.1f} s] {step}", flush=True)
            shown = now

    return show
