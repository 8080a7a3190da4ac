"""Triton's scheduler alone: a model that sleeps, with the queue of preprocess, beside one simulated station.

Sleeping takes no core, so that neither a busy machine nor a slowdown is in the waits: what is left is when requests are
handed on.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simpy
import tritonclient.grpc as triton

from capacity.stations import Limits, Station, Study
from common import ROOT
from glioserve_triton.process.options import ServerOptions
from glioserve_triton.process.server import TritonServer

MODEL = "sleeper"
STUDIES = 120
SHORTEST_S, LONGEST_S = 0.2, 1.4
BURST_PAUSE_S = 0.05
UTILISATION = 0.7
"""Share of the time for which the two instances sleep."""
Times = npt.NDArray[np.float64]
_CODE = """
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        seconds = pb_utils.get_input_tensor_by_name(request, "SECONDS").as_numpy()
        time.sleep(float(seconds[0]))
        return pb_utils.InferenceResponse([pb_utils.Tensor("SLEPT", seconds)])
"""
_TENSORS = """
name: "sleeper" backend: "python" max_batch_size: 0
input [ { name: "SECONDS" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "SLEPT" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""


def measure(folder: Path, burst: int, seed: int) -> tuple[Times, Times, Times]:
    """Send requests to a sleeping model, one by one or so many at once.

    Return, in seconds and in the order in which they came, when each came, how long it waited, and how long it slept.
    The instances and the queue are those of preprocess.
    """
    repository, file = folder / "repository", folder / "trace.json"
    (repository / MODEL / "1").mkdir(parents=True)
    served = (ROOT / "model_repository" / "preprocess" / "config.pbtxt").read_text(encoding="utf-8")
    blocks = re.finditer(r"^(?:instance_group \[.*?\]|dynamic_batching \{.*?^\})$", served, re.MULTILINE | re.DOTALL)
    queue = [block[0] for block in blocks]
    (repository / MODEL / "config.pbtxt").write_text(_TENSORS + "\n".join(queue) + "\n", encoding="utf-8")
    (repository / MODEL / "1" / "model.py").write_text(_CODE, encoding="utf-8")
    draw = np.random.default_rng(seed)
    seconds = draw.uniform(SHORTEST_S, LONGEST_S, STUDIES)
    lasts_s = float(seconds.sum()) / 2 / UTILISATION
    begins = np.sort(draw.uniform(0.0, lasts_s, STUDIES // burst))
    moments = np.sort((begins[:, None] + BURST_PAUSE_S * np.arange(burst)).ravel())
    flags = ("triton,file=" + str(file), "rate=1", "level=TIMESTAMPS", "count=-1")
    options = ServerOptions(model=MODEL, extra_flags=tuple(f"--trace-config={flag}" for flag in flags))
    with TritonServer(repository, options) as server, triton.InferenceServerClient(server.grpc_url) as client:

        def send(slept_s: float) -> None:
            tensor = triton.InferInput("SECONDS", [1], "FP32")
            tensor.set_data_from_numpy(np.array([slept_s], dtype=np.float32))
            client.infer(MODEL, [tensor])

        with ThreadPoolExecutor(STUDIES) as pool:
            began, sent = time.monotonic(), []
            for moment, slept_s in zip(moments, seconds, strict=True):
                time.sleep(max(0.0, began + float(moment) - time.monotonic()))
                sent.append(pool.submit(send, float(slept_s)))
        for one in sent:
            one.result()
    return _read(file.read_text(encoding="utf-8"))


def simulate(arrivals_s: Times, seconds: Times, limits: Limits) -> Times:
    """Return how long each request waits at a simulated station."""
    env = simpy.Environment()
    begun: dict[int, float] = {}

    def begin(batch: Sequence[Study]) -> float:
        (study,) = batch
        begun[id(study)] = env.now
        return study.preprocess_s

    station = Station(env, limits, begin)
    studies = [Study(float(at), float(s), 0.0, 0.0) for at, s in zip(arrivals_s, seconds, strict=True)]

    def arrive() -> simpy.events.ProcessGenerator:
        for study in studies:
            yield env.timeout(study.arrived_s - env.now)
            station.submit(study)

    env.process(arrive())
    env.run()
    return np.array([begun[id(study)] - study.arrived_s for study in studies])


def _read(text: str) -> tuple[Times, Times, Times]:
    moments: dict[int, dict[str, int]] = defaultdict(dict)
    for line in json.loads(text):
        for stamp in line.get("timestamps", ()):
            moments[line["id"]][stamp["name"]] = stamp["ns"]
    whole = sorted((m for m in moments.values() if "COMPUTE_END" in m), key=lambda m: m["QUEUE_START"])
    queued, began, ended = (
        np.array([m[name] for m in whole]) / 1e9 for name in ("QUEUE_START", "COMPUTE_START", "COMPUTE_END")
    )
    return queued - queued[0], began - queued, ended - began
