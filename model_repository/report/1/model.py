"""Adapter: the classifier's output to the whole answer. All that is thought lives in our packages."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from glioserve_contract import ErrorCode, from_dict, to_dict
from glioserve_contract import tensors as t
from glioserve_contract.parameters import parse_parameters
from glioserve_contract.records.manifest import digest_of_model_id
from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_contract.tensors import REPORT_MODEL
from glioserve_preprocess.report.answer import answer
from glioserve_triton.adapters.adapter import respond
from glioserve_triton.adapters.backend_api import NamedTensor, Request, Response
from glioserve_triton.adapters.metrics import Metrics
from glioserve_triton.adapters.served_versions import ServedVersions
from glioserve_triton.adapters.studies import Studies, is_replayed, take_mark
from glioserve_triton.served.repository import check_contract
from glioserve_triton.tracing.requests import RequestTraces

NO_HEATMAP = np.zeros((0, 0, 0), dtype=np.float32)


class TritonPythonModel:
    """Adapter of ``glioserve_preprocess.report.answer``."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the versions that may have answered."""
        check_contract(args["model_config"])
        self.versions = ServedVersions(Path(args["model_repository"]).parent / "classifier")
        metrics = Metrics(pb_utils)
        metrics.serves(self.versions.numbers)
        self.studies, self.traces = Studies(REPORT_MODEL.name, metrics), RequestTraces(REPORT_MODEL.name, metrics.spans)

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        """Return one response for each request, in order."""
        return respond(pb_utils, requests, self.handle, self.failed, self.traces)

    def finalize(self) -> None:
        """Send the spans that still wait."""
        self.traces.close()

    def handle(self, request: Request) -> list[NamedTensor]:
        """Return the tensors of one request's answer."""
        logits, cam, words, mask, record = (
            pb_utils.get_input_tensor_by_name(request, tensor.name).as_numpy()
            for tensor in (t.LOGITS, t.CAM, t.MODEL_ID, t.BRAIN_MASK, t.PREPROCESS)
        )
        wanted = set(request.requested_output_names())
        fields, replayed = take_mark(record[0])
        record = from_dict(PreprocessRecord, fields)
        model = self.versions.find(digest_of_model_id(tuple(words[0].tolist())))
        with_heatmap = _wants_heatmap(request, wanted)
        result = answer(model, logits[0], cam[0], mask, record, with_heatmap=with_heatmap, ended=self.traces.stage)
        if not replayed:
            self.studies.answered(request, result.report)
        values = {
            t.SCORE: np.array([result.report.score], dtype=np.float32),
            t.LABEL: np.array([result.report.label], dtype=object),
            t.PROBABILITIES: result.probabilities,
            t.HEATMAP: NO_HEATMAP if result.heatmap is None else result.heatmap,
            t.HEATMAP_AFFINE: np.array(result.report.preprocess.reference_grid.lps_from_voxel),
            t.REPORT: np.array([json.dumps(to_dict(result.report))], dtype=object),
        }
        return [pb_utils.Tensor(tensor.name, value) for tensor, value in values.items() if tensor.name in wanted]

    def failed(self, request: Request, code: ErrorCode) -> None:
        """Count and record a study that got no report."""
        if not is_replayed(pb_utils, request):
            self.studies.failed(request, code)


def _wants_heatmap(request: Request, wanted: set[str]) -> bool:
    # An ensemble asks its steps for everything, whatever its caller asked for; parameters do reach the steps.
    return t.HEATMAP.name in wanted and parse_parameters(request.parameters()).get(t.HEATMAP_PARAMETER, True)
