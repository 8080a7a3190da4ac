"""Simulate a fleet of pods for 10 to 1,000 hospitals, and hold the simulated pod to the real server's queue.

``make bench NAME=capacity ARGS='[--studies-a-day 20] [--gpu-hour 0.8] [--part fleet|scheduler|pod]'``.

Costs of a study are what the other benchmarks kept (stages, preprocess, classifier, overhead); queues, bounds, batches
and the autoscaler are those of the served configurations and the chart. **Assumed, not measured**: the studies a day
and their hours, how much studies differ, everything about the GPU, the seconds until a node or a container is there,
and the prices. Each of these is an argument or is named with its value in the output.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bars import Bar, print_bars
from common import ROOT, print_table, write_result

sys.path.insert(0, str(ROOT / "tests"))
from capacity import sleeper
from capacity.arrivals import DAY_S, HOUR_S, arrivals_s, busiest_hour
from capacity.costs import THRESHOLDS, Costs, charts_autoscaler, measured
from capacity.fleet import Fleet, Outcome
from capacity.pod import PREPROCESS, PREPROCESS_INSTANCES, Kind, classifier_limits, one_after_another
from capacity.single_pod import Times, measure, resampled, simulate
from capacity.stations import Study
from glioserve_contract.limits import DEFAULT_TIMEOUT_S
from glioserve_export.classifier_config import ONNXRUNTIME_CPU, ONNXRUNTIME_GPU
from glioserve_registry.demo_model import demo_repository

HOSPITALS = (10, 30, 100, 300, 1000)
THREADS = 2
"""Threads of each instance of preprocess: half the cores that the chart requests."""
ENOUGH, MOST_DAYS = 4000, 20
"""A row is of so many studies at least, unless that would take more weekdays."""
MOST_PODS = 64
GPU_FIRST_S, GPU_FURTHER_S = 0.08, 0.03
"""Assumed: the classifier's seconds on a GPU for a batch of one, and for each study more. No GPU was measured."""
SCHEDULE_S, GPU_NODE_S, GPU_LOAD_S = 10.0, 240.0, 30.0
"""Assumed: a pod on a node that is there, its image too; a new GPU node; CUDA, the network and its warm-up batches."""
BURSTS = {"one by one": 1, "in threes": 3}
"""Streams that the real server gets: studies that come by chance, alone or three together."""
WITHIN = 25.0
"""Per cent by which the simulated pod may miss the real one."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One way to run the classifier: its name, its pods, and its seconds on one core (0 on a GPU)."""

    name: str
    kind: Kind
    classifier_s: float


def on_a_gpu(batch: Sequence[Study]) -> float:
    """Return the assumed seconds of a batch on a GPU."""
    return GPU_FIRST_S + GPU_FURTHER_S * (len(batch) - 1)


def variants(costs: Costs) -> list[Variant]:
    """Return the lightest and the heaviest network on a core, and a GPU."""
    cores = float(PREPROCESS_INSTANCES * THREADS)
    on_cpu = Kind(
        classifier_limits(ONNXRUNTIME_CPU), one_after_another, cores + 1, 0, SCHEDULE_S + costs.load_s
    )  # a core of its own
    on_gpu = Kind(classifier_limits(ONNXRUNTIME_GPU), on_a_gpu, cores, 1, GPU_NODE_S + SCHEDULE_S + GPU_LOAD_S)
    ranked = sorted(costs.classifier_cpu_s, key=lambda name: costs.classifier_cpu_s[name])
    on_cores = [Variant(f"{name}, CPU", on_cpu, costs.classifier_cpu_s[name]) for name in (ranked[0], ranked[-1])]
    return [*on_cores, Variant("any, GPU (assumed)", on_gpu, 0.0)]


def studies_of(costs: Costs, variant: Variant, per_day: float, days: int, variation: float, seed: int) -> list[Study]:
    """Draw the studies of some weekdays, each with costs of its own."""
    draw = np.random.default_rng(seed)
    moments = arrivals_s(per_day, days, draw)
    sigma = math.sqrt(math.log(1 + variation**2))  # of a log-normal whose mean is 1
    sizes = draw.lognormal(-(sigma**2) / 2, sigma, len(moments))
    preprocess_s = costs.preprocess_cpu_s / costs.speed_up
    return [
        Study(
            float(t), preprocess_s * float(size), variant.classifier_s, costs.report_cpu_s, float(t) + DEFAULT_TIMEOUT_S
        )
        for t, size in zip(moments, sizes, strict=True)
    ]


