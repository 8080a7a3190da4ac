"""Predictors without a server: an exported version on ONNX Runtime, or an artifact's network in PyTorch.

Preprocessing and report are those of the server, so a score is the served one. Identified DICOM is accepted: nothing
leaves the machine. (The live server's predictor is in :mod:`sources`: it needs the client.)
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.facts.parity import ParityRecord
from glioserve_contract.records.manifest import MANIFEST_SCHEMA, Manifest, ServedVersion
from glioserve_contract.records.recipe import Recipe, preprocessing_digest
from glioserve_contract.records.report import Report
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_dicom.files.folder import study_files
from glioserve_evaluation.runs.prediction import CasePrediction, ModelFacts, facts_of, prediction_of
from glioserve_evaluation.runs.run import ignore_interrupts
from glioserve_export.version_files import MANIFEST_FILE, ONNX_FILE
from glioserve_preprocess.brain.model import read_model, site_folder
from glioserve_preprocess.pipeline import preprocess_dicom
from glioserve_preprocess.report.answer import answer
from glioserve_registry.publishing.publication import checked_export

_WEIGHTS_FILE = "weights.safetensors"
_Image = npt.NDArray[np.float32]
_Network = Callable[[_Image], tuple[_Image, _Image]]
"""Function from IMAGE [1, C, D, H, W] to LOGITS [2] and CAM [2, d, h, w]."""


@dataclass(frozen=True)
class OfflinePredictor:
    """A predictor of the network in ``folder``; small and picklable, each process opens the network once."""

    folder: Path
    model: ModelFacts
    threads: int | None = None
    """Threads for one study; None means one for each core. The answer is the same to the bit."""

    def __call__(self, study: Path) -> CasePrediction:
        """Return the report's part that an evaluation uses."""
        return prediction_of(self.report(study), self.model.source, self.model.version)

    def report(self, study: Path) -> Report:
        """Read, preprocess and classify a study, and return the report."""
        served, network = _opened(self.folder, self.model.source == "artifact", self.threads)
        files = study_files(study)
        prepared = preprocess_dicom(
            files, served.manifest.recipe, accept_identified=True, threads=self.threads, brain_models=site_folder()
        )
        logits, cam = network(prepared.image[np.newaxis])
        return answer(served, logits, cam, prepared.brain_mask, prepared.record, with_heatmap=False).report


def open_offline(folder: Path, threads: int | None = None) -> OfflinePredictor:
    """Open a predictor of an artifact or of an exported or published version, its files checked.

    GLIO-5102 where the folder is neither, GLIO-5101 to -5103 where its files are not right, GLIO-5113 and -5114
    where the brain model that its recipe names is not there or is another one.
    """
    if (folder / MANIFEST_FILE).is_file():
        manifest = checked_export(folder)
        version = folder.name if manifest.publication and folder.name.isdecimal() else ""
        model = facts_of(manifest.recipe, manifest.weights_digest, "exported version", version)
        recipe = manifest.recipe
    elif (folder / _WEIGHTS_FILE).is_file():
        from glioserve_networks import load_artifact

        artifact = load_artifact(folder)
        recipe = artifact.recipe
        model = facts_of(recipe, artifact.weights_digest, "artifact")
    else:
        raise GlioserveError(
            ErrorCode.INVALID_ARTIFACT,
            f"The folder is neither an artifact ({_WEIGHTS_FILE}) nor an exported version ({MANIFEST_FILE}); of a "
            "repository, name the version: REPOSITORY/classifier/1.",
        )
    if recipe.brain_extraction.method == "network":
        read_model(recipe.brain_extraction, site_folder())  # once, rather than a failure per study
    return OfflinePredictor(folder.resolve(), model, threads)


def start_worker(threads: int | None) -> None:
    """Prepare a worker process: it gets its share of the cores, leaves interrupts to its parent, and ends with it."""
    from glioserve_preprocess.itk import set_itk_threads

    ignore_interrupts()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if threads is not None:
        set_itk_threads(threads)


def _end_with_parent() -> None:
    """End this process when its parent ends: workers of a killed parent would wait for its next study for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@lru_cache(maxsize=1)
def _opened(folder: Path, artifact: bool, threads: int | None) -> tuple[ServedVersion, _Network]:
    return _artifact(folder, threads) if artifact else _exported(folder, threads)


def _exported(folder: Path, threads: int | None) -> tuple[ServedVersion, _Network]:
    import onnxruntime

    manifest = checked_export(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"])

    def network(image: _Image) -> tuple[_Image, _Image]:
        logits, cam = session.run(["LOGITS", "CAM"], {"IMAGE": image})
        return logits[0], cam[0]

    return ServedVersion(CLASSIFIER_MODEL.name, folder.name, manifest), network


def _artifact(folder: Path, threads: int | None) -> tuple[ServedVersion, _Network]:
    import torch

    from glioserve_networks import load_artifact

    artifact = load_artifact(folder)
    trained = artifact.network()
    if threads is not None:
        torch.set_num_threads(threads)
    no_map = np.zeros((2, 1, 1, 1), dtype=np.float32)

    def network(image: _Image) -> tuple[_Image, _Image]:
        with torch.inference_mode():
            logits: torch.Tensor = trained(torch.from_numpy(image))
        return logits[0].numpy(), no_map

    served = ServedVersion(CLASSIFIER_MODEL.name, "", _unproven(artifact.recipe, artifact.weights_digest))
    return served, network


def _unproven(recipe: Recipe, weights_digest: str) -> Manifest:
    """Return a manifest with all that the report uses, for a network that was never exported."""
    return Manifest(
        schema=MANIFEST_SCHEMA,
        recipe=recipe,
        weights_digest=weights_digest,
        preprocessing_digest=preprocessing_digest(recipe),
        cam_grid=(1, 1, 1),
        cam_start_voxels=0.0,
        cam_step_voxels=1.0,
        files={},
        parity=ParityRecord(),
        cam_method="none",
    )
