"""Measure ``report.html``: its size, and the time and memory to build it, on the demo's phantom and on 1 mm volumes.

``make bench NAME=page``: a real patient's study too, where one is given. The page shows four sequences; the network
sees the three that it was made for. CPU time is of one process, the least of the repeats.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort

from bars import Bar, print_bars
from common import print_table, write_result
from glioserve_client import DicomStudy, Prediction
from glioserve_client.outputs import write_outputs
from glioserve_client.outputs.anatomy import reference_anatomy
from glioserve_client.outputs.viewer import make_viewer
from glioserve_client.prediction import Heatmap
from glioserve_contract import Modality
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.recipe import preprocessing_digest
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import dicom_files
from glioserve_preprocess.pipeline import preprocess_dicom
from glioserve_preprocess.report.answer import answer
from glioserve_registry.demo_model import demo_model_dir
from glioserve_triton.served.versions import load_manifest
from pipeline.studies import fg_sized_study, phantom_study

LIMIT_BYTES = 15e6
SLICES = 20
"""The real study has 26 slices: it is measured under a recipe that takes them."""


def predicted(files: list[bytes]) -> Prediction:
    """The answer to a study of T1, T1ce, T2 and FLAIR, as the server makes it; the study's own UIDs are in it."""
    manifest = load_manifest(demo_model_dir())
    channels = (*manifest.recipe.channels, Modality.FLAIR)
    recipe = replace(manifest.recipe.with_min_slices(SLICES), channels=channels)
    done = preprocess_dicom(files, recipe, accept_identified=True)
    session = ort.InferenceSession(demo_model_dir() / "model.onnx", providers=["CPUExecutionProvider"])
    logits, cam = session.run(["LOGITS", "CAM"], {"IMAGE": done.image[np.newaxis, :3]})
    shown = replace(manifest, recipe=recipe, preprocessing_digest=preprocessing_digest(recipe))
    made = answer(ServedVersion("classifier", "1", shown), logits[0], cam[0], done.brain_mask, done.record)
    assert made.heatmap is not None
    assert made.report.heatmap is not None
    affine = np.array(made.report.preprocess.reference_grid.lps_from_voxel)
    heatmap = Heatmap(made.heatmap, affine, made.report.heatmap.explained_class)
    uids = {s.series_instance_uid: s.series_instance_uid for s in made.report.preprocess.series}
    return Prediction(made.report, heatmap, "bench", original_series_uids=uids)


def measured(files: list[bytes], repeat: int) -> dict[str, float]:
    """Size, CPU time of the viewer's volumes and of all outputs, and the spacing that the page was thinned to."""
    prediction, study = predicted(files), DicomStudy.from_bytes(files)
    viewers, outputs = [], []
    with TemporaryDirectory() as folder:
        for _ in range(repeat):
            start = time.process_time()
            write_outputs(prediction, folder, study)
            outputs.append(time.process_time() - start)
            anatomy = reference_anatomy(study, prediction)
            start = time.process_time()
            viewer = make_viewer(prediction, study, anatomy)
            viewers.append(time.process_time() - start)
        size = (Path(folder) / "report.html").stat().st_size
    assert viewer is not None
    assert len(viewer.sequences) == len(prediction.report.preprocess.series), viewer.problems
    return {
        "page MB": size / 1e6,
        "viewer CPU s": min(viewers),
        "all outputs CPU s": min(outputs),
        "thinned to mm": viewer.thinned_to_mm or float("nan"),
        "peak memory MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def main() -> None:
    """Print the table and the bar, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    real = fg_sized_study()
    studies = {
        "demo phantom": dicom_files(make_phantom(7, "recurrence")),
        real.name: [path.read_bytes() for path in real.files],
        "4 x 256 x 256 x 176, 1 mm": [path.read_bytes() for path in phantom_study(176, isotropic=True).files],
    }
    figures = {name: measured(files, args.repeat) for name, files in studies.items()}
    columns = list(next(iter(figures.values())))
    print_table("report.html", ["study", *columns], [[name, *f.values()] for name, f in figures.items()])
    bars = [Bar(f"page of {name}", f["page MB"], LIMIT_BYTES / 1e6, "MB") for name, f in figures.items()]
    print_bars(bars)
    kept = {name: {k: v for k, v in f.items() if v == v} for name, f in figures.items()}
    write_result("page", {"repeat": args.repeat}, {**kept, "bars": [b.record() for b in bars]}, ("numpy", "pillow"))


if __name__ == "__main__":
    main()
