"""The caller's word reaches the pipeline through the real server: series named outright, volumes by another name."""

import json
from io import BytesIO

import numpy as np
import pydicom
import pytest
import tritonclient.grpc as triton

from glioserve_client import DicomStudy, errors
from glioserve_client.status import error_from_status
from glioserve_contract import Modality
from glioserve_contract.tensors import MODALITIES_PARAMETER, SERIES_PARAMETER, affine_tensor, volume_tensor
from support.scans import part10

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


def test_headers_that_say_nothing_are_settled_by_the_images(client, silent):
    contents, uids = silent
    prediction = client.predict(DicomStudy.from_bytes(contents), heatmap=False)
    found = series_of(prediction)
    assert {m: found[m] for m in uids} == uids
    enhanced = next(s for s in prediction.report.preprocess.series if s.modality is Modality.T1CE)
    assert any("its images are enhanced" in reason for reason in enhanced.reasons)


def test_series_named_outright_are_taken(client, silent):
    """The two swapped on purpose: the caller's word counts against the images."""
    contents, uids = silent
    swapped = {Modality.T1: uids[Modality.T1CE], Modality.T1CE: uids[Modality.T1]}
    prediction = client.predict(DicomStudy.from_bytes(contents), series=swapped, heatmap=False)
    found = series_of(prediction)
    assert {m: found[m] for m in swapped} == swapped
    series = prediction.report.preprocess.series
    assert all(s.reasons[0] == "named by the caller" for s in series if s.modality in swapped)


def infer(server, inputs, parameters):
    tensors = []
    for name, array in inputs:
        dtype = "BYTES" if array.dtype == object else "FP64" if name.endswith("AFFINE") else "FP32"
        tensors.append(triton.InferInput(name, list(array.shape), dtype))
        tensors[-1].set_data_from_numpy(array)
    with triton.InferenceServerClient(server.grpc_url) as raw:
        return raw.infer("glioma", tensors, parameters=parameters, client_timeout=120)


def refused(server, files, parameters):
    with pytest.raises(triton.InferenceServerException) as caught:
        infer(server, [("INSTANCES", np.array(files, dtype=object))], parameters)
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


def test_volumes_under_other_names_are_the_same_study(server, client, offline, phantom_volumes):
    cyclic = {Modality.T1: Modality.T1CE, Modality.T1CE: Modality.T2, Modality.T2: Modality.T1}
    inputs = []
    for tensor, modality in cyclic.items():
        volume = phantom_volumes[modality]
        inputs += [(volume_tensor(tensor), volume.voxels), (affine_tensor(tensor), volume.geometry.lps_from_voxel)]
    names = {volume_tensor(tensor): modality.value for tensor, modality in cyclic.items()}
    answer = infer(server, inputs, {MODALITIES_PARAMETER: json.dumps(names)})
    wanted = offline.volumes(phantom_volumes)
    assert answer.as_numpy("SCORE")[0] == pytest.approx(wanted.report.score, abs=1e-5)
