"""The attributes that may leave the hospital's service, and those that the server refuses (risks: PS3.15 Annex E).

An allow-list: the client builds each file anew from :data:`KEPT_ATTRIBUTES`; whatever is not named is not sent.
The server refuses what :mod:`glioserve_dicom.identified` finds, among it each of :data:`IDENTIFYING_ATTRIBUTES` that
has a value. Text burnt into the pixels is outside both: see docs/privacy.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import Enum

from glioserve_contract.sequences import SEQUENCE_IMAGE_TYPES, SEQUENCE_SCAN_OPTIONS


class Treatment(str, Enum):
    """The client's treatment of an attribute that it sends."""

    KEEP = "kept"
    PSEUDONYM = "pseudonym valid for one request"
    RELATIVE_TIME = "time since the study's first, as TM from 000000"
    AGENT = "YES or NO: whether an agent was given, by its name, codes, dose and start; left out where they do not say"
    WORDS = "words of the closed vocabulary only"
    CODES = "terms of the closed list only; where their place tells them apart, others as numbers (`OTHER1`)"
    NUMBERED = "a number of up to four digits; any other text as a number of the request (`OTHER1`)"


_KEEP = (
    "SOPClassUID Modality PatientPosition PatientIdentityRemoved "
    "RepetitionTime EchoTime InversionTime FlipAngle EchoTrainLength EchoNumbers MagneticFieldStrength "
    "SliceThickness SpacingBetweenSlices AcquisitionNumber InstanceNumber SeriesNumber TemporalPositionIdentifier "
    "ImagePositionPatient ImageOrientationPatient PixelSpacing "
    "Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit "
    "PixelRepresentation RescaleIntercept RescaleSlope ModalityLUTSequence PixelPaddingValue PixelData "
    # Enhanced MR (PS3.3 C.7.6.16, C.8.13): the functional groups that carry geometry and timings.
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PixelMeasuresSequence PlaneOrientationSequence "
    "PlanePositionSequence PixelValueTransformationSequence MRTimingAndRelatedParametersSequence MREchoSequence "
    "EffectiveEchoTime MRModifierSequence InversionRecovery InversionTimes FrameContentSequence "
    "InStackPositionNumber TemporalPositionIndex FrameAcquisitionNumber DimensionIndexValues "
    "MRImageFrameTypeSequence RFEchoTrainLength MRDiffusionSequence DiffusionBValue "
    "ContrastBolusUsageSequence "
    "ContrastBolusAgentAdministered EchoPlanarPulseSequence PhaseContrast TimeOfFlightContrast "
    # What a converter had no place for stays under its own name (PS3.3 C.7.6.16.2.25, C.7.6.16.2.26).
    "UnassignedSharedConvertedAttributesSequence UnassignedPerFrameConvertedAttributesSequence"
)

KEPT_ATTRIBUTES: dict[str, Treatment] = {
    **dict.fromkeys(_KEEP.split(), Treatment.KEEP),
    **dict.fromkeys(
        ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"),
        Treatment.PSEUDONYM,
    ),
    **dict.fromkeys(("AcquisitionTime", "SeriesTime", "ContentTime"), Treatment.RELATIVE_TIME),
    "ContrastBolusAgent": Treatment.AGENT,
    "StackID": Treatment.NUMBERED,
    **dict.fromkeys(("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName"), Treatment.WORDS),
    **dict.fromkeys(
        (
            "ImageType",
            "FrameType",
            "ScanningSequence",
            "SequenceVariant",
            "ScanOptions",
            "MRAcquisitionType",
            "Manufacturer",
            "BodyPartExamined",
            "AngioFlag",
            "AcquisitionContrast",
            "ComplexImageComponent",
            "VolumeBasedCalculationTechnique",
            "EchoPulseSequence",
            "SteadyStatePulseSequence",
            "SpectrallySelectedSuppression",
            "LossyImageCompression",
        ),
        Treatment.CODES,
    ),
}

