"""``glioserve engine build | check | key``: TensorRT plans of a version, on the machine that serves them."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from glioserve_cli import argtypes
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.plan import EngineKey
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_export.progress import Progress
from glioserve_export.version_files import MANIFEST_FILE
from glioserve_tensorrt.build import (
    DEFAULT_TIMEOUT_S,
    ONNX_OF,
    WantedPlan,
    build_plan,
    check_published,
    key_of,
    manifest_of,
    this_machine,
)
from glioserve_tensorrt.cache import PlanCache
from glioserve_tensorrt.check import ProfileFigures
from glioserve_tensorrt.options import DEFAULT_OPTIMIZATION_LEVEL, DEFAULT_WORKSPACE_GIB
from glioserve_tensorrt.overlay import served_copy
from glioserve_triton.served.promotions import load_serving


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``build``, ``check`` and ``key``, each of a version's folder or of a repository's serving version."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    build = tasks.add_parser("build", help="build the plan, or take it from the cache; check it; put it in its place")
    check = tasks.add_parser("check", help="hold a plan that is there to its record, this machine and the answers")
    key = tasks.add_parser("key", help="show what a plan for this machine depends on")
    for task in (build, check, key):
        _add_version(task)
        task.add_argument(
            "--timeout-s",
            type=argtypes.seconds(most_s=argtypes.DAY_S),
            default=DEFAULT_TIMEOUT_S,
            metavar="S",
            help="for all of it; default %(default)s",
        )
    for task in (build, key):
        _add_options(task)
    build.add_argument(
        "--cache", type=Path, default=default_cache(), metavar="DIR", help="plans and timing caches (%(default)s)"
    )
    build.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="copy what --repository serves to DIR and put the plan there: for a repository that is read-only or "
        "shared by several kinds of GPU; serve DIR",
    )
    build.add_argument(
        "--allow-failure",
        action="store_true",
        help="exit with 0 where no plan can be had: the ONNX classifier serves (for an init container); a build that "
        "was killed, as for want of memory, is then not begun again",
    )


def _add_version(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("folder", nargs="?", type=Path, metavar="VERSION_FOLDER", help="classifier/N of a repository")
    which.add_argument("--repository", type=Path, metavar="DIR", help="its serving version, or --version")
    parser.add_argument("--version", type=int, metavar="N", help="of --repository (default: the one that serves)")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision", choices=tuple(ONNX_OF), default="fp16", help="which ONNX file to build from (default fp16)"
    )
    parser.add_argument("--workspace-gib", type=float, default=DEFAULT_WORKSPACE_GIB, help="default %(default)s")
    parser.add_argument(
        "--optimization-level",
        type=int,
        default=DEFAULT_OPTIMIZATION_LEVEL,
        help="how long TensorRT searches, 0 to 5 (default %(default)s)",
    )


def default_cache() -> Path:
    """Return the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glioserve" / "engines"


def run(args: argparse.Namespace) -> int:
    """Do the task. SIGTERM ends it and whatever it started."""
    signal.signal(signal.SIGTERM, _end)
    if args.task == "check":
        return _check(args)
    if args.task == "key":
        return _key(args)
    return _build(args)


def _build(args: argparse.Namespace) -> int:
    folder = _copy(args) if args.into is not None else version_folder(args)
    try:
        built = build_plan(
            _wanted(args, folder),
            PlanCache(args.cache),
            timeout_s=args.timeout_s,
            after_kill=not args.allow_failure,
            progress=_progress(),
        )
    except GlioserveError as error:
        if not args.allow_failure:
            raise
        print(error, file=sys.stderr)
        print(
            "No plan was made: where none is there that fits, ONNX Runtime serves (`glioserve serve --profile "
            "tensorrt-gpu` takes the profile onnxruntime-gpu instead).",
            file=sys.stderr,
        )
        return 0
    how = {"there": "was there already", "cache": "came from the cache", "built": "was built"}[built.origin]
    print(f"the plan {how}: {built.record.plan_digest}")
    _show_key(built.record.key)
    _show_figures(built.record.check_figures)
    return 0


def _check(args: argparse.Namespace) -> int:
    record, figures = check_published(version_folder(args), timeout_s=args.timeout_s)
    print(f"the plan fits: {record.plan_digest}, built {record.built} from {record.onnx_file} by {record.builder}")
    _show_key(record.key)
    _show_figures(figures)
    return 0


def _key(args: argparse.Namespace) -> int:
    wanted = _wanted(args, version_folder(args))
    manifest = manifest_of(wanted)
    toolkit, device = this_machine(args.timeout_s)
    _show_key(key_of(wanted, manifest, toolkit.version, device))
    return 0


def version_folder(args: argparse.Namespace) -> Path:
    """Return the version that the arguments name; GLIO-5124 where the repository has no such one."""
    if args.folder is not None:
        if args.version is not None:
            raise GlioserveError(ErrorCode.VERSION_NOT_FOUND, "--version is of a --repository, not of a folder.")
        return Path(args.folder)
    repository = Path(args.repository)
    number = load_serving(repository).version if args.version is None else str(args.version)
    folder = repository / CLASSIFIER_MODEL.name / number
    if not (folder / MANIFEST_FILE).is_file():
        raise GlioserveError(ErrorCode.VERSION_NOT_FOUND, f"The repository has no version {number}.")
    return folder


def _copy(args: argparse.Namespace) -> Path:
    if args.repository is None or args.version is not None:
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY, "--into copies what a --repository serves: give that, and no --version."
        )
    return served_copy(args.repository, args.into)


def _wanted(args: argparse.Namespace, folder: Path) -> WantedPlan:
    return WantedPlan(folder, args.precision, args.workspace_gib, args.optimization_level)


def _show_key(key: EngineKey) -> None:
    print(f"  key       {key.digest()}")
    print(f"  ONNX      {key.onnx_digest}")
    print(f"  TensorRT  {key.tensorrt_version}")
    print(f"  GPU       {key.gpu_name}, compute capability {key.compute_capability}")
    print(f"  flags     {' '.join(key.flags)}")


def _show_figures(figures: ProfileFigures) -> None:
    for name, found in figures.items():
        print(
            f"  {name:<9} SCORE within {found.max_probability_drift:.1e}, {found.label_flips} flips, heat maps "
            f"{found.min_heatmap_correlation:.4f} at least, {found.same_peak:.0%} same peak"
        )


def _progress() -> Progress:
    started = time.monotonic()

    def show(step: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {step}", flush=True)

    return show


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)
