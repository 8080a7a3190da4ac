"""The static half of a repository: the ensemble and the Python models, as they come with this package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.tensors import ENSEMBLE, PREPROCESS_MODEL, REPORT_MODEL
from glioserve_export.files import write_if_changed

STATIC_MODELS = (ENSEMBLE.name, PREPROCESS_MODEL.name, REPORT_MODEL.name)

_PACKAGED = Path(__file__).parent / "_model_repository"
_CHECKOUT = Path(__file__).parents[2] / "model_repository"


def static_repository() -> Path:
    """The folder they are in: package data of an installed wheel, else the source checkout's (GLIO-5108)."""
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


def _sync(source: Path, target: Path) -> Iterator[str]:
    wanted = {path.relative_to(source): path for path in source.rglob("*") if path.is_file() and _ours(path)}
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
    """Not what an interpreter or an editor left there."""
    return "__pycache__" not in path.parts and not path.name.startswith(".")
