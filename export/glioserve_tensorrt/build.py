"""A version's plan: from the cache or built, checked against the stored answers, published beside the ONNX files."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import Manifest
from glioserve_contract.records.plan import PLAN_FILE, PLAN_SCHEMA, EngineKey, PlanRecord, check_key
from glioserve_export.files import exclusive, staging
from glioserve_export.graphs.vectors import Vectors, load_vectors
from glioserve_export.progress import Progress
from glioserve_export.version_files import FP16_FILE, ONNX_FILE
from glioserve_preprocess.files import file_digest
from glioserve_tensorrt.attempts import killed_before, marked
from glioserve_tensorrt.cache import LOCK_FILE, PlanCache, publish_plan
from glioserve_tensorrt.check import ProfileFigures, check
from glioserve_tensorrt.discovery import find_toolkit
from glioserve_tensorrt.options import BuildOptions, build_options
from glioserve_tensorrt.toolkit import BuildRequest, KilledError, Toolkit
from glioserve_triton.plans.accelerator import Device, find_device, no_device_reason
from glioserve_triton.plans.records import check_plan, load_plan_record
from glioserve_triton.served.versions import load_manifest

DEFAULT_TIMEOUT_S = 1800.0
"""Time for a whole build. A large network at the highest level takes TensorRT some ten minutes."""

PlanPrecision = Literal["fp16", "fp32"]
ONNX_OF: dict[PlanPrecision, str] = {"fp16": FP16_FILE, "fp32": ONNX_FILE}


@dataclass(frozen=True)
class WantedPlan:
    """Plan to build, and the version that it is for."""

    folder: Path
    """The version's, ``classifier/<N>``."""
    precision: PlanPrecision = "fp16"
    workspace_gib: float = 4.0
    optimization_level: int = 3

    @property
    def onnx_file(self) -> str:
        """File of the version that the plan is made of."""
        return ONNX_OF[self.precision]


@dataclass(frozen=True)
class Built:
    """A plan that serves."""

    record: PlanRecord
    origin: Literal["there", "cache", "built"]
    """``there``: the version had it already."""


def manifest_of(wanted: WantedPlan) -> Manifest:
    """Return the manifest, with the files held to it; GLIO-5119 where the precision's ONNX file is not among them."""
    manifest = load_manifest(wanted.folder, verify_files=True)
    if wanted.onnx_file not in manifest.files:
        raise _failed(
            f"The version has no {wanted.onnx_file}. Export it with `--variant fp16`, or build from its fp32 file "
            "(`--precision fp32`)."
        )
    return manifest


def key_of(wanted: WantedPlan, manifest: Manifest, tensorrt_version: str, device: Device) -> EngineKey:
    """Return what the plan depends on (ValueError for options beyond their ranges)."""
    return EngineKey(
        onnx_digest=manifest.files[wanted.onnx_file],
        tensorrt_version=tensorrt_version,
        gpu_name=device.name,
        compute_capability=device.compute_capability,
        flags=options_of(wanted, manifest).flags(),
    )


def options_of(wanted: WantedPlan, manifest: Manifest) -> BuildOptions:
    """Return the typed options (GLIO-5119 beyond their ranges)."""
    try:
        return build_options(manifest.recipe, wanted.workspace_gib, wanted.optimization_level)
    except ValueError as error:
        raise _failed(f"Options: {error}.") from error


def this_machine(timeout_s: float) -> tuple[Toolkit, Device]:
    """Return TensorRT and the GPU of this machine; GLIO-5119 where one is missing."""
    toolkit = find_toolkit(timeout_s)
    device = find_device(timeout_s)
    if device is None:
        raise _failed(f"No GPU was found: {no_device_reason()}. A plan is built where it serves.")
    return toolkit, device


def build_plan(
    wanted: WantedPlan,
    cache: PlanCache,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    after_kill: bool = True,
    progress: Progress = print,
) -> Built:
    """Make the version's folder hold a plan for this machine that answers as its ONNX file does.

    GLIO-5119 where none can be built, GLIO-5120 where it answers otherwise (nothing is published then), GLIO-5103
    where the version is damaged or has no stored answers, GLIO-5112 where another process builds the same for longer
    than the time that is left.

    ``after_kill``: try although the attempt before was killed; GLIO-5119 instead where it is False, because memory that
    ran out once would run out at every start of a container.
    """
    deadline = time.monotonic() + timeout_s
    try:
        return _build(wanted, cache, deadline, after_kill, progress)
    except KilledError as killed:
        raise killed.error from killed
    except OSError as error:
        raise _failed(f"A file cannot be written: {error.strerror}.") from error


def _build(wanted: WantedPlan, cache: PlanCache, deadline: float, after_kill: bool, progress: Progress) -> Built:
    manifest = manifest_of(wanted)
    check_operators(wanted.folder / wanted.onnx_file, progress)
    toolkit, device = this_machine(_left(deadline))
    key = key_of(wanted, manifest, toolkit.version, device)
    progress(f"TensorRT {key.tensorrt_version} by {toolkit.name}, {key.gpu_name}, key {key.digest()[:19]}…")
    there = _fitting(wanted.folder, manifest, key)
    if there is not None:
        progress("the version has this plan already")
        return Built(there, "there")
    if not os.access(wanted.folder, os.W_OK):
        raise _failed("The version's folder cannot be written. Serve a copy: --repository and --into.")
    vectors = load_vectors(wanted.folder, manifest.recipe)  # before minutes are spent: without them nothing serves
    with cache.locked(key, _left(deadline)) as entry, staging(entry) as work:
        reason = None if after_kill else killed_before(entry)
        if reason is not None:
            raise _failed(reason)
        job = _Job(wanted, manifest, vectors, cache, key, device, toolkit, work, deadline, progress)
        with marked(entry):
            figures = job.figures_of_cached()
            origin: Literal["cache", "built"] = "built" if figures is None else "cache"
            if figures is None:
                figures = job.build()
        record = replace(load_plan_record(entry), onnx_file=wanted.onnx_file, check_figures=figures)
        with exclusive(wanted.folder / LOCK_FILE, _left(deadline)):
            publish_plan(wanted.folder, entry / PLAN_FILE, record)
    return Built(record, origin)


