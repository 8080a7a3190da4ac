"""A stand-in for trtexec, run as a program: it takes trtexec's documented options and no other.

Its "plan" is a JSON head and the ONNX file; its answers are looked up by the bytes of each study in the file that
``FAKE_TRT_ANSWERS`` names, so that studies in a wrong order, or cut at a wrong place, get wrong answers or none.
``FAKE_TRT_VERSION`` is whose banner it prints; ``FAKE_TRT_FAULT`` is what goes wrong. A build starts it some thirty
times, so it needs the standard library alone.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from support.tensorrt.tensorrt_options import VERSIONS, refused

SEPARATOR = b"\n--- onnx ---\n"


def main() -> int:
    version = os.environ.get("FAKE_TRT_VERSION", "10.16.1.11")
    major, minor, patch, number = (int(n) for n in version.split(".")[:4])
    fault = os.environ.get("FAKE_TRT_FAULT", "")
    arguments = sys.argv[1:]
    where = f"[TensorRT v{major * 10000 + minor * 100 + patch}] [b{number}] # {sys.argv[0]} {' '.join(arguments)}"
    print(f"&&&& RUNNING TensorRT.trtexec {where}", flush=True)
    if arguments == ["--help"]:
        print("=== Model Options ===\n  --onnx=<file>               ONNX model")
        return 0
    documented = f"{major}.{minor}" if f"{major}.{minor}" in VERSIONS else {11: "11.4"}.get(major, "10.16")
    problems = refused(arguments, documented)
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if problems:
        print("\n".join(f"[E] {problem}" for problem in problems), file=sys.stderr)
    elif "--onnx" in given:
        problems = build(given, arguments, version, fault)
    else:
        problems = infer(given, version, fault)
    for problem in problems:
        print(f"[11/24/2026-10:00:00] [E] {problem}", file=sys.stderr)
    print(f"&&&& {'FAILED' if problems else 'PASSED'} TensorRT.trtexec {where}")
    return 1 if problems else 0


def build(given: dict[str, str], arguments: list[str], version: str, fault: str) -> list[str]:
    if fault == "fails":
        return [
            "[TRT] IBuilder::buildSerializedNetwork: Error Code 10: no implementation for node",
            "Engine set up failed",
        ]
    if fault == "crashes":
        os.abort()
    if fault == "hangs":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        Path("child.pid").write_text(str(child.pid))
        time.sleep(300)
    building()
    if "--skipInference" not in given:
        return ["would time the plan for seconds"]
    if fault == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    cache = Path(given["--timingCacheFile"])
    known = cache.read_text() if cache.is_file() else ""
    if not set(known.splitlines()) <= {"timing", f"timed once for {version}"}:
        os.kill(os.getpid(), signal.SIGSEGV)  # a cache that TensorRT refuses is dereferenced after the build
    cache.write_text(f"{known}timed once for {version}\n")
    if fault == "writes nothing":
        return []
    head = {
        "version": version,
        "flags": [a for a in arguments if a.startswith(("--profile", "--minShapes", "--optShapes", "--maxShapes"))],
    }
    plan = json.dumps(head).encode() + SEPARATOR + Path(given["--onnx"]).read_bytes()
    Path(given["--saveEngine"]).write_bytes(plan[: len(plan) // 3] if fault == "writes garbage" else plan)
    return []


def building() -> None:
    """``FAKE_TRT_BUILDS`` gets a line for each build; ``FAKE_TRT_BUILD_S`` is how long one takes."""
    if "FAKE_TRT_BUILDS" in os.environ:
        with open(os.environ["FAKE_TRT_BUILDS"], "a") as file:
            file.write(f"{os.getpid()}\n")
    time.sleep(float(os.environ.get("FAKE_TRT_BUILD_S", "0")))


def infer(given: dict[str, str], version: str, fault: str) -> list[str]:
    plan = Path(given["--loadEngine"]).read_bytes()
    if SEPARATOR not in plan:
        return ["[TRT] IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magicTag mismatch)"]
    head = json.loads(plan.split(SEPARATOR)[0])
    if head["version"] != version:
        return [f"The engine plan file is not compatible with this version of TensorRT, expecting {version}"]
    name, _, spelled = given["--shapes"].rpartition(":")
    shape = [int(n) for n in spelled.split("x")]
    index = int(given.get("--useProfile", "0"))
    at = head["flags"].index(f"--profile={index}")
    smallest, _, largest = ([int(n) for n in head["flags"][at + k].rpartition(":")[2].split("x")] for k in (1, 2, 3))
    if not all(a <= n <= b for a, n, b in zip(smallest, shape, largest, strict=True)):
        return [f"Static dimension mismatch: profile {index} takes {smallest} to {largest}, not {shape}"]
    input_name, _, file = given["--loadInputs"].rpartition(":")
    content = Path(file).read_bytes()
    if input_name != name or len(content) != 4 * math.prod(shape):
        return [f"Note also that file {file} size should be exactly {4 * math.prod(shape)} bytes"]
    outputs = look_up(studies_of(content, shape[0]), fault)
    with open(given["--exportOutput"], "w") as file_out:
        file_out.write("[\n")
        for number, (output, values) in enumerate(outputs.items()):
            dims = "x".join(map(str, dimensions(values)))
            spelled_values = ", ".join(map(spell, flat(values)))
            file_out.write(f'{"  " if number == 0 else ", "}{{ "name" : "{output}"\n  , "dimensions" : "{dims}"\n')
            file_out.write(f'  , "values" : [ {spelled_values} ]\n  }}\n')
        file_out.write("]\n")
    return []


def spell(value: float | int) -> str:
    """Spell a number as a C++ stream does by default: integers whole, floats to six digits."""
    return str(value) if isinstance(value, int) else "nan" if value != value else format(value, ".6g")


def studies_of(content: bytes, count: int) -> list[bytes]:
    """The bytes of a batch, study by study."""
    size = len(content) // count
    return [content[k * size : (k + 1) * size] for k in range(count)]


def dimensions(values: Any) -> list[int]:
    """The lengths of lists within lists, as a shape."""
    return [len(values), *dimensions(values[0])] if isinstance(values, list) else []


def flat(values: Any) -> Iterator[float | int]:
    """The numbers of lists within lists, in C order."""
    if not isinstance(values, list):
        yield values
        return
    for value in values:
        yield from flat(value)


def look_up(studies: Sequence[bytes], fault: str = "") -> dict[str, list[Any]]:
    """The stored answers to these studies as nested lists; KeyError for a study that is not stored."""
    with open(os.environ["FAKE_TRT_ANSWERS"], "rb") as stored:
        answers = pickle.load(stored)
    picked = [answers[study] for study in studies]
    outputs = {name: [answer[name] for answer in picked] for name in ("LOGITS", "CAM", "MODEL_ID")}
    if fault == "answers otherwise":
        outputs["LOGITS"] = [scores[::-1] for scores in outputs["LOGITS"]]
    if fault == "answers otherwise in batches" and len(studies) > 1:
        outputs["CAM"] = [[depth[::-1] for depth in classes] for classes in outputs["CAM"]]
    if fault == "is not finite":
        outputs["LOGITS"][0] = [math.nan, *outputs["LOGITS"][0][1:]]
    if fault == "is another's":
        outputs["MODEL_ID"] = [[word + 1 for word in words] for words in outputs["MODEL_ID"]]
    if fault == "lacks an output":
        del outputs["CAM"]
    return outputs


if __name__ == "__main__":
    sys.exit(main())
