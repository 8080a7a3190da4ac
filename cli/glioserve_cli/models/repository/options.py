"""Options and sentences that several actions of ``glioserve repository`` share."""

from __future__ import annotations

import argparse
from pathlib import Path

DEFAULT_REPOSITORY = "build/repository"
NOT_NEEDED = "the gate passed it: the override was not needed, and its reason is not recorded"


def add_repository_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--repository DIR``."""
    parser.add_argument(
        "--repository", type=Path, default=Path(DEFAULT_REPOSITORY), metavar="DIR", help="default: %(default)s"
    )


def add_override_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--override REASON``."""
    parser.add_argument("--override", metavar="REASON", help="do it although the gate refuses; the reason is recorded")
