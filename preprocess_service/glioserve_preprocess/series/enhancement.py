"""Comparison of two T1-weighted volumes: the one taken after the contrast agent, by the images alone.

An agent brightens vessels, mucosa, choroid plexus, dura and most recurrent lesions by half and more, and leaves brain
where it was. So the two are brought to one grid and one intensity scale, what the coil shades is divided out, and the
voxels that stick out are counted on either side: bright in one, and by far brighter than in the other. Enhancement is
one-sided; noise, motion and other parameters of the sequence strike both sides. Swapping the two swaps the answer.

Blood that flows into the slab brightens vessels as well, without any agent. So something thicker than a vessel has to
be brighter too: the mucosa of the nose, or a lesion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from glioserve_dicom.volumes.geometry import Matrix, SequenceVolume, isotropic_cover
from glioserve_preprocess.arrays import BoolArray, FloatArray
from glioserve_preprocess.tensor.grid import sample

WORKING_SPACING_MM = 2.0
SHADING_MM = 15.0
"""Sigma of the Gaussian that takes the coils' shading (and whole-brain contrast) out of the ratio of the two."""
HEAD_SHARE = 0.25
"""Share of the head's bright intensity below which a voxel is air, bone, noise, or nulled by an inversion. What is
darker counts as that bright, so that no ratio is made of noise."""
DEPTH_MM = 14.0
"""Least depth of voxels that count; scalp, marrow and most orbital fat, which fat suppression darkens, lie above."""
REACH_MM = 2.0
"""Distance within which a voxel must be far brighter than all of the other image: thick slices and what is left of
motion shift edges by as much."""
BRIGHT = 1.3
"""Least intensity of enhancing tissue, in medians inside the head."""
MIN_RATIO = 1.35
"""Least brightening that counts; brain itself gains a few per cent."""
MIN_SHARE = 1e-3
"""Least share of the head's inner voxels that has to stick out on one side."""
MIN_LEAD = 0.5
"""Least (more - fewer) / (more + fewer); below it the answer is ambiguous."""
THICK_MM = 7.0
"""Distance from its edge of the middle of what is thicker than any vessel of the head with its blurred edges."""
THICK_SIGMA_MM = 4.0
"""Sigma of the Gaussian over which tissue is averaged before it is called thick; thin folds of mucosa become one."""
THICK_BRIGHT = 2.0
"""Intensity, in medians inside the head, above which it counts no more in the average: the glare of inflowing blood
would else spread as far as thick tissue does."""
THICK_RATIO = 1.25
"""Least brightening of the average."""
MIN_COVERED = 0.7
"""Least share of the inner head with voxels within reach of the local mean that give signal in both images. Two slabs
that overlap little have less, and a surface coil that shows the rim of the head alone."""
NEAR = 0.1
"""Least local density of such voxels to be within reach."""
MAX_SHADING = 0.55
"""Largest range (2nd to 98th percentile) of the logarithm of the smooth ratio of the two: where coils shade them more
differently than this, the shading's edges stick out as an agent does. ``make bench NAME=enhancement`` counts it."""


@dataclass(frozen=True)
class Enhancement:
    """The result of a comparison; ``first_is_enhanced`` is None where the images do not decide."""

    first_is_enhanced: bool | None
    confidence: float
    """Confidence, 0 to 1, by the amount of the difference and by how one-sided it is."""
    first_excess: float
    """Share of inner voxels that are bright in the first and by far brighter than in the second."""
    second_excess: float
    compared: bool = True
    """False where too little of the head is seen in both, or coils shade the two too differently, to compare them."""

    @property
    def ambiguous(self) -> bool:
        """True where the images do not decide."""
        return self.first_is_enhanced is None

    @property
    def alike(self) -> bool:
        """True where next to nothing differs: both are enhanced or both are native."""
        return self.compared and max(self.first_excess, self.second_excess) < MIN_SHARE


