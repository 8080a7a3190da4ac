"""Play a night shift: a real server, a real Prometheus, the chart's rules; each fault, its alert, its runbook, its end.

``make bench NAME=night ARGS='[--only PATTERN] [--panels docs/img]'``. The rules are those that the real Helm renders
from the chart. **Every window and every** ``for`` **of them is 120 times shorter** (an hour is half a minute, nothing
is under a second), so that a night of 24 hours is twelve minutes. Thresholds are the chart's, but for
``stages.timeoutSeconds`` (40), ``latencySeconds`` (5) and ``stageSeconds`` (12). What servers do is not shortened: a
start takes as long as ever. Prometheus scrapes every second.

Good studies come all the time. Each fault strikes, its alert must ring, the page that the alert names must be there,
what the page says is done, and the alert must end. ``--panels`` draws the dashboards' panels from what Prometheus
recorded. It needs ``unshare`` (a mount namespace for each pod), and the programs of ``make tools``.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bars import Bar, print_bars
from common import ROOT, print_table, write_result

sys.path.insert(0, str(ROOT / "tests"))
from chaos.studies import Studies, keep_results
from glioserve_evaluation.reports.report import summary_for_manifest
from glioserve_registry.demo_model import demo_repository
from glioserve_triton.served.versions import load_manifest, save_manifest
from night.drift import drop_reference
from night.faults import BURN, FAULTS, LATENCY, Fault
from night.gpu import LABELS, GpuExporter
from night.panels import draw_boards
from night.pods import STAGE_TIMEOUT_S, Release
from night.strikes import Night, end_throttling
from night.traffic import Traffic
from night.watch import Watch
from support.cluster.rules import alerts, rendered_rules, shortened
from support.prometheus import Prometheus, running_prometheus
from support.results.evaluations import report_for
from support.server.holding import hold_adapter

SHORTER = 120
STUDIES_PER_S = 0.5
CALM_S = 15.0
QUIET_S = 6.0
"""A fault without an alert must not ring one for so long."""
RING_TIMEOUT_S, OVER_TIMEOUT_S = 60.0, 75.0
LATE_TIMEOUT_S = 200.0
FIRST_CERTIFICATE_DAYS = 10.0
THRESHOLDS = {"latencySeconds": 5, "stageSeconds": 12}
"""The night's own, so that studies that are slow for them end before their stage is taken for a hang."""
Row = dict[str, Any]


class Shift:
    """One night: its faults one after another, and what came of each."""

    def __init__(self, night: Night, watch: Watch, began_s: float) -> None:
        self._night, self._watch, self._began_s = night, watch, began_s
        self.rows: list[Row] = []
        self.unexpected: list[str] = []
        self._late: list[tuple[Row, str, float]] = []
        self._standing = {alert for fault in FAULTS if fault.from_start for alert in fault.alerts}
        """Alerts that the night begins with, until their turn comes."""
        self._burning: frozenset[str] = frozenset()
        """Objectives that earlier faults have hurt: their windows are of hours and days, so they may ring later too."""

    def calm(self) -> None:
        """Let good studies be answered for a while; nothing may ring but what the night begins with."""
        time.sleep(CALM_S)
        rung = [r.alert for r in self._watch.rung.copy() if r.alert not in self._standing]
        self.unexpected += [f"in the calm: {alert}" for alert in rung]

    def play(self, fault: Fault) -> None:
        """Let a fault strike, do what the pages say, and add a row for each of its alerts."""
        if not fault.from_start:
            self._wait(lambda: all(map(self._watch.is_silent, fault.alerts)), RING_TIMEOUT_S)
        struck = time.monotonic()
        fault.strike(self._night)
        self._wait(lambda: all(self._watch.rings(alert, struck) for alert in fault.alerts), RING_TIMEOUT_S)
        if not fault.alerts:
            time.sleep(QUIET_S)
        acted = time.monotonic()
        fault.act(self._night)
        rows = []
        for alert in fault.alerts or ("–",):
            ringing = self._watch.rings(alert, struck)
            rows.append(
                {
                    "fault": fault.name,
                    "struck at s": round(struck - self._began_s),
                    "alert": alert,
                    "rang after s": max(0.0, ringing.began_s - struck) if ringing else math.nan,
                    "runbook": Path(ringing.runbook).name if ringing else "–",
                    "is there": (ROOT / ringing.runbook).is_file() if ringing else "–",
                    "done": fault.action,
                    "over after s": math.nan,
                    "summary": ringing.summary if ringing else "",
                }
            )
            self._late.append((rows[-1], alert, acted))
        if not fault.ends_late:
            self._end(OVER_TIMEOUT_S, fault.alerts)
        known = self._standing | set(fault.alerts)
        others = [name for name in self._watch.began(struck, time.monotonic()) if name not in known]
        self._standing -= set(fault.alerts)
        self._burning |= (fault.also | set(fault.alerts)) & (BURN | LATENCY)
        self.unexpected += [f"{fault.name}: {name}" for name in others if name not in fault.also | self._burning]
        for row in rows:
            row["others that rang"] = " ".join(name.removeprefix("Glioserve") for name in others) or "–"
            self.rows.append(row)
            print(row, flush=True)
        self._wait(self._night.release.pod.is_ready, OVER_TIMEOUT_S)

    def end(self) -> None:
        """Wait for the alerts whose windows are long."""
        self._end(LATE_TIMEOUT_S, [alert for _, alert, _ in self._late])

    def _end(self, timeout_s: float, names: Sequence[str]) -> None:
        """Wait until these alerts are silent, and note when they became so."""
        self._wait(lambda: all(map(self._watch.is_silent, names)), timeout_s)
        for row, alert, acted in self._late.copy():
            if alert in names and self._watch.is_silent(alert):
                ended = [r.ended_s for r in self._watch.rung if r.alert == alert]
                row["over after s"] = max(0.0, max(ended) - acted) if ended else math.nan
                self._late.remove((row, alert, acted))

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> None:
        self._night.release.wait_for(condition, timeout_s)


