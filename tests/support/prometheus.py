"""Prometheus' own programs (``scripts/get_debian.py``) for tests, which skip and say why without them."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from glioserve_triton.process.options import free_ports
from support import debian
from support.server.triton import wait_until

TIMEOUT_S = 60


def program(name: str) -> Path:
    """The program; the test skips where it cannot be had."""
    return debian.program("prometheus", name)


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``promtool``; the caller looks at what became of it."""
    return subprocess.run(
        [str(program("promtool")), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


class Prometheus:
    """A running Prometheus, asked over its API."""

    def __init__(self, url: str, targets: Path) -> None:
        """``targets`` is the file from which it takes what it scrapes, at once when that changes."""
        self.url, self._targets = url, targets

    def scrape(self, *targets: tuple[str, Mapping[str, str]]) -> None:
        """Scrape these pages from now on: ``host:port``, and the labels of its series."""
        found = [{"targets": [address], "labels": dict(labels)} for address, labels in targets]
        new = self._targets.with_suffix(".new")
        new.write_text(json.dumps(found))
        new.rename(self._targets)

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        found: list[dict[str, Any]] = self._get("query", query=query)["result"]
        return found

    def ask_range(self, query: str, begin_s: float, end_s: float, step_s: float) -> list[dict[str, Any]]:
        """The series of a query over a time, in Unix seconds."""
        times = {"start": f"{begin_s}", "end": f"{end_s}", "step": f"{step_s}"}
        found: list[dict[str, Any]] = self._get("query_range", query=query, **times)["result"]
        return found

    def firing(self) -> list[dict[str, Any]]:
        """The alerts that fire now, with labels and annotations."""
        return [alert for alert in self._get("alerts")["alerts"] if alert["state"] == "firing"]

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        address = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
        return data

    def alerts(self, states: str, window: str) -> set[str]:
        """Names of the alerts that were in one of these states (a regular expression) within the window."""
        samples = self.ask(f'max_over_time(ALERTS{{alertstate=~"{states}"}}[{window}])')
        return {sample["metric"]["alertname"] for sample in samples}

    def is_ready(self) -> bool:
        """Return whether it serves queries."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=TIMEOUT_S):
                return True
        except OSError:
            return False


@contextmanager
def running_prometheus(folder: Path, target: str, labels: Mapping[str, str], rules: object) -> Iterator[Prometheus]:
    """A Prometheus that scrapes one page each second and evaluates the rules as often."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    targets = folder / "targets.json"
    scrape = {"job_name": "glioserve", "file_sd_configs": [{"files": [str(targets)]}]}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [scrape],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    (port,) = free_ports("127.0.0.1", 1)
    prometheus = Prometheus(f"http://127.0.0.1:{port}", targets)
    prometheus.scrape((target, labels))
    command = [str(program("prometheus")), f"--config.file={folder / 'prometheus.yaml'}", "--log.level=warn"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        wait_until(lambda: prometheus.is_ready() or process.poll() is not None, "Prometheus is ready")
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield prometheus
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
