"""Steps of an ensemble, read from its configuration."""

from __future__ import annotations

from pathlib import Path

from glioserve_triton.served.profile import read_config


def steps_of(repository: Path, model: str) -> tuple[str, ...]:
    """Return the names of the models that ``model`` runs, in order and each once; empty unless it is an ensemble.

    Raises:
        GlioserveError: GLIO-5108 where its configuration cannot be read.
    """
    file = repository / model / "config.pbtxt"
    if not file.is_file():
        return ()
    return tuple(dict.fromkeys(step.model_name for step in read_config(file).ensemble_scheduling.step))
