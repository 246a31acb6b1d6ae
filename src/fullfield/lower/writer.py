"""Holds the graph of a program under construction; operators write to it as their ``Emitter``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

aten = torch.ops.aten


class Writer:
    """Writes the nodes of one program.

    Args:
        fft: whether convolutions may run by Fourier transforms.
    """

    def __init__(self, *, fft: bool = False) -> None:
        self.graph = Graph()
        self.fft = fft
        self.constants: dict[str, Tensor] = {}
        self._names: dict[tuple[object, ...], str] = {}
        self._weights: dict[Node, Node] = {}

    def call(self, target: Any, *args: Any) -> Node:
        """A new node; its arguments are set afterwards, since torch looks for symbolic numbers in those of new ones."""
        node = self.graph.call_function(target)
        node.args = args
        return node

    def constant(self, tensor: Tensor) -> Node:
        """A fixed tensor of the program; equal ones are held once."""
        key = tensor.dtype, tuple(tensor.shape), tensor.numpy().tobytes()
        if key not in self._names:
            self._names[key] = f"_constant_{len(self._names)}"
            self.constants[self._names[key]] = tensor
        return self.graph.get_attr(self._names[key])

    def weight(self, node: Any) -> Any:
        """A fixed tensor's node in the program, with all that it is computed from; other arguments unchanged."""
        if not isinstance(node, Node):
            return node
        if node not in self._weights:
            self._weights[node] = self.graph.node_copy(node, self.weight)
        return self._weights[node]

    def unpadded(self, value: Node, pads: list[int], fill: float) -> Node | None:
        """The node that ``value`` pads, in its place; ``None`` if ``value`` is not padded so."""
        if value.target is not aten.constant_pad_nd.default or list(value.args[1:]) != [pads, fill]:
            return None
        before = value.args[0]
        assert isinstance(before, Node)
        self.graph.erase_node(value)
        return before

    def slice(self, value: Node, dim: int, start: int, stop: int, size: int) -> Node:
        """Cells ``[start, stop)`` of ``size`` along a dimension."""
        return value if (start, stop) == (0, size) else self.call(aten.slice.Tensor, value, dim, start, stop)
