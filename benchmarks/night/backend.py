"""A classifier whose runs find no memory while a file is there, as on a GPU whose memory another program has taken."""

from __future__ import annotations

from pathlib import Path

import glioserve_triton

BACKEND = Path(glioserve_triton.__file__).parent / "backends" / "onnxruntime" / "model.py"
"""The backend in the place of Triton's own, which knows no GPU."""
_FAILING = '''


class _Failing(TritonPythonModel):
    """Fails each run while the file is there."""

    def _run(self, names, inputs):
        from pathlib import Path

        if Path({file!r}).exists():
            raise RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 134217728")
        return super()._run(names, inputs)


TritonPythonModel = _Failing
'''


def failing_backend(folder: Path, file: Path) -> Path:
    """Write into ``folder`` the backend whose runs fail while ``file`` is there, with the words of ONNX Runtime."""
    changed = folder / BACKEND.name
    changed.write_text(BACKEND.read_text(encoding="utf-8") + _FAILING.format(file=str(file)), encoding="utf-8")
    return changed
