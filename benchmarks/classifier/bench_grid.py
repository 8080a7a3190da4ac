"""The study's tables as one grid, small: every network, thin, on every combination of sequences of a phantom cohort.

It shows that the grid runs, from DICOM to a table with intervals; thin networks on a few dozen phantoms say nothing of
which network or sequence is better.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from common import ROOT, write_result
from glioserve_cli.main import main as glioserve
from glioserve_contract.records.recipe import Grid
from glioserve_preprocess.files import save_recipe
from glioserve_training.settings import DEMO_RECIPE

FIRST_SEED = 20_000
THIN = {
    "resnet10": {"widen_factor": 0.125, "conv1_t_stride": 2, "no_max_pool": True, "stage_strides": [1, 2, 1, 1]},
    "resnet50": {"widen_factor": 0.0625, "conv1_t_stride": 2, "no_max_pool": True, "stage_strides": [1, 2, 1, 1]},
    "vgg11": {"widen_factor": 0.125, "hidden": 64},
    "vgg16": {"widen_factor": 0.125, "hidden": 64},
    "densenet121": {"widen_factor": 0.125},
    "mresnet": {"widen_factor": 0.0625, "conv1_t_stride": 2, "no_max_pool": True, "stage_strides": [1, 2, 1, 1]},
}


def main() -> int:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--networks", nargs="+", default=list(THIN))
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench_grid")
    args = parser.parse_args()
    started = time.perf_counter()
    cohort, out = args.work / "cohort", args.work / "out"
    args.work.mkdir(parents=True, exist_ok=True)
    save_recipe(replace(DEMO_RECIPE, grid=Grid((32, 32, 32), (6.0, 6.0, 6.0))), args.work / "recipe.json")
    (args.work / "options.json").write_text(json.dumps(THIN), encoding="utf-8")
    phantoms = ["phantom", str(cohort), "--seed", str(FIRST_SEED), "--cohort", str(args.studies), "--deidentified"]
    grid = ["train-grid", "--cohort", str(cohort / "cohort.csv"), "--out", str(out), "--preset", "demo"]
    grid += ["--epochs", str(args.epochs), "--recipe", str(args.work / "recipe.json")]
    grid += ["--options", str(args.work / "options.json"), "--networks", *args.networks]
    code = glioserve(phantoms) or glioserve(grid)
    if code:
        return code
    table = json.loads((out / "grid.json").read_text(encoding="utf-8"))
    settings = {"studies": args.studies, "epochs": args.epochs, "options": THIN}
    figures = {"rows": table["rows"], "excluded": table["excluded"], "seconds": time.perf_counter() - started}
    write_result("grid", settings, figures, ("torch", "monai", "scipy", "scikit-learn"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
