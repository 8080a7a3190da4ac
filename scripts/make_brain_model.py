"""Makes the packaged brain extraction network from nothing: heads, training, export, and the digest that recipes name.

Everything is seeded; finished heads and steps under ``build`` are used again, so a run that was cut off goes on. The
weights may differ in their last digits between machines: the digest in the contract is of what is shipped. A new digest
is another preprocessing: the demo model is made again after it (``make demo-model``).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from glioserve_cli.main import main as glioserve
from glioserve_contract.records.brain_model import DEFAULT_BRAIN_MODEL, brain_model_digest, sidecar_name

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "preprocess_service" / "glioserve_preprocess" / "models"
CONTRACT = ROOT / "client" / "glioserve_contract" / "brain_model.py"


def pin(models: Path, contract: Path) -> str:
    """Write the digest of the two files in ``models`` into the contract; returns it."""
    digest = brain_model_digest(
        (models / DEFAULT_BRAIN_MODEL).read_bytes(), (models / sidecar_name(DEFAULT_BRAIN_MODEL)).read_bytes()
    )
    text = contract.read_text(encoding="utf-8")
    pinned, count = re.subn(r'^(DEFAULT_BRAIN_DIGEST = )"[^"]*"', rf'\g<1>"{digest}"', text, flags=re.MULTILINE)
    if count != 1:
        raise SystemExit(f"{contract.name} has no line for the digest")
    contract.write_text(pinned, encoding="utf-8")
    return digest


def main() -> int:
    """Train (or go on), export, pin."""
    code = glioserve(["train-brain", "--out", str(MODELS), *sys.argv[1:]])
    if code == 0:
        print(f"{CONTRACT.relative_to(ROOT)} names {pin(MODELS, CONTRACT)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