def add_evaluation(repository: Path) -> None:
    """Put figures of an evaluation into the served manifest, without which no outcome can contradict the model."""
    version = repository / "classifier" / "1"
    manifest = load_manifest(version)
    save_manifest(replace(manifest, evaluation=summary_for_manifest(report_for(manifest))), version)


def rings_falsely(prometheus: Prometheus) -> bool:
    """Return whether the alert of an absent pod still rings from before the first scrape."""
    return any(alert["labels"]["alertname"] == "GlioserveNotScraped" for alert in prometheus.firing())


def bars(shift: Shift, seconds: float) -> list[Bar]:
    """Return what must hold."""
    rows = [row for row in shift.rows if row["alert"] != "–"]
    return [
        Bar("alerts that did not ring", sum(math.isnan(row["rang after s"]) for row in rows), 0),
        Bar("alerts whose runbook is missing", sum(not row["is there"] for row in rows), 0),
        Bar("alerts that did not end", sum(math.isnan(row["over after s"]) for row in rows), 0),
        Bar("alerts that rang without a reason", len(shift.unexpected), 0, note="; ".join(shift.unexpected)),
        Bar("the night", seconds / 60, 12.0, "min"),
    ]


def main() -> int:
    """Print and keep the table and the bars; exit code 1 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="faults whose name matches; nothing is kept")
    parser.add_argument("--panels", type=Path, help="draw the dashboards' panels into this folder")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    thresholds = {"prometheusRule": {"thresholds": THRESHOLDS}}
    rules = rendered_rules({"stages": {"timeoutSeconds": STAGE_TIMEOUT_S}, "metrics": thresholds})
    with tempfile.TemporaryDirectory(prefix="glioserve-night-") as name:
        folder = Path(name)
        repository = demo_repository(folder)
        keep_results(repository, Studies().same())
        hold = hold_adapter(repository)
        add_evaluation(repository)
        drop_reference(repository)
        release = Release(repository, folder)
        try:
            pod = release.start(certificate_days=FIRST_CERTIFICATE_DAYS)
            began, began_unix = time.monotonic(), time.time()
            labels = {"namespace": "mri", "pod": pod.name}
            with (
                GpuExporter("mri", lambda: release.pod.name) as gpus,
                running_prometheus(folder, pod.page, labels, shortened(rules, SHORTER)) as prometheus,
            ):
                release.others = [(gpus.page, LABELS)]
                release.prometheus = prometheus
                release.tell_prometheus()
                release.wait_for(lambda: release.is_scraped(pod) and not rings_falsely(prometheus), 60.0)
                with Watch(prometheus) as watch, Traffic(release, STUDIES_PER_S) as traffic:
                    night = Night(release, traffic, hold, folder, gpus)
                    shift = Shift(night, watch, began)
                    try:
                        shift.calm()
                        for fault in FAULTS:
                            if re.search(args.only, fault.name):
                                shift.play(fault)
                        shift.end()
                    finally:
                        end_throttling(night)
                seconds = time.monotonic() - began
                if args.panels:
                    for file in draw_boards(prometheus, began_unix, time.time(), args.panels):
                        print(f"drawn: {file} ({file.stat().st_size // 1024} KiB)")
        finally:
            release.close()
    columns = [column for column in shift.rows[0] if column != "summary"]
    print_table(f"The night, {SHORTER} times shorter", columns, [[row[c] for c in columns] for row in shift.rows])
    print(f"\nwhat the studies became: {dict(sorted(traffic.fates.items()))}")
    silent = sorted(set(alerts(rules)) - {r.alert for r in watch.rung})
    print(f"not rung this night: {', '.join(silent) or 'none'}")
    found = bars(shift, seconds)
    print_bars(found)
    if not args.only:
        settings = {
            "shorter": SHORTER,
            "studies_per_s": STUDIES_PER_S,
            "stage_timeout_s": STAGE_TIMEOUT_S,
            **THRESHOLDS,
        }
        figures = {
            "faults": [{k: None if v != v else v for k, v in row.items()} for row in shift.rows],
            "studies": dict(traffic.fates),
            "not rung": silent,
            "bars": [bar.record() for bar in found],
        }
        write_result("night", settings, figures, ("nvidia-pytriton", "grpcio"))
    return 0 if all(bar.passed for bar in found) else 1


if __name__ == "__main__":
    sys.exit(main())
