"""Changes that must not change the diagnosis: mirror images, a brain off centre, another contrast."""

from __future__ import annotations

import torch

MAX_SHIFT_VOXELS = 3
GAMMA_SPREAD, MIN_SCALE, MAX_NOISE = 0.15, 0.6, 0.03


def augment(
    images: torch.Tensor, lesions: torch.Tensor | None, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return new ``images`` [N, C, D, H, W] and, moved alike, ``lesions`` [N, D, H, W]; each sample is drawn anew."""
    n, channels = images.shape[:2]
    moved = [] if lesions is None else [lesions.unsqueeze(1).to(images.dtype)]
    joint = torch.cat([images, *moved], dim=1)
    joint = torch.stack([_moved(sample, generator) for sample in joint])
    images = _recoloured(joint[:, :channels], n, channels, generator)
    return images, None if lesions is None else joint[:, channels]


def _moved(sample: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror along each axis with even odds, then shift by whole voxels; zeros come in (air)."""
    flips = [axis for axis in (1, 2, 3) if torch.rand((), generator=generator) < 0.5]
    sample = torch.flip(sample, flips)
    shifts = torch.randint(-MAX_SHIFT_VOXELS, MAX_SHIFT_VOXELS + 1, (3,), generator=generator).tolist()
    padding = [p for shift in reversed(shifts) for p in (shift, -shift)]
    return torch.nn.functional.pad(sample, padding)


def _recoloured(images: torch.Tensor, n: int, channels: int, generator: torch.Generator) -> torch.Tensor:
    """Apply gamma and scale per channel (min-max depends on one voxel), and noise; air stays 0."""
    shape = (n, channels, 1, 1, 1)
    gamma = torch.exp(GAMMA_SPREAD * torch.randn(shape, generator=generator))
    scale = MIN_SCALE + (1 - MIN_SCALE) * torch.rand(shape, generator=generator)
    sigma = MAX_NOISE * torch.rand((n, 1, 1, 1, 1), generator=generator)
    noise = sigma * torch.randn(images.shape, generator=generator)
    return torch.where(images > 0, images.clamp(min=1e-6) ** gamma * scale + noise, 0.0)
