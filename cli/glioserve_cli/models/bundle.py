"""``glioserve bundle create | verify | unpack``: all that a site without a network needs, in one signed archive."""

from __future__ import annotations

import argparse
from pathlib import Path

from glioserve_registry.bundle.archive import read_private_key, read_public_key
from glioserve_registry.bundle.bundle import CHART, MODELS, WHEELS, Bundle, Parts, check, create, unpack

_MIB = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the three tasks and their arguments."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    make = tasks.add_parser("create", help="check the parts and sign them as one archive")
    make.add_argument("bundle", type=Path, metavar="FILE", help="the archive to write")
    make.add_argument("--key", type=Path, required=True, metavar="PEM", help="private Ed25519 key that signs")
    make.add_argument("--wheels", type=Path, required=True, metavar="DIR", help="our wheels and all that they need")
    make.add_argument("--chart", type=Path, required=True, metavar="DIR", help="the chart, helm/glioserve")
    make.add_argument("--models", type=Path, required=True, metavar="DIR", help="a repository of `glioserve export`")
    make.add_argument(
        "--image", action="append", default=[], metavar="REF", help="an image by digest, NAME@sha256:...; repeatable"
    )
    make.add_argument(
        "--requirement",
        default="glioserve[serve]",
        metavar="NAME",
        help="what pip installs from the wheels (default %(default)s)",
    )
    for name, text in (
        ("verify", "hold every byte of an archive to its signature"),
        ("unpack", "verify an archive and lay out its files"),
    ):
        task = tasks.add_parser(name, help=text)
        task.add_argument("bundle", type=Path, metavar="FILE", help="the archive")
        task.add_argument("--key", type=Path, required=True, metavar="PEM", help="public key of who made it")
        if name == "unpack":
            task.add_argument("--into", type=Path, required=True, metavar="DIR", help="a folder that is not there yet")


def run(args: argparse.Namespace) -> int:
    """Do the task and say what the archive holds: exit code 0."""
    if args.task == "create":
        parts = Parts(args.wheels, args.chart, args.models, tuple(args.image), args.requirement)
        _tell("written", create(args.bundle, parts, read_private_key(args.key)))
    elif args.task == "verify":
        _tell("right", check(args.bundle, read_public_key(args.key)))
    else:
        bundle = unpack(args.bundle, read_public_key(args.key), args.into)
        _tell("right", bundle)
        print(f"pip install --no-index --find-links {args.into / WHEELS} '{bundle.record.requirement}'")
        print(f"helm install NAME {args.into / CHART / 'glioserve'} --values YOURS   # models: {args.into / MODELS}")
    return 0


def _tell(what: str, bundle: Bundle) -> None:
    record, contents = bundle.record, bundle.contents
    print(f"{what}: glioserve {record.glioserve}, {len(contents.names)} files, {contents.bytes / _MIB:.1f} MiB")
    print(f"wheels for Python {record.python}: {record.requirement}")
    for image in record.images:
        print(f"image {image}")
