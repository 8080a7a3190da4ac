"""The artifact: the folder that training hands over.

It holds ``weights.safetensors`` and ``recipe.json``, the ``reference_case.npz`` of a recipe that has one, and the
``drift_reference.json`` of a network whose studies were summarised.
"""

from __future__ import annotations

import errno
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.recipe import Recipe, parse_recipe
from glioserve_contract.records.reference_case import REFERENCE_CASE_FILE
from glioserve_contract.records.studies.drift import DRIFT_REFERENCE_FILE, parse_drift_reference
from glioserve_networks.architectures.registry import build
from glioserve_networks.reference_case import StoredCase, load_case, read_case
from glioserve_preprocess.files import file_digest, load_recipe, save_recipe

WEIGHTS_FILE = "weights.safetensors"
RECIPE_FILE = "recipe.json"

StateDict = Mapping[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Artifact:
    """A trained network: its recipe, its weights and their digest."""

    recipe: Recipe
    state_dict: dict[str, torch.Tensor]
    weights_digest: str
    """SHA-256 of ``weights.safetensors``: the graph's MODEL_ID and the manifest's key."""
    reference_case: StoredCase | None = None
    """Reference case, present iff the recipe has one; the file is the one that the recipe names."""
    drift_reference: bytes | None = None
    """File of the studies that drift is measured from, byte for byte; None where there is none."""

    def network(self) -> torch.nn.Module:
        """Build the network with these weights, in evaluation mode."""
        net = build(self.recipe.architecture, len(self.recipe.channels))
        net.load_state_dict(self.state_dict)
        return net.eval()


def save_artifact(folder: Path, recipe: Recipe, state_dict: StateDict, reference_case: bytes | None = None) -> str:
    """Write the files and return the weights digest. ``folder`` is whole at all times, or not there.

    ``reference_case`` is the file that ``recipe.reference_case`` is about, byte for byte. Raises GLIO-5101 for a
    recipe, GLIO-5102 for weights that are not this recipe's network's or for another case than the recipe's.
    """
    parse_recipe(to_dict(recipe))
    _check_weights(recipe, state_dict)
    _check_case(recipe, None if reference_case is None else read_case(reference_case, recipe))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh, old = Path(scratch) / "fresh", Path(scratch) / "old"
        fresh.mkdir()
        old.mkdir()
        # Cloned: safetensors refuses views that share storage with another tensor.
        save_file({k: v.detach().cpu().clone().contiguous() for k, v in state_dict.items()}, fresh / WEIGHTS_FILE)
        save_recipe(recipe, fresh / RECIPE_FILE)
        if reference_case is not None:
            (fresh / REFERENCE_CASE_FILE).write_bytes(reference_case)
        digest = file_digest(fresh / WEIGHTS_FILE)
        _put_in_place(fresh, folder, old)
    return digest


def load_artifact(folder: Path) -> Artifact:
    """Read and check the files (GLIO-5101, GLIO-5102).

    Every tensor of the network must be there, of its shape, and finite; so must the reference case that the recipe
    names.
    """
    for name in (RECIPE_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise GlioserveError(ErrorCode.INVALID_ARTIFACT, f"The artifact has no {name}.")
    recipe = load_recipe(folder / RECIPE_FILE)
    try:
        state_dict = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise GlioserveError(ErrorCode.INVALID_ARTIFACT, f"{WEIGHTS_FILE} cannot be read: {error}.") from error
    _check_weights(recipe, state_dict)
    file = folder / REFERENCE_CASE_FILE
    case = load_case(file, recipe) if file.exists() else None
    _check_case(recipe, case)
    digest = file_digest(folder / WEIGHTS_FILE)
    return Artifact(recipe, dict(state_dict), digest, case, _drift_reference(folder, recipe, digest))


def _drift_reference(folder: Path, recipe: Recipe, weights_digest: str) -> bytes | None:
    file = folder / DRIFT_REFERENCE_FILE
    if not file.is_file():
        return None
    content = file.read_bytes()
    parse_drift_reference(content, recipe, weights_digest)
    return content


def _put_in_place(fresh: Path, folder: Path, old: Path) -> None:
    """Rename ``fresh`` to ``folder``, and what is there to ``old``; of several processes at once the last one wins."""
    while True:
        try:
            fresh.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        _check_replaceable(folder)
        with suppress(FileNotFoundError):  # another process has just moved it away
            folder.rename(old / secrets.token_hex(4))


def _check_replaceable(folder: Path) -> None:
    """Raise GLIO-5102 for anything but an artifact, which alone is ever replaced."""
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        names = {folder.name}
    if not names <= {WEIGHTS_FILE, RECIPE_FILE, REFERENCE_CASE_FILE, DRIFT_REFERENCE_FILE}:
        raise GlioserveError(
            ErrorCode.INVALID_ARTIFACT,
            f"{folder.name} exists and is not an artifact: it is not overwritten.",
            "Name a new folder.",
        )


def _check_case(recipe: Recipe, case: StoredCase | None) -> None:
    wanted = None if recipe.reference_case is None else recipe.reference_case.digest
    found = None if case is None else case.digest
    if found == wanted:
        return
    if found is None:
        raise GlioserveError(
            ErrorCode.INVALID_ARTIFACT,
            f"The recipe names a reference case, and its file ({REFERENCE_CASE_FILE}) is not there. It belongs to "
            "weights that are known already: a network that is trained anew gets one of its own.",
        )
    raise GlioserveError(
        ErrorCode.INVALID_ARTIFACT, f"{REFERENCE_CASE_FILE} is not the file that the recipe's reference_case names."
    )


def _check_weights(recipe: Recipe, state_dict: StateDict) -> None:
    with torch.device("meta"):
        expected = build(recipe.architecture, len(recipe.channels)).state_dict()
    for name in expected.keys() - state_dict.keys():
        raise GlioserveError(ErrorCode.INVALID_ARTIFACT, f"The weights lack {name}.")
    for name, tensor in state_dict.items():
        if name not in expected:
            raise GlioserveError(ErrorCode.INVALID_ARTIFACT, f"The weights have {name}, which the network has not.")
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise GlioserveError(
                ErrorCode.INVALID_ARTIFACT,
                f"{name} is {tensor.dtype} {list(tensor.shape)}; the recipe's network has "
                f"{wanted.dtype} {list(wanted.shape)}.",
            )
        if not torch.isfinite(tensor).all():
            raise GlioserveError(ErrorCode.INVALID_ARTIFACT, f"{name} has values that are not finite.")
