"""Crops branches to a common size, so that ``add`` and ``cat`` work at any input size."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch.fx import Graph, GraphModule, Node

from fullfield.geometry.network import Network

aten = torch.ops.aten


def crop_to_common_size(module: GraphModule, network: Network) -> GraphModule:
    """A fully convolutional graph whose branches have equal sizes on every image, not only on a window.

    A map of odd size that is halved and doubled again has one row or column more than the map that it is added to.
    Cells of a branch beyond the others' last ones are cropped; no scan computes them, and on a window there are none.
    Where either of two branches may be the larger one, an ONNX file made of the graph takes only sizes at which the
    same branch is larger as at the export; onnxruntime refuses the others.

    Exact: yes

    Args:
        module: a canonical graph in which every node is shared.
        network: the same as integers.
    """
    graph = copy.deepcopy(module.graph)
    sizes = {dim: _sizes(network, dim + 2) for dim in (-2, -1)}
    nodes = {node.name: node for node in graph.nodes}
    crops = 0
    for spec in network:
        inputs = [nodes[name] for name in spec.inputs]
        if len(inputs) > 1 and not any("cells_at" in node.meta for node in inputs):
            cropped = _crop_inputs(graph, nodes[spec.name], inputs, sizes)
            crops += sum(cropped[node] is not node for node in inputs)
    return GraphModule(module, graph, type(module).__name__) if crops else module


def _sizes(network: Network, axis: int) -> Mapping[str, Sequence[int]]:
    """Cells of every node along an axis, on images from the window's length up to where the differences repeat."""
    jumps = [place.axes[axis].jump for place in network.places(cap=0).values() if place.axes is not None]
    first, unit = network.window[axis], network.units[axis]
    sizes: dict[str, Sequence[int]] = {}
    for spec in network:
        if not spec.inputs:
            sizes[spec.name] = range(first, first + math.lcm(*jumps, unit) // unit)
        else:
            common = map(min, zip(*(sizes[name] for name in spec.inputs), strict=True))
            sizes[spec.name] = [spec.ops[axis].cells(count) for count in common]
    return sizes


def _crop_inputs(
    graph: Graph, node: Node, inputs: Sequence[Node], sizes: Mapping[int, Mapping[str, Sequence[int]]]
) -> dict[Node, Node]:
    """For each input of a node what it reads instead: the input itself, or its cells that all inputs have."""
    read = {one: one for one in inputs}
    for dim, table in sizes.items():
        common = list(map(min, zip(*(table[one.name] for one in inputs), strict=True)))
        excess = {one: sum(table[one.name]) - sum(common) for one in inputs}
        smallest = min(inputs, key=excess.__getitem__)
        for one in inputs:
            if one is not smallest and excess[smallest]:  # neither is always the smaller one
                read[smallest] = _crop(graph, node, read[smallest], read[one], dim)
        for one in inputs:
            if one is not smallest and excess[one]:
                read[one] = _crop(graph, node, read[one], read[smallest], dim)
    for one in inputs:
        if read[one] is not one:
            node.replace_input_with(one, read[one])
    return read


def _crop(graph: Graph, before: Node, node: Node, like: Node, dim: int) -> Node:
    """The cells of ``node`` up to the last one of ``like``."""
    with graph.inserting_before(before):
        length = graph.call_function(aten.sym_size.int, (like, dim))
        result = graph.call_function(aten.slice.Tensor, (node, dim, 0, length))
    for new, kind in ((length, "scalar"), (result, "per_cell")):
        new.meta = {"path": before.meta["path"], "op": "slice", "kind": kind}
    return result
