"""Loading a brain model: where it is looked for, what it is held to, and every way in which it can be wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.brain_model import BRAIN_MODELS_VARIABLE, sidecar_name
from glioserve_contract.records.recipe import BrainExtraction
from glioserve_preprocess.brain import model as brain_model
from glioserve_preprocess.brain.model import load_brain_model, model_files, site_folder
from support.models.brain_models import SYNTHSTRIP_LIKE, distance_network, graph, write_brain_model


@pytest.fixture(autouse=True)
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package's folder of our own, so that what ships does not matter here."""
    folder = tmp_path / "packaged"
    folder.mkdir()
    monkeypatch.setattr(brain_model, "PACKAGED", folder)
    monkeypatch.setattr(brain_model, "_LOADED", {})
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


def written(folder: Path, name: str = "a.onnx", **changes: Any) -> BrainExtraction:
    return write_brain_model(folder, name, distance_network(), SYNTHSTRIP_LIKE, **changes)


def refusal(extraction: BrainExtraction, folder: Path | None) -> GlioserveError:
    with pytest.raises(GlioserveError) as caught:
        load_brain_model(extraction, folder)
    assert str(folder) not in str(caught.value)  # no path of a server in a message
    return caught.value


def test_a_model_of_the_package_needs_no_folder(packaged: Path) -> None:
    extraction = written(packaged)
    model = load_brain_model(extraction)
    assert model is not None
    assert model.digest == extraction.digest
    assert model.card.name == "synthstrip-like"
    answer = model.run(np.zeros((1, 1, 20, 24, 28), np.float32))
    assert answer.shape == (1, 1, 20, 24, 28)
    np.testing.assert_allclose(answer, 6.0)


def test_the_sites_folder_comes_first_and_the_package_after_it(packaged: Path, site: Path) -> None:
    theirs, ours = written(site, threshold=1), written(packaged, threshold=2)
    other = written(packaged, "other.onnx", threshold=3)
    thresholds = [m.card.threshold for e in (theirs, other) if (m := load_brain_model(e, site)) is not None]
    assert thresholds == [1, 3]
    assert refusal(ours, site).code is ErrorCode.BRAIN_MODEL_MISMATCH
    assert [p.parent.name for p in model_files(site)] == ["site", "packaged"]
    assert [p.name for p in model_files(None)] == ["a.onnx", "other.onnx"]


def test_the_classical_method_loads_nothing() -> None:
    assert load_brain_model(BrainExtraction("classical"), Path("/nowhere")) is None


def test_the_folder_is_the_environments(monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    monkeypatch.delenv(BRAIN_MODELS_VARIABLE, raising=False)
    assert site_folder() is None
    monkeypatch.setenv(BRAIN_MODELS_VARIABLE, "")
    assert site_folder() is None
    monkeypatch.setenv(BRAIN_MODELS_VARIABLE, str(site))
    assert site_folder() == site


def test_it_is_loaded_once_by_any_number_of_threads(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extraction = written(site)
    loads: list[str] = []
    real = brain_model._load

    def counted(name: str, *arguments: Any) -> Any:
        loads.append(name)
        return real(name, *arguments)

    monkeypatch.setattr(brain_model, "_load", counted)
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda _: load_brain_model(extraction, site), range(32)))
    assert len(loads) == 1
    assert len({id(m) for m in models}) == 1
    (site / "a.onnx").unlink()  # a volume that is unmounted does not take a running server with it
    assert load_brain_model(extraction, site) is models[0]


# --- Not there, or another ---


def test_a_model_that_is_nowhere(site: Path) -> None:
    extraction = written(site)
    for folder, said in (
        (None, "GLIOSERVE_BRAIN_MODELS is not set"),
        (site / "no", "folder of GLIOSERVE_BRAIN_MODELS"),
    ):
        error = refusal(extraction, folder)
        assert error.code is ErrorCode.BRAIN_MODEL_MISSING
        assert said in error.detail
        assert "a.onnx" in error.detail


def test_a_model_without_its_card(site: Path) -> None:
    extraction = written(site)
    (site / sidecar_name("a.onnx")).unlink()
    error = refusal(extraction, site)
    assert error.code is ErrorCode.BRAIN_MODEL_MISSING
    assert "a.json" in error.detail


