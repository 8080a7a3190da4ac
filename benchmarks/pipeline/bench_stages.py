"""Measure each stage of one study in CPU seconds of one process: a phantom, and a real study where one is given.

``make bench NAME=stages ARGS='[--study DIR] [--repeat 3]'``: the least of the repeats, since the machine is
shared; the first run is left out, which pays for imports and caches. CPU time of all threads is in the sums.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import onnxruntime as ort

from common import ROOT, print_table, write_result
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.recipe import preprocessing_digest
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import dicom_files
from glioserve_preprocess.pipeline import preprocess_dicom
from glioserve_preprocess.report.answer import answer
from glioserve_registry.demo_model import demo_model_dir
from glioserve_triton.served.versions import load_manifest

REAL_STUDY = ROOT.parent / "shared" / "data" / "tcga-fg-6692" / "dicom"
SLICES = 20
"""The real study has 26 slices: it is measured under a recipe that takes them."""


def stages(files: list[bytes], repeat: int) -> dict[str, float]:
    """CPU seconds per stage, the least of ``repeat`` runs after a first one."""
    manifest = load_manifest(demo_model_dir())
    recipe = manifest.recipe.with_min_slices(SLICES)
    lowered = replace(manifest, recipe=recipe, preprocessing_digest=preprocessing_digest(recipe))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(demo_model_dir() / "model.onnx", options, providers=["CPUExecutionProvider"])
    runs = []
    for _ in range(repeat + 1):
        with mock.patch("glioserve_preprocess.stopwatch.time.perf_counter", time.process_time):
            done = preprocess_dicom(files, recipe, accept_identified=True)
            started = time.process_time()
            logits, cam = session.run(["LOGITS", "CAM"], {"IMAGE": done.image[np.newaxis]})
            classify = time.process_time() - started
            version = ServedVersion("classifier", "1", lowered)
            report = answer(version, logits[0], cam[0], done.brain_mask, done.record).report
        before = {k: v for k, v in report.timings_s.items() if k not in ("report", "heatmap")}
        after = {k: report.timings_s[k] for k in ("report", "heatmap")}
        runs.append({**before, "classify": classify, **after})
    return {stage: min(run[stage] for run in runs[1:]) for stage in runs[0]}


def main() -> None:
    """Print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=REAL_STUDY, help="folder of a DICOM study")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    figures = {"phantom": stages(dicom_files(make_phantom(7, "recurrence")), args.repeat)}
    if args.study.is_dir():
        files = [path.read_bytes() for path in sorted(args.study.rglob("*")) if path.is_file()]
        figures[args.study.parent.name] = stages(files, args.repeat)
    rows = [[stage, *(f[stage] for f in figures.values())] for stage in figures["phantom"]]
    rows.append(["sum", *(sum(f.values()) for f in figures.values())])
    print_table("CPU seconds per stage", ["stage", *figures], rows)
    settings = {"repeat": args.repeat, "sequences": 3}
    write_result("stages", settings, figures, ("numpy", "SimpleITK", "onnxruntime", "pydicom"))


if __name__ == "__main__":
    main()
