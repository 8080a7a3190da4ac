"""``glioserve COMMAND``: finds the command's module, imports only that, and turns our errors into one line.

A command module has ``add_arguments(parser)`` and ``run(args) -> int``. The client alone must install without
the heavy extras, so nothing is imported before it is asked for. For the same reason some commands import their
packages only in ``run``: their ``--help`` stays quick.
"""

from __future__ import annotations

import sys

from glioserve_cli import stop_signals

if __name__ == "__main__" or sys.argv[0].endswith("glioserve"):
    stop_signals.catch_for(sys.argv[1:])

import argparse
import errno
import importlib
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from glioserve_contract import NOT_FOR_CLINICAL_USE, GlioserveError
from glioserve_contract.install import install_advice


@dataclass(frozen=True)
class Command:
    """A command's module, the extra that brings what it needs, and its summary."""

    module: str
    extra: str
    summary: str


COMMANDS = {
    "predict": Command("glioserve_cli.serving.predict", "", "send a study to a server and show its answer"),
    "preprocess": Command(
        "glioserve_cli.serving.preprocess", "preprocess", "run the preprocessing offline, to NIfTI files"
    ),
    "explain": Command(
        "glioserve_cli.diagnosis.explain", "preprocess", "show which series is taken for which sequence, and why"
    ),
    "phantom": Command("glioserve_cli.training.phantom", "preprocess", "write a phantom DICOM study"),
    "train": Command("glioserve_cli.training.train", "train", "train a network into an artifact"),
    "dataset": Command(
        "glioserve_cli.training.dataset", "train", "preprocess a cohort, to train on or to hold variants to"
    ),
    "train-grid": Command(
        "glioserve_cli.training.train_grid", "train", "train every network on every combination of sequences"
    ),
    "train-brain": Command("glioserve_cli.training.train_brain", "train", "train the brain extraction network"),
    "train-opinion": Command(
        "glioserve_cli.training.train_opinion", "train", "train the network that tells kinds of images"
    ),
    "import": Command("glioserve_cli.models.import_", "export", "import an outside checkpoint into an artifact"),
    "export": Command("glioserve_cli.models.export", "export", "export an artifact into a model repository"),
    "engine": Command("glioserve_cli.models.engine", "export", "build and check TensorRT plans where they serve"),
    "repository": Command(
        "glioserve_cli.models.repository", "", "publish, list, verify, promote, roll back and fetch versions of a model"
    ),
    "bundle": Command(
        "glioserve_cli.models.bundle", "tls", "wheels, chart, models and image digests in one signed archive"
    ),
    "evaluate": Command(
        "glioserve_cli.models.evaluate", "evaluate", "evaluate a network or a server on a labelled cohort"
    ),
    "serve": Command("glioserve_cli.serving.serve", "serve", "serve a model repository with Triton"),
    "outcome": Command(
        "glioserve_cli.watching.outcome", "supervise", "add the truth about a study, and say how the model does"
    ),
    "shadow": Command(
        "glioserve_cli.watching.shadow", "preprocess", "compare a candidate's answers to live studies with those given"
    ),
    "pacs": Command(
        "glioserve_cli.pacs.command", "pacs", "answer the studies of a PACS and store the results beside them"
    ),
    "gateway": Command(
        "glioserve_cli.serving.gateway", "gateway-config", "write the configuration of Envoy in front of the servers"
    ),
    "drift": Command(
        "glioserve_cli.watching.drift", "evaluate", "keep what a network was trained on, draw how sites differ from it"
    ),
    "audit": Command("glioserve_cli.watching.audit", "preprocess", "verify and show a server's audit log"),
    "replay": Command(
        "glioserve_cli.watching.replay", "serve", "ask another version about studies whose inputs were kept"
    ),
    "doctor": Command("glioserve_cli.diagnosis.doctor", "", "report what is installed, found, reachable and wrong"),
    "demo": Command(
        "glioserve_cli.serving.demo", "serve", "DICOM study in, explained answer out, through a real Triton server"
    ),
}


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Parser(argparse.ArgumentParser):
    """A parser whose command may tell of wrong arguments where its callers read answers."""

    tell_misuse: Callable[[str], None] | None = None

    def error(self, message: str) -> NoReturn:
        """Tell, print the usage, and end with exit code 2."""
        if self.tell_misuse is not None:
            self.tell_misuse(message)
        super().error(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Exit code 0: done; 1: one of our errors, printed in one line; 2: wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = next((a for a in arguments if not a.startswith("-")), None)
    parser = _Parser(prog="glioserve", epilog=NOT_FOR_CLINICAL_USE)
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    module = None
    for key, command in COMMANDS.items():
        sub = commands.add_parser(
            key, help=command.summary, description=f"{command.summary[0].upper()}{command.summary[1:]}."
        )
        if key == name:
            try:
                module = importlib.import_module(command.module)
            except ModuleNotFoundError as error:
                return _missing(key, command, error)
            module.add_arguments(sub)
            if "--json" in arguments:
                parser.tell_misuse = sub.tell_misuse = getattr(module, "tell_misuse", None)
    args = parser.parse_args(arguments)
    if module is None:  # unreachable but for `glioserve -- COMMAND`
        parser.error(f"name the command first: glioserve {args.command} …")
    try:
        code = int(module.run(args))
        if sys.stdout is not None:  # closed by the caller, as by `>&-`
            sys.stdout.flush()
        return code
    except GlioserveError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of the output has gone, as in `glioserve … | head`
        _abandon_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _abandon_output()
        what = error.filename or "the output, or a file that it writes"
        print(f"glioserve {name}: {what}: {error.strerror}. Make room, and run it again.", file=sys.stderr)
        return 1


def _abandon_output() -> None:
    """Let what is still to be written go nowhere, else the interpreter complains of it at its end."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _missing(name: str, command: Command, error: ModuleNotFoundError) -> int:
    advice = install_advice(*([command.extra] if command.extra else []))
    print(f"glioserve {name} needs the package {error.name!r}: {advice}", file=sys.stderr)
    return 1


def _version() -> str:
    from importlib.metadata import version

    return f"glioserve {version('glioserve')}"


if __name__ == "__main__":
    sys.exit(main())
