"""The caller's word reaches the pipeline through the real server: series named outright, volumes by another name."""

import json
import urllib.error
import urllib.request
from io import BytesIO

import numpy as np
import pydicom
import pytest
import tritonclient.grpc as triton

from glioserve_client import DicomStudy, errors
from glioserve_client.status import error_from_status
from glioserve_contract import Modality
from glioserve_contract.tensors import MODALITIES_PARAMETER, SERIES_PARAMETER, affine_tensor, volume_tensor
from support.studies.scans import part10

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def silent(files):
    """The study without a word, a time or an agent on any T1-weighted series; and the series' UIDs by what they are."""
    uids, contents = {}, []
    for content in files:
        dataset = pydicom.dcmread(BytesIO(content))
        weighted = float(dataset.RepetitionTime) < 2000 and "LOCALIZER" not in dataset.ImageType
        if weighted and "DERIVED" in dataset.ImageType:
            continue
        if weighted:
            uids[Modality.T1CE if "ContrastBolusAgent" in dataset else Modality.T1] = dataset.SeriesInstanceUID
            for keyword in ("SeriesDescription", "ProtocolName", "ContrastBolusAgent"):
                if keyword in dataset:
                    del dataset[keyword]
        for keyword in ("SeriesTime", "AcquisitionTime", "ContentTime"):
            del dataset[keyword]
        contents.append(part10(dataset))
    assert len(uids) == 2
    return contents, uids


def series_of(prediction):
    originals = prediction.original_series_uids
    return {s.modality: originals[s.series_instance_uid] for s in prediction.report.preprocess.series}


def test_headers_that_say_nothing_are_refused_where_images_cannot_tell(client, silent):
    """The two are of different techniques, whose images differ as an agent would make them differ."""
    contents, _ = silent
    with pytest.raises(errors.AmbiguousSequenceError, match="2 T1-weighted series") as caught:
        client.predict(DicomStudy.from_bytes(contents), heatmap=False)
    assert "none mentions an agent" in str(caught.value)


def test_series_named_outright_are_taken(client, silent):
    """The two swapped on purpose: the caller's word counts against the images."""
    contents, uids = silent
    swapped = {Modality.T1: uids[Modality.T1CE], Modality.T1CE: uids[Modality.T1]}
    prediction = client.predict(DicomStudy.from_bytes(contents), series=swapped, heatmap=False)
    found = series_of(prediction)
    assert {m: found[m] for m in swapped} == swapped
    series = prediction.report.preprocess.series
    assert all(s.reasons[0] == "named by the caller" for s in series if s.modality in swapped)


def infer(server, inputs, parameters, model="glioma", **options):
    tensors = []
    for name, array in inputs:
        dtype = "BYTES" if array.dtype == object else "FP64" if name.endswith("AFFINE") else "FP32"
        tensors.append(triton.InferInput(name, list(array.shape), dtype))
        tensors[-1].set_data_from_numpy(array)
    with triton.InferenceServerClient(server.grpc_url) as raw:
        return raw.infer(model, tensors, parameters=parameters, client_timeout=120, **options)


def refused(server, files, parameters, model="glioma"):
    with pytest.raises(triton.InferenceServerException) as caught:
        infer(server, [("INSTANCES", np.array(files, dtype=object))], parameters, model)
    return error_from_status(caught.value.status(), caught.value.message())


@pytest.mark.parametrize(
    ("series", "error"),
    [
        ('{"t1": "1.2.3"}', errors.UnknownSeriesError),
        ('{"t9": "1.2.3"}', errors.InvalidOverrideError),
        ("t1=1.2.3", errors.InvalidOverrideError),
    ],
)
def test_a_series_that_is_none_gets_its_code(server, files, series, error):
    assert type(refused(server, files, {SERIES_PARAMETER: series})) is error


def tensors_of(volumes):
    """The inputs that carry volumes by sequence."""
    pairs = [((volume_tensor(m), v.voxels), (affine_tensor(m), v.geometry.lps_from_voxel)) for m, v in volumes.items()]
    return [tensor for pair in pairs for tensor in pair]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"heatmap": "false"}, ("'heatmap' must be a boolean", "a string was sent")),
        ({"heatmap": 0}, ("'heatmap' must be a boolean", "a whole number was sent")),
        ({"Series": '{"t1": "1.2.3"}'}, ("'Series' is unknown", "Did you mean 'series'?", "heatmap (boolean)")),
        ({"heatmapp": False, "series": '{"t1": "1.2.3"}'}, ("'heatmapp' is unknown", "Did you mean 'heatmap'?")),
        ({"series": True}, ("'series' must be a string", "a boolean was sent")),
        ({"Timeout": 1}, ("'Timeout' is unknown", "Did you mean 'timeout'?")),
        (
            {"quality": 1.5},
            ("'quality' is unknown", "heatmap (boolean), series (string), modalities (string)"),
        ),
    ],
)
@pytest.mark.parametrize("model", ["glioma", "preprocess"])
def test_a_parameter_that_is_unknown_or_mistyped_is_refused(server, files, model, parameters, words):
    problem = refused(server, files, parameters, model)
    assert type(problem) is errors.InvalidParameterError
    assert [word for word in words if word not in str(problem)] == []


def test_a_parameter_for_the_other_kind_of_input_is_refused(server, files, phantom_volumes):
    assert type(refused(server, files, {MODALITIES_PARAMETER: '{"T1": "t1ce"}'})) is errors.InvalidOverrideError
    with pytest.raises(triton.InferenceServerException, match="GLIO-1305"):
        infer(server, tensors_of(phantom_volumes), {SERIES_PARAMETER: '{"t1": "1.2.3"}'})


def test_tritons_own_parameters_are_its_own(server, files):
    """They reach no model, and a request that has them beside ours is answered."""
    options = {"timeout": 120_000_000, "sequence_id": 7, "sequence_start": True, "sequence_end": True}
    answer = infer(server, [("INSTANCES", np.array(files, dtype=object))], {"heatmap": False}, **options)
    assert answer.as_numpy("HEATMAP").size == 0
    body = {
        "inputs": [{"name": "INSTANCES", "datatype": "BYTES", "shape": [1], "data": ["no file"]}],
        "parameters": {"timeout": 120_000_000, "priority": 0, "binary_data_output": True, "heatmap": False},
    }
    assert "[GLIO-1201]" in posted(server, body)  # about the file, so the parameters were taken
    assert "[GLIO-1110]" in posted(server, {**body, "parameters": {"heatmap": 0}})


def posted(server, body):
    """The refusal of a request by HTTP."""
    request = urllib.request.Request(f"{server.http_url}/v2/models/glioma/infer", json.dumps(body).encode())
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    return caught.value.read().decode()


def test_volumes_under_other_names_are_the_same_study(server, client, offline, phantom_volumes):
    cyclic = {Modality.T1: Modality.T1CE, Modality.T1CE: Modality.T2, Modality.T2: Modality.T1}
    inputs = tensors_of({tensor: phantom_volumes[modality] for tensor, modality in cyclic.items()})
    names = {volume_tensor(tensor): modality.value for tensor, modality in cyclic.items()}
    answer = infer(server, inputs, {MODALITIES_PARAMETER: json.dumps(names)})
    wanted = offline.volumes(phantom_volumes)
    assert answer.as_numpy("SCORE")[0] == pytest.approx(wanted.report.score, abs=1e-5)
