"""One process that runs cases it is told by number, so that a crash takes nothing else with it.

Standard input: a number a line. The descriptor given as the last argument: ``ready`` when a case is made, then its
verdict as a line of JSON.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import resource
import sys
import warnings

from fuzz.judge import as_json, judged

MOST_ADDRESSES_BYTES = 12 << 30
"""A case that wants more gets a MemoryError instead of the whole machine."""


def limit_resources() -> None:
    """Limit the resources of this process."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES_BYTES, MOST_ADDRESSES_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(module: str, seed: int, answers: int) -> None:
    """``module`` has ``case_of``."""
    limit_resources()
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    case_of = importlib.import_module(module).case_of
    for line in sys.stdin:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of writing junk; what reading it says is judged
            case = case_of(seed, int(line))
        gc.collect()
        os.write(answers, b"ready\n")
        os.write(answers, as_json(judged(case)).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
