"""``--study-log`` of ``glioserve serve``, and what belongs to it."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from pathlib import Path

from glioserve_cli import argtypes
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_triton.process.logs import Log
from glioserve_triton.supervisor.studies import StudyLog, open_study_log
from glioserve_watch.audit.log import LEAST_KEEP_DAYS, keep_days

_KEEP_INPUTS_GIB = 10


def add_study_log_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that :func:`opened_study_log` reads."""
    group = parser.add_argument_group("study log (docs/study-log.md)")
    add = group.add_argument
    add(
        "--study-log",
        type=Path,
        metavar="DIR",
        help="keep a record of every study here: who asked, what answered, how it ended; no identity, no pixel",
    )
    add(
        "--study-log-shared",
        action="store_true",
        help="several servers are started with the same --study-log: each takes a folder server-N in it",
    )
    add(
        "--study-log-keep-days",
        type=argtypes.checked(keep_days),
        metavar="N",
        help=f"remove files of the audit log after N days, at least {LEAST_KEEP_DAYS} (default: keep all, as 0 does)",
    )
    add(
        "--keep-inputs",
        action="store_true",
        help="keep the network's input of every answered study in the study log, for `glioserve replay`; these are "
        "images of patients",
    )
    add(
        "--keep-inputs-gib",
        type=argtypes.positive,
        default=_KEEP_INPUTS_GIB,
        metavar="GIB",
        help="bound of the kept inputs; the oldest are removed (default %(default)s)",
    )


def opened_study_log(
    args: argparse.Namespace, log: Log, candidate: ServedVersion | None
) -> AbstractContextManager[StudyLog | None]:
    """Return the study log that the arguments ask for, to be entered; GLIO-5134 where it cannot be used."""
    if args.keep_inputs and args.study_log is None:
        raise GlioserveError(
            ErrorCode.INVALID_STUDY_LOG, "--keep-inputs needs a place.", "Name a folder with --study-log."
        )
    return open_study_log(
        args.study_log,
        log,
        shared=args.study_log_shared,
        keep_days=args.study_log_keep_days,
        input_bytes=int(args.keep_inputs_gib * 2**30) if args.keep_inputs else None,
        candidate=candidate,
    )
