"""A real tritonserver that answers volumes at once with a prepared answer, for what handing them over costs."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client.studies import MODALITIES
from glioserve_client.testing import answer
from glioserve_contract.tensors import ENSEMBLE, affine_tensor, volume_tensor
from glioserve_triton.process.options import ServerOptions
from glioserve_triton.process.server import TritonServer

TOKEN = "shared-memory-token-of-a-benchmark"
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


@contextmanager
def canned_server(folder: Path) -> Iterator[TritonServer]:
    """Run it; ``folder`` gets its repository."""
    model = folder / ENSEMBLE.name
    (model / "1").mkdir(parents=True)
    names = [name for m in MODALITIES for name in (volume_tensor(m), affine_tensor(m))]
    inputs = [tensor for tensor in ENSEMBLE.inputs if tensor.name in names]
    lines = [f'name: "{ENSEMBLE.name}" backend: "python" max_batch_size: 0']
    for kind, tensors in (("input", inputs), ("output", ENSEMBLE.outputs)):
        for tensor in tensors:
            dtype = "STRING" if tensor.dtype == "BYTES" else tensor.dtype
            dims = ", ".join(map(str, tensor.shape))
            lines.append(f'{kind} [ {{ name: "{tensor.name}" data_type: TYPE_{dtype} dims: [ {dims} ] }} ]')
    lines.append("instance_group [ { count: 1 kind: KIND_CPU } ]")
    (model / "config.pbtxt").write_text("\n".join(lines) + "\n")
    (model / "1" / "model.py").write_text(_MODEL)
    (model / "1" / "answer.pickle").write_bytes(pickle.dumps(dict(answer("recurrence").outputs)))
    with TritonServer(folder, ServerOptions(shared_memory_token=TOKEN)) as server:
        yield server
