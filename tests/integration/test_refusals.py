"""Each kind of bad input gets its own code through the real server, and the next good request is answered."""

from io import BytesIO

import grpc
import numpy as np
import pydicom
import pytest
import tritonclient.grpc as triton
from pydicom.uid import CTImageStorage
from tritonclient.grpc import service_pb2, service_pb2_grpc

from glioserve_client import GliomaClient, errors
from glioserve_client.status import error_from_status
from glioserve_contract import ErrorCode, Modality
from glioserve_contract.errors.messages import find_code
from glioserve_phantom.dicom import dicom_files
from glioserve_triton.impossible_shapes import is_possible
from glioserve_triton.stubs import stubs_of
from support.studies.scans import part10

from .conftest import ROOT

pytestmark = pytest.mark.triton


def parsed(files):
    return [pydicom.dcmread(BytesIO(content)) for content in files]


def is_t1ce(dataset):
    return "ContrastBolusAgent" in dataset and "LOCALIZER" not in dataset.ImageType


def is_t2(dataset):
    return float(dataset.RepetitionTime) > 2000 and "InversionTime" not in dataset


def edited(files, edit):
    datasets = parsed(files)
    for dataset in datasets:
        edit(dataset)
    return [part10(d) for d in datasets]


def only(files, keep):
    return [content for content, dataset in zip(files, parsed(files), strict=True) if keep(dataset)]


def main_t1ce(files):
    """Indices of the T1ce acquisition's files, along its slices."""
    found = [
        (d.ImagePositionPatient[2], i)
        for i, d in enumerate(parsed(files))
        if is_t1ce(d) and "DERIVED" not in d.ImageType
    ]
    return [i for _, i in sorted(found)]


