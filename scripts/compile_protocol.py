"""Compile the inference protocol to the FileDescriptorSet that the client loads and that ``grpcurl`` reads.

pip install grpcio-tools && python scripts/compile_protocol.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "client" / "glioserve_client" / "protocol"


def main() -> int:
    """Write ``inference.binpb`` beside ``inference.proto``."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{FOLDER}", "inference.proto"]
    return subprocess.run([*command, f"--descriptor_set_out={FOLDER / 'inference.binpb'}"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
