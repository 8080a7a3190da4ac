"""Compile the inference protocol to the FileDescriptorSet that the client loads and that ``grpcurl`` reads.

python scripts/compile_protocol.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "client" / "glioserve_client" / "protocol"


def compile_to(target: Path) -> None:
    """Write the FileDescriptorSet of ``inference.proto`` to ``target``. CalledProcessError where protoc fails."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{FOLDER}", "inference.proto"]
    subprocess.run([*command, f"--descriptor_set_out={target}"], check=True)


if __name__ == "__main__":
    compile_to(FOLDER / "inference.binpb")