def compare_enhancement(
    first: SequenceVolume, second: SequenceVolume, second_lps_from_first_lps: Matrix
) -> Enhancement:
    """Compare two T1-weighted volumes of one head for enhancement by contrast agent.

    ``second_lps_from_first_lps`` carries the first's points into the second's space
    (:attr:`register.Registration.moving_lps_from_reference_lps` with the first as reference).
    """
    grid = isotropic_cover(first.geometry, WORKING_SPACING_MM)
    a = sample(first.voxels, first.geometry, grid, np.eye(4))
    b = sample(second.voxels, second.geometry, grid, second_lps_from_first_lps)
    seen = (a > 0) & (b > 0)  # 0 is outside a field of view
    floors = [HEAD_SHARE * np.percentile(i[seen], 98) if seen.any() else np.inf for i in (a, b)]
    signal = [image > floor for image, floor in zip((a, b), floors, strict=True)]
    head = _inner_head(signal[0] | signal[1])
    inner = head & seen & signal[0] & signal[1]
    if int(inner.sum()) < 1000 or _covered(inner, head) < MIN_COVERED:
        return Enhancement(None, 0.0, 0.0, 0.0, compared=False)
    log_a, log_b = (
        np.log(np.maximum(i, floor) / np.median(i[inner])).astype(np.float32)
        for i, floor in zip((a, b), floors, strict=True)
    )
    shading = _local_mean(log_b - log_a, inner)
    low, high = np.percentile(shading[inner], (2, 98))
    if high - low > MAX_SHADING:
        return Enhancement(None, 0.0, 0.0, 0.0, compared=False)
    log_a, log_b = log_a + shading / 2, log_b - shading / 2
    first_excess, second_excess = _excess(log_a, log_b, inner), _excess(log_b, log_a, inner)
    more, fewer = max(first_excess, second_excess), min(first_excess, second_excess)
    lead = (more - fewer) / (more + fewer) if more else 0.0
    brighter, darker = (log_a, log_b) if first_excess > second_excess else (log_b, log_a)
    clear = more >= MIN_SHARE and lead >= MIN_LEAD and _thick_tissue(brighter, darker, head & seen)
    confidence = lead * more / (more + MIN_SHARE)
    return Enhancement(first_excess > second_excess if clear else None, confidence, first_excess, second_excess)


def _excess(one: FloatArray, other: FloatArray, inner: BoolArray) -> float:
    """Return the share of inner voxels bright in ``one`` and far brighter than all ``other`` nearby (logarithms)."""
    reach = 2 * round(REACH_MM / WORKING_SPACING_MM) + 1
    near = ndimage.maximum_filter(other, size=reach)
    return float(((one - near > np.log(MIN_RATIO)) & (one > np.log(BRIGHT)) & inner).sum() / inner.sum())


def _thick_tissue(one: FloatArray, other: FloatArray, head: BoolArray) -> bool:
    """Return whether anything thicker than a vessel is brighter in ``one`` than in ``other`` (logarithms)."""
    sigma = THICK_SIGMA_MM / WORKING_SPACING_MM
    means = [
        ndimage.gaussian_filter(np.where(head, np.exp(np.minimum(i, np.log(THICK_BRIGHT))), np.float32(0)), sigma)
        for i in (one, other)
    ]
    brighter = head & (means[0] > THICK_RATIO * means[1])
    return bool((ndimage.distance_transform_edt(brighter) * WORKING_SPACING_MM >= THICK_MM).any())


def _inner_head(signal: BoolArray) -> BoolArray:
    """Return the voxels well inside the head that gives ``signal``."""
    head = ndimage.binary_closing(signal, iterations=4)  # a suppressed scalp is the head's border too
    for plane in head:
        plane |= ndimage.binary_fill_holes(plane)
    margin = int(np.ceil(DEPTH_MM / WORKING_SPACING_MM)) + 1
    padded = np.pad(head, margin, mode="edge")  # skin is absent where the field of view cuts the head
    depth_mm = ndimage.distance_transform_edt(padded) * WORKING_SPACING_MM
    inner: BoolArray = depth_mm[(slice(margin, -margin),) * 3] > DEPTH_MM
    return inner


def _covered(inner: BoolArray, head: BoolArray) -> float:
    """Return the share of the inner head that has voxels for a local mean nearby."""
    density = ndimage.gaussian_filter(inner.astype(np.float32), SHADING_MM / WORKING_SPACING_MM)
    return float((density[head] > NEAR).mean())


def _local_mean(values: FloatArray, inner: BoolArray) -> FloatArray:
    """Return the local mean of ``values`` inside the mask."""
    sigma = SHADING_MM / WORKING_SPACING_MM
    weight = ndimage.gaussian_filter(inner.astype(np.float32), sigma)
    mean: FloatArray = ndimage.gaussian_filter(np.where(inner, values, np.float32(0)), sigma) / np.maximum(weight, 1e-3)
    return mean
