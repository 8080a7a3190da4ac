"""The published study's tables as one grid: every network on every combination of sequences, on the same split.

Each cell is a training run of its own, on the cases that every combination could preprocess: so cells differ by network
and sequences alone. Part of the training side chooses the best epoch; the test side is seen once, at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import special

from glioserve_contract import ErrorCode, GlioserveError, Modality, canonical_json, from_dict, sha256_digest, to_dict
from glioserve_contract.records.recipe import Architecture, Recipe
from glioserve_networks.artifact import load_artifact
from glioserve_networks.dataset import DatasetSplit, join
from glioserve_training.cohort_dataset import CohortDataset, LabelledStudy, make_cohort_dataset
from glioserve_training.learner import Learner
from glioserve_training.settings import TrainSettings
from glioserve_training.trainer import EpochResult, predict, train, write_artifact

STUDY_NETWORKS = ("resnet10", "resnet50", "vgg11", "vgg16", "densenet121", "mresnet")
STUDY_SEQUENCES: tuple[tuple[Modality, ...], ...] = (
    (Modality.T1,),
    (Modality.T2,),
    (Modality.T1CE,),
    (Modality.T1, Modality.T1CE, Modality.T2),
    (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR),
)
"""The rows and columns of the published tables (Front Oncol 2025, 10.3389/fonc.2025.1573700)."""
TEST_SHARE = 1 / 4.03
"""The study's split of 3.03 : 1."""
RESULT_FILE = "result.json"


@dataclass(frozen=True)
class Cell:
    """One network on one combination of sequences."""

    network: str
    channels: tuple[Modality, ...]

    @property
    def name(self) -> str:
        """Name of the cell's folder and recipe, as ``resnet10-t1+t1ce+t2``."""
        return f"{self.network}-{'+'.join(self.channels)}"


@dataclass(frozen=True)
class CellResult:
    """The answers of a cell's network; ``labels`` and ``scores`` (of recurrence) are in the order of ``cases``."""

    cell: Cell
    run: str
    """Digest of all that the cell depends on: a result of another run is not taken for this one's."""
    weights_digest: str
    cases: tuple[str, ...]
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    best_epoch: int
    validation_auc: float
    training_cases: int


@dataclass(frozen=True)
class Sides:
    """Cases of each side of the split."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class GridPlan:
    """The runs to be made; ``base`` gives grid, slice rule, intensities, and ``options`` those of each network."""

    base: Recipe
    cells: tuple[Cell, ...]
    settings: TrainSettings
    options: Mapping[str, Mapping[str, object]]

    def recipe(self, cell: Cell) -> Recipe:
        """Return the cell's own recipe."""
        architecture = Architecture(cell.network, dict(self.options.get(cell.network, {})))
        return replace(self.base, name=cell.name, architecture=architecture, channels=cell.channels, temperature=1.0)


def run_grid(
    plan: GridPlan,
    studies: Sequence[LabelledStudy],
    out: Path,
    *,
    workers: int = 2,
    on_cell: Callable[[Cell, CellResult | None], None] = lambda *_: None,
    on_epoch: Callable[[Cell, EpochResult], None] = lambda *_: None,
) -> tuple[list[CellResult], dict[str, CohortDataset]]:
    """Run every cell; return their results, and the datasets by combination with their exclusions.

    A run goes on where it stopped: tensors, checkpoints and results in ``out`` are used again if they are of this run.
    """
    datasets = {
        "+".join(channels): make_cohort_dataset(
            studies, replace(plan.base, channels=channels), out / "tensors", workers
        )
        for channels in dict.fromkeys(cell.channels for cell in plan.cells)
    }
    usable = [s for s in studies if all(s.case in dataset.files for dataset in datasets.values())]
    sides = split(usable, plan.settings.seed, plan.settings.validation_share)
    results = []
    for cell in plan.cells:
        on_cell(cell, None)
        result = _run_cell(plan, cell, datasets["+".join(cell.channels)], sides, usable, out, on_epoch)
        on_cell(cell, result)
        results.append(result)
    return results, datasets