_CONTRASTS = (
    "T1 T2 T2_STAR FLUID_ATTENUATED PROTON_DENSITY STIR TOF DIFFUSION PERFUSION FLOW_ENCODED TAGGED TAGGING MIXED "
    "UNKNOWN"
).split()
"""AcquisitionContrast (PS3.3 C.8.13.3.3.1); frame types use them too."""

_CALCULATIONS = "NONE MIXED MAX_IP MIN_IP VOLUME_RENDER SURFACE_RENDER MPR CURVED_MPR".split()

_IMAGE_TYPES = SEQUENCE_IMAGE_TYPES.union(
    "ORIGINAL PRIMARY DERIVED SECONDARY AXIAL M M_FFE M_SE M_IR FFE SE IR TSE TFE NORM DIS2D DIS3D ND FM FIL OTHER "
    "NONE MPR IMAGE MAGNITUDE MIXED VOLUME REFORMATTED AVERAGE RESAMPLED FAST_SPIN_ECHO ADDITION MOCO UNI WATER W IP "
    "IN IN_PHASE INPHASE DIXON CPR RMS MEAN SUM MSUM ECHO COMPOSED COMP_SP COMP_AD COMP_AN FILTERED FM2 SH MFSPLIT "
    "MB RETRO STDDEV ADD DIVIDE MULTIPLY PROPELLER EPI COMBINED FUSED PROCESSED "
    "W_FFE IP_FFE W_TSE IP_TSE W_SE IP_SE "
    "DIXON_WATER DIXON_W DIXON_IP DIXON_IN WATER_ONLY WATER_IMAGE IDEAL_WATER".split(),
    _CONTRASTS,
    _CALCULATIONS,
    ("CSA MPR", "CSA PARALLEL", "CSA RESAMPLED", "CSAPARALLEL"),
)
_SCAN_CODES = SEQUENCE_SCAN_OPTIONS.union(
    "SE IR GR EP RM SK MTC SS TRSS SP MP OSP NONE PER RG CG PPG FC PFF PFP FS SFS WE SAT SAT1 SAT2 IR_GEMS "
    "EDR_GEMS ACC_GEMS FAST_GEMS TRF_GEMS FILTERED_GEMS SAT_GEMS MP_GEMS EPI_GEMS VASCTOF_GEMS FLEX_GEMS OTHER".split()
)
_BODY_PARTS = frozenset(
    "HEAD BRAIN SKULL HEADNECK NECK SPINE CSPINE TSPINE LSPINE SSPINE CTSPINE TLSPINE LSSPINE CERVICAL ORBIT ORBITS "
    "EYE EAR IAC PITUITARY SELLA FACE JAW TMJ CHEST BREAST HEART ABDOMEN LIVER PELVIS PROSTATE KNEE SHOULDER HIP "
    "ANKLE WRIST HAND FOOT ELBOW EXTREMITY WHOLEBODY".split()
)
MANUFACTURERS = frozenset("SIEMENS GE PHILIPS TOSHIBA CANON HITACHI FUJIFILM UIH UNITED ESAOTE BRUKER".split())

CODES: dict[str, frozenset[str]] = {
    "ImageType": _IMAGE_TYPES,
    "FrameType": _IMAGE_TYPES,
    "ScanningSequence": _SCAN_CODES,
    "SequenceVariant": _SCAN_CODES,
    "ScanOptions": _SCAN_CODES,
    "MRAcquisitionType": frozenset(("2D", "3D")),
    "Manufacturer": MANUFACTURERS,
    "BodyPartExamined": _BODY_PARTS,
    "AngioFlag": frozenset("YN"),
    "AcquisitionContrast": frozenset(_CONTRASTS),
    "ComplexImageComponent": _IMAGE_TYPES,
    "VolumeBasedCalculationTechnique": frozenset(_CALCULATIONS),
    "EchoPulseSequence": frozenset("SPIN GRADIENT BOTH".split()),
    "SteadyStatePulseSequence": frozenset("FREE_PRECESSION TRANSVERSE TIME_REVERSED LONGITUDINAL NONE".split()),
    "SpectrallySelectedSuppression": frozenset("FAT WATER FAT_AND_WATER SILICON_GEL NONE".split()),
    "LossyImageCompression": frozenset(("00", "01")),
}
"""The terms that each of these attributes may hold when it is sent."""

