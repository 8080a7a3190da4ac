"""Measurements of the client's benchmark, each in a process of its own: ``python -m client.tasks NAME ARGUMENT...``.

A task prints its figures as JSON. CPU seconds are those of all threads of the process.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Figures = dict[str, Any]


def imported() -> Figures:
    """The seconds that ``import glioserve_client`` takes, and with the names that a program needs to send a study."""
    for package in ("requests", "tqdm"):  # pydicom's, if they are there; no dependencies of the client
        sys.modules[package] = None  # type: ignore[assignment]
    began = time.process_time()
    import glioserve_client

    alone = time.process_time() - began
    assert {glioserve_client.DicomStudy, glioserve_client.GliomaClient}
    return {"cpu_s": alone, "used_cpu_s": time.process_time() - began}


def overhead(url: str, kind: str, folder: str, rounds: str) -> Figures:
    """CPU seconds a call of our client, and of tritonclient with the same tensors, in turns."""
    import numpy as np
    import tritonclient.grpc as triton

    from client.studies import volume_study
    from glioserve_client import DicomStudy, GliomaClient
    from glioserve_client.request import encode
    from glioserve_contract.tensors import ENSEMBLE

    study = volume_study(100.0) if kind == "volumes" else DicomStudy.from_directory(folder, in_memory=True)
    arrays: dict[str, Any] = {}
    for tensor in encode(study, identified=True).inputs:
        if tensor.dtype == "BYTES":
            arrays[tensor.name] = np.array([file.content for file in study.files], np.object_)  # type: ignore[union-attr]
        else:
            dtype = np.float32 if tensor.dtype == "FP32" else np.float64
            arrays[tensor.name] = np.frombuffer(tensor.content, dtype).reshape(tensor.shape)
    dtypes = {tensor.name: tensor.dtype for tensor in ENSEMBLE.inputs}
    outputs = [tensor.name for tensor in ENSEMBLE.outputs]
    bare = triton.InferenceServerClient(url)

    def by_tritonclient() -> None:
        inputs = []
        for name, array in arrays.items():
            tensor = triton.InferInput(name, array.shape, dtypes[name])
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        got = bare.infer("glioma", inputs, outputs=[triton.InferRequestedOutput(n) for n in outputs], client_timeout=60)
        for name in outputs:
            assert got.as_numpy(name) is not None

    with GliomaClient(url, identified=True) as client:
        ways = {"ours": lambda: client.predict(study), "tritonclient": by_tritonclient}
        return dict(in_turns(ways, int(rounds)))


def handed_over(megabytes: str, rounds: str) -> Figures:
    """CPU seconds to hand volumes over by the wire and by shared memory: the client's, and with tritonserver's."""
    import tempfile

    from client.studies import volume_study
    from common import ROOT
    from glioserve_triton.process.options import ServerOptions
    from glioserve_triton.process.server import TritonServer

    sys.path.insert(0, str(ROOT / "tests"))
    from support.server.canned_server import write_canned_repository

    study, options = volume_study(float(megabytes)), ServerOptions(shared_memory_token="token-of-a-benchmark")
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / "token"
        token.write_text(str(options.shared_memory_token))
        with TritonServer(write_canned_repository(Path(folder) / "repository"), options) as server:
            return _both_ways(server.grpc_url, server.process.pid, token, study, int(rounds))


def _both_ways(url: str, pid: int, token: Path, study: Any, rounds: int) -> Figures:
    from glioserve_client import GliomaClient

    with GliomaClient(url) as wire, GliomaClient(url, shared_memory=token) as shared:
        ways = {"wire": lambda: wire.predict(study), "shared": lambda: shared.predict(study)}
        client = in_turns(ways, rounds)
        both = in_turns(ways, rounds, lambda: time.process_time() + _cpu_s_of(pid))
    return {"client": client, "both": both}


def in_turns(
    ways: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """CPU seconds of each way in each round but the first."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in ways if number % 2 else reversed(list(ways)):
            began = clock()
            ways[name]()
            if number:
                spent[name].append(clock() - began)
    return spent


def deidentified(folder: str, rounds: str) -> Figures:
    """CPU seconds to read a study's files, to de-identify them, and to encode the request."""
    from glioserve_client import DicomStudy
    from glioserve_client.calls.message import infer_message
    from glioserve_client.request import encode

    contents = [file.read_bytes() for file in sorted(Path(folder).iterdir())]
    spent: dict[str, list[float]] = {"read": [], "deidentify": [], "encode": []}
    for _ in range(int(rounds)):
        began = time.process_time()
        study = DicomStudy.from_bytes(contents)
        read = time.process_time()
        study.deidentified()
        made = time.process_time()
        infer_message(encode(study), model_name="glioma", request_id="bench", outputs=(), parameters={})
        for name, seconds in zip(spent, (read - began, made - read, time.process_time() - made), strict=True):
            spent[name].append(seconds)
    return {name: min(times) for name, times in spent.items()}


def memory(url: str, folder: str, place: str) -> Figures:
    """Peak of the process's memory over what it has before the study is read, in bytes."""
    from glioserve_client import DicomStudy, GliomaClient

    with GliomaClient(url) as client:
        before = _resident_bytes()
        if place == "disk":
            client.predict(DicomStudy.from_directory(folder))
        else:
            client.predict(DicomStudy.from_bytes(file.read_bytes() for file in sorted(Path(folder).iterdir())))
    # Not getrusage: its peak begins with the process that this one was forked from.
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]
    return {"before_bytes": before, "peak_bytes": peak - before}


def many(url: str, calls: str) -> Figures:
    """Memory, descriptors and Python's objects after a tenth of the calls, and after all."""
    import gc

    from client.studies import volume_study
    from glioserve_client import GliomaClient

    study, seen = volume_study(2.0), []
    with GliomaClient(url) as client:
        for number in range(1, int(calls) + 1):
            client.predict(study)
            if number in (int(calls) // 10, int(calls)):
                gc.collect()
                seen.append((_resident_bytes(), len(os.listdir("/proc/self/fd")), len(gc.get_objects())))
    names = ("bytes", "descriptors", "objects")
    return {
        f"{when}_{name}": value
        for when, values in zip(("first", "last"), seen, strict=True)
        for name, value in zip(names, values, strict=True)
    }


def _cpu_s_of(pid: int) -> float:
    """CPU seconds of a process, to the nanosecond where the kernel tells."""
    schedstats = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in schedstats) / 1e9


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


TASKS: dict[str, Callable[..., Figures]] = {
    "imported": imported,
    "overhead": overhead,
    "deidentified": deidentified,
    "memory": memory,
    "many": many,
    "handed_over": handed_over,
}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:])))
