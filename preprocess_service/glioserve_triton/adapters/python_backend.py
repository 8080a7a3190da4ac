"""Shared parts of the Python-based backends: the reading of a configuration, and requests to batches and back.

Triton's module (``triton_python_backend_utils``) exists only inside its stub process, so it is handed in.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np

from glioserve_contract import GlioserveError
from glioserve_contract.metrics import CALLER_STUDIES, RECORDS_LOST, STUDIES
from glioserve_triton.adapters.adapter import incident, triton_error
from glioserve_triton.adapters.backend_api import Array, BackendUtils, Request, Response
from glioserve_triton.adapters.heartbeat import own_heartbeat
from glioserve_triton.adapters.metrics import Metrics
from glioserve_triton.adapters.own_requests import is_own
from glioserve_triton.adapters.studies import Studies
from glioserve_triton.adapters.wanted import still_wanted

Arrays = dict[str, Array]
Run = Callable[[list[str], Arrays], Sequence[Array]]
"""Function from (names of outputs, inputs by name) to the outputs, in the order of the names."""
GraphTensors = Mapping[str, tuple[str | None, Sequence[int | None]]]
"""A graph's tensors: name to Triton's data type and to the dims with the batch's; None is open."""


class ModelConfig:
    """A complete configuration (auto-complete is not supported), as Triton hands it to ``initialize``."""

    def __init__(self, args: Mapping[str, str], default_file: str) -> None:
        self._config = json.loads(args["model_config"])
        name = self._config["default_model_filename"] or default_file
        self.file = Path(args["model_repository"]) / args["model_version"] / name
        self.parameters: dict[str, str] = {k: v["string_value"] for k, v in self._config["parameters"].items()}
        self.name: str = self._config["name"]
        self.max_batch_size: int = self._config["max_batch_size"]
        self.inputs: list[str] = [tensor["name"] for tensor in self._config["input"]]

    @property
    def batched(self) -> bool:
        """True where the first axis is the batch's."""
        return self.max_batch_size > 0

    def check(self, inputs: GraphTensors, outputs: GraphTensors) -> None:
        """Raise ValueError unless the graph has every configured tensor.

        It is as strict as the native backends: same type, and dims that are the graph's wherever it has a number.
        """
        for configured, graph in ((self._config["input"], inputs), (self._config["output"], outputs)):
            for tensor in configured:
                data_type, shape = graph.get(tensor["name"], (None, []))
                dims = shape[int(self.batched) :]
                fits = len(dims) == len(tensor["dims"]) and all(
                    own is None or size == own for size, own in zip(tensor["dims"], dims, strict=True)
                )
                if data_type != tensor["data_type"] or not fits:
                    there = {name: (kind, list(shape)) for name, (kind, shape) in graph.items()}
                    raise ValueError(
                        f"{tensor['name']}: {tensor['data_type']} {tensor['dims']} configured, graph has {there}"
                    )


class Batcher:
    """Requests of one shape run as one batch; each answer goes back to its own."""

    def __init__(self, pb_utils: BackendUtils, config: ModelConfig, run: Run) -> None:
        self._pb_utils, self._config, self._run_graph = pb_utils, config, run
        self._studies = Studies(config.name, Metrics(pb_utils, (STUDIES, RECORDS_LOST, CALLER_STUDIES)))

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        """One response for each request, in order."""
        with own_heartbeat().busy():
            return self._execute(requests)

    def _execute(self, requests: Sequence[Request]) -> list[Response]:
        responses: dict[int, Response] = {}
        inputs: list[Arrays] = [{} for _ in requests]
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            try:
                if not is_own(request):
                    still_wanted(request)()
                inputs[index] = {name: self._input(request, name) for name in self._config.inputs}
                shapes = tuple(array.shape[1:] for array in inputs[index].values())
                groups[shapes if self._config.batched else index].append(index)
            except Exception as error:  # noqa: BLE001 - nothing uncaught leaves execute: it would carry a traceback
                responses[index] = self._failed(requests[index], error)
        for indices in groups.values():
            responses.update(zip(indices, self._run_group(indices, requests, inputs), strict=True))
        return [responses[index] for index in range(len(requests))]

    def _input(self, request: Request, name: str) -> Array:
        tensor = self._pb_utils.get_input_tensor_by_name(request, name)
        if tensor is None:
            raise ValueError(f"the request has no input {name}")
        return tensor.as_numpy()

    def _run_group(self, indices: list[int], requests: Sequence[Request], inputs: list[Arrays]) -> list[Response]:
        """Responses of requests that fit into one batch; if the batch fails each is tried alone."""
        try:
            return self._run(indices, requests, inputs)
        except Exception as error:  # noqa: BLE001 - see execute
            if len(indices) == 1:
                return [self._failed(requests[indices[0]], error)]
            return [self._run_group([index], requests, inputs)[0] for index in indices]

    def _run(self, indices: list[int], requests: Sequence[Request], inputs: list[Arrays]) -> list[Response]:
        first = inputs[indices[0]]
        joined = {n: np.concatenate([inputs[i][n] for i in indices]) if len(indices) > 1 else first[n] for n in first}
        wanted = [list(requests[index].requested_output_names()) for index in indices]
        names = list(dict.fromkeys(name for names in wanted for name in names))
        outputs = dict(zip(names, self._run_graph(names, joined), strict=True))
        rows, batched = len(next(iter(joined.values()))), self._config.batched
        if batched and any(len(array) != rows for array in outputs.values()):
            raise ValueError(f"an output has not the {rows} rows of its batch")
        responses, start = [], 0
        for index, own in zip(indices, wanted, strict=True):
            stop = start + len(next(iter(inputs[index].values())))
            parts = {n: outputs[n][start:stop] if batched else outputs[n] for n in own}
            tensors = [self._pb_utils.Tensor(n, parts[n]) for n in own]
            responses.append(self._pb_utils.InferenceResponse(tensors))
            start = stop
        return responses

    def _failed(self, request: Request, error: Exception) -> Response:
        # The runtimes' texts name nodes and shapes, never values: safe to log, and what one needs at 3 a.m.
        known = error if isinstance(error, GlioserveError) else incident(self._pb_utils, error, str(error))
        if not is_own(request):
            self._studies.failed(request, known.code)
        return self._pb_utils.InferenceResponse(error=triton_error(self._pb_utils, known))
