"""Settings of training: the published study's values and the demo's; and the demo's recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glioserve_contract import Modality
from glioserve_contract.records.recipe import RECIPE_SCHEMA, Architecture, Grid, Recipe


@dataclass(frozen=True)
class TrainSettings:
    """One training run, but for data and recipe."""

    preset: str
    learning_rate: float
    batch: int
    epochs: int
    optimiser: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0
    one_cycle: bool = False
    """The learning rate rises to ``learning_rate`` and falls to nought within the run; else it is constant."""
    augment: bool = False
    """Flips, shifts and intensity changes, drawn anew for each batch."""
    bf16: bool = False
    """Autocast to bfloat16, where the CPU computes in it (AVX512-BF16, AMX)."""
    amplify: bool = False
    """Amplify the evidence while training; see :mod:`learner`."""
    localisation: float = 0.0
    """Weight of :func:`trainer.localisation_loss`; without lesions in the dataset it is left out."""
    calibrate: bool = False
    """Fit the recipe's temperature on the validation split when training is done."""
    validation_share: float = 0.2
    seed: int = 0


PRESETS = {
    # Front Oncol 2025, 10.3389/fonc.2025.1573700: split 3.03 : 1. It names no optimiser and no augmentation.
    "paper": TrainSettings("paper", learning_rate=1e-5, batch=2, epochs=300, validation_share=1 / 4.03),
    "demo": TrainSettings(
        "demo",
        learning_rate=5e-3,
        batch=8,
        epochs=20,
        optimiser="adamw",
        weight_decay=1e-2,
        one_cycle=True,
        augment=True,
        bf16=True,
        amplify=True,
        localisation=1.0,
        calibrate=True,
    ),
}

DEMO_RECIPE = Recipe(
    schema=RECIPE_SCHEMA,
    name="glioserve-demo",
    architecture=Architecture(
        "resnet10",
        # The last two stages keep their resolution: a Grad-CAM of 12 x 12 x 12 cells of 16 mm.
        {"widen_factor": 0.1875, "conv1_t_stride": 2, "no_max_pool": True, "stage_strides": [1, 2, 1, 1]},
    ),
    channels=(Modality.T1, Modality.T1CE, Modality.T2),
    classes=("necrosis", "recurrence"),
    grid=Grid((48, 48, 48), (4.0, 4.0, 4.0)),
    min_slices=32,
)
"""The shipped demo model's: small enough to train on two cores in minutes and to be stored in the repository."""
