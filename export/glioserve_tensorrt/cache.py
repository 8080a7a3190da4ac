"""Plans and timing caches kept between builds, on a disk that pods may share.

``<cache>/<key's digest>/{model.plan,plan.json}`` and ``<cache>/timing/<device and TensorRT>.cache``. An entry is what
its record says, or it is built again. Any of it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glioserve_contract import GlioserveError
from glioserve_contract.records.plan import PLAN_FILE, PLAN_RECORD_FILE, EngineKey, PlanRecord, plan_record_text
from glioserve_export.files import exclusive, staging, sync_folder, write_if_changed
from glioserve_preprocess.files import file_digest
from glioserve_triton.plans.records import load_plan_record

LOCK_FILE = ".plan.lock"
"""Lock in every folder that a plan is written into. Triton and verify pass over names that begin with a dot."""


@dataclass(frozen=True)
class PlanCache:
    """A folder of plans and timing caches."""

    folder: Path

    @contextlib.contextmanager
    def locked(self, key: EngineKey, timeout_s: float) -> Iterator[Path]:
        """Hold the key's own folder, so that no other process builds in it; GLIO-5112 where one does for too long."""
        entry = self._entry(key)
        entry.mkdir(parents=True, exist_ok=True)
        with exclusive(entry / LOCK_FILE, timeout_s):
            yield entry

    def find(self, key: EngineKey) -> Path | None:
        """Return the folder with the key's plan; None where there is none, or not the one of its record."""
        entry = self._entry(key)
        try:
            record = load_plan_record(entry)
            whole = record.key == key and file_digest(entry / PLAN_FILE) == record.plan_digest
        except (GlioserveError, OSError):
            return None
        return entry if whole else None

    def store(self, plan: Path, record: PlanRecord) -> Path:
        """Move a plan in, its record last. Under its lock."""
        text, entry = plan_record_text(record), self._entry(record.key)
        self.drop(record.key)
        plan.replace(entry / PLAN_FILE)
        write_if_changed(entry / PLAN_RECORD_FILE, text)
        return entry

    def drop(self, key: EngineKey) -> None:
        """Forget a plan. Under its lock."""
        (self._entry(key) / PLAN_RECORD_FILE).unlink(missing_ok=True)
        (self._entry(key) / PLAN_FILE).unlink(missing_ok=True)

    def timing_cache(self, key: EngineKey) -> Path:
        """Return the path of what this TensorRT learnt about this device; the file may not be there yet."""
        place = "\n".join((key.tensorrt_version, key.gpu_name, key.compute_capability))
        return self.folder / "timing" / f"{hashlib.sha256(place.encode()).hexdigest()[:32]}.cache"

    def keep_timing_cache(self, key: EngineKey, learnt: Path) -> None:
        """Put a build's timing cache in place of the one before, at once. The last of several builders wins."""
        if not learnt.is_file():
            return
        kept = self.timing_cache(key)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_if_changed(kept, learnt.read_bytes())

    def _entry(self, key: EngineKey) -> Path:
        return self.folder / key.digest().removeprefix("sha256:")


def publish_plan(folder: Path, plan: Path, record: PlanRecord) -> None:
    """Put a plan and its record into ``folder``: never is a plan there with a record that is not its own.

    The record goes first and comes last; a plan without one is not served. Under the folder's lock.
    """
    text = plan_record_text(record)
    with staging(folder) as stage:
        copied = stage / PLAN_FILE
        shutil.copyfile(plan, copied)
        with copied.open("rb") as file:
            os.fsync(file.fileno())
        (folder / PLAN_RECORD_FILE).unlink(missing_ok=True)
        copied.replace(folder / PLAN_FILE)
    sync_folder(folder)
    write_if_changed(folder / PLAN_RECORD_FILE, text)
