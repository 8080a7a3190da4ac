"""A trained network of ours as an ONNX graph, and how far the graph's answers are from PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from glioserve_networks.traced import quiet_exporter, strip_traces

OPSET = 20


def onnx_graph(
    net: torch.nn.Module,
    example: torch.Tensor,
    output: str,
    dynamic_shapes: dict[str, Any] | None = None,
) -> bytes:
    """Return the network as ONNX, whose input is ``image``; the same weights give the same bytes.

    Args:
        net: The network; it is left in evaluation mode.
        example: Input of the shape that the graph is traced with.
        output: Name of the graph's output.
        dynamic_shapes: Axes of free size, as ``torch.onnx.export`` takes them; None for a graph of one size.
    """
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            net.eval(),
            (example,),
            input_names=["image"],
            output_names=[output],
            dynamic_shapes=dynamic_shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    strip_traces(model)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def drift_of(net: torch.nn.Module, graph: bytes, image: torch.Tensor) -> float:
    """Return the largest difference between the answers of PyTorch and of the graph to ``image``."""
    with torch.no_grad():
        wanted = net.eval()(image).numpy()
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return float(np.abs(session.run(None, {"image": image.numpy()})[0] - wanted).max())
