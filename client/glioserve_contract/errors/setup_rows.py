"""Rows 51xx of the table of errors: those of set-up, which operators and researchers meet and callers do not.

The codes are in :mod:`glioserve_contract.errors.table`, which has the other rows too.
"""

from __future__ import annotations

from glioserve_contract.errors.row import ErrorRow, Retry, Status
from glioserve_contract.install import install_advice

_BAD, _NO, _FIX, _YES = Status.INVALID_ARG, Retry.NO, Retry.AFTER_FIX, Retry.YES

# fmt: off
INVALID_RECIPE = ErrorRow(
    "GLIO-5101", _BAD, _FIX, "A recipe, or an option beside it, cannot be read or does not fit its schema.",
    "Correct the file, key or option that the message names.",
)
INVALID_ARTIFACT = ErrorRow(
    "GLIO-5102", _BAD, _FIX, "An artifact or a data set is incomplete, cannot be read or does not fit the recipe.",
    "Correct what the message names; `glioserve train` and `glioserve import` write artifacts, `glioserve "
    "dataset` data sets.",
)
INVALID_MANIFEST = ErrorRow(
    "GLIO-5103", _BAD, _FIX, "A version's manifest is missing, or does not fit its schema or its files.",
    "Export the version again or restore its files; never edit a version in place.",
)
PREPROCESSING_MISMATCH = ErrorRow(
    "GLIO-5104", _BAD, _FIX,
    "A version's preprocessing or CAM grid differs from its repository's, or a data set's from the recipe's.",
    "Export the version into a repository of its own; make the data set anew with the recipe (`glioserve "
    "dataset`).",
)
PARITY_FAILED = ErrorRow(
    "GLIO-5105", Status.INTERNAL, _NO, "The exported graph does not answer as the trained network does.",
    "Do not serve it; the message names the outputs that differ, and by how much.",
)
UNSUPPORTED_ARCHITECTURE = ErrorRow(
    "GLIO-5106", _BAD, _FIX, "The recipe's architecture or heat map is not known, or cannot be exported.",
    "Correct recipe.architecture or recipe.heatmap as the message says; docs/networks.md lists what is supported.",
)
VERSION_EXISTS = ErrorRow(
    "GLIO-5107", _BAD, _FIX, "The repository has this version already, and versions are never replaced.",
    "Take the next number, or a repository of its own.",
)
INVALID_REPOSITORY = ErrorRow(
    "GLIO-5108", _BAD, _FIX, "A model repository is incomplete or cannot be used as the command asks.",
    "Correct what the message names; `glioserve repository verify` checks a repository, `glioserve export` "
    "assembles one.",
)
SERVER_NOT_FOUND = ErrorRow(
    "GLIO-5109", Status.NOT_FOUND, _FIX, "No usable tritonserver was found.",
    f"Install what the message names, or all of it ({install_advice('serve')}); or name a tritonserver "
    "with --tritonserver.",
)
MISSING_LIBRARY = ErrorRow(
    "GLIO-5110", Status.NOT_FOUND, _FIX,
    "A compiled library that the server or the preprocessing needs is missing.",
    "Install the package that the message names.",
)
SERVER_FAILED = ErrorRow(
    "GLIO-5111", Status.UNAVAILABLE, _FIX, "The server ended or did not become ready.",
    "Correct the cause that the message or the end of the log in it names; `glioserve doctor` checks the set-up.",
)
REPOSITORY_BUSY = ErrorRow(
    "GLIO-5112", Status.UNAVAILABLE, _YES,
    "Another process is writing to the model repository, or it cannot be locked.",
    "Try again when the other process is done; if there is none, check the folder's permissions and whether "
    "its file system supports locks.",
)
BRAIN_MODEL_MISSING = ErrorRow(
    "GLIO-5113", Status.NOT_FOUND, _FIX, "The brain extraction model that the recipe names is not there.",
    "Put its .onnx and .json files into the folder that GLIOSERVE_BRAIN_MODELS names (docs/brain-extraction.md).",
)
BRAIN_MODEL_MISMATCH = ErrorRow(
    "GLIO-5114", _BAD, _FIX, "The brain extraction model is not the one that the recipe was made with.",
    "Restore the files whose digest the recipe has; a changed model or card needs a recipe of its own.",
)
INVALID_BRAIN_MODEL = ErrorRow(
    "GLIO-5115", _BAD, _FIX, "A brain extraction model does not fit its card, or the card its schema.",
    "Correct what the message names; docs/brain-extraction.md has the contract.",
)
INVALID_CHECKPOINT = ErrorRow(
    "GLIO-5116", _BAD, _FIX,
    "A checkpoint cannot be imported: its format, keys, shapes or values are not those of the recipe's network.",
    "Correct the recipe, or export a plain state dict of the network; docs/networks.md says how.",
)
REFERENCE_CASE_FAILED = ErrorRow(
    "GLIO-5117", Status.INTERNAL, _NO, "The network does not give the reference case its expected score.",
    "Do not serve it; check the order of channels and classes, and the strides.",
)
VARIANT_REFUSED = ErrorRow(
    "GLIO-5118", Status.INTERNAL, _FIX,
    "A variant cannot be made or checked, or strays from the fp32 network by more than the recipe allows.",
    "Serve fp32 meanwhile, and correct what the message names; widen recipe.variant_limits only for a good reason.",
)
ENGINE_BUILD_FAILED = ErrorRow(
    "GLIO-5119", Status.INTERNAL, _FIX, "The TensorRT plan could not be built.",
    "Correct what the message or the end of the builder's log in it names; the ONNX classifier serves meanwhile.",
)
ENGINE_MISMATCH = ErrorRow(
    "GLIO-5120", Status.INTERNAL, _FIX,
    "A TensorRT plan is missing, is not this version's, or answers otherwise than ONNX.",
    "Build it again on the GPU and with the TensorRT that serve it (`glioserve engine build`).",
)
INVALID_COHORT = ErrorRow(
    "GLIO-5121", _BAD, _FIX, "A cohort, its results or its data cannot be evaluated.",
    "Correct what the message names; docs/evaluation.md describes the cohort's table and the results.",
)
GATE_REFUSED = ErrorRow(
    "GLIO-5122", _BAD, _FIX, "A version does not meet the repository's gate.",
    "Evaluate or export the version again, or override the gate with a reason, which is recorded.",
)
PROMOTION_UNDONE = ErrorRow(
    "GLIO-5123", Status.INTERNAL, _FIX, "A promotion failed on the live server and was undone.",
    "Correct the failure that the message names, then promote again.",
)
VERSION_NOT_FOUND = ErrorRow(
    "GLIO-5124", Status.NOT_FOUND, _FIX, "The repository or store has no such version.",
    "Use a version that `glioserve repository list` shows.",
)
STORE_FAILED = ErrorRow(
    "GLIO-5125", Status.UNAVAILABLE, _YES, "A remote store cannot be read or written.",
    "Check the store's URL, credentials and network; an upload that was cut off is ignored until it is whole.",
)
INVALID_OPINION_MODEL = ErrorRow(
    "GLIO-5126", _BAD, _FIX, "The network that tells kinds of series by their voxels is missing or damaged.",
    "Install the package again; after training the network anew, let `make opinion-model` write its digest.",
)
INVALID_SERVER_TLS = ErrorRow(
    "GLIO-5127", _BAD, _FIX, "A TLS file of the server is unfit: unreadable, not PEM, expired, or not the key's.",
    "Replace the file that the message names and start again; docs/operations.md says what the server needs.",
)
NOT_HEALED = ErrorRow(
    "GLIO-5128", Status.UNAVAILABLE, _FIX, "A part of the running server failed and could not be repaired.",
    "Start the server again (Kubernetes does so by itself); the message names the part and the reason.",
)
KNOWN_HOLES = ErrorRow(
    "GLIO-5129", _BAD, _FIX, "This tritonserver has known security holes, and callers on a network could reach it.",
    "Use NVIDIA's container of release 26.08 or later, or bind to 127.0.0.1; docs/security.md has the list. "
    "--allow-network-with-known-cves starts it all the same.",
)
SERVER_TOO_SMALL = ErrorRow(
    "GLIO-5130", _BAD, _FIX, "The server has too little memory, or too small a /dev/shm, for even one study.",
    "Raise the container's memory limit, or its shared memory (`--shm-size`, an emptyDir of medium Memory), to the "
    "number in the message.",
)
INVALID_GATEWAY = ErrorRow(
    "GLIO-5131", _BAD, _FIX, "The gateway's options cannot be used, or Envoy is missing or did not start.",
    "Correct what the message names; docs/gateway.md lists the options.",
)
INVALID_BUNDLE = ErrorRow(
    "GLIO-5132", _BAD, _FIX, "A bundle, or a part of a new one, is damaged, incomplete or does not fit the rest.",
    "Correct the part that the message names, or have the bundle sent again; do not install it.",
)
UNTRUSTED_BUNDLE = ErrorRow(
    "GLIO-5133", _BAD, _FIX, "A bundle was not signed by the key that was given, or the key cannot be read.",
    "Get the maker's public key by another way than the bundle; if it is the right one, do not install the bundle.",
)
INVALID_STUDY_LOG = ErrorRow(
    "GLIO-5134", _BAD, _FIX, "The study log cannot be used: its folder, or a file in it, is unfit.",
    "Name a folder that the server may write and that no other server uses; docs/study-log.md says what lies in it.",
)
INVALID_TRACING = ErrorRow(
    "GLIO-5135", _BAD, _FIX, "Traces cannot be exported as the options or the environment ask.",
    "Correct what the message names; docs/operations.md lists the options and the variables.",
)
INVALID_OUTCOME = ErrorRow(
    "GLIO-5136", _BAD, _FIX, "An outcome cannot be added: its study is unknown, or has another outcome already.",
    "Use the request id of an answer in the study log; --correct replaces an outcome that was wrong, and keeps both.",
)
INVALID_SHADOW = ErrorRow(
    "GLIO-5137", _BAD, _FIX, "A candidate cannot run, since its answers have no place.",
    "Name a folder for them with --study-log; docs/shadow.md has the steps.",
)
INVALID_BRIDGE = ErrorRow(
    "GLIO-5138", _BAD, _FIX, "The options of `glioserve pacs` cannot be used, or do not fit each other.",
    "Correct the option that the message names; docs/pacs.md lists them.",
)
BRIDGE_STATE = ErrorRow(
    "GLIO-5139", Status.UNAVAILABLE, _FIX, "The state folder of `glioserve pacs` is in use, full or damaged.",
    "Let one process use the folder, give it room, or restore it; an empty folder answers the PACS's studies anew.",
)
# fmt: on
