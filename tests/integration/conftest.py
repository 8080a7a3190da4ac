"""One real server with the demo model, one phantom study, and the offline pipeline's answer to compare with."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from glioserve_client import ConnectionOptions, DicomStudy, GliomaClient
from glioserve_contract import Modality
from glioserve_phantom import make_phantom
from glioserve_phantom.dicom import dicom_files
from glioserve_preprocess.pipeline import preprocess_dicom, preprocess_volumes
from glioserve_preprocess.report.answer import answer
from glioserve_registry.demo_model import demo_repository
from glioserve_triton.served.promotions import load_serving
from support.server.triton import running_server

ROOT = Path(__file__).resolve().parents[2]
FG_6692 = ROOT.parent / "shared" / "data" / "tcga-fg-6692"
SHARED_MEMORY_TOKEN = "shared-memory-token-of-a-test"
needs_fg_6692 = pytest.mark.skipif(not FG_6692.is_dir(), reason="the real patient's study (../shared/data) is not here")


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    return demo_repository(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="session")
def server(repository):
    with running_server(repository, http=True, shared_memory_token=SHARED_MEMORY_TOKEN) as running:
        yield running


@pytest.fixture(scope="session")
def client(server):
    with GliomaClient(server.grpc_url, connection=ConnectionOptions()) as connected:
        yield connected


@pytest.fixture(scope="session")
def phantom():
    return make_phantom(21, "recurrence")


@pytest.fixture(scope="session")
def files(phantom):
    """Return the study's files as a client sends them: pseudonyms only."""
    return dicom_files(phantom, identified=False)


@pytest.fixture(scope="session")
def answered(client, files):
    """The server's answer to the study."""
    return client.predict(DicomStudy.from_bytes(files))


class Offline:
    """The same pipeline without a server: preprocessing, ONNX Runtime, report."""

    def __init__(self, repository):
        self.version = load_serving(repository)
        self.recipe = self.version.manifest.recipe
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = repository / "classifier" / self.version.version / "model.onnx"
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def dicom(self, files):
        return self.finish(preprocess_dicom(files, self.recipe, accept_identified=False))

    def volumes(self, volumes):
        return self.finish(preprocess_volumes(volumes, self.recipe))

    def finish(self, preprocessed):
        logits, cam = self.session.run(["LOGITS", "CAM"], {"IMAGE": preprocessed.image[np.newaxis]})
        return answer(self.version, logits[0], cam[0], preprocessed.brain_mask, preprocessed.record)


@pytest.fixture(scope="session")
def offline(repository):
    return Offline(repository)


@pytest.fixture(scope="session")
def phantom_volumes(phantom):
    """The recipe's sequences as arrays."""
    return {m: phantom.volume(m) for m in (Modality.T1, Modality.T1CE, Modality.T2)}
