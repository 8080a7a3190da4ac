"""Adapter: a request's DICOM files or volumes to the network's input. All that is thought lives in our packages."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from glioserve_contract import ErrorCode, GlioserveError, Modality, to_dict
from glioserve_contract.tensors import BRAIN_MASK, IMAGE, INSTANCES, PREPROCESS, affine_tensor, volume_tensor
from glioserve_dicom.volumes.arrays import volume_of_array
from glioserve_dicom.volumes.geometry import SequenceVolume
from glioserve_preprocess.brain.model import load_brain_model, site_folder
from glioserve_preprocess.overrides import Overrides
from glioserve_preprocess.pipeline import preprocess_dicom, preprocess_volumes
from glioserve_triton.adapters.adapter import respond
from glioserve_triton.adapters.backend_api import NamedTensor, Request, Response
from glioserve_triton.adapters.metrics import Metrics
from glioserve_triton.adapters.wanted import still_wanted
from glioserve_triton.served.promotions import load_serving
from glioserve_triton.served.repository import check_contract


class TritonPythonModel:
    """Adapter of ``glioserve_preprocess.pipeline``."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the recipe that serves and its brain model."""
        check_contract(args["model_config"])
        repository = Path(args["model_repository"]).parent
        self.recipe = load_serving(repository).manifest.recipe
        self.threads = int(os.environ.get("OMP_NUM_THREADS") or 0) or None
        self.accept_identified = os.environ.get("GLIOSERVE_ACCEPT_IDENTIFIED_DICOM") == "1"
        self.brain_models = site_folder()
        load_brain_model(self.recipe.brain_extraction, self.brain_models)  # a broken one fails the load, not a study
        self.metrics = Metrics(pb_utils)

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        """Return one response for each request, in order."""
        return respond(pb_utils, requests, self.handle, self.metrics)

    def handle(self, request: Request) -> tuple[NamedTensor, ...]:
        """Return the tensors of one request's answer."""
        check = still_wanted(request)
        overrides = Overrides.of_parameters(request.parameters())
        files, volumes = _files(request), _volumes(request)
        if files is not None and volumes:
            raise GlioserveError(ErrorCode.BOTH_INPUTS)
        if files is not None:
            result = preprocess_dicom(
                files, self.recipe, accept_identified=self.accept_identified, series=overrides.for_files(),
                threads=self.threads, brain_models=self.brain_models, check=check,
            )  # fmt: skip
        elif volumes:
            result = preprocess_volumes(
                overrides.renamed(volumes), self.recipe,
                threads=self.threads, brain_models=self.brain_models, check=check,
            )  # fmt: skip
        else:
            raise GlioserveError(ErrorCode.NO_INPUT)
        size_bytes = sum(map(len, files or ())) + sum(v.voxels.nbytes for v in volumes.values())
        self.metrics.preprocessed(result.record, size_bytes)
        return (
            pb_utils.Tensor(IMAGE.name, result.image[np.newaxis]),
            pb_utils.Tensor(BRAIN_MASK.name, result.brain_mask),
            pb_utils.Tensor(PREPROCESS.name, np.array([json.dumps(to_dict(result.record))], dtype=object)),
        )


def _files(request: Request) -> list[bytes] | None:
    tensor = pb_utils.get_input_tensor_by_name(request, INSTANCES.name)
    return None if tensor is None else list(tensor.as_numpy())


def _volumes(request: Request) -> dict[Modality, SequenceVolume]:
    volumes: dict[Modality, SequenceVolume] = {}
    for modality in Modality:
        voxels = pb_utils.get_input_tensor_by_name(request, volume_tensor(modality))
        affine = pb_utils.get_input_tensor_by_name(request, affine_tensor(modality))
        if (voxels is None) != (affine is None):
            raise GlioserveError(ErrorCode.MISSING_AFFINE, f"The {modality} volume: one of the pair is missing.")
        if voxels is not None:
            volumes[modality] = volume_of_array(modality, voxels.as_numpy(), affine.as_numpy())
    return volumes
