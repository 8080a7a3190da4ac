"""The training loop: any recipe, any dataset; the best epoch becomes the artifact."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from glioserve_contract import ErrorCode, GlioserveError, to_dict
from glioserve_contract.recipe import Recipe
from glioserve_networks import ClassifierNet, build, save_artifact
from glioserve_training.augment import augment
from glioserve_training.dataset import Split
from glioserve_training.metrics import HIT_MM, auc, peak_distance_mm
from glioserve_training.settings import TrainSettings

State = dict[str, torch.Tensor]


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
        """Higher AUC, or the same and a lower loss."""
        return (self.auc, -self.loss) > (other.auc, -other.loss)


_NONE_YET = EpochResult(-1, math.inf, math.inf, -math.inf, math.nan, 0.0)


@dataclass(frozen=True, eq=False)
class Trained:
    """The best epoch's weights."""

    best: EpochResult
    state_dict: State


def train(
    recipe: Recipe,
    settings: TrainSettings,
    training: Split,
    validation: Split,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[EpochResult], None] = lambda _: None,
) -> Trained:
    """Train a fresh network. With ``checkpoint``, goes on from there if the file exists, and writes it each epoch."""
    torch.manual_seed(settings.seed)
    net = build(recipe.architecture, len(recipe.channels)).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = _optimiser(net, settings)
    batches = -(-len(training.labels) // settings.batch)
    schedule = (
        torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, settings.epochs * batches)
        if settings.one_cycle
        else torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)
    )
    weights = _class_weights(training)
    first, best, best_state = 0, _NONE_YET, cast(State, net.state_dict())
    run = {"recipe": to_dict(recipe), "settings": asdict(settings), "samples": len(training.labels)}
    if checkpoint is not None and checkpoint.exists():
        first, best, best_state = _resume(checkpoint, run, net, optimiser, schedule)
    for epoch in range(first, settings.epochs):
        started = time.perf_counter()
        train_loss = _train_epoch(net, training, settings, epoch, optimiser, schedule, weights)
        result = _validate(net, validation, recipe, settings, weights, epoch, train_loss, started)
        if result.better_than(best):
            best, best_state = result, {k: v.detach().clone() for k, v in net.state_dict().items()}
        on_epoch(result)
        if checkpoint is not None:
            _save(checkpoint, run, epoch + 1, best, best_state, net, optimiser, schedule)
    return Trained(best, best_state)


def write_artifact(recipe: Recipe, settings: TrainSettings, trained: Trained, source: str, folder: Path) -> str:
    """The artifact of the best epoch, its provenance filled in; returns the weights digest."""
    provenance = {
        "data": source,
        "settings": asdict(settings),
        "best_epoch": trained.best.epoch + 1,
        "validation_auc": round(trained.best.auc, 4),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "torch": torch.__version__,
    }
    return save_artifact(folder, replace(recipe, provenance={**recipe.provenance, **provenance}), trained.state_dict)