_DIXON_WORDS = {
    **dict.fromkeys("W WATER WATERONLY".split(), "WATER"),
    **dict.fromkeys("F FAT FATONLY".split(), "FAT"),
    **dict.fromkeys("IP IN INPHASE INPH".split(), "IN_PHASE"),
    **dict.fromkeys("OP OPP OUT OPPOSED OUTPHASE OPPPHASE OPPOSEDPHASE OUTOFPHASE OUTPH OPPH".split(), "OPP_PHASE"),
}
"""Words of the image types of a Dixon acquisition, and the type that each stands for."""
_BESIDE_DIXON = frozenset(
    "IMG IMAGE IMAGES DIXON MDIXON FLEX IDEAL WFI WFS LAVA VIBE FFE TFE TSE FSE SE GRE ONLY PHASE PH OF M".split()
)
"""Words that may stand beside one of these."""

_IN_PLACE = frozenset({"ImageType", "FrameType", "ComplexImageComponent"})
"""Their values are told apart by their place (PS3.3 C.7.6.1.1.2), so none may move."""
NUMBERED_ATTRIBUTES = ("ImageType", "FrameType", "ComplexImageComponent", "StackID")
"""Attributes whose unknown values tell stacks apart: the client sends a number of the request for each value."""
PLAIN_NUMBER = re.compile(r"[0-9]{1,4}")
_NUMBERED = re.compile(r"OTHER([1-9][0-9]{0,5})")

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

TECHNICAL_TEXTS = frozenset(
    "DeidentificationMethod CodeValue LongCodeValue URNCodeValue CodingSchemeDesignator CodingSchemeVersion "
    "CodeMeaning ManufacturerModelName SoftwareVersions ReceiveCoilName TransmitCoilName ImagedNucleus ResonantNucleus "
    "WindowCenterWidthExplanation ContrastBolusRoute PositionReferenceIndicator RescaleType".split()
)
"""Texts about the device and the method that the server takes although the client does not send them: what a caller's
own de-identification by PS3.15 Annex E leaves."""

DESCRIBING_TEXTS = frozenset(
    "CodeMeaning ManufacturerModelName ReceiveCoilName TransmitCoilName WindowCenterWidthExplanation "
    "ContrastBolusRoute PositionReferenceIndicator RescaleType DeidentificationMethod".split()
)
"""Those of them that are words: a number of five digits and more in one is a date's or a patient's."""

