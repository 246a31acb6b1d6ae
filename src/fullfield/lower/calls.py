"""What lowering asks of a canonical graph's nodes, and how a finished graph becomes a module."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from fullfield.canonical.form import Canonical
from fullfield.geometry.network import Network
from fullfield.graph.attributes import attribute_of
from fullfield.graph.calls import bind
from fullfield.graph.rewriting import uncompiled
from fullfield.lower.writer import Writer
from fullfield.operators.emitter import Call
from fullfield.operators.record import Windowed
from fullfield.operators.registry import record_of


class Calls:
    """The nodes of a network's canonical graph as a program calls them.

    Args:
        net: the network in canonical form.
        network: the same as integers.
        to: the program.
    """

    def __init__(self, net: Canonical, network: Network, to: Writer) -> None:
        self.network, self.to = network, to
        self.nodes = {n.name: n for n in net.graph.graph.nodes}
        self._one_type = not any(record_of(n).casts for n in self.nodes.values())

    def call(self, node: Node) -> Call:
        """The call of a windowed operator, as its record takes it."""
        spec = self.network[node.name]
        return Call(bind(node), spec.ops, self.network[spec.inputs[0]].elements, spec.elements)

    def is_head(self, node: Node) -> bool:
        """Whether the node's kernel is as large as its map and its operator has an emission for that."""
        operator = windowed(node)
        if operator is None or operator.emit_head is None:
            return False
        spec = self.network[node.name]
        cells = self.network[spec.inputs[0]].shape[-2:]
        return all(op.covers(n) for op, n in zip(spec.ops, cells, strict=True))

    def emit_head(self, node: Node, windows: Node, count: int) -> Node:
        """A head on the cells of ``count`` windows. Shape: ``(count, channels, y, x)`` -> ``(count, kernels, 1, 1)``"""
        operator = windowed(node)
        assert operator is not None
        assert operator.emit_head is not None
        return operator.emit_head(self.to, self.call(node), windows, count)  # type: ignore[no-any-return]

    def same_shape(self, node: Node) -> bool:
        """Whether a node's result has the shape and the type of each of its inputs."""
        spec = self.network[node.name]
        inputs = [self.network[name] for name in spec.inputs]
        whole = len(inputs) == len(node.all_input_nodes) and all(i.shape == spec.shape for i in inputs)
        return whole and self._one_type and spec.kind == "cell"


def windowed(node: Node) -> Windowed | None:
    """What a node does along y and x, if it reads neighbouring cells."""
    return record_of(node).windowed if node.meta["kind"] == "windowed" else None


def cells_last(node: Node, rank: int) -> list[int]:
    """The order of dimensions that brings ``(n, channels, y, x, normed channels)`` to ``(n, *channels, y, x)``."""
    cells = [1 + i for i in node.meta["cells_at"]]
    return [*(i for i in range(rank) if i not in cells), *cells]


def module_of(to: Writer, net: Canonical, name: str) -> GraphModule:
    """The module of a program that is written, with the weights and constants that it reads."""
    device = next(net.graph.parameters(), torch.empty(0)).device
    read = {str(n.target) for n in to.graph.nodes if n.op == "get_attr"}
    made = {target: tensor.to(device) for target, tensor in to.constants.items() if target in read}
    return uncompiled(made | {t: attribute_of(net.graph, t) for t in read - made.keys()}, to.graph, name)
