"""Branches whose maps have one size on a window but not on every image: cut to the cells that all of them have."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch.fx import Graph, GraphModule, Node

from fullfield.geometry.network import Network

aten = torch.ops.aten


def crop_to_common_size(module: GraphModule, network: Network) -> GraphModule:
    """A fully convolutional graph whose branches meet on images of any size.

    A map of odd size that is halved and doubled again comes back with a row or column more than the one it is added
    to. What one branch has beyond the others' last cells no scan computes either; on a window nothing is cut. Where
    either of two branches may be the larger one, an ONNX file made of the graph takes only the sizes at which it is the
    one that it was at the export; onnxruntime refuses the others.

    Exact: yes

    Args:
        module: a canonical graph in which every node is shared.
        network: the same as integers.
    """
    graph = copy.deepcopy(module.graph)
    sizes = {dim: _sizes(network, dim + 2) for dim in (-2, -1)}
    nodes = {node.name: node for node in graph.nodes}
    cuts = 0
    for spec in network:
        inputs = [nodes[name] for name in spec.inputs]
        if len(inputs) > 1 and not any("cells_at" in node.meta for node in inputs):
            now = _cut_inputs(graph, nodes[spec.name], inputs, sizes)
            cuts += sum(now[node] is not node for node in inputs)
    return GraphModule(module, graph, type(module).__name__) if cuts else module


def _sizes(network: Network, axis: int) -> Mapping[str, Sequence[int]]:
    """Cells of every node along an axis, on images from the window's length up to where the differences repeat."""
    jumps = [place.axes[axis].jump for place in network.places(cap=0).values() if place.axes is not None]
    first = network.window[axis]
    sizes: dict[str, Sequence[int]] = {}
    for spec in network:
        if not spec.inputs:
            sizes[spec.name] = range(first, first + math.lcm(*jumps))
        else:
            common = map(min, zip(*(sizes[name] for name in spec.inputs), strict=True))
            sizes[spec.name] = [spec.ops[axis].cells(count) for count in common]
    return sizes


def _cut_inputs(
    graph: Graph, node: Node, inputs: Sequence[Node], sizes: Mapping[int, Mapping[str, Sequence[int]]]
) -> dict[Node, Node]:
    """What a node reads now in the place of each of its inputs: itself, or the cells that all of them have."""
    now = {one: one for one in inputs}
    for dim, table in sizes.items():
        common = list(map(min, zip(*(table[one.name] for one in inputs), strict=True)))
        over = {one: sum(table[one.name]) - sum(common) for one in inputs}
        least = min(inputs, key=over.__getitem__)
        for one in inputs:
            if one is not least and over[least]:  # neither is always the smaller one
                now[least] = _cut(graph, node, now[least], now[one], dim)
        for one in inputs:
            if one is not least and over[one]:
                now[one] = _cut(graph, node, now[one], now[least], dim)
    for one in inputs:
        if now[one] is not one:
            node.replace_input_with(one, now[one])
    return now


def _cut(graph: Graph, before: Node, node: Node, like: Node, dim: int) -> Node:
    """The cells of ``node`` up to where ``like`` ends."""
    with graph.inserting_before(before):
        length = graph.call_function(aten.sym_size.int, (like, dim))
        result = graph.call_function(aten.slice.Tensor, (node, dim, 0, length))
    for new, kind in ((length, "scalar"), (result, "per_cell")):
        new.meta = {"path": before.meta["path"], "op": "slice", "kind": kind}
    return result
