"""``provenance`` of a recipe: what the weights were trained on, imported from and calibrated with."""

from __future__ import annotations

from dataclasses import dataclass, field

from glioserve_contract.codec import Digest, Scalar


@dataclass(frozen=True)
class ImportRecord:
    """Import of weights that were trained elsewhere. It holds no name and no path, which may identify people."""

    format: str
    """Format of the checkpoint (``safetensors``)."""
    source_digest: Digest
    """``sha256:…`` of the checkpoint's file."""
    date: str
    """Time of the import: UTC, ISO 8601."""
    changes: tuple[str, ...] = ()
    """Changes made to the checkpoint at the import, one line each."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of glioserve and of the libraries that read the checkpoint."""


@dataclass(frozen=True)
class TemperatureFit:
    """A temperature that was fitted to a validation cohort."""

    before: float
    """The recipe's temperature before the fit."""
    after: float
    """The fitted temperature."""
    cross_entropy_before: float
    """Mean cross entropy in nats with the temperature before."""
    cross_entropy_after: float
    """Mean cross entropy in nats with the fitted temperature."""


@dataclass(frozen=True)
class ThresholdFit:
    """A threshold that was chosen on a validation cohort for a required sensitivity to necrosis."""

    before: float
    """The recipe's threshold before the fit."""
    carried: float
    """The threshold before, converted to the fitted temperature."""
    wanted_sensitivity: float
    """Sensitivity to necrosis that was asked for, 0 to 1."""
    threshold: float
    """The chosen threshold."""
    sensitivity: float
    """Sensitivity to necrosis on the cohort, 0 to 1."""
    specificity: float
    """Specificity on the cohort, 0 to 1."""


@dataclass(frozen=True)
class CalibrationRecord:
    """Result of fitting the recipe to a validation cohort: a temperature, a threshold, or both."""

    cohort_digest: Digest
    """``sha256:…`` of the table of labels and groups by case."""
    studies: int
    """Number of answered studies."""
    necrosis: int
    """Number of answered studies with radiation necrosis."""
    created: str
    """Time of the fit: UTC, ISO 8601."""
    temperature: TemperatureFit | None = None
    """The fitted temperature; absent where none was fitted."""
    threshold: ThresholdFit | None = None
    """The chosen threshold; absent where none was chosen."""


@dataclass(frozen=True)
class ProvenanceRecord:
    """Origin of a recipe's weights and figures. Never patient data."""

    data: str | None = None
    """Training data, in words."""
    created: str | None = None
    """Time of the training's end: UTC, ISO 8601."""
    best_epoch: int | None = None
    """Epoch whose weights were kept, counted from 1."""
    validation_auc: float | None = None
    """AUC on the validation split in that epoch, 0 to 1."""
    torch: str | None = None
    """Version of PyTorch that trained."""
    settings: dict[str, Scalar] = field(default_factory=dict)
    """Settings of the training run by name."""
    imported: ImportRecord | None = None
    """Import of an outside checkpoint; absent where the weights were trained here."""
    calibrations: tuple[CalibrationRecord, ...] = ()
    """Fits of temperature and threshold, oldest first."""
    min_slices_overridden_from: int | None = None
    """The recipe's ``min_slices`` before a site changed it; absent where it was not changed."""
    notes: dict[str, Scalar] = field(default_factory=dict)
    """Free notes of the site that trained."""
