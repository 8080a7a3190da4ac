"""The candidate's process: reads inputs from its standard input, writes the logits to its standard output.

It is a process of its own, with the lowest priority and one thread, so that neither a crash nor the work of the
candidate reaches the server. A message is a line of JSON with the shape and, behind it, the voxels as little-endian
FP32; the answer is a line of JSON.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from glioserve_contract.tensors import IMAGE, LOGITS

_NICE = 19


def main(model: Path) -> None:
    """Answer inputs until there are no more."""
    os.nice(_NICE)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    answers, inputs = os.fdopen(os.dup(1), "w"), sys.stdin.buffer
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    while header := inputs.readline():
        shape = json.loads(header)["shape"]
        image = np.frombuffer(inputs.read(4 * math.prod(shape)), dtype="<f4").reshape(shape)
        (logits,) = session.run([LOGITS.name], {IMAGE.name: image[np.newaxis]})
        print(json.dumps({"logits": [float(v) for v in logits[0]]}), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
