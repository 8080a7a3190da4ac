"""Figures of a study that drift is measured on, from the record of its preprocessing: online and offline alike."""

from __future__ import annotations

from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_contract.records.studies.study import StudyFeatures


def features_of(record: PreprocessRecord) -> StudyFeatures:
    """Return the features of one study; what its record lacks is left out.

    Numbers: ``brain_volume_liters``; for each sequence ``<sequence>_slice_spacing_mm`` and
    ``<sequence>_pixel_spacing_mm``; for each but the reference ``<sequence>_displacement_mm`` and
    ``<sequence>_similarity_nats``; ``field_strength_tesla`` of the reference. Categories: ``manufacturer`` of the
    reference. Histograms: ``<sequence>_intensity``.
    """
    numbers: dict[str, float] = {}
    categories: dict[str, str] = {}
    histograms: dict[str, tuple[float, ...]] = {}
    for check in record.quality.checks:
        if check.name == "brain_volume":
            numbers["brain_volume_liters"] = check.value
    for series in record.series:
        numbers[f"{series.modality}_pixel_spacing_mm"] = series.spacing_mm[0]
        numbers[f"{series.modality}_slice_spacing_mm"] = series.spacing_mm[2]
    for registration in record.registrations:
        numbers[f"{registration.modality}_displacement_mm"] = registration.mean_displacement_mm
        numbers[f"{registration.modality}_similarity_nats"] = registration.similarity
    for sequence in record.inputs.sequences if record.inputs else ():
        histograms[f"{sequence.modality}_intensity"] = sequence.histogram
        if sequence.modality is record.reference:
            categories["manufacturer"] = sequence.manufacturer or "unknown"
            if sequence.field_strength_tesla is not None:
                numbers["field_strength_tesla"] = sequence.field_strength_tesla
    return StudyFeatures(numbers, categories, histograms)
