"""One registration tool in a process of its own, so that nothing but the call is timed: ``worker.py TOOL``.

Reads one JSON object per line, ``{"pair": "file.npz"}``, and answers each with one line: the 4 x 4 matrix that carries
the fixed image's LPS points (mm) to the moving one's, and the CPU (user + system, all threads) and wall seconds of the
registration call alone. The first line that it writes says what importing the tool took. It runs under the peers'
Python as well as under the project's, so it imports neither before it knows the tool.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any

import numpy as np


def main() -> None:
    """Answer until standard input ends."""
    # Libraries print to standard output: the answers go to a copy of it, everything else to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    tool = importlib.import_module(f"{sys.argv[1]}_rigid")
    started = {"import_cpu_s": time.process_time() - cpu_s, "import_wall_s": time.perf_counter() - wall_s}
    print(json.dumps(started), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(tool, json.loads(line)["pair"])), file=answers, flush=True)


def _answer(tool: Any, pair: str) -> dict[str, Any]:
    with np.load(pair) as arrays:
        fixed, moving = (tool.image(arrays[f"{k}_voxels"], arrays[f"{k}_affine"]) for k in ("fixed", "moving"))
    answer: dict[str, Any] = {}
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    try:
        matrix, answer["verdict"] = tool.register(fixed, moving)
        answer["matrix"] = np.asarray(matrix).tolist()
    except Exception as error:  # noqa: BLE001 - a tool that fails is a figure of the benchmark
        answer["error"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"[:200]
    answer["cpu_s"] = time.process_time() - cpu_s
    answer["wall_s"] = time.perf_counter() - wall_s
    return answer


if __name__ == "__main__":
    main()
