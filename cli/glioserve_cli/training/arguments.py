"""Arguments of the commands that train a network on synthetic heads."""

from __future__ import annotations

import argparse
from pathlib import Path

from glioserve_cli import argtypes


def add_run_arguments(parser: argparse.ArgumentParser, name: str, heads: int) -> None:
    """Add where heads, state and the model ``glioserve-NAME`` are kept, and the size of the run.

    Args:
        parser: The command's parser.
        name: Name of the network.
        heads: Heads to train on, where the caller names no number.
    """
    model = f"glioserve-{name}"
    state = Path(f"build/{name}.checkpoint.pt")
    parser.add_argument("--out", type=Path, required=True, help=f"folder for {model}.onnx, .json and .md")
    parser.add_argument(
        "--heads", type=argtypes.count, default=heads, help=f"synthetic heads to train on (default {heads})"
    )
    parser.add_argument("--cache", type=Path, default=Path("build/brain_heads"), help="where heads are kept")
    parser.add_argument("--checkpoint", type=Path, default=state, help="resumed if there")
    parser.add_argument("--steps", type=argtypes.count, help="instead of the settings' own")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and scans")
    parser.add_argument("--workers", type=argtypes.count, default=2, help="processes that make heads")
