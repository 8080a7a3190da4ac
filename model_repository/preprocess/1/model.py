"""Adapter: a request's DICOM files or volumes to the network's input. All that is thought lives in our packages."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.tensors import BRAIN_MASK, IMAGE, PREPROCESS, PREPROCESS_MODEL
from glioserve_preprocess.brain.model import load_brain_model, site_folder
from glioserve_preprocess.overrides import Overrides
from glioserve_preprocess.pipeline import preprocess_dicom, preprocess_volumes
from glioserve_triton.adapters.adapter import respond
from glioserve_triton.adapters.backend_api import NamedTensor, Request, Response
from glioserve_triton.adapters.metrics import Metrics
from glioserve_triton.adapters.studies import Studies, keep_input, keeps_log, leave_for_candidate
from glioserve_triton.adapters.study_input import read_input
from glioserve_triton.adapters.wanted import still_wanted
from glioserve_triton.served.promotions import load_serving
from glioserve_triton.served.repository import check_contract
from glioserve_triton.tracing.requests import RequestTraces
from glioserve_watch.inputs import KeptInput


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
        self.studies = Studies(PREPROCESS_MODEL.name, self.metrics)
        self.traces = RequestTraces(PREPROCESS_MODEL.name, self.metrics.spans)

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        """Return one response for each request, in order."""
        return respond(pb_utils, requests, self.handle, self.failed, self.traces)

    def finalize(self) -> None:
        """Send the spans that still wait."""
        self.traces.close()

    def handle(self, request: Request) -> tuple[NamedTensor, ...]:
        """Return the tensors of one request's answer."""
        check = still_wanted(request)
        overrides = Overrides.of_parameters(request.parameters())
        study = read_input(pb_utils, request)
        if study.files is not None:
            result = preprocess_dicom(
                study.files, self.recipe, accept_identified=self.accept_identified, series=overrides.for_files(),
                threads=self.threads, brain_models=self.brain_models, check=check, ended=self.traces.stage,
            )  # fmt: skip
        else:
            result = preprocess_volumes(
                overrides.renamed(study.volumes), self.recipe,
                threads=self.threads, brain_models=self.brain_models, check=check, ended=self.traces.stage,
            )  # fmt: skip
        record = replace(result.record, input_digest=study.digest() if keeps_log() else None)
        text = json.dumps(to_dict(record))
        self.metrics.preprocessed(record, study.size_bytes)
        leave_for_candidate(record, result.image)
        keep_input(self.metrics, record, KeptInput(result.image, result.brain_mask, text))
        return (
            pb_utils.Tensor(IMAGE.name, result.image[np.newaxis]),
            pb_utils.Tensor(BRAIN_MASK.name, result.brain_mask),
            pb_utils.Tensor(PREPROCESS.name, np.array([text], dtype=object)),
        )

    def failed(self, request: Request, code: ErrorCode) -> None:
        """Count and record a study that could not be preprocessed."""
        try:
            digest = read_input(pb_utils, request).digest() if keeps_log() else None
        except GlioserveError:  # the request has no input that could be known again
            digest = None
        self.studies.failed(request, code, digest)
