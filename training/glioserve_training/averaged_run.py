"""A run of training whose result is an average of its weights, and which goes on where it was cut off."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from glioserve_contract import ErrorCode, GlioserveError

_LARGEST_GRADIENT = 5.0
"""Norm to which longer gradients are shortened."""


@dataclass(frozen=True)
class RunSettings:
    """Settings that every such run has."""

    steps: int
    batch: int
    """Samples of an update."""
    learning_rate: float
    weight_decay: float
    validate_every: int
    """Steps from one validation, and one state on disk, to the next."""
    averaging: float = 0.995
    """Decay of the weights' exponential moving average over updates; the average is what is handed over."""
    seed: int = 0


@dataclass(frozen=True)
class RunProgress:
    """Result of the last validation of a run."""

    step: int = 0
    loss: float = 0.0
    """Mean loss since the validation before."""
    seconds: float = 0.0
    """Time since the run was begun or resumed."""


class AveragedRun:
    """A network in training by AdamW, the exponential moving average of its weights, and the schedule of the rate.

    Args:
        net: The network, with the weights to begin with.
        settings: Settings of the run.
        rate: Function from a step to the learning rate's factor.
    """

    def __init__(self, net: torch.nn.Module, settings: RunSettings, rate: Callable[[int], float]) -> None:
        """Begin at step 0."""
        self.net, self._settings = net, settings
        decayed = torch.optim.swa_utils.get_ema_multi_avg_fn(settings.averaging)
        self._average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=decayed)
        self._optimiser = torch.optim.AdamW(
            net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, rate)

    @property
    def averaged(self) -> torch.nn.Module:
        """The network with the averaged weights."""
        return self._average.module

    def update(self, loss: torch.Tensor) -> float:
        """Update the weights once by the gradient of ``loss``, and the average with them; return the loss."""
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), _LARGEST_GRADIENT)
        self._optimiser.step()
        self._average.update_parameters(self.net)
        return float(loss.item())

    def end_step(self) -> None:
        """Go on to the next step's learning rate."""
        self._schedule.step()

    def save(self, file: Path, reached: RunProgress) -> None:
        """Write the state of the run and what it has reached."""
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        states = {
            "net": self.net.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        torch.save({"settings": asdict(self._settings), "reached": asdict(reached), **states}, partial)
        partial.replace(file)

    def resume(self, file: Path, may_differ: Collection[str] = ()) -> dict[str, Any]:
        """Take the state that :meth:`save` wrote, and return the fields of what was reached.

        Settings other than the run's are refused (GLIO-5102), but for those of the names in ``may_differ``.
        """
        state = torch.load(file, weights_only=True)
        mine, kept = (
            {k: v for k, v in s.items() if k not in may_differ} for s in (asdict(self._settings), state["settings"])
        )
        if mine != kept:
            detail = f"{file.name} is of a run with other settings."
            raise GlioserveError(ErrorCode.INVALID_ARTIFACT, detail, "Remove the file to start anew.")
        self.net.load_state_dict(state["net"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        reached: dict[str, Any] = state["reached"]
        return reached
