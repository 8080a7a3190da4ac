"""Steady load on a supervised server while faults strike, one after another: what becomes of the studies.

``make bench NAME=chaos ARGS='[--callers 4] [--hostile 10000] [--only TEXT]'``: each study is answered, or the
client gets a typed error after its own retries. The table has, for each fault, the studies that were under way or
sent until the server had recovered, those that were lost (no answer after the retries), and the seconds until
``/readyz`` was 200 again. The server runs in a mount namespace with a small /dev/shm and temporary folder of its own,
so ``unshare`` must be allowed. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bars import Bar, print_bars
from chaos.deployment import Deployment
from chaos.faults import Fault, all_faults, strike
from chaos.hostile import PLANTED, attack
from chaos.load import Load, Sent, summary
from common import print_table, write_result
from glioserve_client import GliomaClient, RetryPolicy, VolumeStudy
from glioserve_client.study import Volume
from glioserve_contract import Modality
from glioserve_phantom import make_phantom
from glioserve_registry.demo_model import demo_repository

DEADLINE_S = 90.0
ANSWERS_BEFORE = 4
ANSWERS_AFTER = 6
RECOVERY_TIMEOUT_S = 120.0
NOTICE_TIMEOUT_S = 2.0
"""A fault that has not turned ``/readyz`` to 503 by then does not."""
SHRINK = 3
"""The studies' in-plane voxels are thinned out by so much: the load is many small studies."""
Row = dict[str, Any]
_COLUMNS = ("fault", "studies", "at once", "retried", "lost", "typed errors", "s to recover")


def small_study() -> VolumeStudy:
    """Return a phantom's three sequences as volumes with few voxels."""
    phantom = make_phantom(7, "recurrence")
    volumes = {}
    for modality in (Modality.T1, Modality.T1CE, Modality.T2):
        full = phantom.volume(modality)
        matrix = full.geometry.lps_from_voxel.copy()
        steps = [SHRINK if size > 100 else 1 for size in full.voxels.shape[::-1]]
        matrix[:3, :3] *= steps
        volumes[modality] = Volume(full.voxels[:: steps[2], :: steps[1], :: steps[0]], matrix)
    return VolumeStudy(volumes)


def under_fault(fault: Fault, deployment: Deployment, client: GliomaClient, study: VolumeStudy, callers: int) -> Row:
    """Let the fault strike under load; return the row of the table."""

    def send() -> int:
        return client.predict(study, timeout_s=DEADLINE_S, heatmap=False).attempts

    with Load(send, callers) as load:
        deployment.wait_for(lambda: load.answered_since(0.0) >= ANSWERS_BEFORE, RECOVERY_TIMEOUT_S)
        struck = time.monotonic()
        strike(fault, deployment)
        deployment.wait_for(lambda: not deployment.is_ready(), NOTICE_TIMEOUT_S)
        deployment.wait_for(deployment.is_ready, RECOVERY_TIMEOUT_S)
        ready = time.monotonic()
        recovered = deployment.wait_for(lambda: load.answered_since(ready) >= ANSWERS_AFTER, RECOVERY_TIMEOUT_S)
    sent = [s for s in load.sent() if s.ended_s >= struck]
    return _row(fault.name, sent, ready - struck if recovered else float("nan"), load.untyped)


def under_attack(deployment: Deployment, client: GliomaClient, study: VolumeStudy, callers: int, count: int) -> Row:
    """Send hostile requests under load; return the row of the table."""

    def send() -> int:
        return client.predict(study, timeout_s=DEADLINE_S, heatmap=False).attempts

    with Load(send, callers) as load:
        fates = attack(deployment.url, count, seed=1)
        struck = time.monotonic()
        deployment.wait_for(lambda: load.answered_since(struck) >= ANSWERS_AFTER, RECOVERY_TIMEOUT_S)
    print(f"hostile requests: {dict(fates.most_common())}")
    row = _row(f"{count} hostile requests", load.sent(), 0.0, load.untyped)
    row["admin answered"] = fates["ADMIN ANSWERED"]
    return row


def _row(name: str, sent: list[Sent], recovery_s: float, untyped: list[str]) -> Row:
    studies, at_once, retried, failures = summary(sent)
    return {
        "fault": name,
        "studies": studies,
        "at once": at_once,
        "retried": retried,
        "lost": failures.total(),
        "typed errors": " ".join(f"{token} x {n}" for token, n in failures.items()) or "–",
        "s to recover": round(recovery_s, 2),
        "untyped": untyped[:3],
    }


def main() -> int:
    """Print and keep the table; exit code 1 where a study was lost or a bar missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--hostile", type=int, default=10_000)
    parser.add_argument("--only", default="", help="faults whose name has this text")
    args = parser.parse_args()
    token = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="glioserve-chaos-") as name:
        folder = Path(name)
        token_file = folder / "token"
        token_file.write_text(token)
        repository = demo_repository(folder)
        faults = [fault for fault in all_faults(token) if args.only in fault.name]
        retry = RetryPolicy(max_attempts=60, longest_pause_s=2.0)
        rows, study = [], small_study()
        with (
            Deployment(repository, folder, ["--admin-token-file", str(token_file)]) as deployment,
            GliomaClient(deployment.url, retry=retry) as client,
        ):
            client.predict(study)
            memory = [deployment.memory_mib(), 0.0]
            for fault in faults:
                rows.append(under_fault(fault, deployment, client, study, args.callers))
                print(f"{fault.name}: {rows[-1]}", flush=True)
            if args.hostile:
                rows.append(under_attack(deployment, client, study, args.callers, args.hostile))
            time.sleep(15)  # replaced processes are given ten seconds to end
            memory[1] = deployment.memory_mib()
            shared_memory = deployment.shared_memory_mib()
        log = "\n".join(deployment.log)
    print_table("Faults under load", _COLUMNS, [[row[c] for c in _COLUMNS] for row in rows])
    bars = [
        Bar("studies lost", sum(row["lost"] for row in rows), 0),
        Bar("failures that were not typed", sum(len(row["untyped"]) for row in rows), 0),
        Bar("longest recovery", max((r["s to recover"] for r in rows), default=0.0), 60.0, "s"),
        Bar("admin requests of strangers that were answered", sum(r.get("admin answered", 0) for r in rows), 0),
        Bar("planted identifiers in the log", log.count(PLANTED), 0),
        Bar("memory after all, of that at the start", memory[1] / memory[0], 2.0),
        Bar("shared memory after all", shared_memory, 64.0, "MiB"),
    ]
    print_bars(bars)
    settings = {"callers": args.callers, "hostile": args.hostile, "deadline_s": DEADLINE_S}
    figures = {"faults": rows, "starts": deployment.starts, "bars": [bar.record() for bar in bars]}
    if not args.only:
        write_result("chaos", settings, figures, ("tritonclient", "grpcio", "nvidia-pytriton"))
    return 0 if all(bar.passed for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
