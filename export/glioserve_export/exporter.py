"""An artifact to an exported version: load, trace, prove parity, describe, publish. Nothing is left of a failure."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version as package_version
from pathlib import Path

import numpy as np
import onnx
import torch

from glioserve_contract import CONTRACT_VERSION, ErrorCode, GlioserveError
from glioserve_contract.records.facts.parity import ReferenceCaseParity
from glioserve_contract.records.manifest import MANIFEST_SCHEMA, Manifest
from glioserve_contract.records.recipe import Recipe, preprocessing_digest
from glioserve_export.classifier_config import CamGrid
from glioserve_export.files import sync_folder
from glioserve_export.graphs.graph import CamMethod, cam_lattice, cam_method
from glioserve_export.graphs.onnx_export import cam_grid, export_onnx
from glioserve_export.graphs.parity import Parity, check_parity
from glioserve_export.graphs.probes import Array
from glioserve_export.graphs.vectors import save_vectors
from glioserve_export.progress import Progress
from glioserve_export.reference_case import check_graph, check_network
from glioserve_export.variants.build import Variants, WantedVariants, check_wanted, make_variants
from glioserve_export.version_files import (
    DRIFT_REFERENCE_FILE,
    MANIFEST_FILE,
    ONNX_FILE,
    OPTIONAL_FILES,
    RECIPE_FILE,
    REFERENCE_CASE_FILE,
    REQUIRED_FILES,
    VECTORS_FILE,
)
from glioserve_networks import Artifact
from glioserve_networks.dataset import load_studies
from glioserve_networks.reference_case import StoredCase
from glioserve_preprocess.brain.model import read_model
from glioserve_preprocess.files import file_digest, save_recipe
from glioserve_triton.served.versions import save_manifest

CALIBRATION_STUDIES = 64
"""Most studies of a dataset that calibrate the variants."""
PARITY_STUDIES = 3
"""Studies of a calibration set that parity is shown on besides the probes."""
NO_VARIANTS = WantedVariants()
_LIBRARIES = ("glioserve", "torch", "monai", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True, eq=False)
class Exported:
    """A graph that answers as its network does."""

    recipe: Recipe
    weights_digest: str
    onnx: bytes
    cam_grid: CamGrid
    cam_lattice: tuple[float, float]
    """(start, step) in voxels of IMAGE: where the CAM's voxels lie."""
    cam_method: CamMethod
    parity: Parity
    trace_s: float
    parity_s: float
    reference_case: StoredCase | None = None
    drift_reference: bytes | None = None
    """File of the studies that drift is measured from, byte for byte."""
    case_figures: ReferenceCaseParity | None = None
    """Scores that network and graph give the reference case."""
    variants: Variants = field(default_factory=Variants)


def convert(
    artifact: Artifact, progress: Progress, calibration: Array | None = None, wanted: WantedVariants = NO_VARIANTS
) -> Exported:
    """Return the artifact's network as a graph whose parity is proven.

    Args:
        artifact: the trained network.
        progress: receives a line for each step.
        calibration: FP32 [n, C, D, H, W], studies as the network is shown them; some join the parity's probes, and
            the variants are held to all of them.
        wanted: the variants to make.

    Raises:
        GlioserveError: GLIO-5105 where parity does not hold, GLIO-5117 where network or graph do not give the
            reference case its score, GLIO-5118 where a ``wanted`` variant strays.
    """
    check_wanted(wanted, calibration is not None)
    recipe, case = artifact.recipe, artifact.reference_case
    network = artifact.network()
    if case is not None:
        progress("reference case: the network")
        score = check_network(network, case, recipe)
    progress(f"tracing {recipe.architecture.name} for {len(recipe.channels)} x {recipe.grid.shape} to ONNX")
    started = time.perf_counter()
    model = export_onnx(network, recipe, artifact.weights_digest)
    traced = time.perf_counter()
    progress(f"parity of {len(model) / 1e6:.1f} MB ONNX with PyTorch and autograd Grad-CAM")
    parity = check_parity(model, artifact, lambda step: progress(f"  {step}"), _some(calibration))
    figures = None
    if case is not None and recipe.reference_case is not None:
        progress("reference case: the graph")
        expected = recipe.reference_case
        figures = ReferenceCaseParity(expected.score, expected.tolerance, score, check_graph(model, case, recipe))
    proven = time.perf_counter()
    images = np.empty(0, dtype=np.float32) if calibration is None else calibration
    variants = make_variants(model, recipe, images, wanted, progress=progress, threads=torch.get_num_threads())
    grid = cam_grid(onnx.load_from_string(model))
    return Exported(
        recipe=recipe,
        weights_digest=artifact.weights_digest,
        onnx=model,
        cam_grid=grid,
        cam_lattice=cam_lattice(network, recipe),
        cam_method=cam_method(network, recipe),
        parity=parity,
        trace_s=traced - started,
        parity_s=proven - traced,
        reference_case=case,
        drift_reference=artifact.drift_reference,
        case_figures=figures,
        variants=variants,
    )


