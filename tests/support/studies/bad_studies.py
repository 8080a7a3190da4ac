"""Studies as bytes to a real server, bad ones too, and what their caller is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

ENDS = {"Exceeds maximum queue size": "rejected", "Request timeout expired": "expired", "GLIO-1201": "refused"}
"""Outcomes by what the caller is told."""
NOT_DICOM = b"not DICOM"


def send(url: str, contents: Sequence[bytes], timeout_s: float | None = None, authority: Path | None = None) -> str:
    """Send one study; return what became of it, as its caller sees it.

    ``timeout_s`` is how long it may wait in a queue; ``authority`` the PEM file that a server with TLS is trusted by.
    """
    tensor = triton.InferInput("INSTANCES", [len(contents)], "BYTES")
    tensor.set_data_from_numpy(np.array(contents, dtype=object))
    tls = {"ssl": True, "root_certificates": str(authority)} if authority else {}
    with triton.InferenceServerClient(url, **tls) as client:
        try:
            client.infer("glioma", [tensor], client_timeout=240, timeout=timeout_s and int(timeout_s * 1e6))
        except triton.InferenceServerException as error:
            return next((end for words, end in ENDS.items() if words in error.message()), str(error.message()))
    return "answered"
