"""Forbid inference runtimes to report to their makers what this machine does.

The wheels of ONNX Runtime (1.32) send events to Microsoft, and those of OpenVINO (2026.4) to Google Analytics, as soon
as they are imported, unless they are forbidden to: https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
and https://github.com/openvinotoolkit/telemetry. A hospital's machine must report to neither.
"""

from __future__ import annotations

import os
import sys

_ONNX_RUNTIME_VARIABLE = "ORT_DISABLE_TELEMETRY"
"""Variable that ONNX Runtime looks at when it is imported."""
_OPENVINO_REPORTER = "openvino_telemetry"
"""Package that OpenVINO reports by; it does without where it cannot import it."""


def forbid_telemetry() -> None:
    """Forbid it to the runtimes that are imported from now on, here and in processes that this one starts.

    OpenVINO is forbidden in this process alone: another that imports it must call this too.
    """
    os.environ[_ONNX_RUNTIME_VARIABLE] = "1"
    sys.modules.setdefault(_OPENVINO_REPORTER, None)  # type: ignore[arg-type]  # its import fails from now on
