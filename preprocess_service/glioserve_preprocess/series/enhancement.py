"""Comparison of two T1-weighted volumes: the one taken after the contrast agent, by the images alone.

An agent brightens vessels, mucosa, choroid plexus, dura and most recurrent lesions by half and more, and leaves brain
where it was. So the two are brought to one grid and one intensity scale, what the coil shades is divided out, and the
voxels that stick out are counted on either side: bright in one, and by far brighter than in the other. Enhancement is
one-sided; noise, motion and other parameters of the sequence strike both sides. Swapping the two swaps the answer.
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
"""Share of the head's bright intensity below which a voxel, in either image, is air, bone or noise."""
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
    """False where too little of the head is seen, or coils shade the two too differently, for any comparison."""

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
    inner = _inner(a, b)
    if int(inner.sum()) < 1000:
        return Enhancement(None, 0.0, 0.0, 0.0, compared=False)
    log_a, log_b = (np.log(np.maximum(i / np.median(i[inner]), 1e-3)).astype(np.float32) for i in (a, b))
    shading = _local_mean(log_b - log_a, inner)
    low, high = np.percentile(shading[inner], (2, 98))
    if high - low > MAX_SHADING:
        return Enhancement(None, 0.0, 0.0, 0.0, compared=False)
    log_b = log_b - shading
    first_excess, second_excess = _excess(log_a, log_b, inner), _excess(log_b, log_a, inner)
    more, fewer = max(first_excess, second_excess), min(first_excess, second_excess)
    lead = (more - fewer) / (more + fewer) if more else 0.0
    clear = more >= MIN_SHARE and lead >= MIN_LEAD
    confidence = lead * more / (more + MIN_SHARE)
    return Enhancement(first_excess > second_excess if clear else None, confidence, first_excess, second_excess)


def _excess(one: FloatArray, other: FloatArray, inner: BoolArray) -> float:
    """Return the share of inner voxels bright in ``one`` and far brighter than all ``other`` nearby (logarithms)."""
    reach = 2 * round(REACH_MM / WORKING_SPACING_MM) + 1
    near = ndimage.maximum_filter(other, size=reach)
    return float(((one - near > np.log(MIN_RATIO)) & (one > np.log(BRIGHT)) & inner).sum() / inner.sum())


def _inner(a: FloatArray, b: FloatArray) -> BoolArray:
    """Return the voxels well inside the head that give signal in both images; 0 is outside a field of view."""
    seen = (a > 0) & (b > 0)
    if not seen.any():
        return seen
    signal = [image > HEAD_SHARE * np.percentile(image[seen], 98) for image in (a, b)]
    tissue = seen & signal[0] & signal[1]
    head = ndimage.binary_closing(signal[0] | signal[1], iterations=4)  # a suppressed scalp is the head's border too
    for plane in head:
        plane |= ndimage.binary_fill_holes(plane)
    margin = int(np.ceil(DEPTH_MM / WORKING_SPACING_MM)) + 1
    padded = np.pad(head, margin, mode="edge")  # skin is absent where the field of view cuts the head
    depth_mm = ndimage.distance_transform_edt(padded) * WORKING_SPACING_MM
    inner: BoolArray = tissue & (depth_mm[(slice(margin, -margin),) * 3] > DEPTH_MM)
    return inner


def _local_mean(values: FloatArray, inner: BoolArray) -> FloatArray:
    """Return the local mean of ``values`` inside the mask."""
    sigma = SHADING_MM / WORKING_SPACING_MM
    weight = ndimage.gaussian_filter(inner.astype(np.float32), sigma)
    mean: FloatArray = ndimage.gaussian_filter(np.where(inner, values, np.float32(0)), sigma) / np.maximum(weight, 1e-3)
    return mean
