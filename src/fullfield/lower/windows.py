"""Lowers what runs per window: a batch of windows' cells in, their scores out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from fullfield.canonical.form import ACTIVE_KINDS, Canonical
from fullfield.geometry.network import Network
from fullfield.geometry.tile import TileLayout
from fullfield.graph.calls import bind
from fullfield.lower.calls import Calls, cells_last, module_of
from fullfield.lower.inplace import SAME_SHAPE
from fullfield.lower.rows import Index
from fullfield.lower.writer import Writer
from fullfield.operators.registry import record_of

aten = torch.ops.aten
SCALED = "scaled"  # in a node's ``meta``: ``ScaledMap`` where it is one


@dataclass(frozen=True)
class ScaledMap:
    """A map of each window and one number for each of its channels, added or multiplied.

    Args:
        channels, rows, columns: of the map.
        maps: which of the two arguments is the map.
    """

    channels: int
    rows: int
    columns: int
    maps: tuple[bool, bool]


@dataclass(frozen=True)
class WindowInput:
    """Each window's own cells of a shared node.

    Args:
        index: rows of the node's table ``(rows, columns, y, x)`` of windows.
    """

    index: Index

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of a window's map."""
        return self.index.shape[2], self.index.shape[3]

    @cached_property
    def strides(self) -> tuple[int, ...] | None:
        """By how many rows of the table neighbours lie apart along each axis of ``index``; ``None`` if unevenly."""
        apart = []
        for axis, count in enumerate(self.index.shape):
            steps = np.diff(self.index, axis=axis)
            if steps.size and steps.min() != steps.max():
                return None
            apart.append(int(steps.flat[0]) if count > 1 else 0)
        return tuple(apart)


def lower_windows(net: Canonical, network: Network, layout: TileLayout, count: int, *, fft: bool) -> GraphModule:
    """The program of a batch of ``count`` windows.

    Shape: ``(count, y, x, channels)`` of each frontier input -> ``(count, k)``
    """
    return _Windows(net, network, layout, count, fft=fft).run()


class _Windows:
    def __init__(self, net: Canonical, network: Network, layout: TileLayout, count: int, *, fft: bool) -> None:
        self.net, self.network, self.layout, self.count = net, network, layout, count
        self.to = Writer(fft=fft)
        self.calls = Calls(net, network, self.to)
        self.env: dict[Node, Any] = {}

    def run(self) -> GraphModule:
        inputs = {name: self.to.graph.placeholder(f"cells_{k}") for k, name in enumerate(self.layout.frontier_inputs)}
        self.env |= {self.calls.nodes[name]: self._input(name, value) for name, value in inputs.items()}
        for spec in self.network:
            if spec.name not in self.layout.y:
                self._copy(self.calls.nodes[spec.name])
        result = self.env[self.calls.nodes[self.network.output.name]]
        self.to.graph.output(self.to.call(aten.reshape.default, result, [self.count, -1]))
        return module_of(self.to, self.net, "Windows")

    def _input(self, name: str, value: Node) -> Node:
        """A frontier input, dimensions as the canonical graph has them."""
        spec, node = self.network[name], self.calls.nodes[name]
        channels, rank = spec.shape[:-2], len(spec.shape) - 2
        cells = self.layout.y[name].axis.count, self.layout.x[name].axis.count
        if rank != 1:
            value = self.to.call(aten.reshape.default, value, [self.count, *cells, *channels])
        value = self.to.call(aten.permute.default, value, [0, *range(3, 3 + rank), 1, 2])
        if "cells_at" not in node.meta:
            return value
        order = cells_last(node, rank + 3)
        return self.to.call(aten.permute.default, value, [order.index(i) for i in range(len(order))])

    def _copy(self, node: Node) -> None:
        """One node of the canonical graph on the windows of a batch, unchanged but for heads."""
        args, kwargs = map_arg((node.args, node.kwargs), self._fetch)
        if self.calls.is_head(node):
            self.env[node] = self.calls.emit_head(node, args[0], self.count)  # type: ignore[arg-type]
            return
        result = self._written(node) or self.to.graph.call_function(node.target, args, kwargs)  # type: ignore[arg-type]
        result.meta[SAME_SHAPE] = self.calls.same_shape(node)
        result.meta[SCALED] = self._scaled(node)
        self.env[node] = result

    def _scaled(self, node: Node) -> ScaledMap | None:
        """A sum or product of a map and one number for each of its channels; ``None`` for any other node."""
        if node.target not in (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor):
            return None
        read = [a.name for a in node.args if isinstance(a, Node) and a.meta["kind"] in ACTIVE_KINDS]
        if node.kwargs or len(node.args) != 2 or len(read) != 2:
            return None
        shape, first, second = (self.network[name].shape for name in (node.name, *read))
        if len(shape) != 3 or {first, second} != {shape, (shape[0], 1, 1)} or shape[1:] == (1, 1):
            return None
        return ScaledMap(*shape, (first == shape, second == shape))

    def _written(self, node: Node) -> Node | None:
        """A node as its record writes it on windows; ``None`` where it is called as it is."""
        write = record_of(node).on_windows
        if write is None:
            return None
        read = self.network[self.network[node.name].inputs[0]]
        written: Node | None = write(self.to, map_arg(bind(node), self._fetch), read.shape)
        return written

    def _fetch(self, node: Node) -> Any:
        if node not in self.env and node.meta["kind"] == "scalar":
            self.env[node] = self._scalar(node)
        return self.env[node] if node in self.env else self.to.weight(node)

    def _scalar(self, node: Node) -> Any:
        """A number of the graph for the windows of a batch."""
        if node.target is aten.sym_size.int:
            source, dim = node.args
            assert isinstance(source, Node)
            assert isinstance(dim, int)
            return self.count if dim == 0 else self.network[source.name].shape[dim - 1]
        values = map_arg(node.args, self._scalar)
        return node.target(*values)  # type: ignore[operator]
