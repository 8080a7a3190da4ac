"""Cases over worker processes: what crashes, hangs or eats memory is seen from outside, noted, and started anew."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
MAKING_S = 180.0
"""Seconds for the sources, which the first case that needs one waits for."""


@dataclass(frozen=True)
class Limits:
    """Limits of one case."""

    seconds: float = 30.0
    memory_mib: int = 2048
    """Resident, of the whole process."""


@dataclass(frozen=True)
class Found:
    """A verdict (:class:`fuzz.judge.Verdict`) and the case's number."""

    number: int
    mutation: str
    said: str
    outcome: str
    detail: str
    seconds: float = 0.0
    peak_mib: int = 0


@dataclass
class Row:
    """One class of mutation."""

    cases: int = 0
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    slowest_s: float = 0.0
    peak_mib: int = 0


class Worker:
    """A process of :mod:`fuzz.worker`, started again whenever it has ended."""

    def __init__(self, module: str, seed: int, limits: Limits) -> None:
        self._module, self._seed, self._limits = module, seed, limits
        self._process: subprocess.Popen[bytes] | None = None
        self._answers = -1
        self._errors: IO[bytes] | None = None
        self._rest = b""

    def run(self, number: int) -> Found:
        """The case's verdict, or what became of the process."""
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(b"%d\n" % number)
        process.stdin.flush()
        made = self._line(MAKING_S)
        if made != b"ready":
            return self._lost(number, "while the case was made" if made is None else "no case was made")
        line = self._line(self._limits.seconds)
        if line is None:
            return self._lost(number, f"no answer within {self._limits.seconds:g} s")
        if not line and process.wait(timeout=10) == -signal.SIGTERM:  # stopped from outside: not a fault of the case
            self.close()
            return self.run(number)
        if not line:
            return self._lost(number, "")
        verdict = Found(number, **json.loads(line))
        if verdict.peak_mib > self._limits.memory_mib:
            self.close()  # what it has not given back would be the next one's
            said = f"{verdict.peak_mib} MiB, over {self._limits.memory_mib}; {verdict.outcome} {verdict.detail}"
            return Found(number, verdict.mutation, verdict.said, "failed", said, verdict.seconds, verdict.peak_mib)
        return verdict

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                with suppress(OSError):  # what it never read
                    self._process.stdin.close()
            os.close(self._answers)
            if self._errors is not None:
                self._errors.close()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        read_end, write_end = os.pipe()
        command = [sys.executable, "-m", "fuzz.worker", self._module, str(self._seed), str(write_end)]
        paths = [str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=self._errors, pass_fds=(write_end,), cwd=ROOT, env=environment
        )
        os.close(write_end)
        self._answers, self._rest = read_end, b""
        return self._process

    def _line(self, seconds: float) -> bytes | None:
        """The next line; empty where the process has ended, None where it took too long."""
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], seconds)
            if not ready:
                return None
            more = os.read(self._answers, 1 << 16)
            if not more:
                return b""
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _lost(self, number: int, why: str) -> Found:
        assert self._process is not None
        if not why or why == "no case was made":
            code = self._process.wait(timeout=10)
            why = f"{why or 'the process died'}: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"
        else:
            self._process.send_signal(signal.SIGABRT)  # faulthandler says where it was
            self._process.wait(timeout=10)
        assert self._errors is not None
        self._errors.seek(0)
        trace = self._errors.read().decode("utf-8", "replace")[-2500:]
        self.close()
        return Found(number, *_named(self._module, self._seed, number), "failed", f"{why}\n{trace}")


def _named(module: str, seed: int, number: int) -> tuple[str, str]:
    """The class of a case whose process is gone; made again elsewhere, as making it may be what went wrong."""
    code = f"import {module} as m; c = m.case_of({seed}, {number}); print(c.mutation); print(c.said)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=MAKING_S, env=environment
    )
    lines = done.stdout.splitlines()
    return (lines[0], lines[1]) if len(lines) > 1 else ("unknown", "cannot be made")


def run(
    numbers: Iterable[int], seed: int, *, workers: int = 2, limits: Limits | None = None, module: str = "fuzz.cases"
) -> Iterator[Found]:
    """Every case's outcome, as they come."""
    waiting: Queue[int] = Queue()
    for number in numbers:
        waiting.put(number)
    total = waiting.qsize()
    done: Queue[Found | BaseException] = Queue()

    def work() -> None:
        worker = Worker(module, seed, limits or Limits())
        try:
            while True:
                done.put(worker.run(waiting.get_nowait()))
        except Empty:
            return
        except BaseException as error:  # a fault of the runner itself must not leave the others waiting
            done.put(error)
        finally:
            worker.close()

    with ThreadPoolExecutor(workers) as pool:
        for _ in range(workers):
            pool.submit(work)
        for _ in range(total):
            found = done.get()
            if isinstance(found, BaseException):
                raise found
            yield found


def table(found: Iterable[Found]) -> dict[str, Row]:
    """Per class, in the order of the names."""
    rows: dict[str, Row] = defaultdict(Row)
    for one in found:
        row = rows[one.mutation]
        row.cases += 1
        row.answered += one.outcome == "answered"
        row.failed += one.outcome == "failed"
        if one.outcome == "refused":
            row.refused[one.detail] += 1
        row.slowest_s = max(row.slowest_s, one.seconds)
        row.peak_mib = max(row.peak_mib, one.peak_mib)
    return dict(sorted(rows.items()))