def fits(outcome: Outcome) -> bool:
    """Return whether a fleet keeps the chart's objectives, its latency for 99 of 100 answers."""
    return outcome.percentile_s(0.99) <= THRESHOLDS["latencySeconds"] and outcome.turned_away <= (
        1 - THRESHOLDS["availability"]
    )


def row_of(costs: Costs, variant: Variant, hospitals: int, args: argparse.Namespace) -> Row:
    """Find the fewest pods that keep the objectives, then let the autoscaler choose; return the row."""
    per_day = hospitals * args.studies_a_day
    days = min(MOST_DAYS, math.ceil(ENOUGH / per_day))
    seconds = days * DAY_S

    def run(pods: int, scaled: bool) -> Outcome:
        studies = studies_of(costs, variant, per_day, days, args.variation, args.seed)
        scaler = charts_autoscaler(MOST_PODS) if scaled else None
        return Fleet(variant.kind, pods, args.seed).run(studies, seconds, scaler)

    busy_s = max(costs.preprocess_cpu_s / costs.speed_up / PREPROCESS_INSTANCES, variant.classifier_s)
    pods = max(1, math.ceil(busiest_hour(per_day) / HOUR_S * busy_s))
    while not fits(fixed := run(pods, scaled=False)):
        pods += 1
    scaled = run(charts_autoscaler(MOST_PODS).least, scaled=True)

    def price(outcome: Outcome) -> float:
        an_hour = variant.kind.cores * args.core_hour + variant.kind.gpus * args.gpu_hour
        return float(1000 * outcome.pod_seconds / HOUR_S * an_hour / len(outcome.answered))

    return {
        "classifier": variant.name,
        "hospitals": hospitals,
        "studies a day": round(per_day),
        "pods": pods,
        "cores": pods * variant.kind.cores,
        "GPUs": pods * variant.kind.gpus,
        "p50 s": fixed.percentile_s(0.5),
        "p99 s": fixed.percentile_s(0.99),
        "turned away %": 100 * fixed.turned_away,
        "cost of 1,000": price(fixed),
        "scaled: mean pods": scaled.mean_pods,
        "most": scaled.most_pods,
        "its p50 s": scaled.percentile_s(0.5),
        "its p99 s": scaled.percentile_s(0.99),
        "its turned away %": 100 * scaled.turned_away,
        "lost": scaled.lost,
        "its cost of 1,000": price(scaled),
    }


def compare(args: argparse.Namespace, stream: str) -> tuple[list[Row], list[Bar], Row]:
    """Hold the simulated pod to the real server; return the table, the bars and what was measured."""
    with tempfile.TemporaryDirectory(prefix="glioserve-capacity-") as name:
        traced, rate, slowdown = measure(
            demo_repository(Path(name)), Path(name), args.seconds, args.utilisation, args.seed, BURSTS[stream]
        )
    wait, response = simulate(traced.arrivals_s, traced.work_s)
    waits, responses = resampled(traced, slowdown, args.seed)

    measures: tuple[tuple[str, Callable[[Times], float], tuple[Times, Times, Times]], ...] = (
        ("wait, mean", mean, (traced.waits_s, wait, waits)),
        ("wait, p95", p95, (traced.waits_s, wait, waits)),
        ("response, mean", mean, (traced.responses_s, response, responses)),
        ("response, p95", p95, (traced.responses_s, response, responses)),
    )
    rows, bars = [], []
    for what, of, times in measures:
        real, same = of(times[0]), of(times[1])
        runs = [of(run) for run in times[2]]
        drawn, spread = mean(np.array(runs)), float(np.std(runs, ddof=1))
        rows.append(
            {
                "studies come": stream,
                "of a study": what,
                "server s": real,
                "same times s": same,
                "drawn times s": drawn,
                "ratio, same": same / real,
                "ratio, drawn": drawn / real,
                "spread of drawn": spread / drawn,
            }
        )
        bars.append(Bar(f"{stream}: {what}, off the server's, same times", 100 * abs(same / real - 1), WITHIN, "%"))
        bars.append(Bar(f"{stream}: {what}, off the server's, drawn times", 100 * abs(drawn / real - 1), WITHIN, "%"))
    work = {f"{model} s": float(times.mean()) for model, times in traced.work_s.items()}
    busy = float(traced.work_s["preprocess"].sum() / PREPROCESS_INSTANCES / traced.arrivals_s[-1])
    run = {"studies come": stream, "studies": len(wait), "rate a second": rate, "utilisation": busy}
    return rows, bars, {**run, "slowdown": slowdown, **work}


