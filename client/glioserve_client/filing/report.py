"""The answer as a Comprehensive 3D SR by TID 1500: probabilities, label, quality, the network, and the notice."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.seg import Segmentation
from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from glioserve_client.filing.codes import Concept
from glioserve_client.filing.identity import MANUFACTURER, Equipment, code
from glioserve_client.filing.images import HOT_THRESHOLD, SEGMENT_NUMBER, meaning
from glioserve_client.filing.source import Source
from glioserve_client.prediction import Label, Prediction

LABELS = {Label.RECURRENCE: Concept.RECURRENCE, Label.NECROSIS: Concept.NECROSIS, None: Concept.NO_LABEL}
QUALITY = {"ok": Concept.QUALITY_OK, "review": Concept.QUALITY_REVIEW}


def structured_report(
    prediction: Prediction,
    source: Source,
    equipment: Equipment,
    hot_region: Segmentation | None,
    supersedes: Sequence[Dataset] = (),
) -> Comprehensive3DSR:
    """Return the report, which refers to the images used and to the segmentation of the hot region.

    Args:
        prediction: the answer.
        source: the images that it is filed beside.
        equipment: identity of the results.
        hot_region: the segmentation of the same answer; None where the heat map is empty.
        supersedes: earlier reports that this one takes the place of.
    """
    groups: list[MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations] = [
        _answer(prediction, source, equipment)
    ]
    if hot_region is not None:
        groups.append(_hot_region(prediction, source, equipment, hot_region))
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(prediction, equipment)),
        procedure_reported=code(Concept.PROCEDURE),
        imaging_measurements=groups,
        title=code(Concept.REPORT),
    )
    evidence = [*source.images, *source.others, *((hot_region,) if hot_region is not None else ())]
    made = Comprehensive3DSR(
        evidence=evidence,
        content=report,
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=list(supersedes) or None,
        **equipment.of("report", 0),
    )
    made.SeriesDescription = "Recurrence or radiation necrosis (not for clinical use)"
    return made


def _observer(prediction: Prediction, equipment: Equipment) -> ObserverContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=equipment.uid("device"),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=prediction.model.name,
        serial_number=prediction.model.digest,
    )
    return ObserverContext(codes.DCM.Device, device)


def _algorithm(prediction: Prediction) -> AlgorithmIdentification:
    model, preprocess = prediction.model, prediction.report.preprocess
    parameters = [
        f"weights {model.digest}",
        f"architecture {model.architecture}",
        f"preprocessing {preprocess.preprocessing_digest}",
        f"sequences {' '.join(series.modality for series in preprocess.series)}",
    ]
    return AlgorithmIdentification(
        name=model.name, version=model.version, parameters=parameters, family=code(Concept.NETWORK)
    )


def _answer(prediction: Prediction, source: Source, equipment: Equipment) -> MeasurementsAndQualitativeEvaluations:
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(equipment.uid("answer", "tracking"), "glioserve answer"),
        finding_type=code(Concept.LESION),
        algorithm_id=_algorithm(prediction),
        finding_sites=[FindingSite(code(Concept.BRAIN))],
        measurements=[
            _share(Concept.P_RECURRENCE, prediction.probabilities[Label.RECURRENCE]),
            _share(Concept.P_NECROSIS, prediction.probabilities[Label.NECROSIS]),
            Measurement(code(Concept.THRESHOLD), prediction.threshold, code(Concept.NO_UNITS)),
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(code(Concept.FINDING), code(LABELS[prediction.label])),
            QualitativeEvaluation(code(Concept.QUALITY), code(QUALITY[prediction.quality.verdict])),
        ],
        source_images=[_reference_to(*source.hottest)],
    )
    _say(group, prediction.notice, *prediction.abstained_because)
    return group


def _hot_region(
    prediction: Prediction, source: Source, equipment: Equipment, hot_region: Segmentation
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    volume_mm3 = float((source.heat >= HOT_THRESHOLD).sum()) * source.voxel_mm3
    group = VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(equipment.uid("segmentation", "tracking"), "glioserve hot region"),
        referenced_segment=ReferencedSegment(
            sop_class_uid=hot_region.SOPClassUID,
            sop_instance_uid=hot_region.SOPInstanceUID,
            segment_number=SEGMENT_NUMBER,
            source_series=SourceSeriesForSegmentation(source.first.SeriesInstanceUID),
        ),
        finding_type=code(Concept.HOT_REGION),
        algorithm_id=_algorithm(prediction),
        finding_sites=[FindingSite(code(Concept.BRAIN))],
        measurements=[Measurement(code(Concept.VOLUME), round(volume_mm3, 1), code(Concept.CUBIC_MM))],
    )
    _say(group, f"{meaning(prediction)}. Threshold: {HOT_THRESHOLD:g} of the maximum.")
    return group


def _share(concept: Concept, value: float) -> Measurement:
    return Measurement(code(concept), round(value, 6), code(Concept.NO_UNITS), method=code(Concept.PROBABILITY))


def _reference_to(image: Dataset, frame: int | None) -> SourceImageForMeasurementGroup:
    frames = None if frame is None else [frame]
    return SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID, frames)


def _say(
    group: MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations, *comments: str
) -> None:
    for comment in comments:
        item = TextContentItem(code(Concept.COMMENT), comment, RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(item)