def _optimiser(net: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _class_weights(split: Split) -> torch.Tensor:
    """So that both classes weigh the same, however rare one is."""
    counts = np.bincount(split.labels, minlength=2)
    if not counts.all():
        raise GlioserveError(ErrorCode.INVALID_ARTIFACT, "The training set holds one class only.")
    return torch.tensor(len(split.labels) / (2 * counts), dtype=torch.float32)


def _train_epoch(
    net: nn.Module,
    split: Split,
    settings: TrainSettings,
    epoch: int,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    weights: torch.Tensor,
) -> float:
    """Mean loss. All that is random hangs on the seed and the epoch, so a resumed run draws the same."""
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
        logits, maps = _forward(net, images, settings.bf16)
        loss = F.cross_entropy(logits, labels, weight=weights)
        if settings.localisation and lesions is not None:
            lattice = cast(ClassifierNet, net).cam_lattice
            loss = loss + settings.localisation * localisation_loss(maps, labels, lesions, lattice)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        total += loss.item()
    return total / len(bar)


def _tensors(split: Split, chosen: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    images = torch.from_numpy(split.images[chosen].astype(np.float32))
    lesions = None if split.lesions is None else torch.from_numpy(split.lesions[chosen])
    return images, torch.from_numpy(split.labels[chosen]), lesions


def _forward(net: nn.Module, images: torch.Tensor, bf16: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [N, 2] and the evidence map of each class [N, 2, d, h, w], whose mean is the logit but for the bias."""
    assert isinstance(net, ClassifierNet)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16 and _has_bf16()):
        a = net.features(images.contiguous(memory_format=torch.channels_last_3d))
    maps = torch.einsum("nkdhw,ck->ncdhw", a.float(), net.head.weight)
    return maps.mean(dim=(2, 3, 4)) + net.head.bias, maps


def _has_bf16() -> bool:
    """Without the instructions, bfloat16 is emulated and slower."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def localisation_loss(
    maps: torch.Tensor, labels: torch.Tensor, lesions: torch.Tensor, lattice: tuple[float, float]
) -> torch.Tensor:
    """Share of the true class's Grad-CAM that lies off the lesion, 0 to 1, averaged over the batch.

    ``maps`` [N, 2, d, h, w] before ReLU, ``lesions`` [N, D, H, W] 0/1, ``lattice`` the network's ``cam_lattice``.
    A cell is on the lesion when a lesion voxel lies within half a cell of its centre.
    """
    cam = F.relu(maps[torch.arange(len(labels)), labels])
    start, step = lattice
    kernel = int(step) // 2 * 2 + 1
    near = F.max_pool3d(lesions.unsqueeze(1).float(), kernel, stride=1, padding=kernel // 2)[:, 0]
    for axis, (cells, voxels) in enumerate(zip(cam.shape[1:], lesions.shape[1:], strict=True), start=1):
        places = torch.round(start + step * torch.arange(cells)).long().clamp(0, voxels - 1)
        near = near.index_select(axis, places)
    on = (cam * near).sum(dim=(1, 2, 3))
    return (1 - on / cam.sum(dim=(1, 2, 3)).clamp(min=1e-6)).mean()


def predict(net: nn.Module, images: Any, batch: int, bf16: bool = False) -> Iterator[tuple[Any, Any]]:
    """(logits [n, 2], maps [n, 2, d, h, w]) per batch of FP16 ``images`` [N, C, D, H, W], as NumPy."""
    net.eval()
    with torch.no_grad():
        for start in range(0, len(images), batch):
            logits, maps = _forward(net, torch.from_numpy(images[start : start + batch].astype(np.float32)), bf16)
            yield logits.numpy(), maps.numpy()


def _validate(
    net: nn.Module,
    split: Split,
    recipe: Recipe,
    settings: TrainSettings,
    weights: torch.Tensor,
    epoch: int,
    train_loss: float,
    started: float,
) -> EpochResult:
    outputs = list(predict(net, split.images, settings.batch, settings.bf16))
    logits = torch.from_numpy(np.concatenate([o[0] for o in outputs]))
    labels = torch.from_numpy(split.labels)
    score = logits.softmax(dim=1)[:, recipe.recurrence_index].numpy()
    hits = float("nan")
    if split.lesions is not None:
        lattice = cast(ClassifierNet, net).cam_lattice
        maps = np.concatenate([o[1] for o in outputs])
        chosen = maps[np.arange(len(maps)), logits.argmax(dim=1).numpy()]
        distances = [
            peak_distance_mm(m, s, recipe.grid.spacing_mm, lattice) for m, s in zip(chosen, split.lesions, strict=True)
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
    file: Path, run: dict[str, Any], epoch: int, best: EpochResult, best_state: State, net: Any, optimiser: Any,
    schedule: Any,
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
    file: Path, run: dict[str, Any], net: nn.Module, optimiser: torch.optim.Optimizer, schedule: Any
) -> tuple[int, EpochResult, State]:
    state = torch.load(file, weights_only=True)
    if state["run"] != run:
        raise GlioserveError(
            ErrorCode.INVALID_ARTIFACT,
            f"{file.name} is of a run with other data, recipe or settings; start anew without --resume.",
        )
    net.load_state_dict(state["net"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    return state["epoch"], EpochResult(**state["best"]), state["best_state"]
