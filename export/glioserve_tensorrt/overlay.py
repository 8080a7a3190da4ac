"""A repository of one's own to serve from, where the one that holds the versions is read-only or shared.

Pods on several kinds of GPU may mount one claim, and a plan is one kind's. So each copies what it serves (the static
models, the configurations and the version that serves; some hundred megabytes) to a disk of its own, and its plan goes
there. Copies, not links: Triton of some releases refuses what leads out of a model's folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import ServedVersion
from glioserve_contract.records.promotion import PROMOTION_FILE
from glioserve_export.files import copy_files, exclusive, is_foreign, staging, sync_folder
from glioserve_export.version_files import MANIFEST_FILE, SITE_FILES
from glioserve_triton.served.promotions import load_serving
from glioserve_triton.served.versions import load_manifest

_MARKER = ".glioserve.copy"
"""Says that a folder is a copy of ours; its lock too."""
_DISKS_OWN = "lost+found"


def served_copy(repository: Path, target: Path) -> Path:
    """Make ``target`` a copy of what ``repository`` serves and return the version's folder in it.

    A copy that is there is replaced, but for a plan of the very same version. GLIO-5108 where ``target`` is anything
    else, or ``repository`` serves nothing; GLIO-5112 where another process copies there. No server may run on
    ``target`` meanwhile.
    """
    served = load_serving(repository)
    try:
        _check_target(repository, target)
        target.mkdir(parents=True, exist_ok=True)
        with exclusive(target / _MARKER), staging(target) as stage:
            _copy_models(repository, served, stage)
            version = stage / served.name / served.version
            load_manifest(version, verify_files=True)
            _keep_plan(target / served.name / served.version, version)
            for folder in (path for path in stage.rglob("*") if path.is_dir()):
                folder.chmod(0o755)  # a read-only source's mode came along
            for old in _models(target):
                shutil.rmtree(old)
            for model in _models(stage):
                model.rename(target / model.name)
        sync_folder(target)
    except OSError as error:
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY, f"{repository.name} cannot be copied to {target.name}: {_reason(error)}."
        ) from error
    return target / served.name / served.version


def _copy_models(repository: Path, served: ServedVersion, stage: Path) -> None:
    """Copy the static models whole; of the classifier its configurations, its record and the version that serves."""
    source, classifier = repository / served.name, stage / served.name
    for model in _models(repository):
        if model.name != served.name:
            shutil.copytree(model, stage / model.name, ignore=shutil.ignore_patterns("__pycache__"))
    version = classifier / served.version
    version.mkdir(parents=True)
    shutil.copytree(source / "configs", classifier / "configs")
    for name in ("config.pbtxt", PROMOTION_FILE):
        if (source / name).is_file():
            shutil.copyfile(source / name, classifier / name)
    copy_files(source / served.version, (*served.manifest.files, MANIFEST_FILE), version)


def _models(folder: Path) -> list[Path]:
    """Return the models of a repository; ``lost+found`` is a disk's own."""
    return [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name != _DISKS_OWN]


def _reason(error: OSError) -> str:
    """Return the reason in words; copytree collects several errors into one that has none of its own."""
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        return str(error.args[0][0][-1])
    return error.strerror or type(error).__name__


def _check_target(repository: Path, target: Path) -> None:
    if target.resolve() == repository.resolve() or repository.resolve() in target.resolve().parents:
        raise GlioserveError(ErrorCode.INVALID_REPOSITORY, f"{target.name} lies in the repository itself.")
    if is_foreign(target, _MARKER, (_DISKS_OWN,)):
        raise GlioserveError(
            ErrorCode.INVALID_REPOSITORY,
            f"{target.name} is not empty and is not a copy that glioserve made: nothing was written into it.",
        )


def _keep_plan(old: Path, new: Path) -> None:
    """Bring a plan over from the copy before, if it was of the same files; whether it fits is looked at later."""
    same = (old / MANIFEST_FILE).is_file() and (old / MANIFEST_FILE).read_bytes() == (new / MANIFEST_FILE).read_bytes()
    if same and all((old / name).is_file() for name in SITE_FILES):
        for name in SITE_FILES:
            shutil.copyfile(old / name, new / name)
