"""The training loop: any recipe, any dataset; the best epoch becomes the artifact."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.records.recipe import Recipe
from glioserve_networks import build, save_artifact
from glioserve_networks.calibration import fit_temperature
from glioserve_networks.dataset import DatasetSplit
from glioserve_training.augment import augment
from glioserve_training.learner import USUAL_CELLS, Learner
from glioserve_training.metrics import HIT_MM, auc, peak_distance_mm
from glioserve_training.settings import TrainSettings

Weights = dict[str, torch.Tensor]
FloatArray = npt.NDArray[np.float32]
Schedule = torch.optim.lr_scheduler.LRScheduler


@dataclass(frozen=True)
class EpochResult:
    """Validation after one epoch."""

    epoch: int
    train_loss: float
    loss: float
    auc: float
    hits: float
    """Share of heat maps of the predicted class whose peak hits the lesion; nan without lesions."""
    seconds: float

    def better_than(self, other: EpochResult) -> bool:
        """Return True for a higher AUC, or the same AUC and a lower loss."""
        return (self.auc, -self.loss) > (other.auc, -other.loss)


_NONE_YET = EpochResult(-1, math.inf, math.inf, -math.inf, math.nan, 0.0)


@dataclass(frozen=True, eq=False)
class Trained:
    """The best epoch's weights."""

    best: EpochResult
    state_dict: Weights
    temperature: float
    """Temperature for the recipe, fitted on the validation split where the settings ask for it."""


def train(
    recipe: Recipe,
    settings: TrainSettings,
    training: DatasetSplit,
    validation: DatasetSplit,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[EpochResult], None] = lambda _: None,
) -> Trained:
    """Train a fresh network. With ``checkpoint``, goes on from there if the file exists, and writes it each epoch."""
    torch.manual_seed(settings.seed)
    fresh = build(recipe.architecture, len(recipe.channels)).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    net = Learner(fresh, amplify=settings.amplify, bf16=settings.bf16)
    optimiser = _optimiser(net, settings)
    batches = -(-len(training.labels) // settings.batch)
    schedule = (
        torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, settings.epochs * batches)
        if settings.one_cycle
        else torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)
    )
    weights = _class_weights(training)
    first, best, best_state = 0, _NONE_YET, net.network_state()
    run = {"recipe": to_dict(recipe), "settings": asdict(settings), "samples": len(training.labels)}
    if checkpoint is not None and checkpoint.exists():
        first, best, best_state = _resume(checkpoint, run, net, optimiser, schedule)
    for epoch in range(first, settings.epochs):
        started = time.perf_counter()
        train_loss = _train_epoch(net, training, settings, epoch, optimiser, schedule, weights)
        result = _validate(net, validation, recipe, settings, weights, epoch, train_loss, started)
        if result.better_than(best):
            best, best_state = result, net.network_state()
        on_epoch(result)
        if checkpoint is not None:
            _save(checkpoint, run, epoch + 1, best, best_state, net, optimiser, schedule)
    if not settings.calibrate:
        return Trained(best, best_state, recipe.temperature)
    fresh.load_state_dict(best_state)
    plain = Learner(fresh, amplify=False, bf16=False)
    logits = np.concatenate([logits for logits, _ in predict(plain, validation.images, settings.batch)])
    return Trained(best, best_state, fit_temperature(logits, validation.labels))


def write_artifact(recipe: Recipe, settings: TrainSettings, trained: Trained, source: str, folder: Path) -> str:
    """Write the artifact of the best epoch, its provenance filled in, and return the weights digest."""
    provenance = replace(
        recipe.provenance,
        data=source,
        settings=asdict(settings),
        best_epoch=trained.best.epoch + 1,
        validation_auc=round(trained.best.auc, 4),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        torch=torch.__version__,
    )
    described = replace(recipe, temperature=trained.temperature, provenance=provenance)
    return save_artifact(folder, described, trained.state_dict)


