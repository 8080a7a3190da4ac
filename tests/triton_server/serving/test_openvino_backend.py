"""The openvino backend: its parameters against a scripted Triton, its answers on the real server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from glioserve_contract import ErrorCode, GlioserveError, find_code
from glioserve_contract.records.manifest import digest_of_model_id
from glioserve_contract.records.recipe import VariantLimits
from glioserve_contract.tensors import CLASSIFIER_MODEL
from glioserve_export.exporter import convert, write_version
from glioserve_export.graphs.probes import probe_studies
from glioserve_export.variants.build import WantedVariants
from glioserve_export.variants.compare import compare
from glioserve_export.variants.runtimes import by_onnxruntime, by_openvino
from glioserve_networks import Artifact
from glioserve_registry.layout.repository import add_version
from glioserve_triton.process.options import GRPC_ADMIN_HEADER
from glioserve_triton.process.server import TritonServer
from glioserve_triton.served.repository import check_repository
from support.models.networks import tiny_artifact
from support.models.recipes import tiny_recipe
from support.server.scripted_triton import Request, backend_module, load_model
from support.server.tiny_repository import WEIGHTS, ask, expected_score, hold, tiny_graph, write_tiny_repository
from support.server.triton import running_server, wait_until

openvino = pytest.importorskip("openvino", reason="the openvino extra is not installed")
HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
HAS_VNNI = "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
TIMEOUT_S = 60
LAX = VariantLimits(max_probability_drift=1, max_label_flips=1000, min_heatmap_correlation=0, min_same_peak=0)


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> Any:
    return backend_module("openvino", monkeypatch, logged)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The properties of every graph that is compiled."""
    seen: list[dict[str, str]] = []

    class Core(openvino.Core):  # type: ignore[misc]
        def compile_model(self, model: Any, device: str, properties: dict[str, str]) -> Any:
            seen.append({"device": device, **properties})
            return super().compile_model(model, device, properties)

    monkeypatch.setattr(openvino, "Core", Core)
    return seen


def test_without_a_hint_it_computes_in_f32_whatever_the_processor_has(
    backend: Any, tmp_path: Path, compiled: list[dict[str, str]]
) -> None:
    load_model(backend, tmp_path, tiny_graph())
    assert compiled == [{"device": "CPU", "INFERENCE_PRECISION_HINT": "f32"}]


def test_the_native_backend_s_parameters_are_honoured(
    backend: Any, tmp_path: Path, compiled: list[dict[str, str]]
) -> None:
    parameters = {"INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1", "PERFORMANCE_HINT": "latency", "HINT_BF16": "yes"}
    load_model(backend, tmp_path, tiny_graph(), parameters={**parameters, "ENABLE_BATCH_PADDING": "YES"})
    wanted = {"INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"}
    assert compiled == [{"device": "CPU", **wanted, "INFERENCE_PRECISION_HINT": "bf16"}]


