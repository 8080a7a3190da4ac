"""Each sequence to the reference: one rigid transform by mutual information, from voxels, never from headers alone.

The plain version on SimpleITK. Header alignment is only a start: heads move by centimetres between sequences.
One thread and a fixed seed, so that the same input gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from glioserve_contract import ErrorCode, GlioserveError, Modality
from glioserve_preprocess.geometry import Matrix, Volume, apply, isotropic_cover, to_sitk
from glioserve_preprocess.grid import sample

WORKING_SPACING_MM = 2.0
LEVELS = ((4, 2.0), (2, 1.0), (1, 0.0))
"""(shrink factor, Gaussian sigma in voxels) of the working grid: 8, 4 and 2 mm."""
SAMPLED_SHARE = 0.1
HISTOGRAM_BINS = 40
SEED = 20251
MIN_SIMILARITY = 0.05
"""Nats of mutual information below which two heads do not overlap at all."""
MAX_DISPLACEMENT_MM = 80.0


@dataclass(frozen=True, eq=False)
class Registration:
    """``moving_lps_from_reference_lps`` carries the reference's points into the moving sequence's own space."""

    modality: Modality
    moving_lps_from_reference_lps: Matrix
    similarity: float
    similarity_before: float


def register(reference: Volume, moving: Volume) -> Registration:
    """The rigid transform from ``reference`` to ``moving`` space that makes their mutual information largest.

    Raises GLIO-1501 where the optimiser fails, the heads do not overlap or the motion is not a patient's.
    """
    with _one_thread():
        return _register(reference, moving)


def mean_displacement_mm(matrix: Matrix, points_lps_mm: npt.NDArray[np.float64]) -> float:
    """Mean distance that ``points_lps_mm`` [n, 3] move under ``matrix``."""
    return float(np.linalg.norm(apply(matrix, points_lps_mm) - points_lps_mm, axis=1).mean())


@contextmanager
def _one_thread() -> Iterator[None]:
    """ITK sums a metric per thread; with one there is one order of summation, so the same bits every time.

    Setting the number on the method alone does not reach the metric inside it.
    """
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _register(reference: Volume, moving: Volume) -> Registration:
    fixed_image, moving_image = _working_image(reference), _working_image(moving)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(SAMPLED_SHARE, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=150, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([shrink for shrink, _ in LEVELS])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    try:
        starts = [
            (_similarity(fixed_image, moving_image, s), i, s) for i, s in enumerate(_starts(fixed_image, moving_image))
        ]
        method.SetInitialTransform(max(starts, key=lambda start: (start[0], -start[1]))[2], inPlace=True)
        method.Execute(fixed_image, moving_image)
        result = sitk.Euler3DTransform(sitk.CompositeTransform(method.GetInitialTransform()).GetBackTransform())
        similarity = _similarity(fixed_image, moving_image, result)
    except RuntimeError as error:
        raise GlioserveError(ErrorCode.REGISTRATION_FAILED, f"{moving.modality} could not be aligned.") from error
    matrix = _matrix(result)
    centre = np.array([fixed_image.TransformContinuousIndexToPhysicalPoint([s / 2 for s in fixed_image.GetSize()])])
    moved_mm = float(np.linalg.norm(apply(matrix, centre) - centre))
    if similarity < max(MIN_SIMILARITY, starts[0][0] * 0.9) or moved_mm > MAX_DISPLACEMENT_MM:
        raise GlioserveError(
            ErrorCode.REGISTRATION_FAILED,
            f"{moving.modality} could not be aligned: {similarity:.3f} nats after moving {moved_mm:.0f} mm.",
        )
    return Registration(moving.modality, matrix, similarity, starts[0][0])


def _working_image(volume: Volume) -> sitk.Image:
    """Isotropic 2 mm, outliers clipped."""
    low, high = np.percentile(volume.voxels, (0.5, 99.5))
    working = isotropic_cover(volume.geometry, WORKING_SPACING_MM)
    return to_sitk(sample(np.clip(volume.voxels, low, high), volume.geometry, working, np.eye(4)), working)


def _starts(fixed: sitk.Image, moving: sitk.Image) -> list[sitk.Euler3DTransform]:
    """Header position first, then centres of mass together; both turn about the fixed head's centre of mass."""
    moments = sitk.Euler3DTransform(
        sitk.CenteredTransformInitializer(
            fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
    )
    header = sitk.Euler3DTransform()
    header.SetCenter(moments.GetCenter())
    return [header, moments]


def _similarity(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform) -> float:
    """Mattes mutual information in nats at ``transform``, on the whole 4 mm grid."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(transform)
    try:
        return -float(method.MetricEvaluate(sitk.Shrink(fixed, [2] * 3), moving))
    except RuntimeError:  # no overlap at all
        return 0.0


def _matrix(transform: sitk.Euler3DTransform) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return matrix