def split(studies: Sequence[LabelledStudy], seed: int, validation_share: float) -> Sides:
    """Split the studies 3.03 : 1, by label and at random from ``seed``; part of the first side chooses the epoch.

    GLIO-5121 where a label has too few cases for three sides.
    """
    rng = np.random.default_rng(seed)
    training: list[str] = []
    validation: list[str] = []
    test: list[str] = []
    for label in sorted({s.label for s in studies}):
        cases = [s.case for s in studies if s.label == label]
        if len(cases) < 3:
            raise GlioserveError(
                ErrorCode.INVALID_COHORT,
                f"{len(cases)} usable studies are {label}; a split for training, choosing and testing needs three.",
            )
        shuffled = [cases[i] for i in rng.permutation(len(cases))]
        tested = min(max(1, round(TEST_SHARE * len(cases))), len(cases) - 2)
        chosen = min(max(1, round(validation_share * (len(cases) - tested))), len(cases) - tested - 1)
        test += shuffled[:tested]
        validation += shuffled[tested : tested + chosen]
        training += shuffled[tested + chosen :]
    if len({s.label for s in studies}) < 2:
        raise GlioserveError(ErrorCode.INVALID_COHORT, "The usable studies are of one label only.")
    return Sides(tuple(training), tuple(validation), tuple(test))


def _run_cell(
    plan: GridPlan,
    cell: Cell,
    dataset: CohortDataset,
    sides: Sides,
    studies: Sequence[LabelledStudy],
    out: Path,
    on_epoch: Callable[[Cell, EpochResult], None],
) -> CellResult:
    recipe, folder = plan.recipe(cell), out / "cells" / cell.name
    files = {case: dataset.files[case].name for case in (*sides.training, *sides.validation, *sides.test)}
    what = {"recipe": recipe, "settings": asdict(plan.settings), "sides": sides, "files": files}
    run = sha256_digest(canonical_json(what).encode())
    done = _load(folder / RESULT_FILE)
    if done is not None and done.run == run:
        return done

    def side(cases: Sequence[str]) -> DatasetSplit:
        return join([dataset.files[case] for case in cases], recipe)

    checkpoint = folder / f"{run[-12:]}.checkpoint.pt"
    trained = train(
        recipe,
        plan.settings,
        side(sides.training),
        side(sides.validation),
        checkpoint=checkpoint,
        on_epoch=lambda result: on_epoch(cell, result),
    )
    digest = write_artifact(recipe, plan.settings, trained, "cohort", folder / "artifact")
    labels = {s.case: s.label for s in studies}
    result = CellResult(
        cell=cell,
        run=run,
        weights_digest=digest,
        cases=sides.test,
        labels=tuple(labels[case] for case in sides.test),
        scores=tuple(float(s) for s in _scores(folder / "artifact", side(sides.test), plan.settings.batch)),
        best_epoch=trained.best.epoch + 1,
        validation_auc=trained.best.auc,
        training_cases=len(sides.training),
    )
    (folder / RESULT_FILE).write_text(json.dumps(to_dict(result), indent=2) + "\n", encoding="utf-8")
    checkpoint.unlink(missing_ok=True)
    return result


def _scores(artifact_folder: Path, test: DatasetSplit, batch: int) -> npt.NDArray[np.float64]:
    """Return the probability of recurrence [n], with the recipe's temperature, by the network of the artifact."""
    artifact = load_artifact(artifact_folder)
    net = Learner(artifact.network(), amplify=False, bf16=False)
    logits = np.concatenate([logits for logits, _ in predict(net, test.images, batch)]).astype(np.float64)
    margin = logits[:, artifact.recipe.recurrence_index] - logits[:, 1 - artifact.recipe.recurrence_index]
    return np.asarray(special.expit(margin / artifact.recipe.temperature))


def _load(file: Path) -> CellResult | None:
    try:
        return from_dict(CellResult, json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValueError:
        return None  # of an interrupted or an older run: it is made again
