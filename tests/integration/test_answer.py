"""Answers of the real server are the offline pipeline's, and the metrics, batching and metadata hold."""

import json
import threading
import time
import urllib.request
from io import BytesIO

import numpy as np
import pydicom
import pytest
import tritonclient.grpc as triton
from prometheus_client.parser import text_string_to_metric_families

from glioserve_client import DicomStudy, GliomaClient, Volume, VolumeStudy
from glioserve_client.errors import TooFewSlicesError
from glioserve_contract import Modality
from glioserve_contract.metrics import STAGE_SECONDS, STAGES, STUDIES
from glioserve_contract.parameters import OWN_PARAMETER
from glioserve_contract.tensors import CLASSIFIER_MODEL, ENSEMBLE, MODELS
from glioserve_preprocess.pipeline import preprocess_volumes
from glioserve_registry.demo_model import demo_repository
from glioserve_triton.process.options import GRPC_ADMIN_HEADER
from glioserve_triton.supervisor import canary
from support.server.triton import running_server

from .conftest import FG_6692, needs_fg_6692

pytestmark = pytest.mark.triton
TOLERANCE = 1e-5


def assert_same(prediction, wanted):
    assert prediction.score == pytest.approx(wanted.report.score, abs=TOLERANCE)
    np.testing.assert_allclose(
        [prediction.probabilities["necrosis"], prediction.probabilities["recurrence"]],
        wanted.probabilities,
        atol=TOLERANCE,
    )
    np.testing.assert_allclose(prediction.heatmap.voxels, wanted.heatmap, atol=TOLERANCE)
    np.testing.assert_allclose(
        prediction.heatmap.lps_from_voxel, wanted.report.preprocess.reference_grid.lps_from_voxel
    )
    assert prediction.report.label == wanted.report.label


def test_dicom_answers_as_the_offline_pipeline_does(answered, files, offline):
    assert_same(answered, offline.dicom(files))


def test_volumes_answer_as_the_offline_pipeline_does(client, phantom_volumes, offline):
    study = VolumeStudy({m: Volume(v.voxels, v.geometry.lps_from_voxel) for m, v in phantom_volumes.items()})
    assert_same(client.predict(study), offline.volumes(phantom_volumes))


@pytest.mark.long
def test_nan_outside_the_field_of_view_is_answered_and_told(client, phantom_volumes):
    """Tools that turn volumes write NaN; the report has what a replay needs, so the same image is in it twice."""
    sent = {m: Volume(v.voxels, v.geometry.lps_from_voxel) for m, v in phantom_volumes.items()}
    plain = client.predict(VolumeStudy(sent)).report
    t2 = phantom_volumes[Modality.T2]
    voxels = t2.voxels.copy()
    voxels[:, 0, :] = np.nan
    told = client.predict(VolumeStudy({**sent, Modality.T2: Volume(voxels, t2.geometry.lps_from_voxel)})).report
    assert (
        [w for w in told.warnings if "NaN" in w]
        == [w for w in told.warnings if w.startswith(f"The t2 volume: {np.isnan(voxels).sum()} NaN voxels")]
        != []
    )
    assert told.score == pytest.approx(plain.score, abs=0.05)
    assert plain.preprocess.provenance.sequences[0] == told.preprocess.provenance.sequences[0]
    assert (
        plain.preprocess.provenance.sequences[2].voxels_sha256 != told.preprocess.provenance.sequences[2].voxels_sha256
    )


def test_the_served_input_can_be_replayed_from_the_report(client, phantom_volumes, offline):
    study = VolumeStudy({m: Volume(v.voxels, v.geometry.lps_from_voxel) for m, v in phantom_volumes.items()})
    served = client.predict(study).report.preprocess.provenance
    here = preprocess_volumes(phantom_volumes, offline.recipe).record.provenance
    assert served == here
    assert served.image_sha256.startswith("sha256:")


def test_the_report_tells_the_whole_story(client, files, offline):
    prediction = client.predict(DicomStudy.from_bytes(files))
    report = json.loads(prediction.report_json())
    assert {"score", "label", "probabilities", "model", "preprocess", "timings_s", "warnings"} <= set(report)
    assert report["model"]["version"] == offline.version.version
    assert report["model"]["digest"] == offline.version.manifest.weights_digest
    assert set(STAGES) == set(report["timings_s"])
    assert "Not for clinical use" in report["notice"]


