"""The table of errors: each code's token, gRPC status, whether a retry helps, what it means and what to do.

``docs/errors.md`` and the exception classes (:mod:`glioserve_contract.errors.classes`) are made from it. A token is
never reused.
"""

from __future__ import annotations

from enum import Enum

from glioserve_contract.errors import setup_rows
from glioserve_contract.errors.row import ErrorRow, Retry, Status

_BAD, _NO, _FIX, _YES = Status.INVALID_ARG, Retry.NO, Retry.AFTER_FIX, Retry.YES


class ErrorCode(Enum):
    """Every error that leaves our code.

    11xx request, 12xx DICOM files, 13xx series, 14xx slice geometry, 15xx registration, 16xx brain,
    17xx intensities, 21xx model's answer, 31xx server, 41xx between client and server, 42xx between
    `glioserve pacs` and a PACS, 51xx set-up.
    """

    # fmt: off
    NO_INPUT = ErrorRow(
        "GLIO-1101", _BAD, _FIX, "The request carries neither DICOM files nor volumes.",
        "Send DICOM files (INSTANCES), or a volume with its affine for each channel of the recipe.",
    )
    BOTH_INPUTS = ErrorRow(
        "GLIO-1102", _BAD, _FIX, "The request carries DICOM files and volumes.",
        "Send either the files or the volumes.",
    )
    EMPTY_STUDY = ErrorRow(
        "GLIO-1103", _BAD, _FIX, "The study holds no files and no volumes.",
        "Send the study's DICOM Part 10 files, or its volumes; check the name of the folder or archive.",
    )
    STUDY_TOO_LARGE = ErrorRow(
        "GLIO-1104", _BAD, _FIX, "The study is over the limits on files, bytes or voxels.",
        "Send only the series of the recipe's sequences; crop or re-sample a single volume that is over its limit.",
    )
    MISSING_AFFINE = ErrorRow(
        "GLIO-1105", _BAD, _FIX, "A volume came without its affine, or an affine without its volume.",
        "Send both tensors of the pair.",
    )
    INVALID_VOLUME = ErrorRow(
        "GLIO-1106", _BAD, _FIX, "A volume cannot be read, is empty or is not three-dimensional.",
        "Send one readable volume per sequence: voxels [z, y, x], at least two along each axis; NIfTI as .nii(.gz).",
    )
    INVALID_AFFINE = ErrorRow(
        "GLIO-1107", _BAD, _FIX, "An affine is not an invertible, unsheared voxel-to-LPS map in mm.",
        "Send FP64 [4, 4] from voxel (x, y, z) to LPS in mm (a NIfTI affine is RAS: negate its first two rows); "
        "in a NIfTI file, correct sform and qform; of a DICOM series, send the scanner's own files, whose PixelSpacing "
        "and positions are in mm.",
    )
    UNSUPPORTED_VOXELS = ErrorRow(
        "GLIO-1108", _BAD, _FIX, "A volume's voxels are not one real number each: complex, colour or text.",
        "Send one volume per sequence, of integers or real numbers; of complex images, send the magnitude.",
    )
    NON_FINITE_VOXELS = ErrorRow(
        "GLIO-1109", _BAD, _FIX, "A volume has infinite voxels, or NaN that is not the outside of its field of view.",
        "Write finite voxels; NaN may only fill an outside that reaches the volume's border, at most half of it.",
    )
    INVALID_PARAMETER = ErrorRow(
        "GLIO-1110", _BAD, _FIX, "A request parameter is unknown, or its value is of another type.",
        "Send the parameters of docs/wire.md only, each by its exact name and type (`false` is a boolean, not a text).",
    )

    NOT_DICOM = ErrorRow(
        "GLIO-1201", _BAD, _FIX, "A file is not DICOM.",
        "Send DICOM Part 10 files only.",
    )
    TRUNCATED_FILE = ErrorRow(
        "GLIO-1202", _BAD, _FIX, "A DICOM file cannot be read or parsed, or ends early.",
        "Check the file's path and permissions; if it is damaged, fetch it from the archive again.",
    )
    IDENTIFIED_DICOM = ErrorRow(
        "GLIO-1203", _BAD, _FIX, "A file carries attributes that identify the patient.",
        "Remove or replace what is named: docs/privacy.md lists what a file may carry, and the Python client does it. "
        "Or ask the server's operator to accept identified DICOM.",
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
        "Send the MR study; the message lists what was found instead.",
    )
    UNDECODABLE_PIXELS = ErrorRow(
        "GLIO-1207", _BAD, _FIX, "A file's pixels cannot be decoded.",
        "Fetch the file again, or send it uncompressed or in JPEG, JPEG-LS, JPEG 2000 or RLE.",
    )
    MISSING_ATTRIBUTE = ErrorRow(
        "GLIO-1208", _BAD, _FIX, "A file lacks an attribute that its geometry or pixels need.",
        "Send the file as the scanner wrote it; the message names the attribute.",
    )
    UNSUPPORTED_OBJECT = ErrorRow(
        "GLIO-1209", _BAD, _FIX,
        "A series is stored as an object that cannot be read: frames without the functional groups that place them.",
        "Send it as classic single-frame or as enhanced MR images.",
    )
    COLOUR_IMAGE = ErrorRow(
        "GLIO-1210", _BAD, _FIX, "A series is in colour.",
        "Send the scanner's own grey images, not a capture or a fused map.",
    )
    MOSAIC = ErrorRow(
        "GLIO-1211", _BAD, _FIX, "A series is stored as a mosaic: one file tiles a whole volume.",
        "Export it as one image per slice or as enhanced MR (an option of the scanner), or unpack it (dcm2niix does) "
        "and send NIfTI volumes.",
    )
    UNSUPPORTED_PIXELS = ErrorRow(
        "GLIO-1212", _BAD, _FIX, "A series' pixels are not integers of 8 to 16 bits, or need a lookup table.",
        "Send the scanner's own images; the message describes the pixels that were found.",
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
        "Send the sequence, or use a model whose recipe does not need it; the message lists what was found.",
    )
    AMBIGUOUS_SEQUENCE = ErrorRow(
        "GLIO-1302", _BAD, _FIX, "Several series fit a sequence equally well.",
        "Name the series that is meant (parameter `series`), or send it alone; the message lists the candidates.",
    )
    TOO_FEW_SLICES = ErrorRow(
        "GLIO-1303", _BAD, _FIX, "A sequence has fewer slices than the recipe's min_slices.",
        "Send all images of the series, under one SeriesInstanceUID; if it has no more, acquire thinner slices, or use "
        "a model whose recipe allows fewer.",
    )
    UNKNOWN_SERIES = ErrorRow(
        "GLIO-1304", _BAD, _FIX, "A series that the caller named is not among the study's MR images.",
        "Name a SeriesInstanceUID that the study's own files carry; the message counts the series that are there.",
    )
    INVALID_OVERRIDE = ErrorRow(
        "GLIO-1305", _BAD, _FIX, "The caller's choice of series or modalities cannot be followed.",
        "Correct the choice as the message says; docs/wire.md describes both parameters.",
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
        "GLIO-1404", _BAD, _FIX, "A series' slices are shifted in-plane, as by a tilted gantry.",
        "Compare ImagePositionPatient and ImageOrientationPatient with the scanner's own files, as MR slices are not "
        "tilted; if they are right, re-sample the series to a rectangular grid and send NIfTI volumes.",
    )
    IRREGULAR_SPACING = ErrorRow(
        "GLIO-1405", _BAD, _FIX,
        "A series' slices are unevenly spaced or too far apart, and no missing slice explains it.",
        "Send the scanner's own files, or another acquisition; if the slices were planned so, re-sample them to even "
        "spacing and send NIfTI volumes.",
    )

    REGISTRATION_FAILED = ErrorRow(
        "GLIO-1501", _BAD, _NO, "A sequence could not be aligned to the reference.",
        "Check that all series show the same head and name the right one if they do not; the message names the "
        "sequence.",
    )

    BRAIN_NOT_FOUND = ErrorRow(
        "GLIO-1601", _BAD, _NO, "No plausible brain was found in the reference sequence.",
        "Check the reference series: whole head, usual contrast, no heavy artefact.",
    )

    CONSTANT_INTENSITY = ErrorRow(
        "GLIO-1701", _BAD, _NO, "A sequence has no voxel or no contrast inside the brain.",
        "Check the series' pixels and its place in the head; the message names the sequence.",
    )

    CONSTANT_VOLUME = ErrorRow(
        "GLIO-1702", _BAD, _NO, "A sequence is blank: all its voxels have one value.",
        "Check the program that wrote the series, and send the scanner's own images; the message names the sequence.",
    )
    EXTREME_INTENSITY = ErrorRow(
        "GLIO-1703", _BAD, _FIX, "A volume's values are beyond those that single precision can work with.",
        "Scale the volume: magnitudes must stay below 1e12, and the range above 1e-12.",
    )
    PROVENANCE_MISMATCH = ErrorRow(
        "GLIO-1704", _BAD, _FIX,
        "A record cannot be replayed: it lacks its provenance, or the study, mask or version is another.",
        "Replay a record with the study, the mask and the glioserve version that it was made with.",
    )

    UNKNOWN_MODEL = ErrorRow(
        "GLIO-2101", Status.INTERNAL, _FIX,
        "The classifier that answered is in no manifest, or is of another preprocessing.",
        "Operator: publish the model with its manifest (`glioserve export`) into a repository of its "
        "preprocessing, then load it again.",
    )
    INVALID_MODEL_OUTPUT = ErrorRow(
        "GLIO-2102", Status.INTERNAL, _FIX, "The classifier's answer is not finite or has a wrong shape.",
        "Operator: roll back to the version before (`glioserve repository rollback`) and check the parity report.",
    )

    INTERNAL = ErrorRow(
        "GLIO-3101", Status.INTERNAL, _NO, "The server met an error that it does not know.",
        "Report it to the server's operator, with the incident number where the message has one: the server's "
        "log has the cause.",
    )
    CANCELLED = ErrorRow(
        "GLIO-3102", Status.CANCELLED, _YES, "The request was cancelled, or its deadline passed, before it was done.",
        "Send the request again, with a longer deadline if the deadline passed.",
    )
    STAGE_LOST = ErrorRow(
        "GLIO-3103", Status.INTERNAL, _YES, "A process of the server ended while it had the study.",
        "Send the study again: the server repairs itself within seconds. If the same study fails so each time, report "
        "it to the server's operator.",
    )
    DEADLINE_PASSED = ErrorRow(
        "GLIO-3104", Status.CANCELLED, _YES,
        "By the server's clock, the deadline that the request states passed before the study was done.",
        "Send it again with a later `deadline_unix_ms`; if it had not passed by the caller's clock, set both clocks, "
        "or leave the parameter out.",
    )
    STUDY_TIMEOUT = ErrorRow(
        "GLIO-3105", Status.INTERNAL, _FIX, "The server worked on the study for as long as it works on any.",
        "Send only the series of the recipe's sequences; if it has no others, the server's operator must find out what "
        "slows the server down.",
    )

    UNAVAILABLE = ErrorRow(
        "GLIO-4101", Status.UNAVAILABLE, _YES, "The server cannot be reached, is overloaded or is stopping.",
        "Check the address, the TLS settings and the server's readiness; while the server starts or is busy, "
        "retry with backoff.",
    )
    DEADLINE_EXCEEDED = ErrorRow(
        "GLIO-4102", Status.DEADLINE, _YES, "The caller's deadline passed.",
        "Retry with a longer timeout_s; if the server's queue is long, wait first.",
    )
    NOT_SERVED = ErrorRow(
        "GLIO-4103", Status.NOT_FOUND, _YES, "The server does not serve the model (not loaded, or draining).",
        "Check the model's name and the repository; while the server loads or drains, retry with backoff.",
    )
    CONTRACT_MISMATCH = ErrorRow(
        "GLIO-4104", Status.UNSUPPORTED, _NO,
        "Client and server, or server and repository, are of contracts of different major versions.",
        "Upgrade the older of the two; the next version exported or published into a repository renews its "
        "static models.",
    )
    UNEXPECTED_ANSWER = ErrorRow(
        "GLIO-4105", Status.INTERNAL, _NO, "The server's answer does not fit the contract.",
        "Check that the URL is the glioserve server that is meant; if it is, report the message with both versions.",
    )
    REQUEST_REFUSED = ErrorRow(
        "GLIO-4106", _BAD, _FIX, "The server, or a proxy before it, refused the request without a code of glioserve's.",
        "Correct what the message names: credentials, the model's name or version, a tensor or a parameter; a "
        "proxy may have changed the request.",
    )
    INVALID_TLS = ErrorRow(
        "GLIO-4107", _BAD, _FIX, "A TLS file of the caller cannot be read or does not hold what it is named for.",
        "Check the path, the permissions and the PEM content of the file that the message names.",
    )
    CONNECTION_MISMATCH = ErrorRow(
        "GLIO-4108", Status.UNAVAILABLE, _FIX,
        "Client and server do not fit on how to connect: TLS, a certificate, the host's name, or the port's protocol.",
        "Correct the address or the TLS setting that the message names; waiting does not help.",
    )
    UNAUTHENTICATED = ErrorRow(
        "GLIO-4109", Status.UNAUTHENTICATED, _FIX, "The caller's credentials are missing, expired or not valid.",
        "Send a valid token or key as `authorization: Bearer …`; the gateway's operator gives them out.",
    )
    FORBIDDEN = ErrorRow(
        "GLIO-4110", Status.FORBIDDEN, _FIX, "The gateway does not let callers ask this.",
        "Ask for an inference of the ensemble; operators reach the rest at the server's own port.",
    )
    TOO_MANY_STUDIES = ErrorRow(
        "GLIO-4111", Status.EXHAUSTED, _YES, "The caller sends more studies than the gateway's rate allows.",
        "Send fewer at a time and retry with backoff, or ask the gateway's operator for a higher rate.",
    )
    NOT_FILED = ErrorRow(
        "GLIO-4112", _BAD, _FIX, "The answer cannot be made into DICOM results.",
        "Give the DICOM study that was sent, whole, and ask for the heat map; where a header is at fault, correct it "
        "at its source.",
    )
    SHARED_MEMORY_REFUSED = ErrorRow(
        "GLIO-4113", Status.FORBIDDEN, _FIX, "Volumes cannot be handed to the server by shared memory.",
        "Leave shared_memory out, so that they travel as any study does; or have the server's operator allow it "
        "(`glioserve serve --shared-memory-token-file`), on this machine and as the same user.",
    )
    PACS_UNREACHABLE = ErrorRow(
        "GLIO-4201", Status.UNAVAILABLE, _YES, "The PACS cannot be reached, is overloaded or broke the transfer off.",
        "Check the PACS, its address and the network; `glioserve pacs` tries again by itself.",
    )
    PACS_REFUSED = ErrorRow(
        "GLIO-4202", Status.FORBIDDEN, _FIX, "The PACS refused the request, or cannot do what was asked.",
        "Correct what the message names: the credentials, the certificate, an AE title that the other side does not "
        "know, or a kind of object that the PACS does not take.",
    )
    STUDY_NOT_FOUND = ErrorRow(
        "GLIO-4203", Status.NOT_FOUND, _FIX, "The PACS has no MR images of the study that was named.",
        "Check the StudyInstanceUID or accession number, and that the study has reached this PACS.",
    )
    PACS_ANSWER_MALFORMED = ErrorRow(
        "GLIO-4204", Status.INTERNAL, _YES, "The PACS sent something else than it was asked for.",
        "Check that the address is the PACS that is meant; `glioserve pacs` asks again by itself.",
    )

    INVALID_RECIPE = setup_rows.INVALID_RECIPE
    INVALID_ARTIFACT = setup_rows.INVALID_ARTIFACT
    INVALID_MANIFEST = setup_rows.INVALID_MANIFEST
    PREPROCESSING_MISMATCH = setup_rows.PREPROCESSING_MISMATCH
    PARITY_FAILED = setup_rows.PARITY_FAILED
    UNSUPPORTED_ARCHITECTURE = setup_rows.UNSUPPORTED_ARCHITECTURE
    VERSION_EXISTS = setup_rows.VERSION_EXISTS
    INVALID_REPOSITORY = setup_rows.INVALID_REPOSITORY
    SERVER_NOT_FOUND = setup_rows.SERVER_NOT_FOUND
    MISSING_LIBRARY = setup_rows.MISSING_LIBRARY
    SERVER_FAILED = setup_rows.SERVER_FAILED
    REPOSITORY_BUSY = setup_rows.REPOSITORY_BUSY
    BRAIN_MODEL_MISSING = setup_rows.BRAIN_MODEL_MISSING
    BRAIN_MODEL_MISMATCH = setup_rows.BRAIN_MODEL_MISMATCH
    INVALID_BRAIN_MODEL = setup_rows.INVALID_BRAIN_MODEL
    INVALID_CHECKPOINT = setup_rows.INVALID_CHECKPOINT
    REFERENCE_CASE_FAILED = setup_rows.REFERENCE_CASE_FAILED
    VARIANT_REFUSED = setup_rows.VARIANT_REFUSED
    ENGINE_BUILD_FAILED = setup_rows.ENGINE_BUILD_FAILED
    ENGINE_MISMATCH = setup_rows.ENGINE_MISMATCH
    INVALID_COHORT = setup_rows.INVALID_COHORT
    GATE_REFUSED = setup_rows.GATE_REFUSED
    PROMOTION_UNDONE = setup_rows.PROMOTION_UNDONE
    VERSION_NOT_FOUND = setup_rows.VERSION_NOT_FOUND
    STORE_FAILED = setup_rows.STORE_FAILED
    INVALID_OPINION_MODEL = setup_rows.INVALID_OPINION_MODEL
    INVALID_SERVER_TLS = setup_rows.INVALID_SERVER_TLS
    NOT_HEALED = setup_rows.NOT_HEALED
    KNOWN_HOLES = setup_rows.KNOWN_HOLES
    SERVER_TOO_SMALL = setup_rows.SERVER_TOO_SMALL
    INVALID_GATEWAY = setup_rows.INVALID_GATEWAY
    INVALID_BUNDLE = setup_rows.INVALID_BUNDLE
    UNTRUSTED_BUNDLE = setup_rows.UNTRUSTED_BUNDLE
    INVALID_STUDY_LOG = setup_rows.INVALID_STUDY_LOG
    INVALID_TRACING = setup_rows.INVALID_TRACING
    INVALID_OUTCOME = setup_rows.INVALID_OUTCOME
    INVALID_SHADOW = setup_rows.INVALID_SHADOW
    INVALID_BRIDGE = setup_rows.INVALID_BRIDGE
    BRIDGE_STATE = setup_rows.BRIDGE_STATE
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