DEFINED_TERMS = _IMAGE_TYPES.union(
    _SCAN_CODES,
    _BODY_PARTS,
    *(CODES[keyword] for keyword in ("EchoPulseSequence", "SteadyStatePulseSequence", "SpectrallySelectedSuppression")),
    # modalities, and objects that lie beside images (PS3.3 C.7.3.1.1.1)
    "MR CT PT NM CR DX US XA RF OT SC PR SR SEG REG KO DOC RTSTRUCT RTPLAN RTDOSE RTIMAGE RAW RWV".split(),
    # general image, patient study and device modules
    "YES NO Y N L R B U A P H F S I LEFT RIGHT TRUE FALSE UNKNOWN MODIFIED UNMODIFIED REMOVED 00 01 NORMAL IDENTITY "
    "INVERSE LIN LOG LINEAR LINEAR_EXACT SIGMOID GEOMETRY FIDUCIAL COLOR MONOCHROME TEXT MULTIPLE SINGLE ORIGINAL "
    "DERIVED ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_15 ISO_18181_1 RESEARCH PRODUCT SERVICE VISUALIZATION "
    "DIAGNOSTIC COMPLETE PARTIAL COMPLETED PAIRED UNPAIRED BILATERAL STACK SPATIAL TEMPORAL "
    "3D 2D SAMPLED DISTORTED MANUAL AUTOMATIC AUTO LINK SOURCE".split(),
    # enhanced MR acquisition (PS3.3 C.8.13)
    "ROW COL COLUMN OTHER BODY VOLUME HEAD SURFACE MULTICOIL EXTREMITY LINEAR_ASYM REVERSE_LINEAR CENTRIC "
    "REVERSE_CENTRIC SEGMENTED ALIASING INTERLEAVED CONTIGUOUS RECTILINEAR RADIAL SPIRAL CARTESIAN PHASE FREQUENCY "
    "SLICE_SELECTIVE NON_SLICE_SELECTIVE NONSELECTIVE ON_RESONANCE OFF_RESONANCE SLAB GRID SENSE SMASH PILS GRAPPA "
    "HALF_FOURIER FULL FRACTIONAL COMBINATION BALANCED ACCELERATION VELOCITY DISPLACEMENT "
    "IEC FDA NPW CFC PHASED_ARRAY WHOLE_BODY HYPERBOLIC RF GRADIENT_SPOILED RF_SPOILED RF_AND_GRADIENT SPOILED "
    "FIRST_LEVEL SECOND_LEVEL IEC_NORMAL STIMULATED_ECHO DIRECTIONAL ISOTROPIC BMATRIX IN_PLANE OUT_OF_PLANE "
    "TRIGGERED GATED PROSPECTIVE RETROSPECTIVE PROSP RETRO ECG PULSE RESPIRATION BREATH_HOLD REALTIME GATING TRACKING "
    "PHASE_ORDERING PHASE_SCAN RESP CARD START END MAXIMUM MINIMUM EPI SPIN_ECHO GRADIENT_ECHO "
    "INSTANTANEOUS SHORT_TERM_LOCAL LONG_TERM LOCAL TOTAL_BODY PARTIAL_BODY STANDARD NORMAL_MODE "
    "IEC_WHOLE_BODY IEC_PARTIAL_BODY IEC_HEAD IEC_LOCAL IEC_FIRST_LEVEL IEC_SECOND_LEVEL DB_DT ELECTRIC_FIELD "
    "RIESZ COSINE COSINE_SQUARED GAUSSIAN HAMMING HANNING LORENTZIAN LRNTZ_GSS_TRNSFM FREQ SLICE SLICE_AND_FREQ "
    "SLICE_FREQ_PHASE PHASE_AND_FREQ SLICE_AND_PHASE CYLINDRICAL ELLIPSOIDAL WEIGHTED 2D_3D SLICE_SELECT "
    "PHASE_RESCANNING CORRECTION BELT NASAL_PROBE CO2_SENSOR NAVIGATOR MR_PHASE PACED VCG PP EXTERNAL PASSTHRU "
    "NTP IRIG GPS SNTP PTP TRUE_COLOR 3D_TEMPORAL LINE GRADIENT AP PA RL LR FH HF HEADFIRST FEETFIRST".split(),
    ("STATIC FIELD", "NO TRIGGER"),
    "WATER FAT WATER_AND_FAT NONE MIXED ROI SINGLE_VOXEL SLOW FAST OPTIMIZED".split(),
)
_PATIENT_DIRECTION = re.compile(r"[LRAPHF]{1,3}")
"""A value of PatientOrientation (PS3.3 C.7.6.1.1.1)."""
_CHARACTER_SET = re.compile(r"ISO[_ ]IR [0-9]{1,3}|ISO 2022 IR [0-9]{1,3}|GB18030|GBK|")
MAKERS_WORDS = MANUFACTURERS.union(
    "MEDICAL SYSTEMS SYSTEM HEALTHINEERS HEALTHCARE HEALTH CORPORATION CORP COMPANY CO LTD LIMITED INC AG GMBH BV NV "
    "NA SPA THE OF AND IMAGING TECHNOLOGY TECHNOLOGIES NETHERLANDS JAPAN ELECTRIC GENERAL BIOSPIN BIOSPEC "
    "SHANGHAI UIHEALTHCARE NEUSOFT ALLTECH MINDRAY HYPERFINE PARAMED FONAR SAMSUNG SHIMADZU HITACHIMEDICAL RESEARCH "
    "MAGNETIC RESONANCE MR MRI MEC OTHER UNKNOWN".split()
)

