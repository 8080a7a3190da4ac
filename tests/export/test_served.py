"""An exported version on the real server: the generated configuration, the contract and the answers agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.manifest import digest_of_model_id
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_export.classifier_config import ONNXRUNTIME_CPU, ONNXRUNTIME_GPU, TENSORRT_GPU, resolved_dims
from glioserve_export.graphs.parity import LOGITS_TOLERANCE, reference
from glioserve_export.graphs.probes import probe_studies
from glioserve_networks import Artifact
from glioserve_registry.export import export
from glioserve_registry.layout.repository import add_version
from glioserve_triton.process.options import ServerOptions
from glioserve_triton.process.server import TritonServer
from support.models.recipes import fake_export

pytestmark = pytest.mark.triton
TIMEOUT_S = 60


@pytest.fixture(scope="module", params=[None, ONNXRUNTIME_CPU.name], ids=["default", "by profile"])
def client(
    request: pytest.FixtureRequest, artifact_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[grpc.InferenceServerClient]:
    repository = tmp_path_factory.mktemp("served") / "repository"
    export(artifact_folder, repository, progress=lambda _: None)
    options = ServerOptions(model=CLASSIFIER_MODEL.name, profile=request.param)
    with TritonServer(repository, options) as server, grpc.InferenceServerClient(server.grpc_url) as client:
        yield client


def test_the_server_says_what_the_contract_says(client: grpc.InferenceServerClient, artifact: Artifact) -> None:
    metadata = client.get_model_metadata(CLASSIFIER_MODEL.name, client_timeout=TIMEOUT_S)
    assert list(metadata.versions) == ["1"]
    for ports, tensors in ((metadata.inputs, CLASSIFIER_MODEL.inputs), (metadata.outputs, CLASSIFIER_MODEL.outputs)):
        wanted = {t.name: (t.dtype, [-1, *resolved_dims(t, artifact.recipe, (4, 4, 4))]) for t in tensors}
        assert {p.name: (p.datatype, list(p.shape)) for p in ports} == wanted


@pytest.mark.parametrize("batch", [1, 8])
def test_it_answers_as_the_trained_network(client: grpc.InferenceServerClient, artifact: Artifact, batch: int) -> None:
    studies = probe_studies(artifact.recipe)[-batch:]
    image = grpc.InferInput("IMAGE", list(studies.shape), "FP32")
    image.set_data_from_numpy(studies)
    answer = client.infer(CLASSIFIER_MODEL.name, [image], client_timeout=TIMEOUT_S)
    network = artifact.network()
    for row, study in enumerate(studies):
        ref = reference(network, study, artifact.recipe)
        np.testing.assert_allclose(answer.as_numpy("LOGITS")[row], ref.logits, rtol=0, atol=LOGITS_TOLERANCE)
        np.testing.assert_allclose(
            answer.as_numpy("CAM")[row], ref.cam, rtol=0, atol=1e-4 * np.abs(ref.unrectified).max()
        )
        assert digest_of_model_id(tuple(answer.as_numpy("MODEL_ID")[row].tolist())) == artifact.weights_digest


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="here the GPU profiles would load")
@pytest.mark.parametrize(
    ("profile", "lack"),
    [(ONNXRUNTIME_GPU.name, "no GPUs are available"), (TENSORRT_GPU.name, "backend library for backend 'tensorrt'")],
)
def test_the_gpu_profiles_lack_nothing_but_what_is_not_here(tmp_path: Path, profile: str, lack: str) -> None:
    """Triton itself chooses and reads them; a field that it does not know would be the first complaint."""
    add_version(tmp_path / "repository", fake_export(tmp_path / "exported"))
    server = TritonServer(tmp_path / "repository", ServerOptions(model=CLASSIFIER_MODEL.name, profile=profile))
    with pytest.raises(GlioserveError, match=lack) as caught, server:
        pytest.fail("it became ready")
    assert caught.value.code is ErrorCode.SERVER_FAILED
