"""Brain models on disk to sessions in memory: found by name, held to the recipe's digest, and tried before they serve.

A model is looked for in a site's own folder, then in this package's. Nothing of a file is parsed before its digest is
known to be the recipe's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glioserve_contract import ErrorCode, GlioserveError, SchemaError
from glioserve_contract.records.brain_model import (
    BRAIN_MODELS_VARIABLE,
    BrainModelCard,
    brain_model_digest,
    parse_brain_model_card,
    sidecar_name,
)
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_preprocess.arrays import FloatArray

PACKAGED = Path(__file__).parents[1] / "models"
"""Folder of the models that come with this package."""


@dataclass(frozen=True, eq=False)
class BrainModel:
    """A network whose output was tested against its card. Any number of threads may run it at once."""

    card: BrainModelCard
    digest: str
    session: Any
    """An ``onnxruntime.InferenceSession``."""

    def run(self, tensor: FloatArray) -> FloatArray:
        """Run the network on FP32 [1, 1, a, b, c]; return the card's output, FP32 [1, 1 or 2, a, b, c]."""
        answer: FloatArray = self.session.run([self.card.output], {self.card.input: tensor})[0]
        return answer


def site_folder() -> Path | None:
    """Return the folder that ``GLIOSERVE_BRAIN_MODELS`` names.

    Entry points call it and hand the folder on; nothing else reads the environment.
    """
    named = os.environ.get(BRAIN_MODELS_VARIABLE)
    return Path(named) if named else None


def model_files(brain_models: Path | None) -> Iterator[Path]:
    """Yield every ``*.onnx`` file that a recipe could name, the site's first; of two with one name only the first."""
    seen = set()
    for folder in _folders(brain_models):
        for path in sorted(folder.glob("*.onnx")):
            if path.name not in seen:
                seen.add(path.name)
                yield path


def read_model(extraction: BrainExtraction, brain_models: Path | None) -> tuple[bytes, bytes]:
    """Return the bytes of the recipe's ONNX file and of its card.

    Raises:
        GlioserveError: GLIO-5113 where a file is missing or cannot be read; GLIO-5114 where it is another.
    """
    name = str(extraction.model)
    path = next((folder / name for folder in _folders(brain_models) if (folder / name).is_file()), None)
    if path is None:
        looked = "and GLIOSERVE_BRAIN_MODELS is not set" if brain_models is None else f"nor does {_where(brain_models)}"
        raise GlioserveError(ErrorCode.BRAIN_MODEL_MISSING, f"The package has no {name}, {looked}.")
    where = _where(path.parent)
    try:
        model, sidecar = path.read_bytes(), path.with_name(sidecar_name(name)).read_bytes()
    except OSError as error:
        detail = f"{name} or its {sidecar_name(name)} in {where} cannot be read: {error.strerror}."
        raise GlioserveError(ErrorCode.BRAIN_MODEL_MISSING, detail) from error
    digest = brain_model_digest(model, sidecar)
    if digest != extraction.digest:
        detail = f"{name} with its card in {where} is {digest}, the recipe names {extraction.digest}."
        raise GlioserveError(ErrorCode.BRAIN_MODEL_MISMATCH, detail)
    return model, sidecar


def load_brain_model(
    extraction: BrainExtraction, brain_models: Path | None = None, threads: int = 1
) -> BrainModel | None:
    """Return the network that a recipe names, ready to run; None for the classical method, which has none.

    Args:
        extraction: The recipe's choice of method and model.
        brain_models: A site's own folder of models, looked into before the package's.
        threads: Threads of one run. More are quicker on a large network, but may round differently, so the pipeline
            takes one and runs several sequences at once instead.

    Raises:
        GlioserveError: GLIO-5113 where the model is missing, GLIO-5114 where it is another, GLIO-5115 where it does
            not do what its card says.
    """
    if extraction.method == "classical":
        return None
    key = (brain_models, extraction.model, extraction.digest, threads)
    with _LOCK:
        if key not in _LOADED:
            model, sidecar = read_model(extraction, brain_models)
            _LOADED[key] = _load(str(extraction.model), model, sidecar, threads)
        return _LOADED[key]


