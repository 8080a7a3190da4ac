"""The folder of backends that a tritonserver is given.

NVIDIA's container brings native backends, and nothing is built for it. The wheel brings the Python backend alone,
so the others are Python-based backends of ours: Triton runs ``<backend>/model.py`` by the Python backend. A backend
that the server brings itself is always used in place of ours.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_triton.process.locate import STUB_NAME, Installation

_SOURCES = Path(__file__).parents[1] / "backends"

PYTHON_BASED = {"onnxruntime": "onnxruntime", "openvino": "openvino"}
"""Our Python-based backends (a folder of ``backends/`` each) and the Python package that each needs."""


def build_backend_folder(installation: Installation, folder: Path, needed: str) -> Path:
    """Fill ``folder`` with the server's backends and ours; the server's own folder where it has them all.

    Files are copied (3 MB): Triton refuses a library that is a link out of its backend's folder. A backend of ours
    whose Python package is missing is left out; GLIO-5109 names the package where it is the one ``needed``.
    """
    absent = {b: p for b, p in PYTHON_BASED.items() if not (installation.backends / b).is_dir()}
    ours = {b: p for b, p in absent.items() if importlib.util.find_spec(p) is not None}
    if needed in absent and needed not in ours:
        raise GlioserveError(
            ErrorCode.SERVER_NOT_FOUND, f"Its {needed} backend needs the Python package {absent[needed]}."
        )
    if not ours:
        return installation.backends
    shutil.copytree(installation.backends, folder, ignore=shutil.ignore_patterns("__pycache__"))
    stub = folder / "python" / STUB_NAME
    shutil.copyfile(installation.stub, stub)
    stub.chmod(0o755)
    for name in ours:
        (folder / name).mkdir()
        shutil.copyfile(_SOURCES / name / "model.py", folder / name / "model.py")
    return folder
