"""The heat map as images of a PACS: a Parametric Map, a Segmentation of the hot region, and a colour picture."""

from __future__ import annotations

from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sc import SCImage
from highdicom.seg import Segmentation, SegmentDescription
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

from glioserve_client.filing.codes import Concept
from glioserve_client.filing.identity import MANUFACTURER, Equipment, code
from glioserve_client.filing.source import Source
from glioserve_client.prediction import Prediction

HOT_THRESHOLD = 0.5
"""Share of the heat map's maximum from which a voxel belongs to the hot region."""
SEGMENT_NUMBER = 1
BODY_PART = "BRAIN"
"""BodyPartExamined of the images, a defined term for an organ that has no pair and so no Laterality."""


def meaning(prediction: Prediction) -> str:
    """Return what hot means, in a sentence for a reader of the images."""
    heatmap = prediction.heatmap
    explained = heatmap.explained_class if heatmap is not None else ""
    return f"Grad-CAM: relative evidence for {explained}, 1 at its maximum; not a probability and not a tumour outline"


def parametric_map(prediction: Prediction, source: Source, equipment: Equipment) -> ParametricMap:
    """Return the heat map on the reference series' own slices, in their order, 0 to 1."""
    mapping = RealWorldValueMapping(
        lut_label="GRAD-CAM",
        lut_explanation=_short(meaning(prediction)),
        unit=code(Concept.NO_UNITS),
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=code(Concept.CAM),
    )
    made = ParametricMap(
        source_images=list(source.images),
        pixel_array=_volume(source.heat, source),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[highdicom.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label="GRAD_CAM",
        content_description=_short(meaning(prediction)),
        **equipment.of("parametric map", 1),
    )
    made.BodyPartExamined = BODY_PART
    return made


def segmentation(prediction: Prediction, source: Source, equipment: Equipment) -> Segmentation | None:
    """Return the region at or above :data:`HOT_THRESHOLD`; None where the heat map is empty."""
    hot = (source.heat >= HOT_THRESHOLD).astype(np.uint8)
    if not hot.any():
        return None
    model = prediction.model
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=model.name,
        family=code(Concept.NETWORK),
        version=model.version,
        source=MANUFACTURER,
        parameters={"threshold": f"{HOT_THRESHOLD:g}", "weights": model.digest},
    )
    segment = SegmentDescription(
        segment_number=SEGMENT_NUMBER,
        segment_label=f"Grad-CAM at least {HOT_THRESHOLD:g} of its maximum",
        segmented_property_category=code(Concept.SPATIAL),
        segmented_property_type=code(Concept.HOT_REGION),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=equipment.uid("segmentation", "tracking"),
        tracking_id="glioserve hot region",
        anatomic_regions=[code(Concept.BRAIN)],
    )
    made = Segmentation(
        source_images=list(source.images),
        pixel_array=_volume(hot, source),
        segmentation_type="BINARY",
        segment_descriptions=[segment],
        content_label="HOT_REGION",
        content_description=_short(meaning(prediction)),
        **equipment.of("segmentation", 2),
    )
    made.BodyPartExamined = BODY_PART
    made.SegmentSequence[0].SegmentDescription = meaning(prediction)
    return made


def capture(picture: Image.Image, prediction: Prediction, source: Source, equipment: Equipment) -> SCImage:
    """Return the overlay as a colour Secondary Capture, for viewers that show neither of the others."""
    made = SCImage.from_ref_dataset(
        ref_dataset=source.first,
        pixel_array=np.asarray(picture.convert("RGB")),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **equipment.of("capture", 3),
    )
    made.BodyPartExamined = BODY_PART
    made.PatientOrientation = []  # the picture holds three planes, so it has no single orientation
    made.ImageComments = f"{meaning(prediction)}. {prediction.notice}"
    made.BurnedInAnnotation = "NO"
    made.ConversionType = "WSD"
    return made


def _volume(voxels: npt.NDArray[Any], source: Source) -> highdicom.Volume:
    """Return voxels [slice, row, column] with their place; highdicom's affine takes the axes in the array's order."""
    affine = source.lps_from_voxel[:, [2, 1, 0, 3]]
    return highdicom.Volume(voxels, affine, "PATIENT", frame_of_reference_uid=source.first.FrameOfReferenceUID)


def _short(text: str) -> str:
    """Return the first clause of a sentence, as much as an LO attribute holds."""
    return text.split(";")[0][:64]
