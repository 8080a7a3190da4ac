"""What may leave the hospital's service, and what the server refuses (DICOM PS3.15 Annex E names the risks).

An allow-list: the client builds each file anew from :data:`KEPT_ATTRIBUTES`; whatever is not named is not sent.
The server refuses a request in which an attribute of :data:`IDENTIFYING_ATTRIBUTES` has a value, or a PatientID
is not a pseudonym. Text burnt into the pixels is outside both: see docs/privacy.md.
"""

from __future__ import annotations

import re
import unicodedata
from enum import Enum


class Treatment(str, Enum):
    """What the client does to an attribute that it sends."""

    KEEP = "kept"
    PSEUDONYM = "pseudonym valid for one request"
    RELATIVE_TIME = "time since the study's first, as TM from 000000"
    YES_NO = "YES when a value is there, else left out"
    WORDS = "words of the closed vocabulary only"
    CODES = "terms of the closed list only"


_KEEP = (
    "SOPClassUID Modality PatientPosition PatientIdentityRemoved "
    "RepetitionTime EchoTime InversionTime FlipAngle EchoTrainLength EchoNumbers MagneticFieldStrength "
    "SliceThickness SpacingBetweenSlices AcquisitionNumber InstanceNumber SeriesNumber TemporalPositionIdentifier "
    "ImagePositionPatient ImageOrientationPatient PixelSpacing "
    "Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit "
    "PixelRepresentation RescaleIntercept RescaleSlope PixelPaddingValue PixelData "
    # Enhanced MR (PS3.3 C.7.6.16, C.8.13): the functional groups that carry geometry and timings.
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PixelMeasuresSequence PlaneOrientationSequence "
    "PlanePositionSequence PixelValueTransformationSequence MRTimingAndRelatedParametersSequence MREchoSequence "
    "EffectiveEchoTime MRModifierSequence InversionRecovery InversionTimes FrameContentSequence StackID "
    "InStackPositionNumber TemporalPositionIndex DimensionIndexValues MRImageFrameTypeSequence"
)

KEPT_ATTRIBUTES: dict[str, Treatment] = {
    **dict.fromkeys(_KEEP.split(), Treatment.KEEP),
    **dict.fromkeys(
        ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"),
        Treatment.PSEUDONYM,
    ),
    **dict.fromkeys(("AcquisitionTime", "SeriesTime", "ContentTime"), Treatment.RELATIVE_TIME),
    "ContrastBolusAgent": Treatment.YES_NO,
    **dict.fromkeys(("SeriesDescription", "ProtocolName", "SequenceName"), Treatment.WORDS),
    **dict.fromkeys(
        (
            "ImageType",
            "FrameType",
            "ScanningSequence",
            "SequenceVariant",
            "ScanOptions",
            "MRAcquisitionType",
            "Manufacturer",
        ),
        Treatment.CODES,
    ),
}

DESCRIPTION_WORDS = frozenset(
    "t1 t1w t2 t2w t2star pd flair tirm stir darkfluid fluid dark mprage mpr ir irfspgr irspgr spgr fspgr bravo "
    "space cube vista tse fse se ge gre grase ffe tfe flash fl2d fl3d tfl tfl3d tse2d1 se2d1 tir2d1 fl2d1 fl3d1 "
    "tfl3d1 spc spcir vibe "
    "lava thrive epi epi2d swi dwi adc dti trace perfusion dsc dce mra tof asl mrs spectroscopy fgre "
    "haste 3d 2d w weighted image bild c ce gd gad gado gadolinium gadovist dotarem post pre contrast "
    "contraste kontrast kontrastmittel km mit ohne nach vor nativ native nativo avec sans apres avant "
    "injection con sin sem com depois antes with without plus enhanced non no iv ax axial tra trans "
    "transversal transverse sag sagittal sagittale cor coronal coronale koronar obl oblique localizer "
    "localiser scout survey loc mip reformat reformatted subtraction sub derived map fs fatsat fat sat "
    "spair dixon brain head kopf cerebral hirn neuro mr mri irm rm cranial schadel iso isotropic".split()
)
"""Lower case. A description is split at anything but letters, digits and '+'; what is not here is dropped."""

IMAGE_TYPE_CODES = frozenset(
    "ORIGINAL PRIMARY DERIVED SECONDARY AXIAL LOCALIZER M M_FFE M_SE M_IR FFE SE IR NORM DIS2D DIS3D ND "
    "FM FIL OTHER NONE MPR PROJECTION IMAGE MOSAIC ADC TRACEW PHASE P MAGNITUDE MIXED VOLUME T1 T2 FLAIR "
    "MIN MAX SUB REFORMATTED AVERAGE RESAMPLED FAST_SPIN_ECHO PROTON_DENSITY DIFFUSION ADDITION "
    "SUBTRACTION".split()
)
SCAN_CODES = frozenset(
    "SE IR GR EP RM SK MTC SS TRSS SP MP OSP NONE PER RG CG PPG FC PFF PFP FS SFS WE 2D 3D IR_GEMS "
    "EDR_GEMS ACC_GEMS FAST_GEMS TRF_GEMS FILTERED_GEMS".split()
)
MANUFACTURERS = frozenset("SIEMENS GE PHILIPS TOSHIBA CANON HITACHI UIH ESAOTE BRUKER".split())

IDENTIFYING_ATTRIBUTES = (
    "PatientName",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientMotherBirthName",
    "PatientBirthName",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "IssuerOfPatientID",
    "EthnicGroup",
    "Occupation",
    "PatientComments",
    "AdditionalPatientHistory",
    "MedicalRecordLocator",
    "MilitaryRank",
    "CountryOfResidence",
    "RegionOfResidence",
    "PatientInsurancePlanCodeSequence",
    "PatientReligiousPreference",
    "ResponsiblePerson",
    "ResponsibleOrganization",
    "AccessionNumber",
    "StudyID",
    "AdmissionID",
    "RequestedProcedureID",
    "ScheduledProcedureStepID",
    "PerformedProcedureStepID",
    "StudyDate",
    "StudyTime",
    "SeriesDate",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "ContentDate",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "PerformedProcedureStepStartDate",
    "StudyDescription",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
    "ImageComments",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansOfRecord",
    "OperatorsName",
    "RequestingPhysician",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "DeviceSerialNumber",
)
"""Refused when non-empty, at any depth of the dataset."""

PATIENT_PSEUDONYM = re.compile(r"PSN-[0-9a-f]{8,32}")
"""The only form of PatientID that the server takes (full match): random per request, never derived from the
patient's number in a way that could be repeated."""


def kept_words(description: str) -> str:
    """The words of a description that are in the closed vocabulary, in order; ``+C`` survives as ``+c``."""
    plain = unicodedata.normalize("NFKD", description).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"\+c\b|[a-z0-9]+", plain)
    return " ".join(w for w in words if w == "+c" or w in DESCRIPTION_WORDS)
