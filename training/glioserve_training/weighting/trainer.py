"""Train the network on scenes that are drawn anew for every step, and calibrate it on heads that it has not seen."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, IterableDataset

from glioserve_contract.sequences import PixelKind
from glioserve_preprocess.arrays import FloatArray
from glioserve_preprocess.opinion.coarse import HIGHEST, coarse_head
from glioserve_training.averaged_run import AveragedRun, RunProgress, RunSettings
from glioserve_training.brain.bank import load_head
from glioserve_training.learner import cpu_has_bf16
from glioserve_training.weighting.calibration import Indices
from glioserve_training.weighting.net import KindNet
from glioserve_training.weighting.scene import draw_look, draw_scene, scan_look

KINDS = tuple(PixelKind)
LEVELS = 255 / HIGHEST
"""Levels of a scaled intensity of 1 while scans wait in memory."""
LOOKS = (*KINDS, PixelKind.T1, PixelKind.T1CE)
"""Looks of a scene: every kind, and T1 and T1ce twice, which are the hardest to tell apart."""


@dataclass(frozen=True)
class KindSettings(RunSettings):
    """Settings of one run; the defaults are those of the last run of the shipped weights (docs/pixel-opinion.md)."""

    steps: int = 5000
    batch: int = 20
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    validate_every: int = 50
    updates: int = 3
    """Updates of the weights for each new scene: drawing scans costs more than learning them."""
    remembered: int = 300
    """Latest scenes whose scans the batches are drawn from."""
    validation_scenes: int = 12
    calibration_scenes: int = 100


@dataclass(frozen=True)
class KindProgress(RunProgress):
    """Validation of the averaged weights after some steps: shares of scans on heads that training does not see."""

    right: float = 0.0
    t1_right: float = 0.0
    """Share of T1 and T1ce that are recognised."""


@dataclass(frozen=True)
class KindBatch:
    """Scans as the network takes them, and their kinds."""

    images: torch.Tensor
    """[N, 2, 64, 80, 64], in units of 1 / LEVELS, one byte each."""
    kinds: torch.Tensor
    """Indices into ``PixelKind``, [N]."""


class _Scenes(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Scenes from ``first`` to ``steps``; each depends on the seed and its number alone."""

    def __init__(self, heads: list[Path], settings: KindSettings, first: int) -> None:
        self._heads, self._settings, self._first = heads, settings, first

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        torch.set_num_threads(1)
        for step in range(self._first, self._settings.steps + 1):
            rng = np.random.default_rng([self._settings.seed, step])
            batch = draw_batch(self._heads[int(rng.integers(len(self._heads)))], rng)
            yield batch.images, batch.kinds


def draw_batch(head: Path, rng: np.random.Generator) -> KindBatch:
    """Draw one scene of the head and all of its looks; those that show nothing are left out."""
    scene = draw_scene(load_head(head), rng)
    images: list[npt.NDArray[np.uint8]] = []
    kinds: list[int] = []
    for kind in LOOKS:
        image = coarse_head(scan_look(scene, draw_look(scene, kind, rng), rng))
        if image is not None:
            images.append(np.rint(image * np.float32(LEVELS)).astype(np.uint8))
            kinds.append(KINDS.index(kind))
    return KindBatch(torch.from_numpy(np.stack(images)), torch.tensor(kinds))


