"""``model_int8.onnx``: the trunk's convolutions on 8-bit integers (QDQ, static, per channel), for OpenVINO on CPU.

Ranges come from studies that the network is shown. Activations are symmetric (zero point 0): OpenVINO 2026.4.1 answered
a file with asymmetric ones wrongly (SCORE off by 0.92 on the demo model, where ONNX Runtime was off by 0.009 with the
same file). A convolution's output is not quantised by itself, but where the next one takes it: each quantiser less is
drift less.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from glioserve_contract import ErrorCode, GlioserveError
from glioserve_contract.tensors import IMAGE
from glioserve_export.graphs.probes import Array
from glioserve_export.variants.trunk import divide

_OPERATORS = ["Conv"]
_OPTIONS = {"ActivationSymmetric": True, "OpTypesToExcludeOutputQuantization": _OPERATORS}


def quantised(content: bytes, images: Array) -> bytes:
    """Return an fp32 graph in int8, its ranges from ``images`` [n, C, D, H, W]; GLIO-5118 where none can be made."""
    model = onnx.load_from_string(content)
    properties = {p.key: p.value for p in model.metadata_props}
    head = [node.name for node in divide(model).head]
    with tempfile.TemporaryDirectory(prefix="glioserve-int8-") as scratch, _quiet():
        file = Path(scratch) / "model.onnx"
        try:
            quantize_static(
                onnx.load_from_string(content),
                file,
                _Studies(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_OPERATORS,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=head,
                extra_options=_OPTIONS,
            )
        except Exception as error:  # ONNX Runtime's errors share no narrower base
            raise GlioserveError(ErrorCode.VARIANT_REFUSED, f"int8: the graph cannot be quantised: {error}.") from error
        result = onnx.load(file)
    result.doc_string = f"{model.doc_string} Trunk in int8."
    helper.set_model_props(result, properties)
    onnx.checker.check_model(result, full_check=True)
    serialised: bytes = result.SerializeToString(deterministic=True)
    return serialised


class _Studies(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime is not typed
    def __init__(self, images: Array) -> None:
        self._studies = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        study = next(self._studies, None)
        return None if study is None else {IMAGE.name: study[None]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantiser's advice to optimise first: the exporter's graphs are optimised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