def test_a_processor_without_bf16_is_told_of(
    backend: Any, tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Core(openvino.Core):  # type: ignore[misc]
        def get_property(self, *_: str) -> list[str]:
            return ["FP32"]

    monkeypatch.setattr(openvino, "Core", Core)
    load_model(backend, tmp_path, tiny_graph(), parameters={"HINT_BF16": "YES"})
    assert ["no bf16" in line for line in logged] == [True]


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"HINT_BF16": "NO"}, "HINT_BF16 must be YES"),
        ({"CPU_EXTENSION_PATH": "/lib.so"}, "CPU_EXTENSION_PATH is the native backend's alone"),
        ({"RESHAPE_IO_LAYERS": "YES"}, "RESHAPE_IO_LAYERS is the native backend's alone"),
    ],
)
def test_a_parameter_that_it_would_have_to_ignore_fails_the_load(
    backend: Any, tmp_path: Path, parameters: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        load_model(backend, tmp_path, tiny_graph(), parameters=parameters)


def test_the_file_s_name_defaults_to_model_xml(backend: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"model\.xml"):
        load_model(backend, tmp_path, tiny_graph(), default_model_filename="")


def test_a_maximum_batch_of_one_is_planned_for_one(backend: Any, tmp_path: Path) -> None:
    model = load_model(backend, tmp_path, tiny_graph(), max_batch_size=1)
    one = np.ones((1, 4), dtype=np.float32)
    np.testing.assert_allclose(model.execute([Request(one)])[0].outputs["LOGITS"], one @ WEIGHTS)
    assert model._request.get_tensor("LOGITS").shape == [1, 2]
    assert model.execute([Request(np.ones((2, 4), dtype=np.float32))])[0].error is not None


# From here on: the real server.


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return tiny_artifact(tmp_path_factory.mktemp("openvino") / "artifact", replace(tiny_recipe(), variant_limits=LAX))


@pytest.fixture(scope="module")
def repository(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version with every variant that this machine can show."""
    folder = tmp_path_factory.mktemp("openvino-version")
    wanted = WantedVariants(("bf16", "int8") if HAS_BF16 else ("int8",))
    write_version(convert(artifact, str, probe_studies(artifact.recipe), wanted), folder)
    repository = tmp_path_factory.mktemp("openvino-served") / "repository"
    add_version(repository, folder)
    return repository


PRECISIONS = {"openvino-cpu": 1e-5, "openvino-cpu-bf16": 0.02, "openvino-cpu-int8": 0.05}
"""Profile to the drift of SCORE that its precision brings at most, on these random networks."""


@pytest.mark.triton
@pytest.mark.parametrize("profile", PRECISIONS)
def test_every_profile_answers_as_onnx_runtime_within_its_precision(
    repository: Path, artifact: Artifact, profile: str
) -> None:
    if profile.endswith("bf16") and not HAS_BF16:
        pytest.skip("this CPU has neither AVX512-BF16 nor AMX")
    check_repository(repository, profile)
    images = probe_studies(artifact.recipe)
    version = repository / "classifier" / "1"
    wanted = by_onnxruntime((version / "model.onnx").read_bytes(), images, 1, str)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("LOGITS", "CAM", "MODEL_ID")}
    with (
        running_server(repository, model=CLASSIFIER_MODEL.name, profile=profile) as server,
        triton.InferenceServerClient(server.grpc_url) as client,
    ):
        for study in images:
            answer = client.infer(CLASSIFIER_MODEL.name, [image_of(study[None])], client_timeout=TIMEOUT_S)
            for name, found in rows.items():
                found.append(answer.as_numpy(name))
        with pytest.raises(InferenceServerException, match="batch-size must be <= 1"):
            client.infer(CLASSIFIER_MODEL.name, [image_of(images[:2])], client_timeout=TIMEOUT_S)
    logits, cam, model_id = (np.concatenate(found) for found in rows.values())
    figures = compare(artifact.recipe, wanted.logits, wanted.cam, logits, cam)
    limit = PRECISIONS[profile]
    if profile == "openvino-cpu-int8":
        here = by_openvino((version / "model_int8.onnx").read_bytes(), images, "f32", 1, str)
        served = compare(artifact.recipe, here.logits, here.cam, logits, cam)
        assert served.max_probability_drift < 1e-5, "the server answers as this process does"
        if not HAS_VNNI:  # 8-bit products saturate on the way: how far they stray is the processor's
            limit = 1.0
    assert figures.max_probability_drift <= limit
    assert figures.min_heatmap_correlation > 0.9 or limit == 1.0
    if profile != "openvino-cpu":
        assert figures.max_probability_drift > 1e-5, "it answers as f32 does"
    assert model_id.dtype == np.int32
    assert {digest_of_model_id(tuple(row)) for row in model_id.tolist()} == {artifact.weights_digest}


def image_of(studies: np.ndarray) -> triton.InferInput:
    image = triton.InferInput("IMAGE", list(studies.shape), "FP32")
    image.set_data_from_numpy(studies)
    return image


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, TritonServer]]:
    """(the tiny repository, its server), with the classifier on openvino in batches of four where they come."""
    repository = write_tiny_repository(tmp_path_factory.mktemp("tiny") / "repository")
    configs = repository / "classifier" / "configs"
    text = (configs / "batching.pbtxt").read_text().replace('"onnxruntime"', '"openvino"')
    (configs / "openvino.pbtxt").write_text(text.replace("intra_op_thread_count", "INFERENCE_NUM_THREADS"))
    with running_server(repository, profile="openvino") as server:
        yield repository, server


@pytest.mark.triton
def test_studies_of_several_requests_share_a_batch(ensemble: tuple[Path, TritonServer]) -> None:
    server = ensemble[1]
    raw = [np.array([[n, 1, 2, 3]], dtype=np.float32) for n in range(4)]
    done: list[tuple[int, Any]] = []
    with triton.InferenceServerClient(server.grpc_url) as client:
        before = executions(client, server)
        for n, value in enumerate(raw):
            tensor = triton.InferInput("RAW", list(value.shape), "FP32")
            tensor.set_data_from_numpy(value)
            client.async_infer("glioma", [tensor], lambda result, error, n=n: done.append((n, error or result)))
        wait_until(lambda: len(done) == len(raw), "four answers")
        for n, answer in done:
            np.testing.assert_allclose(answer.as_numpy("SCORE"), expected_score(raw[n]))
        assert executions(client, server) - before < len(raw)


def executions(client: triton.InferenceServerClient, server: TritonServer) -> int:
    token = {GRPC_ADMIN_HEADER: server.options.admin_token}
    (model,) = client.get_inference_statistics("classifier", headers=token).model_stats
    return int(model.execution_count)


@pytest.mark.triton
def test_a_cancelled_study_is_dropped_and_the_next_is_answered(ensemble: tuple[Path, TritonServer]) -> None:
    repository, server = ensemble
    value = np.array([[1, 1, 2, 3]] * 4, dtype=np.float32)  # four rows: a whole batch, so that nothing waits
    done: list[Any] = []
    with triton.InferenceServerClient(server.grpc_url) as client:
        with hold(repository) as waiting:
            tensor = triton.InferInput("RAW", list(value.shape), "FP32")
            tensor.set_data_from_numpy(value)
            call = client.async_infer("glioma", [tensor], lambda result, error: done.append(error or result))
            wait_until(waiting.reached, "the study in its first step")
            call.cancel()
            wait_until(lambda: len(done) == 1, "the cancelled call's end")
        assert isinstance(done[0], InferenceServerException)
        np.testing.assert_allclose(ask(client, value), expected_score(value))


@pytest.mark.triton
def test_a_version_that_was_never_shown_in_bf16_is_refused_before_the_server_starts(
    artifact: Artifact, tmp_path: Path
) -> None:
    write_version(convert(artifact, str), tmp_path)
    add_version(tmp_path / "repository", tmp_path)
    check_repository(tmp_path / "repository", "openvino-cpu")
    for profile in ("openvino-cpu-bf16", "openvino-cpu-int8"):
        with pytest.raises(GlioserveError, match="--variant") as caught:
            check_repository(tmp_path / "repository", profile)
        assert find_code(str(caught.value)) is ErrorCode.INVALID_REPOSITORY
