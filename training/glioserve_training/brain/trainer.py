"""Train the brain extraction network on heads that are rendered anew for every step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, IterableDataset

from glioserve_training.averaged_run import AveragedRun, RunProgress, RunSettings
from glioserve_training.brain.bank import load_head
from glioserve_training.brain.scan import Sample, draw_size, scan_head
from glioserve_training.brain.unet import BrainNet
from glioserve_training.learner import cpu_has_bf16

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Image, distance in mm and field of view, each [N, 1, D, H, W]."""


@dataclass(frozen=True)
class BrainSettings(RunSettings):
    """Settings of one run; the defaults made the shipped model."""

    steps: int = 2800
    batch: int = 2
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    validate_every: int = 100
    near_mm: float = 3.0
    """Distance to the surface within which voxels weigh most."""
    dice_weight: float = 1.0
    clip_mm: float = 10.0
    """Distance beyond which all are the same: it is enough to know that the surface is far."""
    validation_scans: int = 24


@dataclass(frozen=True)
class BrainProgress(RunProgress):
    """Validation of the averaged weights after some steps; Dice is at the network's resolution."""

    median_dice: float = 0.0
    least_dice: float = 0.0


class _Scans(IterableDataset[Batch]):
    """Batches from ``first`` to ``steps``; each depends on the seed and its number alone."""

    def __init__(self, heads: list[Path], settings: BrainSettings, first: int) -> None:
        self._heads, self._settings, self._first = heads, settings, first

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        mine, of = (0, 1) if info is None else (info.id, info.num_workers)
        for step in range(self._first + mine, self._settings.steps, of):
            rng = np.random.default_rng([self._settings.seed, step])
            size = draw_size(rng)
            chosen = rng.choice(len(self._heads), self._settings.batch, replace=False)
            yield as_batch([scan_head(load_head(self._heads[i]), rng, size) for i in chosen])


def as_batch(samples: list[Sample]) -> Batch:
    """Stack samples of one size as tensors."""
    image, distance, seen = (
        torch.from_numpy(np.stack([getattr(s, name) for s in samples]))[:, None]
        for name in ("image", "distance_mm", "seen")
    )
    return image, distance, seen


def distance_loss(found: torch.Tensor, true: torch.Tensor, seen: torch.Tensor, settings: BrainSettings) -> torch.Tensor:
    """Return the absolute error of the clipped distance, weighted to the surface, plus one minus the soft Dice.

    All arrays are [N, 1, D, H, W]; ``found`` and ``true`` in mm, voxels outside ``seen`` do not count.
    """
    near = torch.exp(-true.abs() / settings.near_mm) + 0.1
    weight = near * seen
    clip = settings.clip_mm
    error = F.smooth_l1_loss(found, true.clamp(-clip, clip), beta=1.0, reduction="none")
    # Beyond the clip only the wrong side of it is an error.
    error = torch.where((true.abs() >= clip) & (found.sign() == true.sign()) & (found.abs() >= clip), 0 * error, error)
    inside, is_inside = torch.sigmoid(-found) * seen, (true < 0) * seen
    both = (inside * is_inside).sum(dim=(1, 2, 3, 4))
    dice = (2 * both + 1) / (inside.sum(dim=(1, 2, 3, 4)) + is_inside.sum(dim=(1, 2, 3, 4)) + 1)
    return (error * weight).sum() / weight.sum() + settings.dice_weight * (1 - dice).mean()


def train_brain(
    heads: list[Path],
    held_out: list[Path],
    settings: BrainSettings,
    checkpoint: Path,
    *,
    on_progress: Callable[[BrainProgress], None] = lambda _: None,
) -> tuple[BrainNet, BrainProgress]:
    """Train and return the averaged network, with the result of its last validation.

    Training goes on from ``checkpoint`` if it is there, and writes it at every validation. A run that was cut
    off and resumed sees the same scans in the same order as one that was not.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings.seed)
    net = BrainNet().to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    run = AveragedRun(net, settings, lambda step: _rate(step, settings))
    reached = BrainProgress(**run.resume(checkpoint)) if checkpoint.exists() else BrainProgress()
    watched = list(_validation(held_out, settings))
    loader = DataLoader(_Scans(heads, settings, reached.step), batch_size=None, num_workers=1, prefetch_factor=6)
    started, losses = time.perf_counter(), []
    low_precision = device.type == "cuda" or cpu_has_bf16()
    net.train()
    for step, (image, distance, seen) in enumerate(loader, start=reached.step + 1):
        image = image.to(device).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
            found = net(image)
        loss = distance_loss(found.float(), distance.to(device), seen.to(device), settings)
        losses.append(run.update(loss))
        run.end_step()
        if step % settings.validate_every == 0 or step == settings.steps:
            scores = [dice_of(run.averaged, batch) for batch in watched]
            seconds = time.perf_counter() - started
            median, least = float(np.median(scores)), float(np.min(scores))
            reached = BrainProgress(step, float(np.mean(losses)), seconds, median, least)
            on_progress(reached)
            losses = []
            run.save(checkpoint, reached)
    averaged = run.averaged
    assert isinstance(averaged, BrainNet)
    return averaged.cpu().eval(), reached


def dice_of(net: torch.nn.Module, batch: Batch) -> float:
    """Return the Dice of distance < 0 in the field of view; ``net`` is left in evaluation mode."""
    image, distance, seen = batch
    net.eval()
    device = next(net.parameters()).device
    with torch.no_grad():
        found = (net(image.to(device)).cpu() < 0) & seen
    true = (distance < 0) & seen
    return float(2 * (found & true).sum() / (found.sum() + true.sum()).clamp(min=1))


def _rate(step: int, settings: BrainSettings) -> float:
    """Return the learning rate's factor at ``step``: a short rise, then half a cosine down to a hundredth."""
    warm = min(1.0, (step + 1) / 100)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / settings.steps))))


def _validation(held_out: list[Path], settings: BrainSettings) -> Iterator[Batch]:
    for i in range(settings.validation_scans):
        rng = np.random.default_rng([settings.seed, 10**9 + i])
        yield as_batch([scan_head(load_head(held_out[i % len(held_out)]), rng, draw_size(rng))])