def _some(calibration: Array | None) -> Array | None:
    return None if calibration is None else calibration[:PARITY_STUDIES]


def write_version(exported: Exported, folder: Path) -> Manifest:
    """Write ``model.onnx``, ``recipe.json`` and, last, the manifest that names them."""
    (folder / ONNX_FILE).write_bytes(exported.onnx)
    save_recipe(exported.recipe, folder / RECIPE_FILE)
    save_vectors(exported.parity.vectors, folder)
    names = [*REQUIRED_FILES, VECTORS_FILE]
    if exported.reference_case is not None:
        (folder / REFERENCE_CASE_FILE).write_bytes(exported.reference_case.content)
        names.append(REFERENCE_CASE_FILE)
    if exported.drift_reference is not None:
        (folder / DRIFT_REFERENCE_FILE).write_bytes(exported.drift_reference)
        names.append(DRIFT_REFERENCE_FILE)
    for name, content in exported.variants.files.items():
        (folder / name).write_bytes(content)
        names.append(name)
    start_voxels, step_voxels = exported.cam_lattice
    manifest = Manifest(
        schema=MANIFEST_SCHEMA,
        recipe=exported.recipe,
        weights_digest=exported.weights_digest,
        preprocessing_digest=preprocessing_digest(exported.recipe),
        cam_grid=exported.cam_grid,
        cam_start_voxels=start_voxels,
        cam_step_voxels=step_voxels,
        files={name: file_digest(folder / name) for name in names},
        parity=exported.parity.record(exported.case_figures),
        cam_method=exported.cam_method,
        variants=exported.variants.records,
        versions={"contract": CONTRACT_VERSION, **{name: package_version(name) for name in _LIBRARIES}},
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    save_manifest(manifest, folder)
    return manifest


def check_brain_model(recipe: Recipe, brain_models: Path | None, progress: Progress) -> None:
    """Raise GLIO-5114 where another brain model than the recipe's is installed under its name.

    A missing one is only reported: it need only be where the repository is served.
    """
    if recipe.brain_extraction.method == "classical":
        return
    try:
        read_model(recipe.brain_extraction, brain_models)
    except GlioserveError as error:
        if error.code is not ErrorCode.BRAIN_MODEL_MISSING:
            raise
        progress(f"note: {error.detail} The server will need it.")


def calibration_studies(folder: Path | None, recipe: Recipe) -> Array | None:
    """Return studies FP32 [n, C, D, H, W] of a dataset folder that was made for this recipe (GLIO-5104 otherwise)."""
    return None if folder is None else load_studies(folder, recipe, CALIBRATION_STUDIES)[0]


def export_model(
    artifact: Artifact,
    folder: Path,
    *,
    progress: Progress,
    calibration: Path | None = None,
    wanted: WantedVariants = NO_VARIANTS,
) -> Exported:
    """Write the files of a version into ``folder`` alone, replacing those of an earlier export and nothing else.

    The manifest comes last: a folder that was interrupted fails its digests and is never served.
    """
    exported = convert(artifact, progress, calibration_studies(calibration, artifact.recipe), wanted)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as stage:
        manifest = write_version(exported, Path(stage))
        for name in (*manifest.files, MANIFEST_FILE):
            (Path(stage) / name).replace(folder / name)
        for stale in set(OPTIONAL_FILES) - set(manifest.files):
            (folder / stale).unlink(missing_ok=True)
    sync_folder(folder)
    return exported
