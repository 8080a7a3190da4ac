"""A repository whose ensemble takes volumes and answers at once with a prepared answer: real servers, no work."""

from __future__ import annotations

import pickle
from pathlib import Path

from glioserve_client.testing import answer
from glioserve_contract.sequences import Modality
from glioserve_contract.tensors import ENSEMBLE, affine_tensor, volume_tensor

MODALITIES = (Modality.T1, Modality.T1CE, Modality.T2)
_MODEL = """
import pickle
from pathlib import Path

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        outputs = pickle.loads(Path(__file__).with_name("answer.pickle").read_bytes())
        self._tensors = {name: pb_utils.Tensor(name, array) for name, array in outputs.items()}

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([self._tensors[name] for name in request.requested_output_names()])
            for request in requests
        ]
"""


def write_canned_repository(folder: Path) -> Path:
    """Write it: one Python model, which any of the sequences' volumes may be left out of."""
    model = folder / ENSEMBLE.name
    (model / "1").mkdir(parents=True)
    names = [name for m in MODALITIES for name in (volume_tensor(m), affine_tensor(m))]
    inputs = [tensor for tensor in ENSEMBLE.inputs if tensor.name in names]
    lines = [f'name: "{ENSEMBLE.name}" backend: "python" max_batch_size: 0']
    for kind, tensors in (("input", inputs), ("output", ENSEMBLE.outputs)):
        for tensor in tensors:
            dtype = "STRING" if tensor.dtype == "BYTES" else tensor.dtype
            dims = ", ".join(map(str, tensor.shape))
            optional = " optional: true" if kind == "input" else ""
            lines.append(f'{kind} [ {{ name: "{tensor.name}" data_type: TYPE_{dtype} dims: [ {dims} ]{optional} }} ]')
    lines.append("instance_group [ { count: 1 kind: KIND_CPU } ]")
    (model / "config.pbtxt").write_text("\n".join(lines) + "\n")
    (model / "1" / "model.py").write_text(_MODEL)
    (model / "1" / "answer.pickle").write_bytes(pickle.dumps(dict(answer("recurrence").outputs)))
    return folder
