"""Maps the nodes of an ONNX graph, one after the other, with a table from names to values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from fullfield.errors import CaptureError, first_line
from fullfield.importers.limits import LayerRefused, broken
from fullfield.importers.onnx import (  # noqa: F401 - their import fills the registry
    activations,
    arithmetic,
    attention,
    bits,
    classical,
    constants,
    control,
    layout,
    linear,
    norms,
    pooling,
    quantised,
    quantised_runtime,
    recurrent,
    reductions,
    resizing,
    scattering,
    selection,
    slicing,
    spectra,
    support_vectors,
    windowed,
)
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.layer_names import layer_path
from fullfield.importers.onnx.reader import check_operators, full_name
from fullfield.importers.onnx.registry import REGISTRY, Body, OnnxCall
from fullfield.importers.onnx.subgraphs import read_names, readers
from fullfield.importers.onnx.tensors import to_torch
from fullfield.importers.onnx.values import Known, OnnxValue


@dataclass
class Reading:
    """A file that is read.

    Args:
        builder: of the new graph.
        opset: of the standard operators.
        path: of the file.
        nodes_left: how many nodes may still be mapped; a loop maps its nodes each time.
        fix: what to do about a node that cannot be mapped.
    """

    builder: AtenBuilder
    opset: int
    path: Path
    nodes_left: int
    fix: str


class GraphMapping:
    """The nodes of a graph as nodes of a new one.

    Args:
        inputs: the values of the graph's inputs.
        outer: the graph that this one is part of.
    """

    def __init__(
        self,
        graph: onnx.GraphProto,
        reading: Reading,
        inputs: Mapping[str, OnnxValue],
        outer: GraphMapping | None = None,
    ) -> None:
        self.graph, self.reading, self.builder, self.outer = graph, reading, reading.builder, outer
        self.initialisers = {tensor.name: tensor for tensor in graph.initializer}
        self.values = dict(inputs)
        self.readers = readers(graph.node, graph.output)
        self.left = Counter(self.readers)

    def run(self) -> tuple[OnnxValue, ...]:
        """The graph's outputs.

        Raises:
            CaptureError: an operator cannot be mapped, or a value is missing.
        """
        self.builder.allowance.hold(sum(map(self.builder.window_bytes, self.values.values())))
        for node in self.graph.node:
            self._map(node)
        found = tuple(self._lookup(output.name, "the output") for output in self.graph.output)
        self.builder.allowance.hold(-sum(map(self.builder.window_bytes, self.values.values())))
        return found

    def _map(self, node: onnx.NodeProto) -> None:
        self.builder.path = layer_path(node)
        inputs = tuple(self._lookup(name, self.builder.path) if name else None for name in node.input)
        try:
            self._count()
            result = REGISTRY[full_name(node)](self.builder, self._call(node, inputs))
            pairs = zip(node.output, result if isinstance(result, tuple) else (result,), strict=False)
            self._hold(node, {name: value for name, value in pairs if value is not None})
        except CaptureError:  # of a node inside this one
            raise
        except Exception as error:  # torch raises many types for a damaged file
            fix = error.fix if isinstance(error, LayerRefused) and error.fix else self.reading.fix
            where = f"{self.reading.path}: {layer_path(node)} ({node.op_type})"
            raise CaptureError(where, first_line(error), fix=fix) from error

    def _count(self) -> None:
        """Counts a node that is about to be mapped.

        Raises:
            LayerRefused: loops make too many.
        """
        self.reading.nodes_left -= 1
        if self.reading.nodes_left < 0:
            raise LayerRefused("is repeated by loops, and comes after more nodes than a file of this size may have")

    def _call(self, node: onnx.NodeProto, inputs: tuple[OnnxValue | None, ...]) -> OnnxCall:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        for name, value in attributes.items():
            if isinstance(value, onnx.GraphProto):
                attributes[name] = self._body(value)
        outputs = len([name for name in node.output if name and self.readers[name]])
        counts = tuple(self.readers[name] for name in node.input)
        named = len(node.output) if node.op_type == "Split" else outputs
        return OnnxCall(node.op_type, inputs, attributes, named, self.reading.opset, counts)

    def _body(self, graph: onnx.GraphProto) -> Body:
        """Maps a graph inside a node, which may read values outside."""

        def run(inputs: Sequence[OnnxValue]) -> tuple[OnnxValue, ...]:
            if len(inputs) != len(graph.input):
                raise LayerRefused(f"its graph {graph.name!r} takes {len(graph.input)} inputs, not {len(inputs)}")
            check_operators(graph.node, self.reading.path)
            given = {entry.name: value for entry, value in zip(graph.input, inputs, strict=True)}
            return GraphMapping(graph, self.reading, given, self).run()

        return run

    def _hold(self, node: onnx.NodeProto, results: dict[str, OnnxValue]) -> None:
        """Keeps results as long as a later node reads them, and counts the bytes that all these take."""
        self.values.update(results)
        self.builder.allowance.hold(sum(map(self.builder.window_bytes, results.values())))
        read = list(read_names(node))
        self.left.subtract(read)
        for name in {*read, *results}:
            if self.left[name] <= 0 and name in self.values:
                self.builder.allowance.hold(-self.builder.window_bytes(self.values.pop(name)))

    def _lookup(self, name: str, reader: str) -> OnnxValue:
        if name not in self.values:
            if name not in self.initialisers:
                if self.outer is not None:
                    return self.outer._lookup(name, reader)
                raise broken(self.reading.path, f"{reader} reads {name!r}, which no node computes")
            try:
                tensor = to_torch(self.initialisers[name], folder=self.reading.path.parent)
            except LayerRefused as refusal:
                raise broken(self.reading.path, f"tensor {name!r}: {refusal}") from refusal
            self.values[name] = Known.constant(tensor, name)
        return self.values[name]