@pytest.mark.parametrize("spoilt", ["a.onnx", "a.json"])
def test_other_bytes_are_another_model_and_are_not_parsed(
    site: Path, spoilt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extraction = written(site)
    (site / spoilt).write_bytes((site / spoilt).read_bytes() + b" ")
    monkeypatch.setattr(brain_model, "_load", lambda *_: pytest.fail("parsed before its digest was known"))
    error = refusal(extraction, site)
    assert error.code is ErrorCode.BRAIN_MODEL_MISMATCH
    assert str(extraction.digest) in error.detail
    assert error.detail.count("sha256:") == 2


def test_a_changed_threshold_is_another_model(site: Path) -> None:
    extraction = written(site)
    written(site, threshold=0.5)
    assert refusal(extraction, site).code is ErrorCode.BRAIN_MODEL_MISMATCH


# --- Not what the card says ---


def _graph_of(operator: str, **attributes: Any) -> bytes:
    return graph([helper.make_node(operator, ["image"], ["distance"], **attributes)], {}, "image", "distance")


def _logarithm_of_less_than_nothing() -> bytes:
    nodes = [helper.make_node("Sub", ["image", "TWO"], ["below"]), helper.make_node("Log", ["below"], ["distance"])]
    return graph(nodes, {"TWO": np.float32(2)}, "image", "distance")


def _of_type(kind: int) -> bytes:
    return graph([helper.make_node("Identity", ["image"], ["distance"])], {}, "image", "distance", kind=kind)


def _weights_elsewhere() -> bytes:
    """The graph's weights are in another file, which the digest would not cover."""
    model = onnx.load_from_string(distance_network())
    with tempfile.TemporaryDirectory() as folder:
        onnx.save_model(
            model, f"{folder}/m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=16
        )
        Path("weights.bin").write_bytes(Path(folder, "weights.bin").read_bytes())
        return Path(folder, "m.onnx").read_bytes()


def _two_inputs() -> bytes:
    nodes = [helper.make_node("Add", ["image", "more"], ["distance"])]
    return graph(nodes, {}, "image", "distance", further_inputs=("more",))


INVALID: list[tuple[str, Callable[[], bytes], dict[str, Any], str]] = [
    ("no graph", lambda: b"no graph", {}, "a.onnx cannot be loaded"),
    ("an empty file", lambda: b"", {}, "a.onnx cannot be loaded"),
    ("no operator that there is", lambda: _graph_of("Scalp"), {}, "a.onnx cannot be loaded"),
    ("weights in another file", _weights_elsewhere, {}, "a.onnx cannot be loaded"),
    ("another input", distance_network, {"input": "t1"}, "takes ['image'], its card says 't1'"),
    ("another output", distance_network, {"output": "mask"}, "gives ['distance'], its card says 'mask'"),
    ("two inputs", _two_inputs, {}, "takes ['image', 'more']"),
    ("double precision", lambda: _of_type(TensorProto.DOUBLE), {}, "tensor(double)"),
    ("half precision", lambda: _of_type(TensorProto.FLOAT16), {}, "tensor(float16)"),
    ("one channel for two", distance_network, {"output_kind": "class_logits"}, "FP32 [1, 2, 'any', 'any', 'any']"),
    ("one size for many", lambda: distance_network(size=(48, 48, 48)), {}, "FP32 [1, 1, 'any', 'any', 'any']"),
    (
        "another size",
        lambda: distance_network(size=(48, 48, 64)),
        {"max_size_voxels": [48, 48, 48]},
        "FP32 [1, 1, 48, 48, 48]",
    ),
    (
        "an output of another size",
        lambda: _graph_of("MaxPool", kernel_shape=[2, 2, 2], strides=[2, 2, 2]),
        {},
        "gives float32 [1, 1, 24, 24, 24], its card wants FP32 [1, 1, 48, 48, 48]",
    ),
    ("values that are not finite", _logarithm_of_less_than_nothing, {}, "not finite"),
    (
        "a size that the network cannot run on",
        lambda: _graph_of("MaxPool", kernel_shape=[64, 64, 64]),
        {},
        "a.onnx does not run on [48, 48, 48] voxels",
    ),
    ("a card of another schema", distance_network, {"schema": "glioserve/brain-model/2"}, "a.json: card.schema:"),
    ("a card with a typing error", distance_network, {"treshold": 1}, "a.json: card.treshold: unknown key"),
]


@pytest.mark.parametrize(("make", "changes", "said"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID])
def test_a_model_that_is_not_what_its_card_says(
    site: Path, make: Callable[[], bytes], changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site.parent)
    error = refusal(write_brain_model(site, "a.onnx", make(), SYNTHSTRIP_LIKE, **changes), site)
    assert error.code is ErrorCode.INVALID_BRAIN_MODEL
    assert said in error.detail
    assert "\n" not in error.detail


def test_a_failed_load_is_tried_again(site: Path) -> None:
    extraction = written(site)
    kept = (site / "a.onnx").read_bytes()
    (site / "a.onnx").unlink()
    assert refusal(extraction, site).code is ErrorCode.BRAIN_MODEL_MISSING
    (site / "a.onnx").write_bytes(kept)
    assert load_brain_model(extraction, site) is not None
    assert refusal(replace(extraction, digest="sha256:" + "0" * 64), site).code is ErrorCode.BRAIN_MODEL_MISMATCH
