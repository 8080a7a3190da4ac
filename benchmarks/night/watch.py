"""A watch over the alerts: those that Prometheus has firing, looked at four times a second."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType

from support.prometheus import Prometheus

LOOK_S = 0.25


@dataclass
class Ringing:
    """One time that an alert rang; seconds of the monotonic clock, NaN while it has not ended."""

    alert: str
    began_s: float
    ended_s: float
    summary: str
    runbook: str


class Watch:
    """The alerts of a release while the context lasts; an alert with several series rings while any does."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self.rung: list[Ringing] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def rings(self, alert: str, since_s: float = 0.0) -> Ringing | None:
        """Return the first time that an alert rang at or after a moment; it may have begun before."""
        return next((r for r in self.rung if r.alert == alert and not r.ended_s < since_s), None)

    def is_silent(self, alert: str) -> bool:
        """Return whether an alert does not ring now."""
        return all(r.ended_s == r.ended_s for r in self.rung if r.alert == alert)

    def began(self, since_s: float, until_s: float) -> list[str]:
        """Return the alerts that began to ring within a time, each once, in their order."""
        return list(dict.fromkeys(r.alert for r in self.rung.copy() if since_s <= r.began_s <= until_s))

    def _run(self) -> None:
        ringing: dict[str, Ringing] = {}
        while not self._stop.wait(LOOK_S):
            now = time.monotonic()
            firing = {alert["labels"]["alertname"]: alert["annotations"] for alert in self._prometheus.firing()}
            for name in ringing.keys() - firing.keys():
                ringing.pop(name).ended_s = now
            for name in firing.keys() - ringing.keys():
                about = firing[name]
                ringing[name] = Ringing(name, now, float("nan"), about["summary"], about["runbook_url"])
                self.rung.append(ringing[name])
