"""``glioserve train-brain --out DIR``: the brain extraction network, from nothing or from where it stopped."""

from __future__ import annotations

import argparse
from dataclasses import replace

from glioserve_cli.training.arguments import add_run_arguments

HELD_OUT = 8
"""Heads that validation looks at; their seeds follow those of training."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_run_arguments(parser, "brain", heads=96)


def run(args: argparse.Namespace) -> int:
    """Make the heads, train, printing a line every few minutes, and write the model."""
    from glioserve_training.brain.bank import make_bank
    from glioserve_training.brain.package import write_package
    from glioserve_training.brain.trainer import BrainProgress, BrainSettings, train_brain

    settings = BrainSettings()
    settings = replace(settings, steps=args.steps or settings.steps, seed=args.seed)
    files = make_bank(args.cache, 0, args.heads + HELD_OUT, args.workers)

    def show(progress: BrainProgress) -> None:
        print(
            f"step {progress.step:5d}/{settings.steps}  loss {progress.loss:.3f}  Dice {progress.median_dice:.4f} "
            f"(least {progress.least_dice:.4f})  {progress.seconds:.0f} s",
            flush=True,
        )

    net, reached = train_brain(files[: args.heads], files[args.heads :], settings, args.checkpoint, on_progress=show)
    digest = write_package(net, settings, args.heads, reached, args.out)
    print(f"{args.out}: {digest}")
    return 0
