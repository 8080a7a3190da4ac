"""The static half of a repository: the ensemble and the Python models, as they come with this package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.tensors import ENSEMBLE, PREPROCESS_MODEL, REPORT_MODEL
from glioserve_export.files import write_if_changed

STATIC_MODELS = (ENSEMBLE.name, PREPROCESS_MODEL.name, REPORT_MODEL.name)

_PACKAGED = Path(__file__).parents[1] / "_model_repository"
_CHECKOUT = Path(__file__).parents[3] / "model_repository"


def static_repository() -> Path:
    """Return the static models' folder: package data of an installed wheel, else the source checkout's (GLIO-5108)."""
    for folder in (_PACKAGED, _CHECKOUT):
        if all((folder / name / "config.pbtxt").is_file() for name in STATIC_MODELS):
            return folder
    raise GlioserveError(
        ErrorCode.INVALID_REPOSITORY,
        "The static model repository is missing from this installation; install glioserve again.",
    )


def sync_static_models(repository: Path) -> tuple[str, ...]:
    """Make the repository's static models equal to the package's; what changed, as paths below the repository."""
    source = static_repository()
    if repository.resolve().is_relative_to(source.resolve()):
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY,
            "That is the static model repository, which is never filled in place: name another folder.",
        )
    return tuple(change for name in STATIC_MODELS for change in _sync(source / name, repository / name))


def static_differences(repository: Path) -> tuple[str, ...]:
    """Return what :func:`sync_static_models` would change, as paths below the repository."""
    different = []
    for name in STATIC_MODELS:
        wanted, there = _files_of(static_repository() / name), _files_of(repository / name)
        names = sorted(wanted.keys() | there.keys())
        different += [
            f"{name}/{relative}"
            for relative in names
            if relative not in wanted
            or relative not in there
            or wanted[relative].read_bytes() != there[relative].read_bytes()
        ]
    return tuple(different)


def _files_of(folder: Path) -> dict[Path, Path]:
    """Return every file of a model by its path below the model's folder."""
    return {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file() and _ours(path)}


def _sync(source: Path, target: Path) -> Iterator[str]:
    wanted = _files_of(source)
    # Triton wants a version folder even of an ensemble, which has nothing to put there.
    (target / "1").mkdir(parents=True, exist_ok=True)
    for relative, path in sorted(wanted.items()):
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        if write_if_changed(target / relative, path.read_bytes()):
            yield f"{target.name}/{relative}"
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_file() and _ours(path) and path.relative_to(target) not in wanted:
            path.unlink()
            yield f"{target.name}/{path.relative_to(target)}"
    for folder in sorted(target.iterdir()):
        # An empty folder with a number for a name would be a version to Triton, and fail to load.
        if folder.is_dir() and folder.name != "1" and not (source / folder.name).is_dir():
            shutil.rmtree(folder)


def _ours(path: Path) -> bool:
    """Return False for what an interpreter or an editor left there."""
    return "__pycache__" not in path.parts and not path.name.startswith(".")
