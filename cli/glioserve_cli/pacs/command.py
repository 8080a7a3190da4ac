"""``glioserve pacs``: a bridge between a PACS and a server. It prints its audit log, a JSON object a line."""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from glioserve_cli.client_arguments import add_connection_arguments, connection_of, url
from glioserve_cli.client_tracing import traced
from glioserve_cli.pacs import arguments
from glioserve_cli.pacs.arguments import RECEIVED
from glioserve_cli.serving.failures import exit_code, exit_code_of_many
from glioserve_cli.stop_signals import STOP
from glioserve_contract import ErrorCode, GlioserveError, find_code
from glioserve_dicom.files.replacing import replacing
from glioserve_pacs import mercure
from glioserve_pacs.answering import Answering
from glioserve_pacs.archives import Destination, Query, Source
from glioserve_pacs.archives.dicomweb import DicomWeb, WebAccess
from glioserve_pacs.archives.dimse import Dimse, DimseAccess
from glioserve_pacs.archives.folder import FolderDestination, FolderSource
from glioserve_pacs.archives.peers import Peer
from glioserve_pacs.archives.received import Received
from glioserve_pacs.archives.receiver import Receiver
from glioserve_pacs.bridge import Bridge
from glioserve_pacs.completeness import choice_of
from glioserve_pacs.metrics import Metrics
from glioserve_pacs.parts import Parts, Settings
from glioserve_pacs.records.audit import AuditLog, pseudonyms
from glioserve_pacs.records.files import Files
from glioserve_pacs.records.state import IN_MEMORY, State
from glioserve_pacs.records.study import Phase
from glioserve_preprocess.files import load_recipe

DATABASE, LOCK = "bridge.sqlite", ".lock"
_FOLDER = "folder:"
_DIMSE = re.compile(r"dimse://(?P<ae_title>[^@]+)@(?P<host>\[[^]]+\]|[^:]+):(?P<port>\d{1,5})")
_FAILED = (Phase.INCOMPLETE, Phase.REFUSED)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--url", type=url, metavar="HOST:PORT", help="the server's gRPC address")
    arguments.add_arguments(parser)
    add_connection_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the bridge; :data:`glioserve_cli.serving.failures.EXIT_CODES` has the exit codes."""
    try:
        _check(args)
        with STOP.caught(), _libraries_silent(), ExitStack() as stack:
            return _bridged(args, stack)
    except GlioserveError as error:
        print(error, file=sys.stderr)
        if args.mercure and error.code is not ErrorCode.INVALID_BRIDGE:
            _write_failure(args, error)
        return exit_code(error)


@contextmanager
def _libraries_silent() -> Iterator[None]:
    """Keep what libraries log and warn of off the error output, in all threads: it quotes values of a study."""
    loggers = [logging.getLogger(name) for name in ("pynetdicom", "pydicom", "dicomweb_client", "urllib3", "highdicom")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def _check(args: argparse.Namespace) -> None:
    """Raise GLIO-5138 where options do not fit each other."""
    own, folder = args.source == RECEIVED, args.source.startswith(_FOLDER)
    wrong = {
        "--url names the server; only --dry-run goes without it": args.url is None and not args.dry_run,
        "--source received needs --listen and --store-to": own and not (args.listen and args.store_to),
        "--store-to is needed where studies come from a folder": folder and not args.store_to,
        "a folder of studies is looked at with --once": folder and not args.once,
        "--accession and --dry-run need a PACS that can be asked, not --source received": own
        and bool(args.accession or args.dry_run),
        "--mercure needs --store-to folder:DIR and --once": args.mercure
        and not ((args.store_to or "").startswith(_FOLDER) and args.once),
        "--listen without --allow takes images from no one": own and not args.allow,
    }
    for problem, is_so in wrong.items():
        if is_so:
            raise _invalid(f"{problem}.")


def _bridged(args: argparse.Namespace, stack: ExitStack) -> int:
    recipe = load_recipe(args.recipe)
    folder = stack.enter_context(_state_folder(args.state, read_only=args.dry_run))
    subject = pseudonyms(folder)
    work = Path(stack.enter_context(tempfile.TemporaryDirectory())) if args.dry_run else folder
    database = IN_MEMORY if args.dry_run else folder / DATABASE
    state = State(database, subject, copy_of=folder / DATABASE if args.dry_run else None)
    stack.callback(state.close)
    files, metrics = Files(work, subject), Metrics()
    if args.metrics_port is not None:
        port = stack.enter_context(metrics.served(args.metrics_host, args.metrics_port))
        print(f"metrics on port {port}", file=sys.stderr)
    received = Received(state, files, metrics, args.most_under_way)
    receiver = None
    if args.listen is not None:
        receiver = stack.enter_context(_receiver(args, received, state, metrics))
        print(f"DICOM on port {receiver.port}", file=sys.stderr)
    source = received if args.source == RECEIVED else _place(args, args.source, receiver)
    stack.enter_context(traced(args.otlp_endpoint))
    answers = stack.enter_context(Answering(args.url or "localhost:8001", recipe, **connection_of(args)))
    audit = AuditLog(work, partial(print, flush=True))
    stack.callback(audit.close)
    parts = Parts(
        source=source,
        destination=_destination(args, source),
        answers=answers,
        choose=partial(choice_of, recipe=recipe),
        state=state,
        files=files,
        audit=audit,
        metrics=metrics,
        source_is_own=args.source == RECEIVED,
        texts=mercure.of_answer if args.mercure else lambda _: {},
    )
    bridge = Bridge(parts, _settings(args))
    bridge.run(STOP.first)
    return _result(args, bridge) if args.once else 0


def _settings(args: argparse.Namespace) -> Settings:
    names = (Query(study_instance_uid=uid) for uid in args.study), (Query(accession_number=n) for n in args.accession)
    return Settings(
        queries=tuple(query for kind in names for query in kind),
        stable_s=args.stable_s,
        poll_s=args.poll_s,
        window_days=args.window_days,
        most_under_way=args.most_under_way,
        once=args.once,
        dry_run=args.dry_run,
    )


def _result(args: argparse.Namespace, bridge: Bridge) -> int:
    """Return the exit code by what became of the studies, and tell mercure of a failure."""
    errors = [
        GlioserveError(code)
        for study in bridge.outcomes()
        if study.phase in _FAILED or study.attempts
        if (code := find_code(study.code)) is not None
    ]
    if args.mercure and errors:
        _write_failure(args, errors[0])
    return exit_code_of_many(errors)


def _write_failure(args: argparse.Namespace, error: GlioserveError) -> None:
    folder = Path(args.store_to.removeprefix(_FOLDER))
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / mercure.FILE) as beside:
        beside.write_text(mercure.of_failure(error), encoding="utf-8")


@contextmanager
def _state_folder(folder: Path, *, read_only: bool) -> Iterator[Path]:
    """Make the folder for this user alone and hold it; GLIO-5139 where another process does."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with nullcontext() if read_only else FileLock(folder / LOCK, timeout=0):
            yield folder
    except Timeout as error:
        raise GlioserveError(ErrorCode.BRIDGE_STATE, "Another process uses the state folder.") from error
    except BrokenPipeError:  # the reader of the output has gone
        raise
    except OSError as error:
        detail = f"The state folder cannot be used: {error.strerror or type(error).__name__}."
        raise GlioserveError(ErrorCode.BRIDGE_STATE, detail) from error


