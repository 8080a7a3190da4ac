"""A served adapter that begins no study while a file is there; otherwise it is as it is served."""

from __future__ import annotations

from pathlib import Path

_HOLDING = '''


class _Holding(TritonPythonModel):
    """Begins nothing while the file is there."""

    def execute(self, requests):
        import time

        from glioserve_triton.adapters.heartbeat import own_heartbeat

        with own_heartbeat().busy():
            while (Path(__file__).parents[1] / "hold").exists():
                time.sleep(0.02)
        return super().execute(requests)


TritonPythonModel = _Holding
'''


def hold_adapter(repository: Path) -> Path:
    """Add it to ``preprocess`` of a repository; return the file that holds studies back."""
    adapter = repository / "preprocess" / "1" / "model.py"
    adapter.write_text(adapter.read_text(encoding="utf-8") + _HOLDING, encoding="utf-8")
    return repository / "preprocess" / "hold"
