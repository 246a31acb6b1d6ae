"""Maps the nodes of an ONNX graph, one after the other, with a table from names to values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnx

from fullfield.errors import CaptureError, first_line
from fullfield.importers.limits import LayerRefused, broken
from fullfield.importers.onnx import (
    activations,
    arithmetic,
    constants,
    layout,
    linear,
    norms,
    pooling,
    quantised,
    reductions,
    resizing,
    selection,
    slicing,
    windowed,
)
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.layer_names import layer_path
from fullfield.importers.onnx.reader import full_name
from fullfield.importers.onnx.registry import REGISTRY, OnnxCall
from fullfield.importers.onnx.tensors import to_torch
from fullfield.importers.onnx.values import BATCHES, Known, OnnxValue, Traced

FAMILIES = (
    activations,
    arithmetic,
    constants,
    layout,
    linear,
    norms,
    pooling,
    quantised,
    reductions,
    resizing,
    selection,
    slicing,
    windowed,
)
"""The modules whose import fills the registry."""


class GraphMapping:
    """The nodes of a graph as nodes of a new one.

    Args:
        inputs: the values of the graph's inputs.
        opset: of the standard operators.
        path: of the file.
    """

    def __init__(
        self,
        graph: onnx.GraphProto,
        builder: AtenBuilder,
        *,
        inputs: Mapping[str, OnnxValue],
        opset: int,
        path: Path,
    ) -> None:
        self.graph, self.builder, self.opset, self.path = graph, builder, opset, path
        self.initialisers = {tensor.name: tensor for tensor in graph.initializer}
        self.values = dict(inputs)
        self.readers = Counter(name for node in graph.node for name in node.input if name)
        self.readers.update(output.name for output in graph.output)
        self.left = Counter(self.readers)

    def run(self) -> tuple[OnnxValue, ...]:
        """The graph's outputs.

        Raises:
            CaptureError: an operator cannot be mapped, or a value is missing.
        """
        for node in self.graph.node:
            self._map(node)
        return tuple(self._lookup(output.name, "the output") for output in self.graph.output)

    def _map(self, node: onnx.NodeProto) -> None:
        self.builder.path = layer_path(node)
        inputs = tuple(self._lookup(name, self.builder.path) if name else None for name in node.input)
        try:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            outputs = len([name for name in node.output if name and self.readers[name]])
            readers = tuple(self.readers[name] for name in node.input)
            named = len(node.output) if node.op_type == "Split" else outputs
            call = OnnxCall(node.op_type, inputs, attributes, named, self.opset, readers)
            result = REGISTRY[full_name(node)](self.builder, call)
            results = dict(zip(node.output, result if isinstance(result, tuple) else (result,), strict=False))
            self._hold(node, results)
        except Exception as error:  # torch raises many types for a damaged file
            raise CaptureError(
                f"{self.path}: {self.builder.path} ({node.op_type})",
                first_line(error),
                fix="check the window; else export the network again, or in another opset",
            ) from error

    def _hold(self, node: onnx.NodeProto, results: dict[str, OnnxValue]) -> None:
        """Keeps results as long as a later node reads them, and counts the bytes that all these take."""
        allowance = self.builder.allowance
        self.values.update(results)
        allowance.hold(sum(map(_window_bytes, results.values())))
        self.left.subtract(name for name in node.input if name)
        for name in {*node.input, *results}:
            if self.left[name] <= 0 and name in self.values:
                allowance.hold(-_window_bytes(self.values.pop(name)))

    def _lookup(self, name: str, reader: str) -> OnnxValue:
        if name not in self.values:
            if name not in self.initialisers:
                raise broken(self.path, f"{reader} reads {name!r}, which no node computes")
            try:
                tensor = to_torch(self.initialisers[name], folder=self.path.parent)
            except LayerRefused as refusal:
                raise broken(self.path, f"tensor {name!r}: {refusal}") from refusal
            self.values[name] = Known.constant(tensor, name)
        return self.values[name]


def _window_bytes(value: OnnxValue) -> int:
    """Bytes of a value that depends on the pixels, for one window."""
    low, high = (tensor.numel() * tensor.dtype.itemsize for tensor in value.tensors)
    return (high - low) // (BATCHES[1] - BATCHES[0]) if isinstance(value, Traced) else 0
