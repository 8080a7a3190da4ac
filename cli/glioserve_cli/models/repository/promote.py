"""``glioserve repository promote`` and ``rollback``: another version serves, on disk and on live servers."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from glioserve_cli.models.repository.live_servers import add_live_options, connected_servers
from glioserve_cli.models.repository.options import NOT_NEEDED, add_override_option, add_repository_option
from glioserve_registry.promoting.promotion import Promoted, answers_by_new_recipe, promote, rollback
from glioserve_watch.shadow.comparison import compared, shadow_records


def add_promote(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``promote``."""
    parser.add_argument("version", type=int, metavar="N")
    add_override_option(parser)
    parser.add_argument(
        "--study-log",
        type=Path,
        metavar="DIR",
        help="a server's --study-log, whose candidate was this version: the gate may ask for its live studies",
    )
    add_rollback(parser)


def add_rollback(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``rollback``."""
    add_repository_option(parser)
    add_live_options(parser)


def run_promote(args: argparse.Namespace) -> int:
    """Promote a version and print how it came out."""
    with _stoppable(), connected_servers(args) as servers:
        shadows = compared(shadow_records(args.study_log)) if args.study_log else ()
        promoted = promote(
            args.repository, args.version, servers, override=args.override, shadows=shadows, progress=_show
        )
    _print_outcome(args, promoted)
    if args.override is not None and promoted.override is None:
        print(NOT_NEEDED)
    return 0


def run_rollback(args: argparse.Namespace) -> int:
    """Have the version before serve again and print how it came out."""
    with _stoppable(), connected_servers(args) as servers:
        promoted = rollback(args.repository, servers, progress=_show)
    _print_outcome(args, promoted)
    return 0


def _show(step: str) -> None:
    print(step, flush=True)


def _print_outcome(args: argparse.Namespace, promoted: Promoted) -> None:
    for line in _outcome(promoted):
        print(line)
    if args.url:
        return
    if answers_by_new_recipe(args.repository, promoted):
        print("only files changed, but its weights are those that served: running servers answer by its recipe now")
    else:
        print("only files changed: a server takes them up at its next start, or now if it polls or is named by --url")


def _outcome(promoted: Promoted) -> Iterator[str]:
    if promoted.cut_off is not None:
        begun = promoted.cut_off
        yield f"a {begun.action} to version {begun.to_version}, begun {begun.at} and cut off, was undone first"
    if promoted.override is not None:
        yield f"the gate was overridden: {promoted.override}"
    for server, answer in promoted.canary.items():
        result = f"{answer.label}, score {answer.score:.3f}"
        yield f"{server}: version {answer.version} answered the canary study ({result})"
    if promoted.version == promoted.before:
        yield f"version {promoted.version} serves, as before"
    else:
        yield f"version {promoted.version} serves instead of version {promoted.before}"
    back = promoted.previous
    yield "there is no version to roll back to" if back is None else f"a rollback would bring back version {back}"


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Treat SIGTERM, by which a cluster ends a job, as Ctrl-C: what was begun is undone."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
