"""``glioserve demo``: makes a study, assembles a repository, starts Triton, predicts, writes the answer, stops."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from glioserve_cli import argtypes
from glioserve_cli.client_arguments import add_series_argument

PHANTOM_SEED = 7
PHANTOM_DIAGNOSIS: Literal["recurrence"] = "recurrence"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--study", type=Path, help="folder with a DICOM study; default: a phantom made on the spot")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the answer (default: out)")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder for what the demo makes on its way")
    parser.add_argument(
        "--min-slices", type=argtypes.count, help="serve a variant of the demo recipe with this slice rule"
    )
    add_series_argument(parser)
    parser.add_argument("--tritonserver", type=Path, help="the server binary to run")


def run(args: argparse.Namespace) -> int:
    """0 with the answer in ``--out``; 1 with one line where the study is refused. The server is gone either way."""
    from glioserve_client import DicomStudy, GliomaClient
    from glioserve_client.outputs import summary, write_outputs
    from glioserve_registry.demo_model import demo_repository
    from glioserve_triton.process.options import ServerOptions
    from glioserve_triton.process.server import TritonServer

    study_folder = args.study or _phantom(args.build / "phantom")
    with _step("reading the study"):
        study = DicomStudy.from_directory(study_folder)
    with _step("assembling the model repository"):
        repository = demo_repository(args.build, min_slices=args.min_slices)
    options = ServerOptions(tritonserver=args.tritonserver)
    server = TritonServer(repository, options)
    try:
        with _step("starting tritonserver"):
            server.start()
        with _step("sending the study"), GliomaClient(server.grpc_url) as client:
            prediction = client.predict(study, series=dict(args.series))
    finally:
        server.stop()
    with _step(f"writing {args.out}/"):
        written = write_outputs(prediction, args.out, study)
    print(f"\n{summary(prediction)}\n")
    for warning in written.warnings:
        print(f"warning: {warning}")
    print("Look at: " + "  ".join(str(path) for path in written.paths))
    return 0


def _phantom(folder: Path) -> Path:
    from glioserve_phantom import make_phantom
    from glioserve_phantom.dicom import write_study

    if not folder.is_dir():
        with _step("making a phantom study (synthetic head, no patient)"):
            write_study(make_phantom(PHANTOM_SEED, PHANTOM_DIAGNOSIS), folder)
    return folder


@contextmanager
def _step(what: str) -> Iterator[None]:
    print(f"{what} … ", end="", flush=True)
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        print("failed")
        raise
    print(f"{time.perf_counter() - start:.1f} s")
