"""``glioserve repository publish`` and ``fetch``: a version into a repository or a store."""

from __future__ import annotations

import argparse
from pathlib import Path

from glioserve_cli.models.repository.options import NOT_NEEDED, add_override_option, add_repository_option
from glioserve_contract.records.facts.publication import GateVerdict
from glioserve_evaluation.reports.report import read_summary
from glioserve_registry.layout.repository import add_version
from glioserve_registry.layout.serving import manifest_of
from glioserve_registry.publishing.publication import Terms
from glioserve_registry.store import Store, fetch, publish_to
from glioserve_triton.served.promotions import serving_version


def add_publish(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``publish``."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="what `glioserve export --model-only` wrote")
    target = parser.add_mutually_exclusive_group()
    add_repository_option(target)
    target.add_argument("--to", metavar="URL", help="a remote store instead: s3://bucket/prefix, file:///…")
    parser.add_argument("--version", type=int, metavar="N", help="its number (default: the next)")
    parser.add_argument(
        "--evaluation", type=Path, metavar="FILE", help="evaluation.json of `glioserve evaluate`, of these weights"
    )
    add_override_option(parser)


def add_fetch(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fetch``."""
    parser.add_argument("url", metavar="URL")
    parser.add_argument("--version", type=int, required=True, metavar="N")
    add_repository_option(parser)
    add_override_option(parser)


def run_publish(args: argparse.Namespace) -> int:
    """Publish a version and print the gate's verdict and the next command."""
    terms = Terms(None if args.evaluation is None else read_summary(args.evaluation), args.override)
    if args.to is not None:
        store = Store(args.to)
        number = publish_to(store, args.source, args.version, terms=terms)
        manifest = store.manifest(number)
        next_step = f"fetch it: glioserve repository fetch {args.to} --version {number} --repository DIR"
    else:
        number = add_version(args.repository, args.source, args.version, terms=terms)
        manifest = manifest_of(args.repository, number)
        serving = serving_version(args.repository)
        promote = f"glioserve repository promote {number} --repository {args.repository}"
        alone = "it serves, the first version of this repository"
        next_step = alone if serving == number else f"version {serving} serves; when it is to: {promote}"
    print(f"published {manifest.recipe.name} as version {number}")
    publication = manifest.publication
    if publication is not None:
        _print_verdict(publication.gate, publication.override)
    if args.override is not None and (publication is None or publication.override is None):
        print(NOT_NEEDED)
    print(next_step)
    return 0


def run_fetch(args: argparse.Namespace) -> int:
    """Fetch a version of a store and print which version serves."""
    number = fetch(Store(args.url), args.version, args.repository, override=args.override)
    print(f"version {number} is in {args.repository}; version {serving_version(args.repository)} serves")
    return 0


def _print_verdict(gate: GateVerdict, override: str | None) -> None:
    for rule in gate.rules:
        print(f"  {'ok    ' if rule.passed else 'FAILED'}  {rule}")
    if override is not None:
        print(f"  the gate was overridden: {override}")
