"""Makes ``examples/demo_model`` from nothing: phantoms, training, export with parity, size check, publication.

Everything is seeded; what is already made under ``build`` is used again (phantoms, finished epochs). The
weights may differ in their last digits between machines, since sums are taken in another order: the manifest names
what is shipped. ``make bench NAME=demo_model`` then measures it on fresh phantoms.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from glioserve_cli.main import main as glioserve
from glioserve_export.files import copy_files
from glioserve_export.version_files import MANIFEST_FILE
from glioserve_registry.publishing.publication import checked_export

ROOT = Path(__file__).resolve().parents[2]
SEED = 0
PHANTOMS = 400
MAX_BYTES = 5_000_000
"""Most bytes of its files together: they are stored in the source repository."""


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the options; the defaults make what is shipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "examples" / "demo_model")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "demo_model", help="artifact and intermediates")
    parser.add_argument("--phantoms", type=int, default=PHANTOMS)
    parser.add_argument("--epochs", type=int, help="instead of the demo preset's")
    parser.add_argument("--fresh", action="store_true", help="train anew even where a run was interrupted")
    return parser.parse_args(argv)


def train(args: argparse.Namespace, artifact: Path) -> int:
    """Train the demo preset on the demo recipe by the public command."""
    command = ["train", "--preset", "demo", "--seed", f"{SEED}", "--phantoms", f"{args.phantoms}"]
    command += ["--out", str(artifact)]
    command += ["--epochs", f"{args.epochs}"] if args.epochs else []
    command += [] if args.fresh else ["--resume"]
    return glioserve(command)


def publish(exported: Path, out: Path) -> int:
    """Put the files in place, the manifest last; refused when they are too large to be stored."""
    names = (*checked_export(exported).files, MANIFEST_FILE)
    size = sum((exported / name).stat().st_size for name in names)
    if size > MAX_BYTES:
        print(f"{size / 1e6:.1f} MB are over the {MAX_BYTES / 1e6:.0f} MB that may be stored: {out} is as it was.")
        return 1
    out.mkdir(parents=True, exist_ok=True)
    copy_files(exported, names, out)
    checked_export(out)
    print(f"{out}: {size / 1e6:.2f} MB")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when the model is in place."""
    args = arguments(argv)
    started = time.perf_counter()
    artifact, exported = args.work / "artifact", args.work / "exported"
    code = (
        train(args, artifact)
        or glioserve(["export", str(artifact), "--model-only", str(exported)])
        or publish(exported, args.out)
    )
    print(f"{'done' if code == 0 else 'failed'} after {time.perf_counter() - started:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
