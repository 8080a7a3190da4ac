"""``glioserve repository``: publish, list, verify, promote, roll back and fetch the versions of a classifier."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glioserve_cli import argtypes
from glioserve_cli.client_arguments import add_tls_arguments, tls_of, url
from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.facts.evaluation import EvaluationSummary
from glioserve_contract.records.facts.publication import GateVerdict

if TYPE_CHECKING:
    from glioserve_registry.layout.listing import Listed
    from glioserve_registry.layout.verify import Verified
    from glioserve_registry.promoting.promotion import LiveServer, Promoted

DEFAULT_REPOSITORY = "build/repository"
_NOT_NEEDED = "the gate passed it: the override was not needed, and its reason is not recorded"
CANARY_TIMEOUT_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand for each action."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    publish = commands.add_parser("publish", help="an exported folder becomes a version, if the gate passes it")
    publish.add_argument("source", type=Path, metavar="SOURCE", help="what `glioserve export --model-only` wrote")
    target = publish.add_mutually_exclusive_group()
    _repository_option(target)
    target.add_argument("--to", metavar="URL", help="a remote store instead: s3://bucket/prefix, file:///…")
    publish.add_argument("--version", type=int, metavar="N", help="its number (default: the next)")
    publish.add_argument(
        "--evaluation", type=Path, metavar="FILE", help="evaluation.json of `glioserve evaluate`, of these weights"
    )
    _override_option(publish)

    for name, summary in (("list", "the versions and which one serves"), ("verify", "every file against its digest")):
        command = commands.add_parser(name, help=summary)
        command.add_argument("where", nargs="?", default=DEFAULT_REPOSITORY, metavar="DIR|URL", help="%(default)s")
        command.add_argument("--json", action="store_true", help="machine-readable")
        if name == "verify":
            command.add_argument("--version", type=int, metavar="N", help="this one alone")

    promote = commands.add_parser("promote", help="another version serves")
    promote.add_argument("version", type=int, metavar="N")
    _override_option(promote)
    rollback = commands.add_parser("rollback", help="the version before serves again")
    for command in (promote, rollback):
        _repository_option(command)
        _live_options(command)

    fetch = commands.add_parser("fetch", help="a version of a remote store into a repository")
    fetch.add_argument("url", metavar="URL")
    fetch.add_argument("--version", type=int, required=True, metavar="N")
    _repository_option(fetch)
    _override_option(fetch)


def run(args: argparse.Namespace) -> int:
    """Do the action: exit code 0, or 1 where `verify` found a problem."""
    actions = {
        "publish": _publish,
        "list": _list,
        "verify": _verify,
        "promote": _promote,
        "rollback": _promote,
        "fetch": _fetch,
    }
    return actions[args.action](args)


def _evaluation(path: Path | None) -> EvaluationSummary | None:
    if path is None:
        return None
    from glioserve_evaluation.reports.report import read_summary

    return read_summary(path)


def _publish(args: argparse.Namespace) -> int:
    from glioserve_registry.layout.repository import add_version
    from glioserve_registry.layout.serving import manifest_of
    from glioserve_registry.publishing.publication import Terms
    from glioserve_registry.store import Store, publish_to
    from glioserve_triton.served.promotions import serving_version

    terms = Terms(_evaluation(args.evaluation), args.override)
    if args.to is not None:
        store = Store(args.to)
        number = publish_to(store, args.source, args.version, terms=terms)
        manifest = store.manifest(number)
        then = f"fetch it: glioserve repository fetch {args.to} --version {number} --repository DIR"
    else:
        number = add_version(args.repository, args.source, args.version, terms=terms)
        manifest = manifest_of(args.repository, number)
        serving = serving_version(args.repository)
        promote = f"glioserve repository promote {number} --repository {args.repository}"
        alone = "it serves, the first version of this repository"
        then = alone if serving == number else f"version {serving} serves; when it is to: {promote}"
    print(f"published {manifest.recipe.name} as version {number}")
    publication = manifest.publication
    if publication is not None:
        _print_verdict(publication.gate, publication.override)
    if args.override is not None and (publication is None or publication.override is None):
        print(_NOT_NEEDED)
    print(then)
    return 0


def _list(args: argparse.Namespace) -> int:
    from glioserve_registry.layout.listing import as_text, list_repository, list_store
    from glioserve_registry.store import Store, is_url

    listed: Sequence[Listed]
    listed = list_store(Store(args.where)) if is_url(args.where) else list_repository(Path(args.where))
    print(json.dumps([version.record() for version in listed], indent=2) if args.json else as_text(listed))
    return 0


def _verify(args: argparse.Namespace) -> int:
    from glioserve_registry.layout.verify import verify
    from glioserve_registry.store import Store, is_url, verify_store

    found: Verified
    found = (
        verify_store(Store(args.where), args.version) if is_url(args.where) else verify(Path(args.where), args.version)
    )
    if args.json:
        print(json.dumps({"versions": found.versions, "files": found.files, "problems": found.problems}, indent=2))
    else:
        for problem in found.problems:
            print(f"PROBLEM  {problem}")
        numbers = ", ".join(map(str, found.versions)) or "none"
        print(f"versions {numbers}: {found.files} files, {len(found.problems)} problems")
    return 1 if found.problems else 0


def _promote(args: argparse.Namespace) -> int:
    from glioserve_registry.promoting.promotion import promote, rollback

    def show(step: str) -> None:
        print(step, flush=True)

    with _stoppable(), _servers(args) as servers:
        promoted: Promoted
        if args.action == "promote":
            promoted = promote(args.repository, args.version, servers, override=args.override, progress=show)
        else:
            promoted = rollback(args.repository, servers, progress=show)
    for line in _told(promoted, servers):
        print(line)
    if not servers:
        print(_taken_up(args.repository, promoted))
    if args.action == "promote" and args.override is not None and promoted.override is None:
        print(_NOT_NEEDED)
    return 0


def _told(promoted: Promoted, servers: Sequence[LiveServer]) -> Iterator[str]:
    if promoted.cut_off is not None:
        begun = promoted.cut_off
        yield f"a {begun.action} to version {begun.to_version}, begun {begun.at} and cut off, was undone first"
    if promoted.override is not None:
        yield f"the gate was overridden: {promoted.override}"
    for server, answer in promoted.canary.items():
        what = f"{answer.label}, score {answer.score:.3f}"
        yield f"{server}: version {answer.version} answered the canary study ({what})"
    if promoted.version == promoted.before:
        yield f"version {promoted.version} serves, as before"
    else:
        yield f"version {promoted.version} serves instead of version {promoted.before}"
    back = promoted.previous
    yield "there is no version to roll back to" if back is None else f"a rollback would bring back version {back}"


def _taken_up(repository: Path, promoted: Promoted) -> str:
    """Return when running servers follow what changed on disk alone."""
    from glioserve_registry.layout.serving import manifest_of

    numbers = {promoted.version, promoted.before or promoted.version}
    with contextlib.suppress(GlioserveError):  # the version before may be broken, and rolled back from
        weights = [manifest_of(repository, number).weights_digest for number in numbers]
        if len(weights) > len(set(weights)):
            return "only files changed, but its weights are those that served: running servers answer by its recipe now"
    return "only files changed: a server takes them up at its next start, or now if it polls or is named by --url"


def _fetch(args: argparse.Namespace) -> int:
    from glioserve_registry.store import Store, fetch
    from glioserve_triton.served.promotions import serving_version

    number = fetch(Store(args.url), args.version, args.repository, override=args.override)
    print(f"version {number} is in {args.repository}; version {serving_version(args.repository)} serves")
    return 0


def _print_verdict(gate: GateVerdict, override: str | None) -> None:
    for rule in gate.rules:
        print(f"  {'ok    ' if rule.passed else 'FAILED'}  {rule}")
    if override is not None:
        print(f"  the gate was overridden: {override}")


@contextlib.contextmanager
def _servers(args: argparse.Namespace) -> Iterator[list[LiveServer]]:
    """Connect to the named servers."""
    with contextlib.ExitStack() as stack:
        servers: list[LiveServer] = []
        if args.url:
            from glioserve_registry.promoting.live_server import TritonLive, canary_study

            token, tls = _token(args.admin_token_file), tls_of(args)
            if args.canary is None:
                print("drawing a phantom for the canary study (--canary DIR sends one that is there)", flush=True)
            study = canary_study(args.canary)
            for address in args.url:
                live = TritonLive(address, token, args.repository, study, timeout_s=args.canary_timeout_s, tls=tls)
                servers.append(stack.enter_context(live))
        yield servers


def _token(file: Path | None) -> str:
    from glioserve_triton.process.options import read_admin_token

    if file is None:
        raise GlioserveError(
            ErrorCode.REQUEST_REFUSED,
            "--url wants --admin-token-file FILE.",
            "Name the file of the admin token that the server was started with.",
        )
    try:
        return read_admin_token(file)
    except ValueError as error:
        raise GlioserveError(
            ErrorCode.REQUEST_REFUSED,
            f"The admin token's file cannot be used: {error}.",
            "Name the file of the admin token that the server was started with (--admin-token-file).",
        ) from error


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


def _repository_option(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--repository", type=Path, default=Path(DEFAULT_REPOSITORY), metavar="DIR", help="default: %(default)s"
    )


def _override_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--override", metavar="REASON", help="do it although the gate refuses; the reason is recorded")


def _live_options(parser: argparse.ArgumentParser) -> None:
    live = parser.add_argument_group("live servers")
    live.add_argument(
        "--url",
        action="append",
        default=[],
        type=url,
        metavar="HOST:PORT",
        help="gRPC address of a server over this repository; again for each replica",
    )
    live.add_argument("--admin-token-file", type=Path, metavar="FILE", help="as given to `glioserve serve`")
    live.add_argument("--canary", type=Path, metavar="DIR", help="DICOM study to send (default: a phantom)")
    live.add_argument(
        "--canary-timeout-s",
        type=argtypes.seconds(),
        default=CANARY_TIMEOUT_S,
        metavar="S",
        help="default: %(default)g",
    )
    add_tls_arguments(parser)