def without_one_slice(files):
    reformats_gone = only(files, lambda d: "DERIVED" not in d.ImageType)
    middle = main_t1ce(reformats_gone)
    gone = middle[len(middle) // 2]
    return [f for i, f in enumerate(reformats_gone) if i != gone]


def two_patients(files):
    datasets = parsed(files)
    datasets[3].PatientID = "PSN-ffffffffffffffff"
    return [part10(d) for d in datasets]


def with_ct(dataset):
    dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"


def thin_out(files):
    keep = set(main_t1ce(files)[:20])
    datasets = parsed(files)
    return [f for i, (f, d) in enumerate(zip(files, datasets, strict=True)) if i in keep or not is_t1ce(d)]


CASES = {
    "no files": (lambda f: [], errors.EmptyStudyError),
    "not DICOM": (lambda f: [*f[:-1], b"a text file"], errors.NotDicomError),
    "truncated file": (lambda f: [*f[:-1], f[-1][:-100]], errors.TruncatedFileError),
    "missing T1ce": (lambda f: only(f, lambda d: not is_t1ce(d)), errors.MissingSequenceError),
    "missing T2": (lambda f: only(f, lambda d: not is_t2(d)), errors.MissingSequenceError),
    "two patients": (two_patients, errors.MultiplePatientsError),
    "too few slices": (thin_out, errors.TooFewSlicesError),
    "missing slice": (without_one_slice, errors.MissingSliceError),
    "CT instead of MR": (lambda f: edited(f, with_ct), errors.NotMrError),
}


def send(server, contents=None, volumes=()):
    inputs = []
    if contents is not None:
        tensor = triton.InferInput("INSTANCES", [len(contents)], "BYTES")
        tensor.set_data_from_numpy(np.array(contents, dtype=object))
        inputs.append(tensor)
    for name, array in volumes:
        tensor = triton.InferInput(name, list(array.shape), "FP64" if name.endswith("AFFINE") else "FP32")
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    with triton.InferenceServerClient(server.grpc_url) as raw:
        return raw.infer("glioma", inputs, client_timeout=120)


def refused(server, *arguments, **named):
    with pytest.raises(triton.InferenceServerException) as caught:
        send(server, *arguments, **named)
    message = caught.value.message()
    assert "Traceback" not in message
    assert ".py" not in message
    return error_from_status(caught.value.status(), message)


def assert_answers(server, files):
    assert 0 <= send(server, files).as_numpy("SCORE")[0] <= 1


@pytest.mark.parametrize(("spoil", "error"), CASES.values(), ids=CASES)
def test_a_bad_study_gets_its_code(server, files, spoil, error):
    assert type(refused(server, spoil(files))) is error


def test_identified_dicom_is_refused_by_name_only(server, phantom):
    problem = refused(server, dicom_files(phantom, identified=True))
    assert type(problem) is errors.IdentifiedDicomError
    assert "PatientName" in str(problem)
    assert "PHANTOM" not in str(problem).upper().replace("PATIENTNAME", "")


VOLUME = ("T1", np.ones((4, 4, 4), np.float32))
AFFINE = ("T1_AFFINE", np.eye(4))


def every(voxels):
    """The same volume for each sequence."""
    return tuple(pair for m in ("T1", "T1CE", "T2") for pair in ((m, voxels), (f"{m}_AFFINE", np.eye(4))))


@pytest.mark.parametrize(
    ("contents", "volumes", "error"),
    [
        (None, (), errors.NoInputError),
        ([b"x"], (VOLUME, AFFINE), errors.BothInputsError),
        (None, (VOLUME,), errors.MissingAffineError),
        (None, (AFFINE,), errors.MissingAffineError),
        (None, (VOLUME, AFFINE), errors.MissingSequenceError),
        (None, (("T1", np.ones((1, 4, 4), np.float32)), AFFINE), errors.InvalidVolumeError),
        (None, (("T1", np.full((4, 4, 4), np.inf, np.float32)), AFFINE), errors.NonFiniteVoxelsError),
        (None, (("T1", np.full((4, 4, 4), 1e30, np.float32)), AFFINE), errors.ExtremeIntensityError),
        (None, every(np.full((40, 40, 40), np.nan, np.float32)), errors.NonFiniteVoxelsError),
        (None, every(np.full((40, 40, 40), 7, np.float32)), errors.ConstantVolumeError),
        (None, (VOLUME, ("T1_AFFINE", np.zeros((4, 4)))), errors.InvalidAffineError),
    ],
    ids=[
        "neither", "both", "no affine", "no volume", "T1 alone", "one slice", "infinite", "huge", "NaN", "blank",
        "singular affine",
    ],
)  # fmt: skip
def test_a_bad_request_gets_its_code(server, contents, volumes, error):
    assert type(refused(server, contents, volumes)) is error


def test_the_next_good_request_is_answered(server, files):
    """After one of each kind, on both of the preprocessor's instances."""
    for spoil, _ in list(CASES.values())[:3]:
        refused(server, spoil(files))
        refused(server, spoil(files))
    assert_answers(server, files)
    assert_answers(server, files)


def test_modalities_are_all_accepted_as_volumes(server, phantom):
    tensors = []
    for modality in Modality:
        volume = phantom.volume(modality)
        tensors += [(modality.value.upper(), np.ascontiguousarray(volume.voxels))]
        tensors += [(f"{modality.value.upper()}_AFFINE", volume.geometry.lps_from_voxel)]
    assert 0 <= send(server, volumes=tensors).as_numpy("SCORE")[0] <= 1


def test_a_misspelt_model_is_refused_for_good(server):
    with GliomaClient(server.grpc_url, model_name="gliomma") as client:
        with pytest.raises(errors.RequestRefusedError, match="no model 'gliomma'"):
            client.wait_until_ready(3)
        assert not client.is_ready()


# --- Parameters as other languages send them ---

SENT = service_pb2.InferParameter
NOW_MS = 1_764_000_000_000
PARAMETER_CASES = {
    "heatmap as a text": ("heatmap", SENT(string_param="false"), errors.InvalidParameterError),
    "heatmap as a number": ("heatmap", SENT(int64_param=0), errors.InvalidParameterError),
    "heatmap not a number": ("heatmap", SENT(double_param=float("nan")), errors.InvalidParameterError),
    "a misspelt series": ("serie", SENT(string_param="{}"), errors.InvalidParameterError),
    "series in capitals": ("Series", SENT(string_param="{}"), errors.InvalidParameterError),
    "series as a boolean": ("series", SENT(bool_param=True), errors.InvalidParameterError),
    "series that is a trap": ("series", SENT(string_param="[" * 100_000), errors.InvalidOverrideError),
    "series of no sequence": ("series", SENT(string_param='{"t9": "1.2"}'), errors.InvalidOverrideError),
    "a deadline in the past": ("deadline_unix_ms", SENT(int64_param=NOW_MS - 10**10), errors.DeadlinePassedError),
    "a deadline in seconds": ("deadline_unix_ms", SENT(int64_param=NOW_MS // 1000), errors.InvalidParameterError),
    "the least number": ("deadline_unix_ms", SENT(int64_param=-(2**63)), errors.InvalidParameterError),
    "the largest number": ("deadline_unix_ms", SENT(int64_param=2**63 - 1), errors.InvalidParameterError),
    "a deadline as a text": ("deadline_unix_ms", SENT(string_param=str(NOW_MS)), errors.InvalidParameterError),
    "a deadline as a float": ("deadline_unix_ms", SENT(double_param=float(NOW_MS)), errors.InvalidParameterError),
    "a name of 100,000 letters": ("y" * 100_000, SENT(bool_param=True), errors.InvalidParameterError),
    "a value of 3 MB": ("x", SENT(string_param="x" * 3_000_000), errors.InvalidParameterError),
}
"""Strange parameters by name, with the answer to each; Triton itself refuses a type that it does not pass on."""
TRITONS_OWN = {
    "an unsigned number": ("heatmap", SENT(uint64_param=2**64 - 1)),
    "no value": ("heatmap", SENT()),
    "a timeout as a text": ("timeout", SENT(string_param="x")),
    "a negative priority": ("priority", SENT(int64_param=-1)),
}


def with_parameter(server, name, value):
    request = service_pb2.ModelInferRequest(model_name="glioma")
    tensor = request.inputs.add(name="INSTANCES", datatype="BYTES", shape=[1])
    assert tensor is request.inputs[0]
    request.raw_input_contents.append(b"\x01\0\0\0x")
    request.parameters[name].CopyFrom(value)
    with grpc.insecure_channel(server.grpc_url) as channel, pytest.raises(grpc.RpcError) as caught:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
    return caught.value


@pytest.mark.parametrize(("name", "value", "error"), PARAMETER_CASES.values(), ids=PARAMETER_CASES)
def test_a_parameter_is_kept_or_refused_and_never_ignored(server, name, value, error):
    """The file is not DICOM, which would be said of a parameter that was ignored."""
    problem = with_parameter(server, name, value)
    assert type(error_from_status(problem.code().name, problem.details())) is error
    assert "y" * 100 not in problem.details()


@pytest.mark.parametrize(("name", "value"), TRITONS_OWN.values(), ids=TRITONS_OWN)
def test_triton_refuses_types_that_it_does_not_pass_on(server, name, value):
    problem = with_parameter(server, name, value)
    assert problem.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert name in problem.details()


# --- What Triton refuses by itself: no token of ours, so the status decides (docs/errors.md) ---


def with_file(**changes):
    """A request with one file that is not DICOM; ``changes`` are fields of its tensor."""
    request = service_pb2.ModelInferRequest(model_name="glioma")
    fields = {"name": "INSTANCES", "datatype": "BYTES", "shape": [1], **changes}
    request.inputs.add(**fields)
    request.raw_input_contents.append(b"\x01\0\0\0x")
    return request


def model(name="glioma", version=""):
    request = with_file()
    request.model_name, request.model_version = name, version
    return request


def raw(*contents):
    request = with_file()
    del request.raw_input_contents[:]
    request.raw_input_contents.extend(contents)
    return request


def twice():
    request = with_file()
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])
    return request


def typed_and_raw():
    request = with_file()
    request.inputs[0].contents.bytes_contents.append(b"x")
    return request


def asked_for(name):
    request = with_file()
    request.outputs.add(name=name)
    return request


def late():
    request = with_file()
    request.parameters["timeout"].int64_param = 1
    return request


WITHOUT_TOKEN = {
    "a model that is not there": (model(name="gliomma"), "NOT_FOUND"),
    "a version that is not there": (model(version="7"), "NOT_FOUND"),
    "a version that is not a number": (model(version="x"), "INVALID_ARGUMENT"),
    "another type": (with_file(datatype="FP32"), "INVALID_ARGUMENT"),
    "no shape": (with_file(shape=[]), "INVALID_ARGUMENT"),
    "a shape of two axes": (with_file(shape=[1, 1]), "INVALID_ARGUMENT"),
    "a shape that is open": (with_file(shape=[-1]), "INVALID_ARGUMENT"),
    "a shape of more elements": (with_file(shape=[2]), "INVALID_ARGUMENT"),
    "an unknown input": (with_file(name="NOPE"), "INVALID_ARGUMENT"),
    "an unknown output": (asked_for("NOPE"), "INVALID_ARGUMENT"),
    "an element without its length": (raw(b"hello world"), "INVALID_ARGUMENT"),
    "no contents": (raw(), "INVALID_ARGUMENT"),
    "contents in both ways": (typed_and_raw(), "INVALID_ARGUMENT"),
    "an input twice": (twice(), "INVALID_ARGUMENT"),
    "a wait that is over": (late(), "UNAVAILABLE"),
}


def documented(status, code):
    """The rows of docs/errors.md for a message of this status that has no token, and that name this code."""
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    table = text.partition("## Messages without a token")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return [row for row in rows if f"`{status}`" in row[0] and f"`{code.token}`" in row[2]]


@pytest.mark.parametrize(("request_", "status"), WITHOUT_TOKEN.values(), ids=WITHOUT_TOKEN)
def test_what_triton_refuses_has_no_token_and_stands_in_the_table(server, request_, status):
    with grpc.insecure_channel(server.grpc_url) as channel, pytest.raises(grpc.RpcError) as caught:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request_, timeout=60)
    found = caught.value
    assert (found.code().name, find_code(found.details())) == (status, None)
    assert documented(status, error_from_status(status, found.details()).code)


