"""Measure a server under load: answers a second, latency and queue by concurrency, and what memory it keeps.

``make bench NAME=load ARGS='[--requests 2000] [--large 90] [--part PART]'``. Parts:

* *client* and *analyzer*: studies of the demo model from our client and from NVIDIA's perf_analyzer, 1 to 16 at a
  time. What the server could do is the cores that others left it, divided by the CPU seconds of one study, those of
  the client included: on a machine that does nothing else, all cores.
* *memory*: small studies, four at a time; then large ones, eight at a time.

The preprocessing of these studies is kept from before (:func:`chaos.studies.keep_results`): it is work of the packages,
which ``bench_stages`` and ``bench_preprocess`` measure, and would make thousands of requests take hours.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bars import Bar, print_bars
from common import ROOT, print_table, write_result

sys.path.insert(0, str(ROOT / "tests"))
from chaos.studies import Studies, keep_results
from glioserve_client import GliomaClient, VolumeStudy
from glioserve_contract.tensors import affine_tensor, volume_tensor
from glioserve_registry.demo_model import demo_repository
from glioserve_triton.process import options
from glioserve_triton.process.server import TritonServer
from load.analyzer import Analyzer
from load.usage import Machine, Memory, cpu_s_of, memory_of, slope_per_100

REQUESTS = {1: 30, 2: 40, 4: 60, 8: 80, 16: 100}
"""Studies by how many are under way at one time."""
CLOSED = tuple(set(options.RESTRICTED) - {"model-config", "statistics"})
"""perf_analyzer asks for both, and sends no token by gRPC."""
SATURATED = 4
"""Least concurrency at which both cores always have work."""
DEADLINE_S = 600.0
SMALL_AT_ONCE, LARGE_AT_ONCE = 4, 8
SAMPLE_EVERY, SETTLED_AFTER = 100, 500
REST_S = 20.0
Row = dict[str, Any]


def by_client(server: TritonServer, studies: Studies) -> list[Row]:
    """Return a row for each concurrency."""
    with GliomaClient(server.grpc_url, timeout_s=DEADLINE_S) as client:
        run(client, studies.same, 20, 4)  # the first pay for pages and caches
        rows = []
        for concurrency, requests in REQUESTS.items():
            machine, own_s = Machine(), cpu_s_of(server)
            with Queue(server) as queue:
                latencies = run(client, studies.same, requests, concurrency)
            wall_s, busy_s, idle_s = machine.since()
            own_s = cpu_s_of(server) - own_s
            cores = (own_s + idle_s) / wall_s
            rows.append(
                {
                    "concurrency": concurrency,
                    "answers a second": requests / wall_s,
                    "p50 s": float(np.percentile(latencies, 50)),
                    "p99 s": float(np.percentile(latencies, 99)),
                    "most waiting": queue.most,
                    "CPU s a study": own_s / requests,
                    "cores left by others": cores,
                    "of what they allow": (requests / wall_s) / (cores / (own_s / requests)),
                    "CPU s of others": busy_s - own_s,
                }
            )
            print(rows[-1], flush=True)
    return rows


def run(client: GliomaClient, next_study: Callable[[], VolumeStudy], requests: int, concurrency: int) -> list[float]:
    """Send studies, so many at a time; return the seconds that each took, its retries included."""

    def send(study: VolumeStudy) -> float:
        began = time.monotonic()
        client.predict(study, heatmap=False)
        return time.monotonic() - began

    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(send, [next_study() for _ in range(requests)]))


class Queue:
    """The most requests that were seen waiting for ``preprocess``, while the context lasts."""

    def __init__(self, server: TritonServer) -> None:
        self._url, self.most = str(server.metrics_url), 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Queue:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        series = re.compile(r'^nv_inference_pending_request_count\{[^}]*model="preprocess"[^}]*\} (\d+)', re.MULTILINE)
        while not self._stop.wait(0.5):
            with urllib.request.urlopen(self._url, timeout=10) as answer:
                page = answer.read().decode()
            self.most = max([self.most, *map(int, series.findall(page))])


def by_analyzer(server: TritonServer, studies: Studies, folder: Path) -> list[Row]:
    """Return perf_analyzer's row for each concurrency."""
    analyzer = Analyzer(ROOT / "build" / "perf_analyzer")
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for modality, volume in studies.same().volumes.items():
        tensors[volume_tensor(modality)] = np.asarray(volume.voxels, dtype=np.float32)
        tensors[affine_tensor(modality)] = np.asarray(volume.lps_from_voxel, dtype=np.float64)
    rows = []
    for concurrency, requests in REQUESTS.items():
        found = analyzer.run(server.grpc_url, tensors, concurrency, requests, folder)
        rows.append(
            {
                "concurrency": concurrency,
                "answers a second": found.answers_per_s,
                "p50 s": found.p50_s,
                "p99 s": found.p99_s,
            }
        )
        print(rows[-1], flush=True)
    return rows


