"""Hold a demo's output folder to what a demo must leave: ``python scripts/check_demo.py out``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from glioserve_contract import NOT_FOR_CLINICAL_USE, from_dict
from glioserve_contract.records.report import Report
from glioserve_registry.demo_model import demo_model_dir
from glioserve_triton.served.versions import load_manifest


def check(folder: Path) -> list[str]:
    """Return the claims that do not hold of the answer to the demo's phantom, which has a recurrence."""
    document = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    report = from_dict(Report, document, ignore_unknown=True)
    heatmap = np.asarray(nib.Nifti1Image.from_filename(folder / "heatmap.nii.gz").dataobj)
    page = (folder / "report.html").read_text(encoding="utf-8")
    with Image.open(folder / "overlay.png") as overlay:
        overlay.load()
        size = overlay.size
    claims = {
        "the phantom's recurrence is recognised": report.label == "recurrence" and report.score >= report.threshold,
        "the probabilities sum to 1": abs(sum(report.probabilities.values()) - 1) < 1e-6,
        "the digest is the shipped model's": report.model.digest == load_manifest(demo_model_dir()).weights_digest,
        "every stage was timed": len(report.timings_s) == 9,
        "the heat map is on the reference's grid": heatmap.shape == report.preprocess.reference_grid.size_voxels,
        "the heat map reaches 1": bool(np.isclose(heatmap.max(), 1) and heatmap.min() >= 0),
        "the overlay is a picture": min(size) > 400,
        "the page stands alone": "data:image/jpeg;base64," in page and 'src="http' not in page,
        "the page shows every sequence": all(f'id="volume-{s.modality}"' in page for s in report.preprocess.series),
        "the notice is on the page": NOT_FOR_CLINICAL_USE.split(":")[0] in page,
        "the notice is in the report": report.notice == NOT_FOR_CLINICAL_USE,
    }
    return [claim for claim, holds in claims.items() if not holds]


if __name__ == "__main__":
    wrong = check(Path(sys.argv[1]))
    print("demo: " + ("; ".join(f"NOT {claim}" for claim in wrong) or "all checks hold"))
    sys.exit(bool(wrong))
