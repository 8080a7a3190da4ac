"""The static configs are the contract's: every name, type and shape, and the ensemble's wiring."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from glioserve_contract import CONTRACT_VERSION
from glioserve_contract.limits import MAX_WAIT_S, MAX_WAITING_ANSWERS, MAX_WAITING_STUDIES
from glioserve_contract.tensors import CLASSIFIER_MODEL, ENSEMBLE, PREPROCESS_MODEL, REPORT_MODEL

ROOT = Path(__file__).resolve().parents[2]
STATIC = (ENSEMBLE, PREPROCESS_MODEL, REPORT_MODEL)


def config_of(model):
    text = (ROOT / "model_repository" / model.name / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize("model", STATIC, ids=lambda m: m.name)
def test_tensors_are_the_contracts(model):
    config = config_of(model)
    assert config.name == model.name
    assert config.max_batch_size == model.max_batch_size
    for found, wanted in ((config.input, model.inputs), (config.output, model.outputs)):
        assert [t.name for t in found] == [t.name for t in wanted]
        for tensor, spec in zip(found, wanted, strict=True):
            kind = "TYPE_STRING" if spec.dtype == "BYTES" else f"TYPE_{spec.dtype}"
            assert model_config_pb2.DataType.Name(tensor.data_type) == kind
            assert list(tensor.dims) == [d if isinstance(d, int) else -1 for d in spec.shape]
    for tensor, spec in zip(config.input, model.inputs, strict=True):
        assert tensor.optional == spec.optional


def test_the_ensemble_wires_every_tensor_by_its_own_name():
    steps = config_of(ENSEMBLE).ensemble_scheduling.step
    assert [s.model_name for s in steps] == ["preprocess", "classifier", "report"]
    for step, model in zip(steps, (PREPROCESS_MODEL, CLASSIFIER_MODEL, REPORT_MODEL), strict=True):
        assert dict(step.input_map) == {t.name: t.name for t in model.inputs}
        assert dict(step.output_map) == {t.name: t.name for t in model.outputs}
        assert step.model_version == -1


@pytest.mark.parametrize("model", [PREPROCESS_MODEL, REPORT_MODEL], ids=lambda m: m.name)
def test_adapters_know_the_contracts_version(model):
    config = config_of(model)
    assert config.backend == "python"
    assert config.parameters["contract_version"].string_value == CONTRACT_VERSION


@pytest.mark.parametrize(
    ("model", "most"),
    [(PREPROCESS_MODEL, MAX_WAITING_STUDIES), (REPORT_MODEL, MAX_WAITING_ANSWERS)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_every_queue_has_the_contracts_bounds(model, most):
    """The classifier's is written by the export, whose tests hold it to the same."""
    policy = config_of(model).dynamic_batching.default_queue_policy
    assert policy.max_queue_size == most
    assert policy.default_timeout_microseconds == MAX_WAIT_S * 1e6
    assert policy.allow_timeout_override
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
