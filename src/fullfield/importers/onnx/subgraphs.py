"""Reads the graphs in attributes of ONNX nodes: the branches of ``If``, the bodies of ``Loop`` and ``Scan``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import onnx

_GRAPH, _GRAPHS = onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes."""
    for attribute in node.attribute:
        if attribute.type == _GRAPH:
            yield attribute.g
        elif attribute.type == _GRAPHS:
            yield from attribute.graphs


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph, and those inside it."""
    yield graph
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from all_graphs(inner)


def read_names(node: onnx.NodeProto) -> Iterator[str]:
    """The values that a node reads: its inputs, and each once that graphs inside it read from outside."""
    yield from filter(None, node.input)
    for inner in inner_graphs(node):
        yield from _outer_names(inner)


def readers(nodes: Iterable[onnx.NodeProto], outputs: Iterable[onnx.ValueInfoProto]) -> Counter[str]:
    """How often each value is read, by nodes and as an output."""
    counts = Counter(name for node in nodes for name in read_names(node))
    counts.update(output.name for output in outputs)
    return counts


def _outer_names(graph: onnx.GraphProto) -> set[str]:
    """The values that a graph reads and does not compute."""
    own = {each.name for each in (*graph.input, *graph.initializer)}
    found: set[str] = set()
    for node in graph.node:
        found.update(set(read_names(node)) - own)
        own.update(node.output)
    return found | ({output.name for output in graph.output} - own)