def test_without_a_heat_map_none_is_computed(client, files):
    prediction = client.predict(DicomStudy.from_bytes(files), heatmap=False)
    assert prediction.heatmap is None
    assert prediction.report.heatmap is None
    assert "heatmap" not in prediction.report.timings_s


def scrape(server):
    with urllib.request.urlopen(server.metrics_url, timeout=10) as response:
        text = response.read().decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}


def test_metrics_count_a_study_once_and_time_its_stages(server, client, files):
    answered = (STUDIES.name, (("code", ""), ("outcome", "answered")))
    refused = (STUDIES.name, (("code", "GLIO-1201"), ("outcome", "refused")))
    before = scrape(server)
    assert before[refused] >= 0  # there from the start, so that a rate of something new is seen
    prediction = client.predict(DicomStudy.from_bytes(files), heatmap=False)
    with pytest.raises(triton.InferenceServerException):
        infer_instances(server, [b"not dicom"])
    after = scrape(server)
    assert prediction.label is not None
    assert after[answered] == before[answered] + 1
    assert after[refused] == before[refused] + 1
    for stage in STAGES:
        count = (f"{STAGE_SECONDS.name}_count", (("stage", stage),))
        assert after[count] == before[count] + (stage != "heatmap")


def admin_headers(server):
    return {GRPC_ADMIN_HEADER: server.options.admin_token}


def infer_instances(server, contents):
    tensor = triton.InferInput("INSTANCES", [len(contents)], "BYTES")
    tensor.set_data_from_numpy(np.array(contents, dtype=object))
    with triton.InferenceServerClient(server.grpc_url) as raw:
        return raw.infer("glioma", [tensor], client_timeout=60)


def test_the_servers_metadata_is_the_contract(server, offline):
    with triton.InferenceServerClient(server.grpc_url) as raw:
        for model in MODELS:
            found = raw.get_model_metadata(model.name, as_json=True)
            for side, wanted in (("inputs", model.inputs), ("outputs", model.outputs)):
                tensors = {t["name"]: t for t in found[side]}
                assert set(tensors) == {t.name for t in wanted}
                for tensor in wanted:
                    assert tensors[tensor.name]["datatype"] == tensor.dtype
                    shape = tuple(int(n) for n in tensors[tensor.name]["shape"])
                    dims = tensor.dims(offline.recipe) if model is CLASSIFIER_MODEL else tensor.shape
                    dims = (-1, *dims) if model.max_batch_size else dims
                    assert len(shape) == len(dims)
                    assert all(a == b for a, b in zip(shape, dims, strict=True) if isinstance(b, int) and b > 0)


@pytest.mark.long
def test_concurrent_requests_are_batched_at_the_classifier(repository, offline):
    """Eight images sent at once take, by a queue delay, fewer than eight executions, and each gets its own answer."""
    images = np.random.default_rng(3).random((8, 1, *CLASSIFIER_MODEL.inputs[0].dims(offline.recipe)), np.float32)
    wanted = [offline.session.run(["LOGITS"], {"IMAGE": image})[0] for image in images]
    found = [None] * len(images)
    with running_server(repository) as server, triton.InferenceServerClient(server.grpc_url) as raw:
        admin = admin_headers(server)
        config = raw.get_model_config("classifier", headers=admin, as_json=True)["config"]
        config["dynamic_batching"]["max_queue_delay_microseconds"] = "2000000"
        raw.load_model("classifier", headers=admin, config=json.dumps(config))

        def ask(index):
            tensor = triton.InferInput("IMAGE", list(images[index].shape), "FP32")
            tensor.set_data_from_numpy(images[index])
            with triton.InferenceServerClient(server.grpc_url) as own:
                found[index] = own.infer("classifier", [tensor], client_timeout=60).as_numpy("LOGITS")

        before = scrape(server)
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(images))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        deadline = time.monotonic() + 10
        while True:  # Triton counts after it has answered
            after = scrape(server)
            if total(after, "nv_inference_count") - total(before, "nv_inference_count") >= len(images):
                break
            assert time.monotonic() < deadline, "the answers were not counted"
            time.sleep(0.1)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    grown = {n: total(after, n) - total(before, n) for n in ("nv_inference_count", "nv_inference_exec_count")}
    assert grown["nv_inference_count"] == 8
    assert grown["nv_inference_exec_count"] < 8


