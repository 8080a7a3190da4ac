"""Helpers for torch's ONNX exporter: they silence its remarks and remove the traces that it leaves in a graph."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import onnx
from google.protobuf.message import Message


def strip_traces(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes from ``model``: stack traces with the paths of the machine that exported."""
    graph = model.graph
    holders: list[Message] = [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for holder in holders:
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence the exporter's remarks that torchvision is absent (we need none of it) and its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)
            yield
    finally:
        logger.setLevel(level)
