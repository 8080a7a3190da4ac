"""Send a de-identified DICOM study to a glioserve server with grpcio alone, without glioserve's own client.

pip install grpcio protobuf grpcio-tools
python -m grpc_tools.protoc -I ../../../client/glioserve_client/protocol inference.proto \
    --python_out=. --grpc_python_out=.
python predict.py STUDY 127.0.0.1:8001 --heatmap heatmap.nrrd
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import struct
import sys
import time
from pathlib import Path

import grpc
import inference_pb2 as pb
import inference_pb2_grpc

CONTRACT = "2"
"""Major version of the contract that this program was written for."""
RETRYABLE = {"GLIO-3102", "GLIO-3103", "GLIO-3104", "GLIO-4101", "GLIO-4102", "GLIO-4103", "GLIO-4111"}
"""Codes that a call can end with and that docs/errors.md marks "yes, with backoff"."""
WITHOUT_TOKEN = {"UNAVAILABLE": "GLIO-4101", "DEADLINE_EXCEEDED": "GLIO-4102", "NOT_FOUND": "GLIO-4103"}
"""Codes of messages that come from Triton or gRPC itself; a status that is not here is not worth a retry."""
STAGE_LOST, DEADLINE_PASSED = "GLIO-3103", "GLIO-3104"
NO_LIMIT = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
"""Studies and heat maps are larger than the 4 MB that gRPC takes by default."""


def main() -> int:
    """Print the answer; the exit codes are those of ``glioserve predict``."""
    parser = argparse.ArgumentParser(description="Send a de-identified DICOM study to a glioserve server.")
    parser.add_argument("study", type=Path, help="folder of DICOM files")
    parser.add_argument("server", help="HOST:PORT")
    parser.add_argument("--tls-ca", type=Path, help="authority of the server's certificate; turns TLS on")
    parser.add_argument("--token-file", type=Path, help="token or API key of a gateway")
    parser.add_argument("--timeout-s", type=float, default=120)
    parser.add_argument("--heatmap", type=Path, help="write the heat map here (NRRD); else none is computed")
    arguments = parser.parse_args()
    metadata = []
    if arguments.token_file:
        metadata = [("authorization", f"Bearer {arguments.token_file.read_text().strip()}")]
    files = [path.read_bytes() for path in sorted(arguments.study.rglob("*")) if path.is_file()]
    request = request_of(files, heatmap=arguments.heatmap is not None)
    with open_channel(arguments.server, arguments.tls_ca) as channel:
        try:
            answer = infer(inference_pb2_grpc.GRPCInferenceServiceStub(channel), request, metadata, arguments.timeout_s)
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return exit_code(error)
    return show(answer, arguments.heatmap)


def open_channel(server: str, tls_ca: Path | None) -> grpc.Channel:
    """Open a channel, by TLS where an authority is given."""
    if tls_ca is None:
        return grpc.insecure_channel(server, NO_LIMIT)
    return grpc.secure_channel(server, grpc.ssl_channel_credentials(tls_ca.read_bytes()), NO_LIMIT)


def request_of(files: list[bytes], *, heatmap: bool) -> pb.ModelInferRequest:
    """Put the files into one BYTES tensor: each has its length before it."""
    request = pb.ModelInferRequest(model_name="glioma")
    request.inputs.add(name="INSTANCES", datatype="BYTES", shape=[len(files)])
    request.raw_input_contents.append(b"".join(struct.pack("<I", len(file)) + file for file in files))
    for name in ["SCORE", "LABEL", "PROBABILITIES", "REPORT"] + ["HEATMAP", "HEATMAP_AFFINE"] * heatmap:
        request.outputs.add(name=name)
    if not heatmap:
        request.parameters["heatmap"].bool_param = False
    return request


def infer(
    stub: inference_pb2_grpc.GRPCInferenceServiceStub,
    request: pb.ModelInferRequest,
    metadata: list[tuple[str, str]],
    timeout_s: float,
) -> pb.ModelInferResponse:
    """Ask until there is an answer, a refusal that will stay one, or no time. Raises grpc.RpcError."""
    deadline = time.monotonic() + timeout_s
    lost, clocks_agree = 0, True
    for attempt in itertools.count():
        left_s = max(deadline - time.monotonic(), 0.001)
        request.parameters["timeout"].int64_param = int(left_s * 1e6)
        request.parameters.pop("deadline_unix_ms", None)
        if clocks_agree:
            request.parameters["deadline_unix_ms"].int64_param = int((time.time() + left_s) * 1000)
        try:
            return stub.ModelInfer(request, timeout=left_s, metadata=metadata)
        except grpc.RpcError as error:
            code = code_of(error)
            clocks_agree = clocks_agree and code != DEADLINE_PASSED
            lost += code == STAGE_LOST
            pause_s = random.uniform(0, min(10, 0.5 * 2**attempt)) + 3 * lost  # noqa: S311 - jitter
            if code not in RETRYABLE or lost > 3 or time.monotonic() + pause_s >= deadline:
                raise
            time.sleep(pause_s)
    raise AssertionError("not reached")


def code_of(error: grpc.RpcError) -> str:
    """Return the token anywhere in the message; without one, what the status stands for, or nothing."""
    status, message = error.code().name, error.details() or ""
    if found := re.search(r"GLIO-\d{4}", message):
        return found[0]
    if status == "INTERNAL" and re.search(r"tub process\b.*\bis not healthy|health mutex", message):
        return STAGE_LOST
    if status == "INTERNAL" and re.search(r"Failed to .* shared memory", message):
        return "GLIO-4101"
    if status == "RESOURCE_EXHAUSTED" and "larger than max" not in message:
        return "GLIO-4101"
    return WITHOUT_TOKEN.get(status, "")


def exit_code(error: grpc.RpcError) -> int:
    """Return 3 to send it later, 4 to change the study, 5 to change the credentials, 1 for a fault of the server."""
    if code_of(error) in RETRYABLE:
        return 3
    by_status = {"INVALID_ARGUMENT": 4, "RESOURCE_EXHAUSTED": 4, "UNAUTHENTICATED": 5, "PERMISSION_DENIED": 5}
    return by_status.get(error.code().name, 1)


def show(answer: pb.ModelInferResponse, heatmap: Path | None) -> int:
    """Print the answer and write the heat map. Outputs come in any order."""
    outputs = dict(zip((output.name for output in answer.outputs), answer.raw_output_contents, strict=True))
    report = json.loads(outputs["REPORT"][4:])  # BYTES elements have their length before them
    if report["contract_version"].split(".")[0] != CONTRACT:
        print(f"the server speaks contract {report['contract_version']}", file=sys.stderr)
        return 1
    (score,) = struct.unpack("<f", outputs["SCORE"])
    print(f"score {score:.6f}")
    print("label", outputs["LABEL"][4:].decode() or f"none: {'; '.join(report['abstained_because'])}")
    print("probabilities {:.6f} {:.6f}".format(*struct.unpack("<2f", outputs["PROBABILITIES"])))
    for warning in report["warnings"]:
        print("warning", warning)
    if heatmap:
        (shape,) = (output.shape for output in answer.outputs if output.name == "HEATMAP")
        heatmap.write_bytes(nrrd_header(shape, struct.unpack("<16d", outputs["HEATMAP_AFFINE"])) + outputs["HEATMAP"])
        print("heatmap", *shape)
    return 0


def nrrd_header(shape: list[int], affine: tuple[float, ...]) -> bytes:
    """Return the header of the heat map: [z, y, x] on disk is x fastest, and LPS is the affine's own space."""
    columns = ["({:.17g},{:.17g},{:.17g})".format(*affine[column:12:4]) for column in range(4)]
    lines = ["NRRD0004", "type: float", "dimension: 3", "space: left-posterior-superior", "endian: little"]
    lines += ["encoding: raw", "sizes: {2} {1} {0}".format(*shape)]
    lines += [f"space directions: {' '.join(columns[:3])}", f"space origin: {columns[3]}"]
    return "\n".join([*lines, "", ""]).encode()


if __name__ == "__main__":
    sys.exit(main())