def small_ones(server: TritonServer, studies: Studies, requests: int) -> tuple[list[Row], float]:
    """Return memory by requests answered, and its slope in MiB per 100 requests once it has settled."""
    rows = []
    with GliomaClient(server.grpc_url, timeout_s=DEADLINE_S) as client:
        for done in range(0, requests + 1, SAMPLE_EVERY):
            if done:
                run(client, studies.same, SAMPLE_EVERY, SMALL_AT_ONCE)
            rows.append(memory_row(f"{done} small", memory_of(server)) | {"requests": done})
    settled = [row for row in rows if row["requests"] >= min(SETTLED_AFTER, requests // 2)]
    return rows, slope_per_100([r["requests"] for r in settled], [r["sum"] for r in settled])


def large_ones(server: TritonServer, studies: Studies, requests: int) -> list[Row]:
    """Return memory before large studies, at its most, after them and after a rest."""
    rows = [memory_row("before the large", memory_of(server))]
    with GliomaClient(server.grpc_url, timeout_s=DEADLINE_S) as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, client, studies.same, requests, LARGE_AT_ONCE)
        most = memory_of(server)
        while not running.done():
            most = max(most, memory_of(server), key=lambda m: m.server_pss)
            time.sleep(0.3)
        running.result()
    rows.append(memory_row("most during them", most))
    rows.append(memory_row(f"{requests} large", memory_of(server)))
    time.sleep(REST_S)
    rows.append(memory_row(f"{REST_S:g} s later", memory_of(server)))
    return rows


def memory_row(when: str, memory: Memory) -> Row:
    """Return a row of the table of memory, in MiB."""
    return {
        "when": when,
        "tritonserver RSS": memory.server_rss,
        "tritonserver PSS": memory.server_pss,
        "stubs PSS": memory.stubs_pss,
        "/dev/shm": memory.shared,
        "sum": memory.total,
    }


def size_mib(study: VolumeStudy) -> float:
    """Return the bytes of a study's voxels as they are sent, in MiB."""
    return sum(volume.voxels.size * 4 for volume in study.volumes.values()) / (1 << 20)


def main() -> int:
    """Print and keep the tables and the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="small studies")
    parser.add_argument("--large", type=int, default=90, help="large studies")
    parser.add_argument("--part", choices=("client", "analyzer", "memory"), help="this part alone; nothing is kept")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    small, large = Studies(), Studies(shrink=1)
    figures: dict[str, Any] = {}
    bars = []
    with tempfile.TemporaryDirectory(prefix="glioserve-load-") as name:
        repository = demo_repository(Path(name))
        keep_results(repository, small.same(), large.same())
        if args.part != "memory":
            with mock.patch.object(options, "RESTRICTED", CLOSED), TritonServer(repository) as server:
                if args.part != "client":
                    figures["perf_analyzer"] = by_analyzer(server, small, Path(name))
                if args.part != "analyzer":
                    figures["client"] = by_client(server, small)
        if args.part in (None, "memory"):
            with TritonServer(repository) as server:
                figures["memory"], slope = small_ones(server, small, args.requests)
                figures["memory"] += large_ones(server, large, args.large)
            figures |= {"slope_mib_per_100": slope, "large_study_mib": size_mib(large.same())}
    for title, rows in ((t, r) for t, r in figures.items() if isinstance(r, list)):
        columns = [c for c in rows[0] if c != "requests"]
        print_table(title, columns, [[row[c] for c in columns] for row in rows])
    if "client" in figures:
        saturated = [row for row in figures["client"] if row["concurrency"] >= SATURATED]
        best = max(row["of what they allow"] for row in saturated)
        bars.append(Bar("throughput at saturation, of cores / CPU s a study", best, 0.9, at_least=True))
    if "memory" in figures:
        bars.append(Bar("memory per 100 small studies", figures["slope_mib_per_100"], 1.0, "MiB"))
        bars.append(
            Bar("tritonserver after the large studies", figures["memory"][-1]["tritonserver RSS"], 600.0, "MiB")
        )
    print_bars(bars)
    if args.part is None:
        settings = {"requests": args.requests, "large": args.large, "by_concurrency": REQUESTS}
        figures["bars"] = [bar.record() for bar in bars]
        write_result("load", settings, figures, ("tritonclient", "nvidia-pytriton", "grpcio"))
    return 0 if all(bar.passed for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
