"""``glioserve repository``: publish, list, verify, promote, roll back and fetch the versions of a classifier."""

from __future__ import annotations

import argparse

from glioserve_cli.models.repository import examine, promote, publish


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand for each action."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    publish.add_publish(
        actions.add_parser("publish", help="an exported folder becomes a version, if the gate passes it")
    )
    examine.add_list(actions.add_parser("list", help="the versions and which one serves"))
    examine.add_verify(actions.add_parser("verify", help="every file against its digest"))
    promote.add_promote(actions.add_parser("promote", help="another version serves"))
    promote.add_rollback(actions.add_parser("rollback", help="the version before serves again"))
    publish.add_fetch(actions.add_parser("fetch", help="a version of a remote store into a repository"))


def run(args: argparse.Namespace) -> int:
    """Do the action: exit code 0, or 1 where `verify` found a problem."""
    actions = {
        "publish": publish.run_publish,
        "list": examine.run_list,
        "verify": examine.run_verify,
        "promote": promote.run_promote,
        "rollback": promote.run_rollback,
        "fetch": publish.run_fetch,
    }
    return actions[args.action](args)