_LOADED: dict[tuple[Path | None, str | None, str | None, int], BrainModel] = {}
"""Sessions of this process by folder, name, digest and threads: loading one takes seconds and its memory, and every
request of a server needs it."""
_LOCK = threading.Lock()


def _folders(brain_models: Path | None) -> tuple[Path, ...]:
    return (PACKAGED,) if brain_models is None else (brain_models, PACKAGED)


def _where(folder: Path) -> str:
    """Return a description of the folder for messages, which carry no path of a server."""
    return "the package" if folder == PACKAGED else f"the folder of {BRAIN_MODELS_VARIABLE}"


def _load(name: str, model: bytes, sidecar: bytes, threads: int) -> BrainModel:
    try:
        card = parse_brain_model_card(sidecar)
    except SchemaError as error:
        raise _invalid(f"{sidecar_name(name)}: {error}") from error
    session = _session(name, model, threads)
    _check_signature(name, session, card)
    loaded = BrainModel(card, brain_model_digest(model, sidecar), session)
    _dry_run(name, loaded)
    return loaded


def _session(name: str, model: bytes, threads: int) -> Any:
    import onnxruntime  # here, for the classical method and the commands that run no network do without it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads would burn a core each
    options.enable_cpu_mem_arena = False  # it would keep the largest study's memory for good
    options.enable_mem_pattern = False  # one would be kept for every size of scan
    # Weights lie in the file that the digest is of, or nowhere.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.log_severity_level = 4  # what goes wrong is raised
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _invalid(f"{name} cannot be loaded: {_first_line(error)}") from error


def _check_signature(name: str, session: Any, card: BrainModelCard) -> None:
    inputs, outputs = session.get_inputs(), {o.name: o for o in session.get_outputs()}
    if [i.name for i in inputs] != [card.input]:
        raise _invalid(f"{name} takes {[i.name for i in inputs]}, its card says {card.input!r} alone")
    if card.output not in outputs:
        raise _invalid(f"{name} gives {sorted(outputs)}, its card says {card.output!r}")
    for tensor, channels in ((inputs[0], 1), (outputs[card.output], card.output_channels)):
        is_fixed = card.min_size_voxels == card.max_size_voxels
        wanted = (1, channels, *(card.min_size_voxels if is_fixed else (None, None, None)))
        if not (tensor.type == "tensor(float)" and _fits(tensor.shape, wanted)):
            detail = f"{name}'s {tensor.name!r} is {tensor.type} {tensor.shape}, its card wants FP32"
            raise _invalid(f"{detail} {[n or 'any' for n in wanted]}")


def _fits(shape: list[int | str | None], wanted: tuple[int | None, ...]) -> bool:
    """Return whether a graph's shape admits the sizes; a dimension that has a name, or is unknown, admits any."""
    if not shape:
        return True  # an output whose rank the graph does not say: the dry run will
    pairs = zip(shape, wanted, strict=False)
    return len(shape) == len(wanted) and all(not isinstance(n, int) or n == w for n, w in pairs)


def _dry_run(name: str, model: BrainModel) -> None:
    """Run the model on a ramp of the least size that the card allows; raise GLIO-5115 where its output is wrong."""
    card = model.card
    size = card.min_size_voxels
    ramp = np.linspace(0, 1, int(np.prod(size)), dtype=np.float32).reshape(1, 1, *size)
    try:
        answer = model.run(ramp)
    except Exception as error:
        raise _invalid(f"{name} does not run on {list(size)} voxels: {_first_line(error)}") from error
    wanted = (1, card.output_channels, *size)
    if answer.shape != wanted or answer.dtype != np.float32:
        raise _invalid(f"{name} gives {answer.dtype} {list(answer.shape)}, its card wants FP32 {list(wanted)}")
    if not np.isfinite(answer).all():
        raise _invalid(f"{name} gives values that are not finite")


def _invalid(detail: str) -> GlioserveError:
    return GlioserveError(ErrorCode.INVALID_BRAIN_MODEL, f"{detail}.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