def total(samples, name):
    """Return the sum of the classifier's series of a metric, whatever other labels it has."""
    return sum(v for (n, labels), v in samples.items() if n.startswith(name) and ("model", "classifier") in labels)


@needs_fg_6692
def test_the_real_patient_is_refused_under_the_papers_rule(client):
    with pytest.raises(TooFewSlicesError, match="26 slices; the recipe needs 32"):
        client.predict(DicomStudy.from_directory(FG_6692 / "dicom"))


@pytest.mark.long
@needs_fg_6692
def test_the_real_patient_goes_through_with_twenty_slices(tmp_path):
    with running_server(demo_repository(tmp_path, min_slices=20)) as server, GliomaClient(server.grpc_url) as client:
        prediction = client.predict(DicomStudy.from_directory(FG_6692 / "dicom"))
    assert 0 <= prediction.score <= 1
    assert any("lowered the model's min_slices from 32 to 20" in w for w in prediction.warnings)
    assert prediction.heatmap.voxels.shape == (26, 224, 256)


def test_a_canary_reaches_every_python_model_and_is_no_study(server):
    with triton.InferenceServerClient(server.grpc_url) as raw:
        before = studies_counted(server)
        for model in ("preprocess", "report"):
            answer = canary.ask(raw, model, 30, server.own_parameters)
            assert answer.outcome is canary.Outcome.ALIVE, answer.detail
        inferences = raw.get_inference_statistics("classifier", headers={GRPC_ADMIN_HEADER: server.options.admin_token})
        assert canary.ask(raw, "classifier", 30, server.own_parameters).outcome is canary.Outcome.ALIVE
        assert studies_counted(server) == before
        after = raw.get_inference_statistics("classifier", headers={GRPC_ADMIN_HEADER: server.options.admin_token})
        # The classifier's canary is computed; one that was refused would show nothing of its runtime or its GPU.
        assert after.model_stats[0].inference_count == inferences.model_stats[0].inference_count + 1


@pytest.mark.parametrize("value", [True, "", "guessed", 1])
def test_a_strangers_canary_is_an_unknown_parameter(server, value):
    with triton.InferenceServerClient(server.grpc_url) as raw:
        for model in ("preprocess", "report", "classifier"):
            inputs = canary._zeros(raw.get_model_metadata(model))
            with pytest.raises(triton.InferenceServerException, match=r"GLIO-1110.*is unknown"):
                raw.infer(model, inputs, parameters={OWN_PARAMETER: value}, client_timeout=30)


def studies_counted(server):
    with urllib.request.urlopen(server.metrics_url, timeout=10) as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("glioserve_studies_total{"))


def test_a_slice_of_the_heat_map_is_an_image_of_the_reference(answered, files):
    """Slices lie as docs/wire.md says: by ImagePositionPatient, rising along the cross product of row and column."""
    record = answered.report.preprocess
    (uid,) = {
        answered.original_series_uids[s.series_instance_uid] for s in record.series if s.modality == record.reference
    }
    images = [pydicom.dcmread(BytesIO(content)) for content in files]
    images = [image for image in images if image.SeriesInstanceUID == uid]
    affine, shape = answered.heatmap.lps_from_voxel, answered.heatmap.voxels.shape
    found = []
    for k in range(shape[0]):
        at = (affine @ (0, 0, k, 1))[:3]
        near = [i for i in images if np.linalg.norm(np.array(i.ImagePositionPatient, float) - at) < 0.01]
        assert len(near) == 1
        found += near
    assert {(image.Rows, image.Columns) for image in found} == {shape[1:]}
    along_row, along_column = np.reshape(np.array(found[0].ImageOrientationPatient, float), (2, 3))
    assert np.dot(affine[:3, 2], np.cross(along_row, along_column)) > 0


def test_who_names_no_output_gets_all_and_the_id_comes_back(server, files):
    """A heat map that was asked for and switched off is empty, not an error."""
    with triton.InferenceServerClient(server.grpc_url) as raw:
        tensor = triton.InferInput("INSTANCES", [len(files)], "BYTES")
        tensor.set_data_from_numpy(np.array(files, dtype=object))
        answer = raw.infer("glioma", [tensor], request_id="any text, ü", parameters={"heatmap": False}).get_response()
    shapes = {output.name: list(output.shape) for output in answer.outputs}
    assert shapes.keys() == {tensor.name for tensor in ENSEMBLE.outputs}
    assert shapes["HEATMAP"] == [0, 0, 0]
    assert answer.id == "any text, ü"
