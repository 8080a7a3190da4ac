"""Coded concepts of the DICOM results: one table, published in ``docs/results.md``.

Codes of DICOM (``DCM``), SNOMED CT (``SCT``), LOINC (``LN``) and UCUM are used where one says what is meant. The others
are of the private scheme ``99GLIOSERVE``, whose codes are never given another meaning.
"""

from __future__ import annotations

from enum import Enum

PRIVATE_SCHEME = "99GLIOSERVE"


class Concept(Enum):
    """A coded concept: value, scheme designator, meaning, and what a result uses it for."""

    REPORT = ("126000", "DCM", "Imaging Measurement Report", "title of the structured report")
    PROCEDURE = ("24590-2", "LN", "MRI Head Report", "procedure reported, and code of the DiagnosticReport")
    BRAIN = ("12738006", "SCT", "Brain", "finding site, and region of the segmentation")
    LESION = ("52988006", "SCT", "Lesion", "finding that is classified")
    FINDING = ("121071", "DCM", "Finding", "name of the label")
    RECURRENCE = ("25173007", "SCT", "Recurrent tumor", "label: recurrence")
    NECROSIS = ("445145001", "SCT", "Necrosis caused by ionizing radiation", "label: radiation necrosis")
    NO_LABEL = ("82334004", "SCT", "Indeterminate", "label: the server abstained")
    PROBABILITY = ("122157", "DCM", "Probability", "method of the two probabilities")
    P_RECURRENCE = ("GLIO-P-REC", PRIVATE_SCHEME, "Probability of glioma recurrence", "measurement, 0 to 1")
    P_NECROSIS = ("GLIO-P-NEC", PRIVATE_SCHEME, "Probability of radiation necrosis", "measurement, 0 to 1")
    THRESHOLD = ("122411", "DCM", "Threshold Value", "threshold on the probability of recurrence")
    QUALITY = ("111050", "DCM", "Quality Assessment", "name of the preprocessing's verdict")
    QUALITY_OK = ("GLIO-Q-OK", PRIVATE_SCHEME, "All checks within their usual range", "quality: ok")
    QUALITY_REVIEW = ("GLIO-Q-REV", PRIVATE_SCHEME, "Review before use", "quality: review")
    COMMENT = ("121106", "DCM", "Comment", "notice, and reasons to abstain")
    NETWORK = ("123110", "DCM", "Artificial Intelligence", "family of the algorithm")
    CAM = ("130403", "DCM", "Gradient-weighted class activation", "quantity of the heat map")
    HOT_REGION = ("GLIO-HOT", PRIVATE_SCHEME, "Region of high class activation", "type of the segment")
    SPATIAL = ("309825002", "SCT", "Spatial and Relational Concept", "category of the segment")
    VOLUME = ("118565006", "SCT", "Volume", "volume of the hot region")
    NO_UNITS = ("1", "UCUM", "no units", "unit of probabilities and of the heat map")
    CUBIC_MM = ("mm3", "UCUM", "cubic millimeter", "unit of the volume")

    def __init__(self, code: str, scheme: str, meaning: str, used_for: str) -> None:
        self.code, self.scheme, self.meaning, self.used_for = code, scheme, meaning, used_for