def _optimiser(net: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _class_weights(split: DatasetSplit) -> torch.Tensor:
    """Return weights by which both classes count the same, however rare one is; GLIO-5102 where one is missing."""
    counts = np.bincount(split.labels, minlength=2)
    if not counts.all():
        raise GlioserveError(ErrorCode.INVALID_ARTIFACT, "The training set holds one class only.")
    return torch.tensor(len(split.labels) / (2 * counts), dtype=torch.float32)


def _train_epoch(
    net: Learner,
    split: DatasetSplit,
    settings: TrainSettings,
    epoch: int,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    weights: torch.Tensor,
) -> float:
    """Train for one epoch and return the mean loss.

    All random draws depend on the seed and the epoch alone, so a resumed run draws the same.
    """
    net.train()
    generator = torch.Generator().manual_seed(settings.seed * 100_003 + epoch)
    order = torch.randperm(len(split.labels), generator=generator).numpy()
    total = 0.0
    bar = tqdm(range(0, len(order), settings.batch), desc=f"epoch {epoch + 1}/{settings.epochs}", leave=False)
    for start in bar:
        # A last batch of one has no batch statistics at the deepest stage: it borrows a sample.
        chosen = order[start : start + settings.batch] if start < len(order) - 1 else order[start - 1 :]
        images, labels, lesions = _tensors(split, np.sort(chosen))
        if settings.augment:
            images, lesions = augment(images, lesions, generator)
        logits, maps = net(images)
        loss = F.cross_entropy(logits, labels, weight=weights)
        if settings.localisation and lesions is not None and maps is not None:
            loss = loss + settings.localisation * localisation_loss(maps, labels, lesions, net.lattice)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.item()
    return total / len(bar)


def _tensors(
    split: DatasetSplit, chosen: npt.NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    images = torch.from_numpy(split.images[chosen].astype(np.float32))
    lesions = None if split.lesions is None else torch.from_numpy(split.lesions[chosen])
    return images, torch.from_numpy(split.labels[chosen]), lesions


def localisation_loss(
    maps: torch.Tensor, labels: torch.Tensor, lesions: torch.Tensor, lattice: tuple[float, float]
) -> torch.Tensor:
    """Return the loss that asks for the strongest evidence on the lesion and for the true class, and none elsewhere.

    First, the negative logarithm of that event's chance when a (class, cell) is drawn with the softmax of all
    evidence: unlike the logits, where a lesion is averaged with the rest of the head, it reaches the lesion's cells
    undiluted. Second, what the cells off the lesion add to the difference of the logits, each by its amount.
    ``maps`` [N, 2, d, h, w] before ReLU, ``lesions`` [N, D, H, W] 0/1, ``lattice`` the network's ``cam_lattice``.
    A cell is on the lesion when a lesion voxel lies within half a cell of its centre.
    """
    start, step = lattice
    kernel = int(step) // 2 * 2 + 1
    near = F.max_pool3d(lesions.unsqueeze(1).float(), kernel, stride=1, padding=kernel // 2)[:, 0]
    for axis, (cells, voxels) in enumerate(zip(maps.shape[2:], lesions.shape[1:], strict=True), start=1):
        places = torch.round(start + step * torch.arange(cells)).long().clamp(0, voxels - 1)
        near = near.index_select(axis, places)
    on = near.flatten(1) > 0
    evidence = maps.flatten(2)
    stray = (evidence[:, 1] - evidence[:, 0]).abs().masked_fill(on, 0.0).sum(dim=1) / USUAL_CELLS
    seen = on.any(dim=1)  # a lesion that an augmentation shifted out has nowhere to point
    chances = maps.flatten(1).log_softmax(dim=1).reshape(evidence.shape)[torch.arange(len(labels)), labels]
    hits: torch.Tensor = chances.masked_fill(~on, -torch.inf)[seen].logsumexp(dim=1)
    return stray.mean() - hits.sum() / max(1, int(seen.sum()))


def predict(
    net: Learner, images: npt.NDArray[np.float16], batch: int
) -> Iterator[tuple[FloatArray, FloatArray | None]]:
    """Yield (logits [n, 2], maps [n, 2, d, h, w] or None) per batch of FP16 ``images`` [N, C, D, H, W], as NumPy."""
    net.eval()
    with torch.no_grad():
        for start in range(0, len(images), batch):
            logits, maps = net(torch.from_numpy(images[start : start + batch].astype(np.float32)))
            yield logits.numpy(), None if maps is None else maps.numpy()


def _validate(
    net: Learner,
    split: DatasetSplit,
    recipe: Recipe,
    settings: TrainSettings,
    weights: torch.Tensor,
    epoch: int,
    train_loss: float,
    started: float,
) -> EpochResult:
    outputs = list(predict(net, split.images, settings.batch))
    logits = torch.from_numpy(np.concatenate([o[0] for o in outputs]))
    labels = torch.from_numpy(split.labels)
    score = logits.softmax(dim=1)[:, recipe.recurrence_index].numpy()
    hits = float("nan")
    evidence = [maps for _, maps in outputs if maps is not None]
    if split.lesions is not None and evidence:
        maps = np.concatenate(evidence)
        chosen = maps[np.arange(len(maps)), logits.argmax(dim=1).numpy()]
        distances = [
            peak_distance_mm(m, s, recipe.grid.spacing_mm, net.lattice)
            for m, s in zip(chosen, split.lesions, strict=True)
        ]
        hits = float(np.mean(np.array(distances) <= HIT_MM))
    return EpochResult(
        epoch=epoch,
        train_loss=train_loss,
        loss=float(F.cross_entropy(logits, labels, weight=weights)),
        auc=auc(score, split.labels == recipe.recurrence_index),
        hits=hits,
        seconds=time.perf_counter() - started,
    )


def _save(
    file: Path, run: dict[str, object], epoch: int, best: EpochResult, best_state: Weights, net: nn.Module,
    optimiser: torch.optim.Optimizer, schedule: Schedule,
) -> None:  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    state = {
        "run": run,
        "epoch": epoch,
        "best": asdict(best),
        "best_state": best_state,
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
    }
    torch.save(state, partial)
    partial.replace(file)


def _resume(
    file: Path, run: dict[str, object], net: nn.Module, optimiser: torch.optim.Optimizer, schedule: Schedule
) -> tuple[int, EpochResult, Weights]:
    state = torch.load(file, weights_only=True)
    if state["run"] != run:
        raise GlioserveError(
            ErrorCode.INVALID_ARTIFACT,
            f"{file.name} is of a run with other data, recipe or settings.",
            "Start anew without --resume.",
        )
    net.load_state_dict(state["net"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    return state["epoch"], EpochResult(**state["best"]), state["best_state"]
