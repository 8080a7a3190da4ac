"""``glioserve train-opinion --out DIR``: the network that tells kinds of images, from nothing or from where it was."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from glioserve_cli.training.arguments import add_run_arguments

HELD_OUT = 6
"""Heads that validation and calibration look at; their seeds follow those of training."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_run_arguments(parser, "opinion", heads=34)
    parser.add_argument("--start", type=Path, help="glioserve-opinion.onnx whose weights are trained on")


def run(args: argparse.Namespace) -> int:
    """Make the heads, train, calibrate, printing a line every few minutes, and write the model."""
    import torch

    from glioserve_training.brain.bank import make_bank
    from glioserve_training.weighting.calibration import calibrated
    from glioserve_training.weighting.package import weights_of, write_package
    from glioserve_training.weighting.trainer import KindProgress, KindSettings, calibration_logits, train_kinds

    torch.set_num_threads(1)
    settings = KindSettings()
    settings = replace(settings, steps=args.steps or settings.steps, seed=args.seed)
    files = make_bank(args.cache, 0, args.heads + HELD_OUT, args.workers)

    def show(progress: KindProgress) -> None:
        print(
            f"step {progress.step:5d}/{settings.steps}  loss {progress.loss:.3f}  right {progress.right:.4f} "
            f"(T1 and T1ce {progress.t1_right:.4f})  {progress.seconds:.0f} s",
            flush=True,
        )

    held_out = files[args.heads :]
    graph = args.start.read_bytes() if args.start else None
    start = weights_of(graph) if graph is not None else None
    net, reached = train_kinds(files[: args.heads], held_out, settings, args.checkpoint, start=start, on_progress=show)
    calibration = calibrated(*calibration_logits(net, held_out, settings))
    print(f"answered {calibration.answered:.4f}, of those wrong {calibration.wrong:.4f}")
    digest = write_package(net, settings, args.heads, reached, calibration, args.out, start=graph)
    print(f"{args.out}: {digest}")
    return 0
