"""``glioserve replay``: what another version would have answered to the studies whose inputs were kept.

Exit code 1 where the version that answered then gives another report.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tritonclient.grpc as triton

from glioserve_cli import argtypes
from glioserve_cli.channel_arguments import channel_tls_of
from glioserve_cli.client_arguments import add_tls_arguments, add_token_argument, url
from glioserve_cli.watching.times import time_of
from glioserve_contract import ErrorCode, GlioserveError, from_dict
from glioserve_contract.records.studies.study import StudyRecord
from glioserve_registry.layout.one_version import link_one_version
from glioserve_triton.channel import open_client
from glioserve_triton.process.options import ServerOptions
from glioserve_triton.process.server import TritonServer
from glioserve_triton.replay import Replayed, replay
from glioserve_watch.audit.lines import STUDY
from glioserve_watch.audit.read import lines_in
from glioserve_watch.audit.verify import logs_in
from glioserve_watch.inputs import INPUTS_FOLDER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add = parser.add_argument
    add("--study-log", type=Path, required=True, metavar="DIR", help="written with --keep-inputs")
    moment = argtypes.checked(time_of)
    add("--since", type=moment, required=True, metavar="TIME", help="studies that ended from this time on")
    add("--until", type=moment, metavar="TIME", help="studies that ended before this time")
    add("--with", dest="version", type=argtypes.count, required=True, metavar="VERSION", help="version to ask")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", type=url, metavar="HOST:PORT", help="server that serves the version")
    where.add_argument("--repository", type=Path, metavar="DIR", help="start a server that serves the version of this")
    add("--profile", help="with --repository: how the classifier runs (default: its config.pbtxt)")
    add("--tritonserver", type=Path, metavar="PATH", help="with --repository: the server binary")
    add("--json", action="store_true", help="machine-readable")
    add_token_argument(parser)
    add_tls_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and print old and new answers."""
    logs = logs_in(args.study_log)
    if not logs:
        raise GlioserveError(ErrorCode.INVALID_STUDY_LOG, f"{args.study_log}: there is not any audit log in it.")
    found: list[Replayed | StudyRecord] = []
    with _server(args) as client:
        for log in logs:
            inputs = log.parent / INPUTS_FOLDER
            found += replay(client, args.version, _records(log, args), inputs, args.headers or None)
    replayed = [study for study in found if isinstance(study, Replayed)]
    differing = [study for study in replayed if study.same_version and not study.same_report]
    if args.json:
        print(json.dumps(_as_json(replayed, len(found) - len(replayed)), indent=2))
    else:
        for study in replayed:
            print(_row(study))
        print(_sum(replayed, len(found) - len(replayed)))
    return 1 if differing else 0


@contextlib.contextmanager
def _server(args: argparse.Namespace) -> Iterator[triton.InferenceServerClient]:
    if args.url is not None:
        with open_client(args.url, channel_tls_of(args)) as client:
            yield client
        return
    with tempfile.TemporaryDirectory(prefix="glioserve-replay-") as folder:
        repository = link_one_version(args.repository, args.version, Path(folder) / "repository")
        options = ServerOptions(profile=args.profile, tritonserver=args.tritonserver)
        with TritonServer(repository, options) as server, open_client(server.grpc_url) as client:
            yield client


def _records(log: Path, args: argparse.Namespace) -> Iterator[StudyRecord]:
    for _, line in lines_in(log):
        if line.kind == STUDY:
            record = from_dict(StudyRecord, line.body, ignore_unknown=True)
            if args.since <= record.ended_at and (args.until is None or record.ended_at < args.until):
                yield record


def _row(study: Replayed) -> str:
    flip = "FLIP" if study.flipped else ""
    bytes_ = ("same bytes" if study.same_report else "OTHER BYTES") if study.same_version else ""
    old = f"v{study.version} {study.score:.4f} {study.label or 'abstained':10}"
    new = f"v{study.new_version} {study.new_score:.4f} {study.new_label or 'abstained':10}"
    return f"{study.ended_at}  {old}  {new}  {flip:4}  {bytes_:11}  {study.request_id}".rstrip()


def _as_json(replayed: list[Replayed], not_kept: int) -> dict[str, Any]:
    return {"studies": [{**asdict(study), "flipped": study.flipped} for study in replayed], "not_kept": not_kept}


def _sum(replayed: list[Replayed], not_kept: int) -> str:
    flips = sum(study.flipped for study in replayed)
    largest = max((abs(study.new_score - study.score) for study in replayed), default=0.0)
    return (
        f"{len(replayed)} studies, {flips} with another answer, largest change of a score {largest:.4f}; the inputs of "
        f"{not_kept} others are not kept"
    )