PATIENT_PSEUDONYM = re.compile(r"PSN-[0-9a-f]{8,32}")
"""The only form of PatientID that the server takes (full match): random per request, never derived from the
patient's number in a way that could be repeated."""


def kept_codes(keyword: str, text: str, stand_in: Callable[[str], str] = lambda _: "OTHER") -> tuple[str, ...]:
    """Return the values of an attribute of :data:`CODES` that may be sent, upper case; ``text`` has its backslashes.

    A maker is known by one word of its name. Where values are told apart by their place, ``stand_in`` gives what stands
    for another one.
    """
    known = CODES[keyword]
    if keyword == "Manufacturer":
        return tuple(word for word in re.split(r"[^A-Z0-9]+", text.upper()) if word in known)
    values = _values(text)
    if keyword in _IN_PLACE:
        return tuple(value if value in known or not value else stand_in(value) for value in values)
    return tuple(value for value in values if value in known)


def are_kept_codes(keyword: str, text: str) -> bool:
    """Return whether an attribute of :data:`CODES` has only terms that may be sent, numbers, or a maker's full name."""
    if keyword == "Manufacturer":
        return set(re.findall(r"[^\W_]+", text.upper())) <= MAKERS_WORDS
    return all(
        not value or value in CODES[keyword] or is_numbered(value) or value == "OTHER" for value in _values(text)
    )


def is_defined_term(value: str) -> bool:
    """Return whether a code (CS) is one of DICOM's, a number of up to four digits, a direction or a character set."""
    forms = (PLAIN_NUMBER, _PATIENT_DIRECTION, _CHARACTER_SET)
    return value in DEFINED_TERMS or any(form.fullmatch(value) for form in forms)


def values_to_number(keyword: str, text: str) -> tuple[str, ...]:
    """Return the values of one of :data:`NUMBERED_ATTRIBUTES` that are not sent as they are."""
    if keyword == "StackID":
        return (text,) if text and not PLAIN_NUMBER.fullmatch(text) else ()
    return tuple(value for value in _values(text) if value and value not in CODES[keyword])


def value_order(value: str) -> tuple[int, int, str]:
    """Return the place of an attribute's value among others: the same whether as the file has it or as it is sent.

    Numbers come first, then the numbered values of a request, then texts.
    """
    if PLAIN_NUMBER.fullmatch(value):
        return 0, int(value), value
    if numbered := _NUMBERED.fullmatch(value):
        return 1, int(numbered[1]), ""
    return 2, 0, value


def is_numbered(value: str) -> bool:
    """Return whether a value is a number, or one of a request's numbered values."""
    return value_order(value)[0] < 2


def image_type_order(values: Iterable[str]) -> tuple[tuple[int, int, str], ...]:
    """Return a key of an image type, equal for equal ones: known terms come first, others as :func:`value_order`."""
    upper = (value.strip(" \0").upper() for value in values)
    return tuple(
        (-1, 0, value) if value in _IMAGE_TYPES or not value else value_order(value) for value in map(_spelled, upper)
    )


def _values(text: str) -> list[str]:
    return [_spelled(value.strip(" \0")) for value in text.upper().split("\\")] if text.strip(" \0") else []


def _spelled(value: str) -> str:
    """Return a value; where it names an image of a Dixon acquisition in a spelling of its own, the usual one."""
    words = re.findall(r"[^\W_]+", value)
    kinds = {_DIXON_WORDS[word] for word in words if word in _DIXON_WORDS}
    if value in _IMAGE_TYPES or len(kinds) != 1 or not {*words} <= _DIXON_WORDS.keys() | _BESIDE_DIXON:
        return value
    return kinds.pop()
