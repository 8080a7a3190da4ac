"""The table of faults: how a fault is made to strike under load, and its row."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

from chaos.deployment import Deployment
from chaos.faults.fault import Fault, Others
from chaos.hostile.attack import attack
from chaos.hostile.grpc_requests import ADMIN_ANSWERED
from chaos.load import Load, summary
from chaos.parts import memory_mib

COLUMNS = ("fault", "studies", "at once", "retried", "lost", "typed errors", "s to recover", "other callers")
ANSWERS_BEFORE = 6
ANSWERS_AFTER = 8
RECOVERY_TIMEOUT_S = 120.0
NOTICE_TIMEOUT_S = 2.0
"""A fault that has not turned ``/readyz`` to 503 by then does not."""
Row = dict[str, Any]


def under_fault(fault: Fault, deployment: Deployment, load: Load) -> Row:
    """Let the fault strike under load; return its row.

    The next fault waits for the studies of this one: a client gives a study up that has lost four processes. The
    seconds to recover run from the moment at which the fault was over, until ``/readyz`` was 200 and a study that
    was sent later had been answered.
    """
    began = time.monotonic()
    deployment.wait_for(lambda: len(load.answered_after(began)) >= ANSWERS_BEFORE, RECOVERY_TIMEOUT_S)
    struck = time.monotonic()
    with fault.strike(deployment) as others:
        time.sleep(fault.lasts_s)
    over = struck if fault.lasts_s == 0.0 else time.monotonic()
    deployment.wait_for(lambda: not deployment.is_ready(), NOTICE_TIMEOUT_S)
    noticed = not deployment.is_ready()
    deployment.wait_for(deployment.is_ready, RECOVERY_TIMEOUT_S)
    ready = time.monotonic() if noticed else over
    recovered = deployment.wait_for(lambda: len(load.answered_after(ready)) >= ANSWERS_AFTER, RECOVERY_TIMEOUT_S)
    recovery_s = max(ready, load.answered_after(over)[0]) - over if recovered else math.nan
    recovered_at = time.monotonic()
    deployment.wait_for(lambda: load.is_done(recovered_at), RECOVERY_TIMEOUT_S)
    row = _row(fault.name, load, struck, recovery_s, others)
    row["unexpected"] = fault.unexpected(others)
    return row | {"memory_mib": round(memory_mib(deployment)), "shm_mib": round(deployment.shared_memory_mib(), 1)}


def under_attack(deployment: Deployment, load: Load, count: int) -> Row:
    """Send hostile requests under load; return their row."""
    began, starts = time.monotonic(), deployment.starts
    fates = attack(deployment, count, seed=1)
    over = time.monotonic()
    ready = deployment.wait_for(deployment.is_ready, RECOVERY_TIMEOUT_S)
    recovered = deployment.wait_for(lambda: len(load.answered_after(over)) >= ANSWERS_AFTER, RECOVERY_TIMEOUT_S)
    print(f"hostile requests: {dict(fates.most_common())}")
    recovery_s = load.answered_after(over)[0] - over if ready and recovered else math.nan
    row = _row(f"{count} hostile requests", load, began, recovery_s, Counter())
    row |= {"fates": dict(fates.most_common()), "admin answered": fates[ADMIN_ANSWERED]}
    row |= {"server ended": deployment.starts - starts, "seconds": round(over - began, 1), "unexpected": []}
    return row | {"memory_mib": round(memory_mib(deployment)), "shm_mib": round(deployment.shared_memory_mib(), 1)}


def _row(name: str, load: Load, since_s: float, recovery_s: float, others: Others) -> Row:
    studies, at_once, retried, failures = summary(load.sent(since_s))
    return {
        "fault": name,
        "studies": studies,
        "at once": at_once,
        "retried": retried,
        "lost": failures.total(),
        "typed errors": _words(failures),
        "s to recover": round(recovery_s, 2),
        "other callers": _words(others),
    }


def _words(counts: Counter[str]) -> str:
    return " ".join(f"{word} x {n}" for word, n in counts.items()) or "–"