def compare_scheduler(args: argparse.Namespace, stream: str) -> tuple[Row, Bar]:
    """Hold the simulated scheduler to Triton's, by a model that sleeps; return the row and the bar."""
    with tempfile.TemporaryDirectory(prefix="glioserve-scheduler-") as name:
        arrivals_s, waits_s, slept_s = sleeper.measure(Path(name), BURSTS[stream], args.seed)
    found, eager = (
        sleeper.simulate(arrivals_s, slept_s, limits) for limits in (PREPROCESS, replace(PREPROCESS, look_s=0.0))
    )
    ratio = mean(found) / mean(waits_s)
    row = {
        "requests come": stream,
        "requests": len(waits_s),
        "wait, mean s": mean(waits_s),
        "ratio": ratio,
        "without the scheduler's sleep": mean(eager) / mean(waits_s),
        "p95, ratio": p95(found) / p95(waits_s),
    }
    return row, Bar(f"{stream}: wait of a sleeping model, mean, off the server's", 100 * abs(ratio - 1), WITHIN, "%")


def mean(times: Times) -> float:
    """Return the mean of one run; what was not answered has no time."""
    return float(np.nanmean(times))


def p95(times: Times) -> float:
    """Return the 95th percentile of one run."""
    return float(np.nanpercentile(times, 95))


def assumptions(costs: Costs, args: argparse.Namespace) -> list[tuple[str, Any]]:
    """Return what goes in, by name."""
    return [
        ("preprocess, CPU s (measured)", costs.preprocess_cpu_s),
        ("its speed-up on two threads (measured)", costs.speed_up),
        ("report and map, CPU s (measured)", costs.report_cpu_s),
        *((f"classifier {name}, CPU s (measured)", s) for name, s in costs.classifier_cpu_s.items()),
        ("server until ready, s (measured, demo model)", costs.load_s),
        ("studies of a hospital on a weekday (assumed)", args.studies_a_day),
        ("standard deviation of a study's preprocessing, of the mean (assumed)", args.variation),
        ("GPU: first of a batch / each more, s (assumed)", f"{GPU_FIRST_S} / {GPU_FURTHER_S}"),
        ("pod on a node / new GPU node / loading there, s (assumed)", f"{SCHEDULE_S} / {GPU_NODE_S} / {GPU_LOAD_S}"),
        ("price of a core and its memory, an hour (assumed)", args.core_hour),
        ("price of a GPU, an hour (assumed)", args.gpu_hour),
    ]


def main() -> int:
    """Print and keep the tables and the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies-a-day", type=float, default=20.0, help="of each hospital, on a weekday")
    parser.add_argument("--variation", type=float, default=0.3, help="standard deviation of preprocessing, of its mean")
    parser.add_argument("--core-hour", type=float, default=0.05, help="price of a core with its memory for an hour")
    parser.add_argument("--gpu-hour", type=float, default=0.8, help="price of a GPU for an hour")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long the real server gets each stream")
    parser.add_argument("--utilisation", type=float, default=0.75, help="of the real server's preprocess")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", choices=("fleet", "scheduler", "pod"), help="this part alone; nothing is kept")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    figures: Row = {}
    bars: list[Bar] = []
    if args.part in (None, "fleet"):
        costs = measured()
        figures["goes in"] = dict(assumptions(costs, args))
        print_table("What goes in", ["what", "value"], list(figures["goes in"].items()))
        figures["fleets"] = [row_of(costs, variant, n, args) for variant in variants(costs) for n in HOSPITALS]
        _show("Fleets that keep the chart's objectives, and the chart's autoscaler", figures["fleets"])
    if args.part in (None, "scheduler"):
        figures["scheduler"] = []
        for stream in BURSTS:
            found, bar = compare_scheduler(args, stream)
            figures["scheduler"].append(found)
            bars.append(bar)
        _show("Triton's scheduler, by a model that sleeps, beside the simulated one", figures["scheduler"])
    if args.part in (None, "pod"):
        figures["pod"], figures["pod run"] = [], []
        for stream in BURSTS:
            rows, held, run = compare(args, stream)
            figures["pod"] += rows
            figures["pod run"].append(run)
            bars += held
        _show("The real server's runs", figures["pod run"])
        _show("One pod: the simulation beside the real server", figures["pod"])
    if bars:
        print_bars(bars)
    if args.part is None:
        figures["bars"] = [bar.record() for bar in bars]
        write_result("capacity", vars(args), figures, ("simpy", "numpy", "nvidia-pytriton"))
    return 0 if all(bar.passed for bar in bars) else 1


def _show(title: str, rows: Sequence[Row]) -> None:
    columns = list(rows[0])
    print_table(title, columns, [[row[c] for c in columns] for row in rows])


if __name__ == "__main__":
    sys.exit(main())
