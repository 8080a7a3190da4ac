"""Train the network on scenes that are drawn anew for every step, and calibrate it on heads that it has not seen."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, IterableDataset

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.sequences import PixelKind
from glioserve_preprocess.arrays import FloatArray
from glioserve_preprocess.opinion.coarse import HIGHEST, coarse_head
from glioserve_training.brain.bank import load_head
from glioserve_training.learner import cpu_has_bf16
from glioserve_training.weighting.calibration import Indices
from glioserve_training.weighting.net import KindNet
from glioserve_training.weighting.scene import draw_look, draw_scene, scan_look

KINDS = tuple(PixelKind)
LEVELS = 255 / HIGHEST
"""Levels of a scaled intensity of 1 while scans wait in memory."""
_ALWAYS = (PixelKind.T1, PixelKind.T1CE, PixelKind.OTHER)
_SOMETIMES = tuple(kind for kind in KINDS if kind is not PixelKind.OTHER)
"""Drawn without putting back, so a scene has up to two of T1 and of T1ce."""


@dataclass(frozen=True)
class KindSettings:
    """Settings of one run; the defaults made the shipped model."""

    steps: int = 1400
    looks: int = 10
    """Looks of a step's scene: T1, T1ce and "other", and as many of the other kinds as are left."""
    remembered: int = 150
    """Earlier steps whose scans are learned again, as many in each step as there are new ones: drawing costs most."""
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    averaging: float = 0.99
    """Decay of the weights' exponential moving average over steps; the average is what is handed over."""
    validation_scenes: int = 16
    validate_every: int = 100
    calibration_scenes: int = 150
    seed: int = 0


@dataclass(frozen=True)
class KindProgress:
    """Validation of the averaged weights after some steps: shares of scans on heads that training does not see."""

    step: int
    loss: float
    right: float
    t1_right: float
    """Share of T1 and T1ce that are told right."""
    seconds: float


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
            batch = draw_batch(self._heads[int(rng.integers(len(self._heads)))], rng, self._settings.looks)
            yield batch.images, batch.kinds


def draw_batch(head: Path, rng: np.random.Generator, looks: int) -> KindBatch:
    """Draw one scene of the head and ``looks`` scans of it."""
    scene = draw_scene(load_head(head), rng)
    drawn = rng.choice(len(_SOMETIMES), looks - len(_ALWAYS), replace=False)
    images: list[npt.NDArray[np.uint8]] = []
    kinds: list[int] = []
    for kind in (*_ALWAYS, *(_SOMETIMES[i] for i in drawn)):
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
    on_progress: Callable[[KindProgress], None] = lambda _: None,
) -> tuple[KindNet, KindProgress]:
    """Train and return the averaged network, with the result of its last validation.

    Training goes on from ``checkpoint`` if it is there, and writes it at every validation; ``steps`` may be others
    than those that it was begun with. A run that was cut off and resumed sees the same scans in the same order as one
    that was not.
    """
    torch.manual_seed(settings.seed)
    net = KindNet().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.averaging)
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, settings))
    parts = {"net": net, "average": average, "optimiser": optimiser, "schedule": schedule}
    reached = KindProgress(0, 0.0, 0.0, 0.0, 0.0)
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if {**state["settings"], "steps": settings.steps} != asdict(settings):
            detail = f"{checkpoint.name} is of a run with other settings."
            raise GlioserveError(ErrorCode.INVALID_ARTIFACT, detail, "Remove the file to start anew.")
        for name, part in parts.items():
            part.load_state_dict(state[name])
        reached = KindProgress(**state["reached"])
    if reached.step >= settings.steps:
        return _averaged(average), reached
    watched = list(_fresh(held_out, settings, 10**9, settings.validation_scenes))
    started, losses = time.perf_counter(), []
    low_precision = cpu_has_bf16()
    remembered: deque[KindBatch] = deque(maxlen=settings.remembered)
    begun = max(1, reached.step + 1 - settings.remembered)  # the memory of a run that was cut off is drawn again
    loader = DataLoader(_Scenes(heads, settings, begun), batch_size=None, num_workers=1, prefetch_factor=4)
    for step, (images, kinds) in enumerate(loader, start=begun):
        batch = KindBatch(images, kinds)
        if step > reached.step:
            torch.manual_seed(settings.seed * 10**6 + step)  # a resumed run goes on alike
            net.train()
            learned = _joined(batch, _changed(_recalled(remembered, settings.looks))) if remembered else batch
            with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
                logits = net(_as_input(learned))
            loss = F.cross_entropy(logits.float(), learned.kinds)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            average.update_parameters(net)
            losses.append(loss.item())
        remembered.append(batch)
        if step <= reached.step:
            continue
        if step % settings.validate_every == 0 or step == settings.steps:
            logits, kinds = logits_of(average.module, watched)
            hit = logits.argmax(dim=1) == kinds
            is_t1 = kinds < 2
            reached = KindProgress(
                step,
                float(np.mean(losses)),
                float(hit.float().mean()),
                float(hit[is_t1].float().mean()),
                time.perf_counter() - started,
            )
            on_progress(reached)
            losses = []
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            partial = checkpoint.with_suffix(".partial")
            states = {name: part.state_dict() for name, part in parts.items()}
            torch.save({"settings": asdict(settings), "reached": asdict(reached), **states}, partial)
            partial.replace(checkpoint)
    return _averaged(average), reached


