"""The simulated pod beside the real server: one Poisson stream of studies, and how long each waits and takes.

Triton's own trace has the moments at which each study came, was begun and was answered. The simulation gets the same
arrivals, and the times that each model worked in this very run; how long studies wait is its own.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simpy

from capacity.pod import Kind, Pod, classifier_limits, one_after_another
from capacity.stations import Study
from chaos.studies import Studies
from glioserve_client import GliomaClient
from glioserve_client.options import NO_RETRY
from glioserve_export.classifier_config import ONNXRUNTIME_CPU
from glioserve_triton.process.options import ServerOptions
from glioserve_triton.process.server import TritonServer

SHRINK = 6
"""Factor by which in-plane voxels are thinned out, for small studies that still take some seconds."""
CALIBRATION = 8
"""Studies, two at a time, whose time sets the rate."""
DEADLINE_S = 300.0
RESAMPLES = 200
MODELS = ("preprocess", "classifier", "report")
Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Traced:
    """Studies in the order of their arrival; seconds, arrivals from the first one on."""

    arrivals_s: Times
    waits_s: Times
    responses_s: Times
    work_s: dict[str, Times]
    """Seconds that each model worked, by its name."""


def measure(repository: Path, folder: Path, seconds: float, utilisation: float, seed: int) -> tuple[Traced, float]:
    """Send a Poisson stream for so many seconds to the embedded server; return its trace, and the studies a second.

    The rate is the one at which the two instances of preprocess would be at work for a share of ``utilisation``.
    """
    file = folder / "trace.json"
    flags = (f"--trace-config=triton,file={file}", *(f"--trace-config={f}" for f in ("rate=1", "level=TIMESTAMPS")))
    study, draw = Studies(shrink=SHRINK).same(), np.random.default_rng(seed)
    options = ServerOptions(extra_flags=(*flags, "--trace-config=count=-1"))
    with (
        TritonServer(repository, options) as server,
        GliomaClient(server.grpc_url, timeout_s=DEADLINE_S, retry=NO_RETRY) as client,
    ):

        def send() -> None:
            client.predict(study, heatmap=False)

        send()  # the first pays for pages and caches
        began = time.monotonic()
        for _ in range(CALIBRATION // 2):
            _wait_for([_start(send), _start(send)])
        rate = utilisation * CALIBRATION / (time.monotonic() - began)
        moments = np.sort(draw.uniform(0.0, seconds, draw.poisson(rate * seconds)))
        began, threads = time.monotonic(), []
        for moment in moments:
            time.sleep(max(0.0, began + float(moment) - time.monotonic()))
            threads.append(_start(send))
        _wait_for(threads)
    return read_trace(file.read_text(encoding="utf-8"), len(moments)), rate


def read_trace(text: str, last: int) -> Traced:
    """Read the last so many studies of Triton's trace; an earlier one is not of the stream."""
    moments: dict[int, dict[str, int]] = defaultdict(dict)
    names: dict[int, str] = {}
    steps: dict[int, dict[str, int]] = defaultdict(dict)
    for line in json.loads(text):
        if "model_name" in line:
            names[line["id"]] = line["model_name"]
            if "parent_id" in line:
                steps[line["parent_id"]][line["model_name"]] = line["id"]
        for stamp in line.get("timestamps", ()):
            moments[line["id"]][stamp["name"]] = stamp["ns"]
    whole = sorted((n for n in steps if set(steps[n]) == set(MODELS)), key=lambda n: moments[n]["REQUEST_START"])[
        -last:
    ]

    def between(number: int, first: str, then: str) -> float:
        return (moments[number][then] - moments[number][first]) / 1e9

    arrivals = np.array([moments[n]["REQUEST_START"] for n in whole]) / 1e9
    waits = [between(steps[n]["preprocess"], "QUEUE_START", "COMPUTE_START") for n in whole]
    responses = [between(n, "REQUEST_START", "REQUEST_END") for n in whole]
    work = {m: np.array([between(steps[n][m], "COMPUTE_START", "COMPUTE_END") for n in whole]) for m in MODELS}
    return Traced(arrivals - arrivals[0], np.array(waits), np.array(responses), work)


def simulate(arrivals_s: Times, work_s: dict[str, Times]) -> tuple[Times, Times]:
    """Return how long studies wait for preprocessing and for their answer in the simulated pod, in seconds."""
    env = simpy.Environment()
    pod = Pod(env, Kind(classifier_limits(ONNXRUNTIME_CPU), one_after_another, 0.0, 0, 0.0), 0.0)
    columns = zip(arrivals_s, work_s["preprocess"], work_s["classifier"], work_s["report"], strict=True)
    studies = [Study(float(at), float(first), float(then), float(last)) for at, first, then, last in columns]

    def arrive() -> simpy.events.ProcessGenerator:
        for study in studies:
            yield env.timeout(study.arrived_s - env.now)
            env.process(answer(study))

    def answer(study: Study) -> simpy.events.ProcessGenerator:
        yield from pod.answer(study)
        study.ended_s = env.now

    env.process(arrive())
    env.run()
    return np.array([s.wait_s for s in studies]), np.array([s.response_s for s in studies])


def resampled(traced: Traced, seed: int) -> tuple[Times, Times]:
    """Simulate the arrivals with times drawn anew from the measured ones; [RESAMPLES, studies] of wait and response."""
    draw = np.random.default_rng(seed)
    runs = []
    for _ in range(RESAMPLES):
        rows = draw.integers(len(traced.arrivals_s), size=len(traced.arrivals_s))
        runs.append(simulate(traced.arrivals_s, {model: times[rows] for model, times in traced.work_s.items()}))
    return np.array([wait for wait, _ in runs]), np.array([response for _, response in runs])


def _start(send: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=send)
    thread.start()
    return thread


def _wait_for(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