def train_kinds(
    heads: list[Path],
    held_out: list[Path],
    settings: KindSettings,
    checkpoint: Path,
    *,
    start: Mapping[str, torch.Tensor] | None = None,
    on_progress: Callable[[KindProgress], None] = lambda _: None,
) -> tuple[KindNet, KindProgress]:
    """Train and return the averaged network, with the result of its last validation.

    It begins with random weights, or with those of ``start``, such as :func:`package.weights_of` returns.
    Training goes on from ``checkpoint`` if it is there, and writes it at every validation; ``steps`` may be others
    than those that it was begun with. A run that was cut off and resumed sees the same scans in the same order as one
    that was not.
    """
    torch.manual_seed(settings.seed)
    net = KindNet()
    if start is not None:
        net.load_state_dict(start)
    run = AveragedRun(net, settings, lambda step: _rate(step, settings))
    reached = KindProgress(**run.resume(checkpoint, may_differ=("steps",))) if checkpoint.exists() else KindProgress()
    if reached.step >= settings.steps:
        return _averaged(run), reached
    watched = list(_fresh(held_out, settings, 10**9, settings.validation_scenes))
    started, losses = time.perf_counter(), []
    low_precision = cpu_has_bf16()
    remembered: deque[KindBatch] = deque(maxlen=settings.remembered)
    begun = max(1, reached.step + 1 - settings.remembered)  # the memory of a run that was cut off is drawn again
    loader = DataLoader(_Scenes(heads, settings, begun), batch_size=None, num_workers=1, prefetch_factor=4)
    for step, (images, kinds) in enumerate(loader, start=begun):
        remembered.append(KindBatch(images, kinds))
        if step <= reached.step:
            continue
        torch.manual_seed(settings.seed * 10**6 + step)  # a resumed run goes on alike
        net.train()
        for _ in range(settings.updates):
            batch = _recalled(remembered, settings.batch)
            with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
                logits = net(_as_input(batch, torch.bfloat16 if low_precision else torch.float32))
            loss = F.cross_entropy(logits.float(), batch.kinds)
            losses.append(run.update(loss))
        run.end_step()
        if step % settings.validate_every == 0 or step == settings.steps:
            logits, kinds = logits_of(run.averaged, watched)
            hit = logits.argmax(dim=1) == kinds
            is_t1 = kinds < 2
            reached = KindProgress(
                step,
                float(np.mean(losses)),
                time.perf_counter() - started,
                float(hit.float().mean()),
                float(hit[is_t1].float().mean()),
            )
            on_progress(reached)
            losses = []
            run.save(checkpoint, reached)
    return _averaged(run), reached


def _averaged(run: AveragedRun) -> KindNet:
    net = run.averaged
    assert isinstance(net, KindNet)
    return net.eval()


def logits_of(net: torch.nn.Module, batches: Iterable[KindBatch]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits [N, kinds] and kinds [N] of batches, as serving makes them; ``net`` is left in evaluation mode.

    They are the averages over each scan and its mirror image.
    """
    net.eval()
    found, true = [], []
    with torch.no_grad():
        for batch in batches:
            images = _as_input(batch)
            found.append((net(images) + net(images.flip(-1))) / 2)
            true.append(batch.kinds)
    return torch.cat(found), torch.cat(true)


def calibration_logits(net: KindNet, held_out: list[Path], settings: KindSettings) -> tuple[FloatArray, Indices]:
    """Return logits and kinds of scans on held-out heads that nothing has seen, for :func:`calibration.calibrated`."""
    logits, kinds = logits_of(net, _fresh(held_out, settings, 2 * 10**9, settings.calibration_scenes))
    return logits.numpy(), kinds.numpy()


def _as_input(batch: KindBatch, precision: torch.dtype = torch.float32) -> torch.Tensor:
    return batch.images.to(precision).div_(LEVELS)


def _recalled(remembered: deque[KindBatch], count: int) -> KindBatch:
    """Return scans of the remembered scenes at random, mirrored or not and shifted by up to three cells an axis."""
    images, kinds = [], []
    for scene in torch.randint(len(remembered), (count,)).tolist():
        batch = remembered[scene]
        chosen = int(torch.randint(len(batch.kinds), ()))
        image = batch.images[chosen].flip(-1) if torch.rand(()) < 0.5 else batch.images[chosen]
        images.append(image.roll(torch.randint(-3, 4, (3,)).tolist(), (1, 2, 3)))
        kinds.append(batch.kinds[chosen])
    return KindBatch(torch.stack(images), torch.stack(kinds))


def _fresh(heads: list[Path], settings: KindSettings, first: int, count: int) -> Iterator[KindBatch]:
    for i in range(count):
        yield draw_batch(heads[i % len(heads)], np.random.default_rng([settings.seed, first + i]))


def _rate(step: int, settings: KindSettings) -> float:
    """Return the learning rate's factor at ``step``: a short rise, level, and down to 0 over the last quarter.

    On the level part a run does not depend on how long it will be, so a checkpoint may be given more or fewer steps.
    """
    return min(1.0, (step + 1) / 50, max(0.005, 4 * (1 - step / settings.steps)))
