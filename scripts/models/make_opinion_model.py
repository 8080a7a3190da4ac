"""Makes the packaged network of the second opinion from nothing: heads, training, calibration, export, digest.

Everything is seeded; finished heads and steps under ``build`` are used again, so a run that was cut off goes on. The
weights may differ in their last digits between machines: the digest in the package is of what is shipped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from glioserve_cli.main import main as glioserve
from glioserve_preprocess.opinion.model import OPINION_MODEL, opinion_model_digest
from pinning import pin

MODULE = Path(__file__).resolve().parents[2] / "preprocess_service" / "glioserve_preprocess" / "opinion" / "model.py"


def main() -> int:
    """Train (or go on), calibrate, export, pin."""
    folder = MODULE.parent
    code = glioserve(["train-opinion", "--out", str(folder), *sys.argv[1:]])
    if code == 0:
        graph = folder / OPINION_MODEL.name
        digest = opinion_model_digest(graph.read_bytes(), graph.with_suffix(".json").read_bytes())
        pin(MODULE, "OPINION_DIGEST", digest)
        print(f"{MODULE.name} names {digest}")
    return code


if __name__ == "__main__":
    sys.exit(main())