def _averaged(average: torch.optim.swa_utils.AveragedModel) -> KindNet:
    net = average.module
    assert isinstance(net, KindNet)
    return net.eval()


def logits_of(net: torch.nn.Module, batches: Iterable[KindBatch]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits [N, kinds] and kinds [N] of batches; ``net`` is left in evaluation mode."""
    net.eval()
    found, true = [], []
    with torch.no_grad():
        for batch in batches:
            found.append(net(_as_input(batch)))
            true.append(batch.kinds)
    return torch.cat(found), torch.cat(true)


def calibration_logits(net: KindNet, held_out: list[Path], settings: KindSettings) -> tuple[FloatArray, Indices]:
    """Return logits and kinds of scans on held-out heads that nothing has seen, for :func:`calibration.calibrated`."""
    logits, kinds = logits_of(net, _fresh(held_out, settings, 2 * 10**9, settings.calibration_scenes))
    return logits.numpy(), kinds.numpy()


def _as_input(batch: KindBatch) -> torch.Tensor:
    return (batch.images / LEVELS).contiguous(memory_format=torch.channels_last_3d)


def _recalled(remembered: deque[KindBatch], count: int) -> KindBatch:
    """Return ``count`` scans of as many steps as there are, at random."""
    chosen = [remembered[int(i)] for i in torch.randint(len(remembered), (count,))]
    places = [int(torch.randint(len(b.kinds), (1,))) for b in chosen]
    pairs = list(zip(chosen, places, strict=True))
    return KindBatch(torch.stack([b.images[i] for b, i in pairs]), torch.stack([b.kinds[i] for b, i in pairs]))


def _joined(one: KindBatch, other: KindBatch) -> KindBatch:
    return KindBatch(torch.cat([one.images, other.images]), torch.cat([one.kinds, other.kinds]))


def _changed(batch: KindBatch) -> KindBatch:
    """Return the batch with its heads mirrored, shifted by up to three cells an axis, and of another gamma."""
    images = batch.images.flip(-1) if torch.rand(()) < 0.5 else batch.images
    shifts = tuple(int(n) for n in torch.randint(-3, 4, (3,)))
    scaled = images.roll(shifts, (2, 3, 4)) / 255
    gammas = torch.exp(0.15 * torch.randn(len(scaled), 1, 1, 1, 1))
    return KindBatch(255 * scaled**gammas, batch.kinds)


def _fresh(heads: list[Path], settings: KindSettings, first: int, count: int) -> Iterator[KindBatch]:
    for i in range(count):
        yield draw_batch(heads[i % len(heads)], np.random.default_rng([settings.seed, first + i]), settings.looks)


def _rate(step: int, settings: KindSettings) -> float:
    """Return the learning rate's factor at ``step``: a short rise, level, and down to 0 over the last quarter.

    On the level part a run does not depend on how long it will be, so a checkpoint may be given more or fewer steps.
    """
    return min(1.0, (step + 1) / 50, max(0.005, 4 * (1 - step / settings.steps)))
