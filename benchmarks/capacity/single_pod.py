"""The simulated pod beside the real server: a Poisson stream of studies, and how long each waits and takes.

Triton's own trace has the moments at which each study came, was begun and was answered. The simulation gets the same
arrivals, and the times that each model worked in this very run; how long studies wait is its own.

On few cores a study takes longer while the other process of preprocess works, that is, when the queue is long. Times
that are drawn without regard to that make queues that are too short, by a quarter where a study takes 1.8 times as
long. So what is drawn is the time that a study would have taken alone, and the simulated processes slow each other
down by the factor that was measured before the stream.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simpy

from capacity.pod import PREPROCESS, Kind, Pod, classifier_limits, one_after_another
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
"""Studies, two at a time, whose time sets the rate; half as many one at a time, for how pairs slow each other down."""
DEADLINE_S = 300.0
BURST_PAUSE_S = 0.3
"""Seconds between studies that come in one burst, as a scanner's list is sent."""
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
    together: Times
    """Share of a study's preprocessing during which the other process worked too."""

    def alone_s(self, slowdown: float) -> Times:
        """Return the seconds that each study's preprocessing would have taken alone."""
        return self.work_s["preprocess"] * (1 - self.together + self.together / slowdown)


def measure(
    repository: Path, folder: Path, seconds: float, utilisation: float, seed: int, burst: int
) -> tuple[Traced, float, float]:
    """Send a Poisson stream for so many seconds to the embedded server, of single studies or of bursts of so many.

    Return its trace, the studies a second, and the factor by which two studies at once take longer than one. The rate
    is the one at which the two instances of preprocess would be at work for a share of ``utilisation``.
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
        one_s, two_s = [], []
        for _ in range(CALIBRATION // 2):  # in turn, so that a busy machine is busy for both
            began = time.monotonic()
            send()
            one_s.append(time.monotonic() - began)
            began = time.monotonic()
            _wait_for([_start(send), _start(send)])
            two_s.append(time.monotonic() - began)
        rate = utilisation * CALIBRATION / sum(two_s)
        slowdown = max(1.0, sum(two_s) / sum(one_s))
        bursts = draw.uniform(0.0, seconds, draw.poisson(rate * seconds / burst))
        moments = np.sort((bursts[:, None] + BURST_PAUSE_S * np.arange(burst)).ravel())
        began, threads = time.monotonic(), []
        for moment in moments:
            time.sleep(max(0.0, began + float(moment) - time.monotonic()))
            threads.append(_start(send))
        _wait_for(threads)
    return read_trace(file.read_text(encoding="utf-8"), len(moments)), rate, slowdown


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
    at_work = [moments[steps[n]["preprocess"]] for n in whole]
    spans = np.array([(stamps["COMPUTE_START"], stamps["COMPUTE_END"]) for stamps in at_work]) / 1e9
    return Traced(arrivals - arrivals[0], np.array(waits), np.array(responses), work, shares_together(spans))


def shares_together(spans: Times) -> Times:
    """Return which share of each of the spans [studies, 2] lies within others; no moment lies in more than two."""
    begins = np.maximum(spans[:, None, 0], spans[None, :, 0])
    ends = np.minimum(spans[:, None, 1], spans[None, :, 1])
    overlaps = np.clip(ends - begins, 0.0, None)
    np.fill_diagonal(overlaps, 0.0)
    shares: Times = np.minimum(overlaps.sum(axis=1) / (spans[:, 1] - spans[:, 0]), 1.0)
    return shares


def simulate(arrivals_s: Times, work_s: Mapping[str, Times], slowdown: float = 1.0) -> tuple[Times, Times]:
    """Return how long studies wait for preprocessing and for their answer in the simulated pod, in seconds.

    With a ``slowdown`` the seconds of preprocessing are those of a study alone.
    """
    env = simpy.Environment()
    kind = Kind(classifier_limits(ONNXRUNTIME_CPU), one_after_another, 0.0, 0, 0.0)
    pod = Pod(env, kind, 0.0, replace(PREPROCESS, slowdown=slowdown))
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


def resampled(traced: Traced, slowdown: float, seed: int) -> tuple[Times, Times]:
    """Simulate the arrivals with times drawn anew from the measured ones; [RESAMPLES, studies] of wait and response."""
    draw = np.random.default_rng(seed)
    alone_s = {**traced.work_s, "preprocess": traced.alone_s(slowdown)}
    runs = []
    for _ in range(RESAMPLES):
        rows = draw.integers(len(traced.arrivals_s), size=len(traced.arrivals_s))
        drawn_s = {model: times[rows] for model, times in alone_s.items()}
        runs.append(simulate(traced.arrivals_s, drawn_s, slowdown))
    return np.array([wait for wait, _ in runs]), np.array([response for _, response in runs])


def _start(send: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=send)
    thread.start()
    return thread


def _wait_for(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