def _receiver(args: argparse.Namespace, received: Received, state: State, metrics: Metrics) -> Receiver:
    peers = list(args.allow)
    if (match := _DIMSE.fullmatch(args.source)) is not None:
        peers.append(_peer(match))  # it sends what it was asked to move

    def refused(_: str) -> None:
        metrics.turned_away.inc()
        state.note("caller turned away")

    take = received.take if args.source == RECEIVED else None
    host, port = args.listen
    return Receiver(args.ae_title, host, port, peers, take=take, refused=refused)


def _place(args: argparse.Namespace, place: str, receiver: Receiver | None = None) -> DicomWeb | Dimse | FolderSource:
    """Return the source that a word names; GLIO-5138 for any other word."""
    if place.startswith(_FOLDER):
        return FolderSource(Path(place.removeprefix(_FOLDER)))
    if (match := _DIMSE.fullmatch(place)) is not None:
        return Dimse(DimseAccess(_peer(match), int(match["port"]), args.ae_title), receiver)
    if urlsplit(place).scheme in ("http", "https"):
        access = WebAccess(place, args.pacs_ca, args.pacs_cert, args.pacs_key, args.authorization or "")
        return DicomWeb(access)
    raise _invalid("A place is https://HOST/dicom-web, dimse://AETITLE@HOST:PORT, folder:DIR or received.")


def _destination(args: argparse.Namespace, source: Source) -> Destination:
    word = args.store_to
    if word is None:
        assert isinstance(source, DicomWeb | Dimse), "the options were checked"
        return source
    if word.startswith(_FOLDER):
        return FolderDestination(Path(word.removeprefix(_FOLDER)))
    place = _place(args, word)
    assert isinstance(place, DicomWeb | Dimse)
    return place


def _peer(match: re.Match[str]) -> Peer:
    try:
        return Peer.parse(f"{match['ae_title']}@{match['host'].strip('[]')}")
    except ValueError as error:
        raise _invalid(f"The PACS's address is not usable: {error}.") from error


def _invalid(problem: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_BRIDGE, problem[0].upper() + problem[1:])