@dataclass(frozen=True)
class _Job:
    """One build under the lock of its cache entry."""

    wanted: WantedPlan
    manifest: Manifest
    vectors: Vectors
    cache: PlanCache
    key: EngineKey
    device: Device
    toolkit: Toolkit
    work: Path
    deadline: float
    progress: Progress

    def figures_of_cached(self) -> ProfileFigures | None:
        """Return the cached plan's figures; None where there is none, or one that answers wrongly, which is dropped."""
        found = self.cache.find(self.key)
        if found is None:
            return None
        self.progress("found in the cache; checking it against the stored answers")
        try:
            return self._check(found, "cached")
        except GlioserveError as error:
            if error.code is not ErrorCode.ENGINE_MISMATCH:
                raise
            self.progress(f"the cached plan is built again: {error.detail}")
            self.cache.drop(self.key)
            return None

    def build(self) -> ProfileFigures:
        """Build, keep what was learnt, store the plan, check it; a plan that fails is not kept.

        A build that fails with a kept timing cache is repeated without it, and the cache is dropped: trtexec crashes on
        one that TensorRT refuses, and would do so each time.
        """
        self.progress(f"building from {self.wanted.onnx_file}; this takes minutes")
        started = time.monotonic()
        known = self.cache.timing_cache(self.key)
        try:
            plan, learnt = self._build_in(self._folder("build"), known)
        except GlioserveError as error:
            if not known.is_file() or not _left(self.deadline):
                raise
            self.progress(f"the kept timing cache is dropped, and the plan built once more without it: {error.detail}")
            known.unlink(missing_ok=True)
            plan, learnt = self._build_in(self._folder("build-anew"), known)
        self.cache.keep_timing_cache(self.key, learnt)
        self.progress(f"built {plan.stat().st_size / 1e6:.1f} MB in {time.monotonic() - started:.0f} s")
        entry = self.cache.store(plan, self._record(plan))
        self.progress("checking the plan against the stored answers")
        try:
            return self._check(entry, "built")
        except GlioserveError:
            self.cache.drop(self.key)
            raise

    def _build_in(self, folder: Path, known: Path) -> tuple[Path, Path]:
        """Return the plan and what was learnt, begun with the timing cache ``known`` if it is there."""
        learnt, plan = folder / "learnt.cache", folder / "built.plan"
        with contextlib.suppress(FileNotFoundError):  # the cache may be emptied at any time
            learnt.write_bytes(known.read_bytes())
        self.toolkit.build(
            BuildRequest(
                onnx=self.wanted.folder / self.wanted.onnx_file,
                options=options_of(self.wanted, self.manifest),
                timing_cache=learnt,
                plan=plan,
                work=folder,
                timeout_s=_left(self.deadline),
            )
        )
        return plan, learnt

    def _record(self, plan: Path) -> PlanRecord:
        return PlanRecord(
            schema=PLAN_SCHEMA,
            key=self.key,
            onnx_file=self.wanted.onnx_file,
            plan_digest=file_digest(plan),
            builder=self.toolkit.name,
            driver_version=self.device.driver_version,
            built=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def _check(self, entry: Path, which: str) -> ProfileFigures:
        work = self._folder(f"check-{which}")
        return check(entry / PLAN_FILE, self.vectors, self.manifest, self.toolkit, work, _left(self.deadline))

    def _folder(self, name: str) -> Path:
        folder = self.work / name
        folder.mkdir()
        return folder


def check_published(folder: Path, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> tuple[PlanRecord, ProfileFigures]:
    """Hold the plan of a version's folder to its record, to this machine and to the stored answers (GLIO-5120)."""
    deadline = time.monotonic() + timeout_s
    manifest = load_manifest(folder, verify_files=True)
    record = check_plan(folder, manifest.files)
    toolkit, device = this_machine(_left(deadline))
    check_key(
        record.key,
        tensorrt_version=toolkit.version,
        gpu_name=device.name,
        compute_capability=device.compute_capability,
    )
    vectors = load_vectors(folder, manifest.recipe)
    try:
        with tempfile.TemporaryDirectory(prefix="glioserve-plan-") as work:
            return record, check(folder / PLAN_FILE, vectors, manifest, toolkit, Path(work), _left(deadline))
    except KilledError as killed:
        raise killed.error from killed


def check_operators(onnx_file: Path, progress: Progress) -> None:
    """Raise GLIO-5119 with every node that TensorRT does not document; only reported where onnx is not installed."""
    try:
        import onnx
    except ModuleNotFoundError:
        progress("note: the package onnx is not here, so unsupported nodes are left to TensorRT's parser to name")
        return
    from glioserve_tensorrt.operators import unsupported

    found = unsupported(onnx.load(str(onnx_file)))
    if found:
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise _failed(f"TensorRT does not support: {'; '.join(map(str, found[:5]))}{more}.")


def _fitting(folder: Path, manifest: Manifest, key: EngineKey) -> PlanRecord | None:
    """Return the record of a plan that was published for this very key."""
    try:
        record = check_plan(folder, manifest.files)
    except GlioserveError:
        return None
    return record if record.key == key else None


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.0)


def _failed(detail: str) -> GlioserveError:
    return GlioserveError(ErrorCode.ENGINE_BUILD_FAILED, detail)
