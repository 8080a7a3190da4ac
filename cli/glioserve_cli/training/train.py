"""``glioserve train --preset demo --phantoms 400 --out build/artifact``: a network, trained into an artifact."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from glioserve_cli import argtypes
from glioserve_preprocess.files import load_recipe
from glioserve_training.settings import DEMO_RECIPE, PRESETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--preset", choices=PRESETS, default="demo", help="the study's values, or the demo's")
    parser.add_argument("--recipe", type=Path, help="recipe.json of the network (default: the demo's)")
    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        "--phantoms", type=argtypes.count, default=400, help="make this many phantom studies (default 400)"
    )
    data.add_argument("--dataset", type=Path, help="train on the tensors in this folder instead")
    parser.add_argument("--cache", type=Path, default=Path("build/phantoms"), help="where phantoms are kept")
    parser.add_argument("--out", type=Path, required=True, help="folder of the artifact")
    parser.add_argument("--epochs", type=argtypes.count, help="instead of the preset's")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order, augmentation and split")
    parser.add_argument("--workers", type=argtypes.count, default=2, help="processes that make phantoms")
    parser.add_argument("--resume", action="store_true", help="go on from the last finished epoch")


def run(args: argparse.Namespace) -> int:
    """Train, printing one line an epoch, and write the artifact."""
    from glioserve_networks.dataset import load_dataset
    from glioserve_training.phantom_dataset import make_dataset
    from glioserve_training.trainer import EpochResult, train, write_artifact

    recipe = load_recipe(args.recipe) if args.recipe else DEMO_RECIPE
    settings = replace(PRESETS[args.preset], seed=args.seed)
    settings = replace(settings, epochs=args.epochs or settings.epochs)
    # A phantom patient is made with each diagnosis: two studies.
    folder = args.dataset or make_dataset(recipe, -(-args.phantoms // 2), args.cache, args.workers)
    training, validation = load_dataset(folder, recipe, settings.validation_share, settings.seed)
    print(f"{len(training.labels)} training and {len(validation.labels)} validation tensors")

    def show(result: EpochResult) -> None:
        print(
            f"epoch {result.epoch + 1:3d}/{settings.epochs}  train loss {result.train_loss:.3f}  "
            f"loss {result.loss:.3f}  AUC {result.auc:.4f}  heat map on lesion {result.hits:.0%}  "
            f"{result.seconds:.0f} s",
            flush=True,
        )

    checkpoint = args.out.with_name(args.out.name + ".checkpoint.pt")
    if not args.resume:
        checkpoint.unlink(missing_ok=True)
    trained = train(recipe, settings, training, validation, checkpoint=checkpoint, on_epoch=show)
    source = f"dataset {args.dataset.name}" if args.dataset else f"{args.phantoms} synthetic phantoms"
    digest = write_artifact(recipe, settings, trained, source, args.out)
    print(f"{args.out}: epoch {trained.best.epoch + 1}, validation AUC {trained.best.auc:.4f}, weights {digest}")
    return 0
