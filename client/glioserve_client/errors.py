"""Every error of the client as a typed exception: one leaf class per code of the contract's table.

    GlioserveError                            every error of ours (glioserve_contract)
    └── CodedError                            has .code, .retryable, .request_id, .attempts
        ├── StudyError                        1xxx  what was sent cannot be used: change the study
        │   ├── RequestError                  11xx
        │   │   ├── NoInputError              GLIO-1101
        │   │   ├── BothInputsError           GLIO-1102
        │   │   ├── EmptyStudyError           GLIO-1103
        │   │   ├── StudyTooLargeError        GLIO-1104
        │   │   ├── MissingAffineError        GLIO-1105
        │   │   ├── InvalidVolumeError        GLIO-1106
        │   │   ├── InvalidAffineError        GLIO-1107
        │   │   ├── UnsupportedVoxelsError    GLIO-1108
        │   │   └── NonFiniteVoxelsError      GLIO-1109
        │   ├── DicomFileError                12xx
        │   │   ├── NotDicomError             GLIO-1201
        │   │   ├── TruncatedFileError        GLIO-1202
        │   │   ├── IdentifiedDicomError      GLIO-1203
        │   │   ├── MultiplePatientsError     GLIO-1204
        │   │   ├── MultipleStudiesError      GLIO-1205
        │   │   ├── NotMrError                GLIO-1206
        │   │   ├── UndecodablePixelsError    GLIO-1207
        │   │   ├── MissingAttributeError     GLIO-1208
        │   │   ├── UnsupportedObjectError    GLIO-1209
        │   │   ├── ColourImageError          GLIO-1210
        │   │   ├── MosaicError               GLIO-1211
        │   │   ├── UnsupportedPixelsError    GLIO-1212
        │   │   ├── InvalidAttributeError     GLIO-1213
        │   │   └── InvalidArchiveError       GLIO-1214
        │   ├── SeriesError                   13xx
        │   │   ├── MissingSequenceError      GLIO-1301
        │   │   ├── AmbiguousSequenceError    GLIO-1302
        │   │   ├── TooFewSlicesError         GLIO-1303
        │   │   ├── UnknownSeriesError        GLIO-1304
        │   │   └── InvalidOverrideError      GLIO-1305
        │   ├── SliceGeometryError            14xx
        │   │   ├── MissingSliceError         GLIO-1401
        │   │   ├── DuplicateSliceError       GLIO-1402
        │   │   ├── MixedGeometryError        GLIO-1403
        │   │   ├── ShearedGeometryError      GLIO-1404
        │   │   └── IrregularSpacingError     GLIO-1405
        │   ├── RegistrationError             15xx
        │   │   └── RegistrationFailedError   GLIO-1501
        │   ├── BrainError                    16xx
        │   │   └── BrainNotFoundError        GLIO-1601
        │   └── IntensityError                17xx
        │       ├── ConstantIntensityError    GLIO-1701
        │       ├── ConstantVolumeError       GLIO-1702
        │       ├── ExtremeIntensityError     GLIO-1703
        │       └── ProvenanceMismatchError   GLIO-1704
        ├── ModelAnswerError                  21xx
        │   ├── UnknownModelError             GLIO-2101
        │   └── InvalidModelOutputError       GLIO-2102
        ├── ServerError                       31xx
        │   ├── InternalError                 GLIO-3101
        │   └── CancelledError                GLIO-3102
        ├── TransportError                    41xx
        │   ├── UnavailableError              GLIO-4101
        │   ├── DeadlineExceededError         GLIO-4102
        │   ├── NotServedError                GLIO-4103
        │   ├── ContractMismatchError         GLIO-4104
        │   ├── UnexpectedAnswerError         GLIO-4105
        │   └── RequestRefusedError           GLIO-4106
        └── SetUpError                        51xx
            ├── InvalidRecipeError            GLIO-5101
            ├── InvalidArtifactError          GLIO-5102
            ├── InvalidManifestError          GLIO-5103
            ├── PreprocessingMismatchError    GLIO-5104
            ├── ParityFailedError             GLIO-5105
            ├── UnsupportedArchitectureError  GLIO-5106
            ├── VersionExistsError            GLIO-5107
            ├── InvalidRepositoryError        GLIO-5108
            ├── ServerNotFoundError           GLIO-5109
            ├── MissingLibraryError           GLIO-5110
            ├── ServerFailedError             GLIO-5111
            ├── RepositoryBusyError           GLIO-5112
            ├── BrainModelMissingError        GLIO-5113
            ├── BrainModelMismatchError       GLIO-5114
            ├── InvalidBrainModelError        GLIO-5115
            ├── InvalidCheckpointError        GLIO-5116
            ├── ReferenceCaseFailedError      GLIO-5117
            ├── VariantRefusedError           GLIO-5118
            ├── EngineBuildFailedError        GLIO-5119
            ├── EngineMismatchError           GLIO-5120
            ├── InvalidCohortError            GLIO-5121
            ├── GateRefusedError              GLIO-5122
            ├── PromotionUndoneError          GLIO-5123
            ├── VersionNotFoundError          GLIO-5124
            └── StoreFailedError              GLIO-5125

Catch as wide as you need: ``StudyError`` when the study must change, ``error.retryable`` when sending it again
may help, a leaf when you can do something about it. Leaves take their words from the contract's table. A message
never carries patient data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glioserve_contract import ErrorCode, GlioserveError, Retry

_LEAVES: dict[ErrorCode, type[CodedError]] = {}


class CodedError(GlioserveError):
    """Base of every leaf below."""

    request_id: str = ""
    """Of the call that failed, for the server's log; empty when nothing was sent."""
    attempts: int = 0
    """How often the request was sent."""
    path: Path | None = None
    """The local file at fault. Not in the message: a path may carry a patient's name."""

    def __init_subclass__(cls, code: ErrorCode | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if code is not None:
            _LEAVES[code] = cls
            cls.__doc__ = f"{code.token}: {code.row.summary} {code.row.action}"

    def __reduce__(self) -> Any:
        return type(self), (self.code, self.detail), self.__dict__

    @property
    def retryable(self) -> bool:
        """Whether sending the same study again may help."""
        return self.code.row.retry is Retry.YES


def error_for(code: ErrorCode, detail: str = "") -> CodedError:
    """The leaf exception of ``code``; ``detail`` says what was found (default: the table's summary)."""
    return _LEAVES[code](code, detail)


class StudyError(CodedError):
    """1xxx: the study, or the request that carries it, cannot be used as it is."""


class RequestError(StudyError):
    """11xx: the request is empty, doubled or over a limit."""


class NoInputError(RequestError, code=ErrorCode.NO_INPUT): ...


class BothInputsError(RequestError, code=ErrorCode.BOTH_INPUTS): ...


class EmptyStudyError(RequestError, code=ErrorCode.EMPTY_STUDY): ...


class StudyTooLargeError(RequestError, code=ErrorCode.STUDY_TOO_LARGE): ...


class MissingAffineError(RequestError, code=ErrorCode.MISSING_AFFINE): ...


class InvalidVolumeError(RequestError, code=ErrorCode.INVALID_VOLUME): ...


class InvalidAffineError(RequestError, code=ErrorCode.INVALID_AFFINE): ...


class UnsupportedVoxelsError(RequestError, code=ErrorCode.UNSUPPORTED_VOXELS): ...


class NonFiniteVoxelsError(RequestError, code=ErrorCode.NON_FINITE_VOXELS): ...


class DicomFileError(StudyError):
    """12xx: a file is not what the pipeline can take."""


class NotDicomError(DicomFileError, code=ErrorCode.NOT_DICOM): ...


class TruncatedFileError(DicomFileError, code=ErrorCode.TRUNCATED_FILE): ...


class IdentifiedDicomError(DicomFileError, code=ErrorCode.IDENTIFIED_DICOM): ...


class MultiplePatientsError(DicomFileError, code=ErrorCode.MULTIPLE_PATIENTS): ...


class MultipleStudiesError(DicomFileError, code=ErrorCode.MULTIPLE_STUDIES): ...


class NotMrError(DicomFileError, code=ErrorCode.NOT_MR): ...


class UndecodablePixelsError(DicomFileError, code=ErrorCode.UNDECODABLE_PIXELS): ...


class MissingAttributeError(DicomFileError, code=ErrorCode.MISSING_ATTRIBUTE): ...


class UnsupportedObjectError(DicomFileError, code=ErrorCode.UNSUPPORTED_OBJECT): ...


class ColourImageError(DicomFileError, code=ErrorCode.COLOUR_IMAGE): ...


class MosaicError(DicomFileError, code=ErrorCode.MOSAIC): ...


class UnsupportedPixelsError(DicomFileError, code=ErrorCode.UNSUPPORTED_PIXELS): ...


class InvalidAttributeError(DicomFileError, code=ErrorCode.INVALID_ATTRIBUTE): ...


class InvalidArchiveError(DicomFileError, code=ErrorCode.INVALID_ARCHIVE): ...


class SeriesError(StudyError):
    """13xx: a sequence is missing, ambiguous or too short."""


class MissingSequenceError(SeriesError, code=ErrorCode.MISSING_SEQUENCE): ...


class AmbiguousSequenceError(SeriesError, code=ErrorCode.AMBIGUOUS_SEQUENCE): ...


class TooFewSlicesError(SeriesError, code=ErrorCode.TOO_FEW_SLICES): ...


class UnknownSeriesError(SeriesError, code=ErrorCode.UNKNOWN_SERIES): ...


class InvalidOverrideError(SeriesError, code=ErrorCode.INVALID_OVERRIDE): ...


class SliceGeometryError(StudyError):
    """14xx: a series' slices do not form one regular stack."""


class MissingSliceError(SliceGeometryError, code=ErrorCode.MISSING_SLICE): ...


class DuplicateSliceError(SliceGeometryError, code=ErrorCode.DUPLICATE_SLICE): ...


class MixedGeometryError(SliceGeometryError, code=ErrorCode.MIXED_GEOMETRY): ...


class ShearedGeometryError(SliceGeometryError, code=ErrorCode.SHEARED_GEOMETRY): ...


class IrregularSpacingError(SliceGeometryError, code=ErrorCode.IRREGULAR_SPACING): ...


class RegistrationError(StudyError):
    """15xx: the sequences could not be aligned."""


class RegistrationFailedError(RegistrationError, code=ErrorCode.REGISTRATION_FAILED): ...


class BrainError(StudyError):
    """16xx: no brain was found."""


class BrainNotFoundError(BrainError, code=ErrorCode.BRAIN_NOT_FOUND): ...


class IntensityError(StudyError):
    """17xx: a sequence's intensities say nothing."""


class ConstantIntensityError(IntensityError, code=ErrorCode.CONSTANT_INTENSITY): ...


class ConstantVolumeError(IntensityError, code=ErrorCode.CONSTANT_VOLUME): ...


class ExtremeIntensityError(IntensityError, code=ErrorCode.EXTREME_INTENSITY): ...


class ProvenanceMismatchError(IntensityError, code=ErrorCode.PROVENANCE_MISMATCH): ...


class ModelAnswerError(CodedError):
    """21xx: the model's own answer cannot be used."""


class UnknownModelError(ModelAnswerError, code=ErrorCode.UNKNOWN_MODEL): ...


class InvalidModelOutputError(ModelAnswerError, code=ErrorCode.INVALID_MODEL_OUTPUT): ...


class ServerError(CodedError):
    """31xx: the server failed or gave up."""


class InternalError(ServerError, code=ErrorCode.INTERNAL): ...


class CancelledError(ServerError, code=ErrorCode.CANCELLED): ...


class TransportError(CodedError):
    """41xx: between client and server."""


class UnavailableError(TransportError, code=ErrorCode.UNAVAILABLE): ...


class DeadlineExceededError(TransportError, code=ErrorCode.DEADLINE_EXCEEDED): ...


class NotServedError(TransportError, code=ErrorCode.NOT_SERVED): ...


class ContractMismatchError(TransportError, code=ErrorCode.CONTRACT_MISMATCH): ...


class UnexpectedAnswerError(TransportError, code=ErrorCode.UNEXPECTED_ANSWER): ...


class RequestRefusedError(TransportError, code=ErrorCode.REQUEST_REFUSED): ...


class SetUpError(CodedError):
    """51xx: recipes, artifacts, repositories, launching; raised by the operator's tools."""


class InvalidRecipeError(SetUpError, code=ErrorCode.INVALID_RECIPE): ...


class InvalidArtifactError(SetUpError, code=ErrorCode.INVALID_ARTIFACT): ...


class InvalidManifestError(SetUpError, code=ErrorCode.INVALID_MANIFEST): ...


class PreprocessingMismatchError(SetUpError, code=ErrorCode.PREPROCESSING_MISMATCH): ...


class ParityFailedError(SetUpError, code=ErrorCode.PARITY_FAILED): ...


class UnsupportedArchitectureError(SetUpError, code=ErrorCode.UNSUPPORTED_ARCHITECTURE): ...


class VersionExistsError(SetUpError, code=ErrorCode.VERSION_EXISTS): ...


class InvalidRepositoryError(SetUpError, code=ErrorCode.INVALID_REPOSITORY): ...


class ServerNotFoundError(SetUpError, code=ErrorCode.SERVER_NOT_FOUND): ...


class MissingLibraryError(SetUpError, code=ErrorCode.MISSING_LIBRARY): ...


class ServerFailedError(SetUpError, code=ErrorCode.SERVER_FAILED): ...


class RepositoryBusyError(SetUpError, code=ErrorCode.REPOSITORY_BUSY): ...


class BrainModelMissingError(SetUpError, code=ErrorCode.BRAIN_MODEL_MISSING): ...


class BrainModelMismatchError(SetUpError, code=ErrorCode.BRAIN_MODEL_MISMATCH): ...


class InvalidBrainModelError(SetUpError, code=ErrorCode.INVALID_BRAIN_MODEL): ...


class InvalidCheckpointError(SetUpError, code=ErrorCode.INVALID_CHECKPOINT): ...


class ReferenceCaseFailedError(SetUpError, code=ErrorCode.REFERENCE_CASE_FAILED): ...


class VariantRefusedError(SetUpError, code=ErrorCode.VARIANT_REFUSED): ...


class EngineBuildFailedError(SetUpError, code=ErrorCode.ENGINE_BUILD_FAILED): ...


class EngineMismatchError(SetUpError, code=ErrorCode.ENGINE_MISMATCH): ...


class InvalidCohortError(SetUpError, code=ErrorCode.INVALID_COHORT): ...


class GateRefusedError(SetUpError, code=ErrorCode.GATE_REFUSED): ...


class PromotionUndoneError(SetUpError, code=ErrorCode.PROMOTION_UNDONE): ...


class VersionNotFoundError(SetUpError, code=ErrorCode.VERSION_NOT_FOUND): ...


class StoreFailedError(SetUpError, code=ErrorCode.STORE_FAILED): ...
