"""The studies that every export is proven on, made with NumPy alone; every machine makes the same for a recipe."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from glioserve_contract.records.recipe import Recipe

Array = npt.NDArray[np.float32]

INPUTS = ("random", "zeros", "random x 10", "ramp", "blobs", "brain", "one channel", "random, other seed")
"""Kinds of study, in the order of :func:`probe_studies`."""
STEP = 2.0**-10
"""Every value is a multiple of it: the last bits of exponentials and sums, which differ between processors and versions
of NumPy, do not make other studies."""


def probe_studies(recipe: Recipe, seed: int = 0) -> Array:
    """Return one study of each of :data:`INPUTS`, FP32 [8, C, D, H, W]; the same recipe always gives the same."""
    rng = np.random.default_rng(seed)
    shape = (len(recipe.channels), *recipe.grid.shape)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[1:]), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    channel_scale = np.linspace(1, 0.5, shape[0]).reshape(-1, 1, 1, 1)
    ramp = (axes[0] + 2 * axes[1] + 4 * axes[2] + 7) / 14
    blobs = sum(_blob(axes, rng) for _ in range(5))
    brain = (radius < 0.8) * (0.5 + 0.1 * rng.standard_normal(shape)) + _blob(axes, rng)
    one_channel = np.zeros(shape)
    one_channel[0] = rng.random(shape[1:])
    studies = (
        rng.random(shape),
        np.zeros(shape),
        10 * rng.random(shape),
        channel_scale * ramp,
        channel_scale * blobs,
        np.clip(brain, 0, 1),
        one_channel,
        rng.random(shape),
    )
    exact = np.stack([np.broadcast_to(study, shape) for study in studies])
    stepped: Array = (np.round(exact / STEP) * STEP + 0.0).astype(np.float32)  # the sum makes 0 of -0
    return stepped


def _blob(axes: list[npt.NDArray[np.float64]], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    centre, width = rng.uniform(-0.5, 0.5, 3), rng.uniform(0.1, 0.4)
    squared = sum(((axis - c) / width) ** 2 for axis, c in zip(axes, centre, strict=True))
    return cast(npt.NDArray[np.float64], np.exp(-squared))
