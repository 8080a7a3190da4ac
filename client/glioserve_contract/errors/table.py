"""The table of errors: each code's token, gRPC status, whether a retry helps, what it means and what to do.

``docs/errors.md`` and the exception classes (:mod:`glioserve_contract.errors.classes`) are made from it. A token is
never reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """Triton's status codes that we use; the value is gRPC's name of each."""

    INVALID_ARG = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"
    CANCELLED = "CANCELLED"
    UNSUPPORTED = "UNIMPLEMENTED"
    DEADLINE = "DEADLINE_EXCEEDED"
    """Status that only the caller's side raises: Triton has no such status of its own."""


class Retry(str, Enum):
    """Kinds of advice on sending the same request again, or running the same command again."""

    NO = "no"
    AFTER_FIX = "after a fix"
    YES = "yes, with backoff"


@dataclass(frozen=True)
class ErrorRow:
    """One line of the table: ``summary`` is what the code means, ``action`` what to do about it."""

    token: str
    status: Status
    retry: Retry
    summary: str
    action: str


_BAD, _NO, _FIX, _YES = Status.INVALID_ARG, Retry.NO, Retry.AFTER_FIX, Retry.YES


class ErrorCode(Enum):
    """Every error that leaves our code.

    11xx request, 12xx DICOM files, 13xx series, 14xx slice geometry, 15xx registration, 16xx brain,
    17xx intensities, 21xx model's answer, 31xx server, 41xx between client and server, 51xx set-up.
    """

    # fmt: off
    NO_INPUT = ErrorRow(
        "GLIO-1101", _BAD, _FIX, "The request carries neither DICOM files nor volumes.",
        "Send INSTANCES, or a volume with its affine for each channel of the recipe.",
    )
    BOTH_INPUTS = ErrorRow(
        "GLIO-1102", _BAD, _FIX, "The request carries DICOM files and volumes.",
        "Send one of the two.",
    )
    EMPTY_STUDY = ErrorRow(
        "GLIO-1103", _BAD, _FIX, "The study holds no files.",
        "Send the study's DICOM Part 10 files; check the folder.",
    )
    STUDY_TOO_LARGE = ErrorRow(
        "GLIO-1104", _BAD, _FIX, "The study is over the limits on files, bytes or voxels.",
        "Send only the series of the recipe's sequences.",
    )
    MISSING_AFFINE = ErrorRow(
        "GLIO-1105", _BAD, _FIX, "A volume came without its affine, or an affine without its volume.",
        "Send both tensors of the pair.",
    )
    INVALID_VOLUME = ErrorRow(
        "GLIO-1106", _BAD, _FIX, "A volume cannot be read, is empty or is not three-dimensional.",
        "Send one volume of voxels [z, y, x], at least two along each axis.",
    )
    INVALID_AFFINE = ErrorRow(
        "GLIO-1107", _BAD, _FIX, "An affine is not an invertible, unsheared voxel-to-LPS map in mm.",
        "Send FP64 [4, 4], voxel (x, y, z) to LPS mm; NIfTI affines are RAS: negate their first two rows.",
    )
    UNSUPPORTED_VOXELS = ErrorRow(
        "GLIO-1108", _BAD, _FIX, "A volume's voxels are not one real number each: complex, colour or text.",
        "Send one volume per sequence, of integers or real numbers; magnitudes of complex images.",
    )
    NON_FINITE_VOXELS = ErrorRow(
        "GLIO-1109", _BAD, _FIX, "A volume has infinite voxels, or NaN that is not the outside of its field of view.",
        "Write finite voxels; NaN may only fill an outside that reaches the volume's border, at most half of it.",
    )

    NOT_DICOM = ErrorRow(
        "GLIO-1201", _BAD, _FIX, "A file is not DICOM.",
        "Send DICOM Part 10 files only.",
    )
    TRUNCATED_FILE = ErrorRow(
        "GLIO-1202", _BAD, _FIX, "A DICOM file ends early or cannot be parsed.",
        "Fetch the file from the archive again.",
    )
    IDENTIFIED_DICOM = ErrorRow(
        "GLIO-1203", _BAD, _FIX, "A file carries attributes that identify the patient.",
        "De-identify first (the Python client does), or let the server's operator accept identified DICOM.",
    )
    MULTIPLE_PATIENTS = ErrorRow(
        "GLIO-1204", _BAD, _FIX, "The files belong to more than one patient.",
        "Send one patient's study per request.",
    )
    MULTIPLE_STUDIES = ErrorRow(
        "GLIO-1205", _BAD, _FIX, "The files belong to more than one study.",
        "Send one study (one StudyInstanceUID) per request.",
    )
    NOT_MR = ErrorRow(
        "GLIO-1206", _BAD, _NO, "The study holds no MR images.",
        "Send the MR study.",
    )
    UNDECODABLE_PIXELS = ErrorRow(
        "GLIO-1207", _BAD, _FIX, "A file's pixels cannot be decoded.",
        "Send an uncompressed, JPEG, JPEG-LS, JPEG 2000 or RLE transfer syntax.",
    )
    MISSING_ATTRIBUTE = ErrorRow(
        "GLIO-1208", _BAD, _FIX, "A file lacks an attribute that its geometry or pixels need.",
        "Send the file as the scanner wrote it.",
    )
    UNSUPPORTED_OBJECT = ErrorRow(
        "GLIO-1209", _BAD, _FIX,
        "A series is stored as an object that is not read: frames without the functional groups that place them.",
        "Send it as classic single-frame or as enhanced MR images.",
    )
    COLOUR_IMAGE = ErrorRow(
        "GLIO-1210", _BAD, _NO, "A series is in colour.",
        "Send the scanner's own grey images, not a capture or a fused map.",
    )
    MOSAIC = ErrorRow(
        "GLIO-1211", _BAD, _FIX, "A series is stored as a mosaic: one file tiles a whole volume.",
        "Send it as one image per slice, or as enhanced MR.",
    )
    UNSUPPORTED_PIXELS = ErrorRow(
        "GLIO-1212", _BAD, _FIX, "A series' pixels are of a kind that is not read: not integers of 8 to 16 bits.",
        "Send the scanner's own images; the message says what was found.",
    )
    INVALID_ATTRIBUTE = ErrorRow(
        "GLIO-1213", _BAD, _FIX, "An attribute has a value that its definition does not allow.",
        "Send the file as the scanner wrote it; the message names the attribute.",
    )
    INVALID_ARCHIVE = ErrorRow(
        "GLIO-1214", _BAD, _FIX, "A zip archive is damaged, encrypted or holds another archive.",
        "Pack the study's DICOM files into a plain zip archive, or send them one by one.",
    )

    MISSING_SEQUENCE = ErrorRow(
        "GLIO-1301", _BAD, _FIX, "A sequence that the recipe needs was not found.",
        "Send it, or use a model whose recipe does not need it; the message names what was found.",
    )
    AMBIGUOUS_SEQUENCE = ErrorRow(
        "GLIO-1302", _BAD, _FIX, "Several series fit a sequence equally well.",
        "Name the series that is meant (parameter `series`), or send it alone; the message lists the candidates.",
    )
    TOO_FEW_SLICES = ErrorRow(
        "GLIO-1303", _BAD, _NO, "A sequence has fewer slices than the recipe's min_slices.",
        "Acquire thinner slices, or use a model whose recipe allows fewer.",
    )
    UNKNOWN_SERIES = ErrorRow(
        "GLIO-1304", _BAD, _FIX, "A series that the caller named is not among the study's MR images.",
        "Name a SeriesInstanceUID of the files sent, as they carry it; the message says what there is.",
    )
    INVALID_OVERRIDE = ErrorRow(
        "GLIO-1305", _BAD, _FIX, "The caller's choice of series or modalities makes no sense.",
        "Send the parameter as docs/wire.md has it; the message says what is wrong.",
    )

    MISSING_SLICE = ErrorRow(
        "GLIO-1401", _BAD, _FIX, "A series has a gap: slices are missing between others.",
        "Send all slices of the series.",
    )
    DUPLICATE_SLICE = ErrorRow(
        "GLIO-1402", _BAD, _FIX, "Two different images lie at one slice position.",
        "Send one acquisition, echo or phase per series.",
    )
    MIXED_GEOMETRY = ErrorRow(
        "GLIO-1403", _BAD, _FIX, "A series' images differ in orientation, size or pixel spacing.",
        "Send one stack per series.",
    )
    SHEARED_GEOMETRY = ErrorRow(
        "GLIO-1404", _BAD, _NO, "A series' slices are shifted in-plane (gantry tilt).",
        "Re-sample the series to a rectangular grid first.",
    )
    IRREGULAR_SPACING = ErrorRow(
        "GLIO-1405", _BAD, _NO, "A series' slices are unevenly spaced, and no missing slice explains it.",
        "Re-sample the series to even spacing, or send another acquisition.",
    )

    REGISTRATION_FAILED = ErrorRow(
        "GLIO-1501", _BAD, _NO, "A sequence could not be aligned to the reference.",
        "Check that all series show the same head; the message names the sequence.",
    )

    BRAIN_NOT_FOUND = ErrorRow(
        "GLIO-1601", _BAD, _NO, "No plausible brain was found in the reference sequence.",
        "Check the reference series: whole head, usual contrast, no heavy artefact.",
    )

    CONSTANT_INTENSITY = ErrorRow(
        "GLIO-1701", _BAD, _NO, "A sequence has no contrast inside the brain.",
        "Check the series' pixels; the message names the sequence.",
    )

    CONSTANT_VOLUME = ErrorRow(
        "GLIO-1702", _BAD, _NO, "A sequence is blank: all its voxels have one value.",
        "Check what wrote the series; the message names the sequence.",
    )
    EXTREME_INTENSITY = ErrorRow(
        "GLIO-1703", _BAD, _FIX, "A volume's values are beyond those that single precision can work with.",
        "Scale them: their magnitudes must stay below 1e12 and their range above 1e-12.",
    )
    PROVENANCE_MISMATCH = ErrorRow(
        "GLIO-1704", _BAD, _FIX, "A volume, mask or grid is not the one that a record was made from.",
        "Replay a record with the very study that it was made from.",
    )

    UNKNOWN_MODEL = ErrorRow(
        "GLIO-2101", Status.INTERNAL, _NO, "The classifier that answered is in no manifest.",
        "Operator: publish the model with its manifest (`glioserve export`), then load it again.",
    )
    INVALID_MODEL_OUTPUT = ErrorRow(
        "GLIO-2102", Status.INTERNAL, _NO, "The classifier's answer is not finite or has a wrong shape.",
        "Operator: roll back to the version before and check its parity report.",
    )

    INTERNAL = ErrorRow(
        "GLIO-3101", Status.INTERNAL, _NO, "The server met an error it does not know.",
        "Report the incident number to the operator: the server's log has it.",
    )
    CANCELLED = ErrorRow(
        "GLIO-3102", Status.CANCELLED, _YES, "The request was cancelled, or its deadline passed, before it was done.",
        "Send again, with a longer deadline if it ran out.",
    )

    UNAVAILABLE = ErrorRow(
        "GLIO-4101", Status.UNAVAILABLE, _YES, "The server cannot be reached, is overloaded or is stopping.",
        "Retry with backoff; check the address, TLS and the server's readiness.",
    )
    DEADLINE_EXCEEDED = ErrorRow(
        "GLIO-4102", Status.DEADLINE, _YES, "The caller's deadline passed.",
        "Retry with a longer timeout_s, or look at the server's queue.",
    )
    NOT_SERVED = ErrorRow(
        "GLIO-4103", Status.NOT_FOUND, _YES, "The server does not serve the model (not loaded, or draining).",
        "Retry with backoff; check the model's name and the repository.",
    )
    CONTRACT_MISMATCH = ErrorRow(
        "GLIO-4104", Status.UNSUPPORTED, _NO, "Client and server speak contracts of different major versions.",
        "Upgrade the older of the two.",
    )
    UNEXPECTED_ANSWER = ErrorRow(
        "GLIO-4105", Status.INTERNAL, _NO, "The server's answer does not fit the contract.",
        "Check that the URL is a glioserve server; report it with both versions.",
    )
    REQUEST_REFUSED = ErrorRow(
        "GLIO-4106", _BAD, _FIX, "The server refused the request without a code of ours.",
        "Read the message: a proxy, a size limit or a wrong tensor.",
    )

    INVALID_RECIPE = ErrorRow(
        "GLIO-5101", _BAD, _FIX, "A recipe does not fit its schema.",
        "Correct the key that the message names.",
    )
    INVALID_ARTIFACT = ErrorRow(
        "GLIO-5102", _BAD, _FIX, "An artifact is incomplete, or its weights do not fit its recipe.",
        "Write it again with training's `save_artifact`, or import it (`glioserve import`).",
    )
    INVALID_MANIFEST = ErrorRow(
        "GLIO-5103", _BAD, _FIX, "A manifest does not fit its schema or its files.",
        "Export the version again; never edit it in place.",
    )
    PREPROCESSING_MISMATCH = ErrorRow(
        "GLIO-5104", _BAD, _NO, "A version's preprocessing digest, or its CAM grid, differs from its repository's.",
        "Export it into a repository of its own.",
    )
    PARITY_FAILED = ErrorRow(
        "GLIO-5105", Status.INTERNAL, _NO, "The exported graph does not answer as the trained network does.",
        "Do not serve it; the message has the figures per output.",
    )
    UNSUPPORTED_ARCHITECTURE = ErrorRow(
        "GLIO-5106", _BAD, _FIX, "The recipe's architecture is not known.",
        "Use one of those that the message lists.",
    )
    VERSION_EXISTS = ErrorRow(
        "GLIO-5107", _BAD, _FIX, "The repository has this version already: versions are immutable.",
        "Export as the next version.",
    )
    INVALID_REPOSITORY = ErrorRow(
        "GLIO-5108", _BAD, _FIX, "The folder is no complete model repository.",
        "Assemble it with `glioserve export` or `make demo`.",
    )
    SERVER_NOT_FOUND = ErrorRow(
        "GLIO-5109", Status.NOT_FOUND, _FIX, "No tritonserver was found.",
        "Install one (`pip install 'glioserve[serve]'`), or name one with --tritonserver.",
    )
    MISSING_LIBRARY = ErrorRow(
        "GLIO-5110", Status.NOT_FOUND, _FIX, "A system library that Triton needs is missing.",
        "Install the package that the message names.",
    )
    SERVER_FAILED = ErrorRow(
        "GLIO-5111", Status.UNAVAILABLE, _FIX, "The server ended or did not become ready.",
        "Read the log tail in the message; run `glioserve doctor`.",
    )
    REPOSITORY_BUSY = ErrorRow(
        "GLIO-5112", Status.UNAVAILABLE, _YES, "Another process is writing to the model repository.",
        "Try again when it is done; if none runs, check that the file system supports locks.",
    )
    BRAIN_MODEL_MISSING = ErrorRow(
        "GLIO-5113", Status.NOT_FOUND, _FIX, "The brain extraction model that the recipe names is not there.",
        "Put its .onnx and .json files into the folder that GLIOSERVE_BRAIN_MODELS names (docs/brain-extraction.md).",
    )
    BRAIN_MODEL_MISMATCH = ErrorRow(
        "GLIO-5114", _BAD, _FIX, "The brain extraction model is not the one that the recipe was made with.",
        "Put back the files that the recipe's digest is of; a changed model or card needs a recipe of its own.",
    )
    INVALID_BRAIN_MODEL = ErrorRow(
        "GLIO-5115", _BAD, _FIX, "A brain extraction model does not fit its card, or the card its schema.",
        "Correct what the message names; docs/brain-extraction.md has the contract.",
    )
    INVALID_CHECKPOINT = ErrorRow(
        "GLIO-5116", _BAD, _FIX, "A checkpoint cannot be imported: its format, keys or shapes are not the recipe's.",
        "Correct the recipe, or export a plain state dict of the network; docs/networks.md says how.",
    )
    REFERENCE_CASE_FAILED = ErrorRow(
        "GLIO-5117", Status.INTERNAL, _NO, "The network does not give the reference case its expected score.",
        "Check the order of channels and classes, and the strides; do not serve it.",
    )
    VARIANT_REFUSED = ErrorRow(
        "GLIO-5118", Status.INTERNAL, _NO, "A variant strays from the fp32 network by more than the recipe allows.",
        "Serve fp32, or change recipe.variant_limits with good reason; the message has the figures.",
    )
    ENGINE_BUILD_FAILED = ErrorRow(
        "GLIO-5119", Status.INTERNAL, _FIX, "The TensorRT plan could not be built.",
        "The ONNX classifier serves meanwhile; the message has the end of the builder's log.",
    )
    ENGINE_MISMATCH = ErrorRow(
        "GLIO-5120", Status.INTERNAL, _FIX, "A TensorRT plan is not this version's, or answers otherwise than ONNX.",
        "Build it again on the GPU and with the TensorRT that serve it (`glioserve engine build`).",
    )
    INVALID_COHORT = ErrorRow(
        "GLIO-5121", _BAD, _FIX, "A cohort table or folder cannot be evaluated.",
        "Correct what the message names; docs/evaluation.md has the table's columns.",
    )
    GATE_REFUSED = ErrorRow(
        "GLIO-5122", _BAD, _NO, "A version does not meet the repository's gate.",
        "Evaluate or export it again, or override the gate with a reason, which is recorded.",
    )
    PROMOTION_UNDONE = ErrorRow(
        "GLIO-5123", Status.INTERNAL, _FIX, "A promotion failed on the live server and was undone.",
        "Mend what the message says failed; it also says which version serves.",
    )
    VERSION_NOT_FOUND = ErrorRow(
        "GLIO-5124", Status.NOT_FOUND, _FIX, "The repository has no such version.",
        "Use one that `glioserve repository list` shows.",
    )
    STORE_FAILED = ErrorRow(
        "GLIO-5125", Status.UNAVAILABLE, _YES, "A remote store cannot be read or written.",
        "Check its URL, credentials and network; what was begun there is ignored until it is whole.",
    )
    # fmt: on

    @property
    def row(self) -> ErrorRow:
        """Line of the table."""
        return self.value

    @property
    def token(self) -> str:
        """``GLIO-dddd``, as messages, metrics and documents carry it."""
        return self.value.token

    def __str__(self) -> str:
        return self.token