def test_an_answer_over_the_channels_own_limit_stands_in_the_table(server):
    small = [("grpc.max_receive_message_length", 1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(server.grpc_url, small) as channel, pytest.raises(grpc.RpcError) as caught:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ServerMetadata(
            service_pb2.ServerMetadataRequest(), timeout=60
        )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in caught.value.details()
    assert documented("RESOURCE_EXHAUSTED", ErrorCode.STUDY_TOO_LARGE)


def test_typed_contents_do_as_well(server):
    request = with_file()
    del request.raw_input_contents[:]
    request.inputs[0].contents.bytes_contents.append(b"x")
    with grpc.insecure_channel(server.grpc_url) as channel, pytest.raises(grpc.RpcError) as caught:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
    assert find_code(caught.value.details()) is ErrorCode.NOT_DICOM


IMPOSSIBLE = [((0, -2, 5), 0), ((-2, -2, 8), 128), ((2**62, 4, 4), 0), ((2**32, 2**32, 1), 0), ((2**62 + 1, 4, 2), 32)]


@pytest.mark.parametrize(("shape", "size"), IMPOSSIBLE)
def test_a_shape_that_cannot_be_is_refused_and_ends_no_process(server, shape, size):
    """Triton lets a shape through whose product, modulo 2^64, fits the bytes."""
    before = living(server)
    request = service_pb2.ModelInferRequest(model_name="glioma")
    request.inputs.add(name="T1", datatype="FP32", shape=shape)
    request.inputs.add(name="T1_AFFINE", datatype="FP64", shape=(4, 4))
    request.raw_input_contents.extend([bytes(size), np.eye(4).tobytes()])
    with grpc.insecure_channel(server.grpc_url) as channel, pytest.raises(grpc.RpcError) as caught:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, caught.value.details()
    assert find_code(caught.value.details()) is ErrorCode.INVALID_VOLUME
    assert living(server) == before


def living(server):
    """Process ids of the Python models."""
    return {stub.pid for stub in stubs_of(server.process.pid).values() if not stub.dead}


@pytest.mark.parametrize(
    ("shape", "possible"),
    [
        ((), True), ((0,), True), ((2, 3), True), ((0, 5), True), ((-1,), False), ((0, -1), False),
        ((0, 2**62, 2**62), False), ((2**39,), True), ((2**40,), False), ((2**63 - 1,), False),
    ],
)  # fmt: skip
def test_which_shapes_can_be(shape, possible):
    assert is_possible(shape) is possible
