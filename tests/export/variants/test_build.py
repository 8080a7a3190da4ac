"""The gates: what is written of a variant that holds, and what is left of one that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import Recipe, VariantLimits
from glioserve_export.graphs.onnx_export import signature
from glioserve_export.variants import build, runtimes
from glioserve_export.variants.build import VARIANTS, Variants, WantedVariants, make_variants
from glioserve_export.variants.runtimes import has_bf16
from glioserve_export.variants.trunk import divide
from support.models.variant_limits import LAX, STRICT

pytest.importorskip("openvino", reason="the openvino extra is not installed")
needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this CPU has neither AVX512-BF16 nor AMX")


def made(
    tiny: tuple[Recipe, bytes],
    images: np.ndarray,
    *names: str,
    limits: VariantLimits = LAX,
    optional: bool = False,
    progress: Callable[[str], object] = str,
) -> Variants:
    recipe = replace(tiny[0], variant_limits=limits)
    return make_variants(tiny[1], recipe, images, WantedVariants(names, optional), progress=progress)


def test_fp16_and_int8_leave_their_file_and_their_figures(tiny: tuple[Recipe, bytes], images: np.ndarray) -> None:
    variants = made(tiny, images, "int8", "fp16")
    records = variants.records
    assert list(records) == ["fp16", "int8"]
    assert sorted(variants.files) == ["model_fp16.onnx", "model_int8.onnx"]
    for name, record in records.items():
        assert record.file == f"model_{name}.onnx"
        assert record.limits == LAX
        assert record.figures.studies == len(images)
        assert 0 < record.figures.max_probability_drift < 0.5
        assert record.figures.min_heatmap_correlation > 0.9
    assert "rounded" in records["fp16"].runtime
    assert "OpenVINO" in records["int8"].runtime
    assert records["int8"].ranges_from_studies == len(images) // 2


@needs_bf16
def test_bf16_is_the_fp32_file_run_otherwise(tiny: tuple[Recipe, bytes], images: np.ndarray) -> None:
    variants = made(tiny, images, "bf16")
    records = variants.records
    assert records["bf16"].file == "model.onnx"
    assert 1e-5 < records["bf16"].figures.max_probability_drift < 0.05  # f32 would be below 1e-6
    assert variants.files == {}


def test_bf16_is_not_shown_where_the_processor_has_none(
    tiny: tuple[Recipe, bytes], images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Core:
        def get_property(self, *_: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(runtimes, "_core", Core)
    with pytest.raises(GlioserveError, match="no bf16") as raised:
        made(tiny, images, "bf16")
    assert raised.value.code is ErrorCode.VARIANT_REFUSED


def test_int8_quantises_the_trunk_alone(tiny: tuple[Recipe, bytes], images: np.ndarray) -> None:
    content = made(tiny, images, "int8").files["model_int8.onnx"]
    fp32, int8 = onnx.load_from_string(tiny[1]), onnx.load_from_string(content)
    assert signature(int8) == signature(fp32)
    producers = {name: node.op_type for node in int8.graph.node for name in node.output}
    division = divide(fp32)
    by_name = {node.name: node for node in int8.graph.node}
    for node in division.trunk:
        if node.op_type == "Conv":
            assert [producers[name] for name in by_name[node.name].input[:2]] == ["DequantizeLinear"] * 2
    for node in (n for n in division.head if n.op_type != "Shape"):  # a shape is the same in any precision
        assert [producers.get(n) for n in by_name[node.name].input] == [
            next((p.op_type for p in fp32.graph.node if n in p.output), None) for n in node.input
        ]
    points = [t for t in int8.graph.initializer if t.name.endswith("zero_point")]
    assert points
    assert not any(numpy_helper.to_array(t).any() for t in points)  # asymmetric ones OpenVINO answered wrongly


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_a_refused_variant_fails_with_its_figures(tiny: tuple[Recipe, bytes], images: np.ndarray, name: str) -> None:
    with pytest.raises(GlioserveError, match=rf"{name}, over 8 studies: SCORE drifts by .* \(at most 0\)") as raised:
        made(tiny, images, name, limits=STRICT)
    assert raised.value.code is ErrorCode.VARIANT_REFUSED


def test_a_refused_variant_is_left_out_where_it_is_optional(tiny: tuple[Recipe, bytes], images: np.ndarray) -> None:
    between = replace(LAX, max_probability_drift=3e-4)  # fp16 meets it, int8 does not
    with pytest.raises(GlioserveError, match="int8, over 8 studies"):
        made(tiny, images, "fp16", "int8", limits=between)
    told: list[str] = []
    variants = made(tiny, images, "fp16", "int8", limits=between, optional=True, progress=told.append)
    assert list(variants.records) == ["fp16"]
    assert list(variants.files) == ["model_fp16.onnx"]
    assert any(line.startswith("left out: int8") for line in told)


def test_activations_beyond_fp16_are_refused_by_the_gate(
    tiny: tuple[Recipe, bytes], images: np.ndarray, loud: Callable[[str, float], bytes]
) -> None:
    """No weight is out of range, and ONNX Runtime's own answers to the file are finite: only the roundings show it."""
    loudest = loud("conv1.weight", 3e4)
    with pytest.raises(GlioserveError, match=r"in \d of 8 studies a value inside the network exceeds 65504") as raised:
        made((tiny[0], loudest), images, "fp16")
    assert raised.value.code is ErrorCode.VARIANT_REFUSED


def test_another_model_id_is_refused(
    tiny: tuple[Recipe, bytes], images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swapped(content: bytes) -> bytes:
        model = onnx.load_from_string(half(content))
        for tensor in model.graph.initializer:
            if tensor.name == "model_id":
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1, tensor.name))
        changed: bytes = model.SerializeToString()
        return changed

    half = build.half_precision
    monkeypatch.setattr(build, "half_precision", swapped)
    with pytest.raises(GlioserveError, match="another MODEL_ID"):
        made(tiny, images, "fp16")


def test_what_cannot_be_gated_is_refused_before_any_work(
    tiny: tuple[Recipe, bytes], images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GlioserveError, match="needs a calibration set"):
        made(tiny, images[:0], "fp16")
    with pytest.raises(GlioserveError, match="3 studies; 8 are the least"):
        made(tiny, images[:3], "fp16")
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(build, "by_onnxruntime", lambda *_: pytest.fail("worked first"))
    with pytest.raises(GlioserveError, match=r"bf16, int8: the gate needs OpenVINO: pip install '\.\[openvino"):
        made(tiny, images, *VARIANTS)


def test_none_asked_for_is_none_made(tiny: tuple[Recipe, bytes], images: np.ndarray) -> None:
    assert made(tiny, images).records == {}
