"""Training tensors: a folder of ``.npz`` files and the ``dataset.json`` that describes them.

Each file is one patient, so that a split by file never puts a patient on both sides. It holds

* ``images`` FP16 [n, C, D, H, W]: the network's input as the serving pipeline makes it (several draws of a patient),
* ``labels`` INT64 [n]: index into the recipe's classes,
* ``lesions`` UINT8 [n, D, H, W], optional: where the lesion is, to judge heat maps by and to teach them with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from glioserve_contract import ErrorCode, GlioserveError, SchemaError, from_dict, to_dict
from glioserve_contract.records.recipe import Recipe, preprocessing_digest
from glioserve_dicom.files.replacing import replacing

INDEX_FILE = "dataset.json"


@dataclass(frozen=True)
class DatasetIndex:
    """The preprocessing and classes that the tensors were made for; ``source`` is free text about their origin."""

    schema: Literal["glioserve/dataset/1"]
    preprocessing_digest: str
    classes: tuple[str, str]
    source: str = ""


@dataclass(frozen=True, eq=False)
class Patient:
    """One file's arrays; their shapes are in the module's description."""

    images: npt.NDArray[np.float16]
    labels: npt.NDArray[np.int64]
    lesions: npt.NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class DatasetSplit:
    """Tensors of one side of the split, all in memory: 0.66 MB per draw of the demo recipe."""

    images: npt.NDArray[np.float16]
    labels: npt.NDArray[np.int64]
    lesions: npt.NDArray[np.uint8] | None


def index_of(recipe: Recipe, source: str) -> DatasetIndex:
    """Return the index of a dataset made for ``recipe``."""
    return DatasetIndex("glioserve/dataset/1", preprocessing_digest(recipe), recipe.classes, source)


def save_index(index: DatasetIndex, folder: Path) -> None:
    """Write ``dataset.json``; the file is whole or not there."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / INDEX_FILE) as beside:
        beside.write_text(json.dumps(to_dict(index), indent=2) + "\n", encoding="utf-8")


def save_patient(patient: Patient, file: Path) -> None:
    """Write one ``.npz``; the file is whole or not there."""
    arrays: dict[str, npt.NDArray[np.generic]] = {"images": patient.images, "labels": patient.labels}
    if patient.lesions is not None:
        arrays["lesions"] = patient.lesions
    with replacing(file) as beside, beside.open("xb") as stream:
        np.savez_compressed(stream, **arrays)


def load_patient(file: Path, recipe: Recipe) -> Patient:
    """Read one ``.npz`` and check it against the recipe's shape (GLIO-5102 names the file)."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            patient = Patient(arrays["images"], arrays["labels"], arrays.get("lesions"))
    except (OSError, ValueError, KeyError) as error:
        raise GlioserveError(ErrorCode.INVALID_ARTIFACT, f"Dataset file {file.name}: {error}.") from error
    wanted = (len(patient.labels), len(recipe.channels), *recipe.grid.shape)
    if patient.images.shape != wanted:
        raise GlioserveError(
            ErrorCode.INVALID_ARTIFACT, f"Dataset file {file.name}: images {patient.images.shape}, not {wanted}."
        )
    return patient


def load_dataset(folder: Path, recipe: Recipe, validation_share: float, seed: int) -> tuple[DatasetSplit, DatasetSplit]:
    """Return (training, validation), split by patient at random from ``seed``.

    A dataset that was made by another preprocessing is refused: the network would learn what it is never shown.
    """
    _check_index(folder, recipe)
    files = sorted(folder.glob("*.npz"))
    if len(files) < 2:
        raise GlioserveError(
            ErrorCode.INVALID_ARTIFACT, f"The dataset has {len(files)} patients; at least two are needed."
        )
    order = np.random.default_rng(seed).permutation(len(files))
    held_out = min(max(1, round(validation_share * len(files))), len(files) - 1)
    training, validation = ([files[i] for i in sorted(part)] for part in (order[held_out:], order[:held_out]))
    return join(training, recipe), join(validation, recipe)


def load_studies(folder: Path, recipe: Recipe, limit: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return (images FP32 [n, C, D, H, W], labels [n]) of at most ``limit`` studies, for calibration and comparison.

    They are one of each label of each patient, taken evenly from the dataset. Errors are those of
    :func:`load_dataset`.
    """
    _check_index(folder, recipe)
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise GlioserveError(ErrorCode.INVALID_ARTIFACT, "The dataset has no patients.")
    wanted = np.unique(np.linspace(0, len(files) - 1, min(limit, len(files))).round().astype(int))
    images, labels = [], []
    for file in (files[i] for i in wanted):
        patient = load_patient(file, recipe)
        for label in np.unique(patient.labels):
            images.append(patient.images[np.flatnonzero(patient.labels == label)[0]])
            labels.append(label)
    return np.stack(images[:limit]).astype(np.float32), np.array(labels[:limit], dtype=np.int64)


def _check_index(folder: Path, recipe: Recipe) -> None:
    try:
        index = from_dict(DatasetIndex, json.loads((folder / INDEX_FILE).read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError, SchemaError) as error:
        raise GlioserveError(ErrorCode.INVALID_ARTIFACT, f"{INDEX_FILE}: {error}.") from error
    if index.preprocessing_digest != preprocessing_digest(recipe):
        raise GlioserveError(
            ErrorCode.PREPROCESSING_MISMATCH, "The dataset was made by another preprocessing than the recipe's."
        )
    if index.classes != recipe.classes:
        raise GlioserveError(
            ErrorCode.INVALID_ARTIFACT, f"The dataset's classes are {index.classes}, the recipe's {recipe.classes}."
        )


def join(files: Sequence[Path], recipe: Recipe) -> DatasetSplit:
    """Join the tensors of these files, in their order."""
    patients = [load_patient(file, recipe) for file in files]
    lesions = [p.lesions for p in patients if p.lesions is not None]
    return DatasetSplit(
        np.concatenate([p.images for p in patients]),
        np.concatenate([p.labels for p in patients]),
        np.concatenate(lesions) if len(lesions) == len(patients) else None,
    )
