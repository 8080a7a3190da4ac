"""``glioserve repository list`` and ``verify``: the versions of a repository or a store, and their files."""

from __future__ import annotations

import argparse
import json

from glioserve_cli.models.repository.options import DEFAULT_REPOSITORY
from glioserve_registry.layout.listing import as_text, list_versions
from glioserve_registry.store import verify_any


def add_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``list``."""
    parser.set_defaults(where=DEFAULT_REPOSITORY)
    parser.add_argument(
        "where", nargs="?", default=argparse.SUPPRESS, metavar="DIR|URL", help=f"default: {DEFAULT_REPOSITORY}"
    )
    parser.add_argument(
        "--repository",
        dest="where",
        default=argparse.SUPPRESS,
        metavar="DIR|URL",
        help="the same, by the name that the other actions have",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable")


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``verify``."""
    add_list(parser)
    parser.add_argument("--version", type=int, metavar="N", help="this one alone")


def run_list(args: argparse.Namespace) -> int:
    """Print the versions, as a table or as JSON."""
    listed = list_versions(args.where)
    print(json.dumps([version.record() for version in listed], indent=2) if args.json else as_text(listed))
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Print the problems; exit code 1 where there is one."""
    verified = verify_any(args.where, args.version)
    if args.json:
        record = {"versions": verified.versions, "files": verified.files, "problems": verified.problems}
        print(json.dumps(record, indent=2))
    else:
        for problem in verified.problems:
            print(f"PROBLEM  {problem}")
        numbers = ", ".join(map(str, verified.versions)) or "none"
        print(f"versions {numbers}: {verified.files} files, {len(verified.problems)} problems")
    return 1 if verified.problems else 0
