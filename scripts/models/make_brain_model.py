"""Makes the packaged brain extraction network from nothing: heads, training, export, and the digest that recipes name.

Everything is seeded; finished heads and steps under ``build`` are used again, so a run that was cut off goes on. The
weights may differ in their last digits between machines: the digest in the contract is of what is shipped. A new digest
is another preprocessing: the demo model is made again after it (``make demo-model``).
"""

from __future__ import annotations

import sys
from pathlib import Path

from glioserve_cli.main import main as glioserve
from glioserve_contract.records.brain_model import DEFAULT_BRAIN_MODEL, brain_model_digest, sidecar_name
from pinning import pin

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "preprocess_service" / "glioserve_preprocess" / "models"
CONTRACT = ROOT / "client" / "glioserve_contract" / "records" / "brain_model.py"


def main() -> int:
    """Train (or go on), export, pin."""
    code = glioserve(["train-brain", "--out", str(MODELS), *sys.argv[1:]])
    if code == 0:
        graph, sidecar = ((MODELS / n).read_bytes() for n in (DEFAULT_BRAIN_MODEL, sidecar_name(DEFAULT_BRAIN_MODEL)))
        digest = brain_model_digest(graph, sidecar)
        pin(CONTRACT, "DEFAULT_BRAIN_DIGEST", digest)
        print(f"{CONTRACT.relative_to(ROOT)} names {digest}")
    return code


if __name__ == "__main__":
    sys.exit(main())
