"""Lowers a network and a tile's layout to one static tensor program: a tile of the image in, its scores out.

The program is made of ATen operators only. In order, it
  1. computes every shared node, one family of cells after the other (``_shared``),
  2. takes each window's cells from the shared maps, in batches, and runs the rest per window (``_per_window``),
  3. arranges the scores as ``(rows, columns, k)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from fullfield.canonical.form import Canonical
from fullfield.geometry.fragments import split_into_fragments
from fullfield.geometry.network import Network
from fullfield.geometry.tile import TileLayout
from fullfield.graph.calls import bind
from fullfield.lower.assemble import Assembler, FamilyPair, WindowBox
from fullfield.lower.fragments import on_fragments
from fullfield.lower.inplace import SAME_SHAPE, reuse
from fullfield.operators.emitter import Call, Strips
from fullfield.operators.record import Windowed
from fullfield.operators.registry import record_of
from fullfield.operators.strips import strided

aten = torch.ops.aten


def lower(
    net: Canonical,
    network: Network,
    layout: TileLayout,
    *,
    batch: int,
    channels_last: bool = False,
    fft: bool = False,
    in_place: bool = False,
) -> GraphModule:
    """The program for one tile.

    Shape: ``(1, c, y, x)``, the pixels that ``layout`` reads -> ``(rows, columns, k)``
    Args:
        net: the network in canonical form; the program shares its parameters.
        network: the same as integers.
        layout: the tile's cells.
        batch: windows at a time where the network runs per window.
        channels_last: assemble strips in the memory order in which convolutions run fastest.
        fft: run large kernels by Fourier transforms where these are faster; for inference in float32 on a CPU.
        in_place: overwrite values that are not read again; for inference.
    """
    return _Lowering(net, network, layout, batch, channels_last, fft).run(in_place=in_place)


class _Lowering:
    def __init__(
        self, net: Canonical, network: Network, layout: TileLayout, batch: int, channels_last: bool, fft: bool
    ) -> None:
        self.net, self.network, self.layout, self.batch = net, network, layout, batch
        self.graph = Graph()
        shapes = {n.name: n.shape[:-2] for n in network if n.kind != "whole"}
        self.to = Assembler(self.graph, layout, shapes, channels_last=channels_last, fft=fft)
        self.nodes = {n.name: n for n in net.graph.graph.nodes}
        self.one_type = not any(record_of(n).casts for n in self.nodes.values())

    def run(self, *, in_place: bool) -> GraphModule:
        for spec in self.network:
            if spec.name in self.layout.y:
                self._shared(self.nodes[spec.name])
        for name in self.layout.frontier_inputs:
            if "cells_at" in self.nodes[name].meta:
                order = _cells_last(self.nodes[name], len(self.to.channels[name]) + 3)
                maps = self.to.maps[name]
                self.to.maps[name] = {f: self.to.call(aten.permute.default, v, order) for f, v in maps.items()}
        if self.network.output.name in self.layout.y:
            scores = self._shared_scores(self.network.output.name)
        else:
            parts = [self._per_window(box) for box in self._boxes()]
            flat = parts[0] if len(parts) == 1 else self.to.call(aten.cat.default, parts, 0)
            scores = self.to.call(aten.reshape.default, flat, [*self.layout.windows, -1])
        self.graph.output(scores)
        if in_place:
            reuse(self.graph)
        root = nn.Module()
        for name, tensor in self.to.constants.items():
            root.register_buffer(name, tensor.to(next(self.net.graph.parameters(), torch.empty(0)).device))
        _adopt(root, self.net.graph, self.graph)
        return GraphModule(root, self.graph, "Tile")

    def _shared(self, node: Node) -> None:
        """All families of one shared node."""
        name = node.name
        if node.op == "placeholder":
            self.to.maps[name] = {("interior", "interior"): self.graph.placeholder(name)}
            return
        y, x = self.layout.y[name], self.layout.x[name]
        self.to.maps[name] = {(fy, fx): self._family(node, (fy, fx)) for fy in y.families for fx in x.families}

    def _family(self, node: Node, family: FamilyPair) -> Node:
        y, x = self.layout.y[node.name].strips[family[0]], self.layout.x[node.name].strips[family[1]]
        strips = {source: (y[source], x[source]) for source in y}
        windowed = _windowed(node)
        fill = 0.0 if windowed is None else windowed.padding(bind(node))
        read = {s: self.to.strip(s, family, pair, fill) for s, pair in strips.items()}
        if windowed is not None:
            ((source, pair),) = strips.items()
            return self._neighbours(node, windowed, family, source, read[source], pair)
        read = {s: strided(self.to, value, strips[s]) for s, value in read.items()}
        if record_of(node).shapes_map:
            (value,) = read.values()
            return self.to.call(node.target, value, [-1, *self._shape(node.name, family)])
        args = map_arg(node.args, lambda n: read[n.name] if n.name in read else self.to.weight(n))
        result = self.graph.call_function(node.target, args, dict(node.kwargs))  # type: ignore[arg-type]
        result.meta[SAME_SHAPE] = self._same_shape(node)
        return result

    def _shape(self, name: str, family: FamilyPair) -> list[int]:
        """Channels, rows and columns of one family of a node."""
        cells = self.layout.y[name].extent(family[0]), self.layout.x[name].extent(family[1])
        return [*self.to.channels[name], *cells]

    def _same_shape(self, node: Node) -> bool:
        """Whether a node's result has the shape and the type of each of its inputs."""
        spec = self.network[node.name]
        inputs = [self.network[name] for name in spec.inputs]
        whole = len(inputs) == len(node.all_input_nodes) and all(i.shape == spec.shape for i in inputs)
        return whole and self.one_type and spec.kind == "cell"

    def _neighbours(
        self, node: Node, windowed: Windowed, family: FamilyPair, source: str, value: Node, strips: Strips
    ) -> Node:
        """A windowed operator on its strip; if it takes one channel dimension, others are merged before it."""
        if not windowed.one_channel_dim:
            return self._on_strip(node, windowed, family, source, value, strips)
        if len(self.to.channels[source]) != 1:
            shape = [-1, self.network[source].elements, *(s.length for s in strips)]
            value = self.to.call(aten.reshape.default, value, shape)
        value = self._on_strip(node, windowed, family, source, value, strips)
        return self.to.call(aten.reshape.default, value, [-1, *self._shape(node.name, family)])

    def _on_strip(
        self, node: Node, windowed: Windowed, family: FamilyPair, source: str, value: Node, strips: Strips
    ) -> Node:
        """A windowed operator on its strip, as it is or by way of fragments."""
        call, name = self._call(node), node.name
        cells = self.layout.y[name], self.layout.x[name]
        if self.layout.head_as_matmul(name) and self._is_head(node):
            return self._head(node, source)
        found = [c.cut if f == "interior" else None for c, f in zip(cells, family, strict=True)]
        assert windowed.emit is not None
        if all(c is None or c.ratio == 1 for c in found) or not windowed.uniform(call.args, strips):
            return windowed.emit(self.to, call, value, strips)  # type: ignore[no-any-return]
        cuts = [
            c or split_into_fragments(s.length, s.slide.stride, s.slide.dilation, op, 1)
            for c, s, op in zip(found, strips, call.ops, strict=True)
        ]
        emit = partial(windowed.emit, self.to, call)
        value = on_fragments(self.to, value, strips, (cuts[0], cuts[1]), (call.read, call.written), emit)
        for dim, part, axis, f in zip((-2, -1), cuts, cells, family, strict=True):
            if part.computed > axis.extent(f):
                value = self.to.call(aten.slice.Tensor, value, dim, 0, axis.extent(f))
        return value

    def _call(self, node: Node) -> Call:
        """The call of a windowed operator, as its record takes it."""
        spec = self.network[node.name]
        return Call(bind(node), spec.ops, self.network[spec.inputs[0]].elements, spec.elements)

    def _head(self, node: Node, source: str) -> Node:
        """A shared operator whose kernel is as large as its map, on every window's own cells."""
        strips = self.layout.y[source].whole(), self.layout.x[source].whole()
        windows = self.to.strip(source, ("window", "window"), strips, 0.0)
        rows, columns = self.layout.windows
        result = self._emit_head(node, windows, rows * columns)
        result = self.to.call(aten.reshape.default, result, [1, rows, columns, -1])
        return self.to.call(aten.permute.default, result, [0, 3, 1, 2])

    def _emit_head(self, node: Node, windows: Node, count: int) -> Node:
        windowed = _windowed(node)
        assert windowed is not None
        assert windowed.emit_head is not None
        return windowed.emit_head(self.to, self._call(node), windows, count)  # type: ignore[no-any-return]

    def _shared_scores(self, name: str) -> Node:
        """Scores from a shared output: its interior map at the window positions."""
        value = self.to.maps[name][("interior", "interior")]
        for dim, cells in ((-2, self.layout.y[name]), (-1, self.layout.x[name])):
            if cells.hop > 1:
                value = self.to.call(aten.slice.Tensor, value, dim, 0, cells.extent("interior"), cells.hop)
        return self.to.call(aten.permute.default, self.to.call(aten.select.int, value, 0, 0), [1, 2, 0])

    def _boxes(self) -> Iterator[WindowBox]:
        """Batches of windows in row-major order: several full rows, or a part of one row."""
        rows, columns = self.layout.windows
        if columns > self.batch:
            for i in range(rows):
                for j in range(0, columns, self.batch):
                    yield WindowBox(i, i + 1, j, min(j + self.batch, columns))
        else:
            step = max(1, self.batch // columns)
            for i in range(0, rows, step):
                yield WindowBox(i, min(i + step, rows), 0, columns)

    def _per_window(self, box: WindowBox) -> Node:
        """The rest of the network on one batch of windows. Shape: ``(windows, k)``"""
        env: dict[Node, Any] = {}
        for name in self.layout.frontier_inputs:
            env[self.nodes[name]] = self._cut(name, box)
        for spec in self.network:
            if spec.name not in self.layout.y:
                self._copy(self.nodes[spec.name], env, box.count)
        result = env[self.nodes[self.network.output.name]]
        return self.to.call(aten.reshape.default, result, [box.count, -1])

    def _cut(self, name: str, box: WindowBox) -> Node:
        """Each window's own cells of a shared node, dimensions as the canonical graph has them."""
        strips = self.layout.y[name].whole(), self.layout.x[name].whole()
        value = self.to.strip(name, ("window", "window"), strips, 0.0, box)
        if "cells_at" not in self.nodes[name].meta:
            return value
        order = _cells_last(self.nodes[name], len(self.to.channels[name]) + 3)
        return self.to.call(aten.permute.default, value, [order.index(i) for i in range(len(order))])

    def _copy(self, node: Node, env: dict[Node, Any], count: int) -> None:
        """One node of the canonical graph on the windows of a batch, unchanged but for heads."""

        def fetch(n: Node) -> Any:
            if n not in env and n.meta["kind"] == "scalar":
                env[n] = self._scalar(n, env, count)
            return env[n] if n in env else self.to.weight(n)

        args, kwargs = map_arg((node.args, node.kwargs), fetch)
        if self._is_head(node):
            env[node] = self._emit_head(node, args[0], count)  # type: ignore[arg-type]
            return
        env[node] = self.graph.call_function(node.target, args, kwargs)  # type: ignore[arg-type]
        env[node].meta[SAME_SHAPE] = self._same_shape(node)

    def _is_head(self, node: Node) -> bool:
        """Whether the node's kernel is as large as its map and its operator has an emission for that."""
        windowed = _windowed(node)
        if windowed is None or windowed.emit_head is None:
            return False
        spec = self.network[node.name]
        cells = self.network[spec.inputs[0]].shape[-2:]
        return all(op.covers(n) for op, n in zip(spec.ops, cells, strict=True))

    def _scalar(self, node: Node, env: dict[Node, Any], count: int) -> Any:
        """A number of the graph for a batch of ``count`` windows."""
        if node.target is aten.sym_size.int:
            source, dim = node.args
            assert isinstance(source, Node)
            assert isinstance(dim, int)
            return count if dim == 0 else self.network[source.name].shape[dim - 1]
        values = map_arg(node.args, lambda n: self._scalar(n, env, count))
        return node.target(*values)  # type: ignore[operator]


def _windowed(node: Node) -> Windowed | None:
    """What a node does along y and x, if it reads neighbouring cells."""
    return record_of(node).windowed if node.meta["kind"] == "windowed" else None


def _cells_last(node: Node, rank: int) -> list[int]:
    """The order of dimensions that brings ``(n, channels, y, x, normed channels)`` to ``(n, *channels, y, x)``."""
    cells = [1 + i for i in node.meta["cells_at"]]
    return [*(i for i in range(rank) if i not in cells), *cells]


def _adopt(root: nn.Module, source: nn.Module, graph: Graph) -> None:
    """Gives ``root`` the parameters and buffers of ``source`` that ``graph`` reads."""
    for target in {str(n.target) for n in graph.nodes if n.op == "get_attr"}:
        if hasattr(root, target):
            continue
        holder_name, _, leaf = target.rpartition(".")
        tensor: Any = getattr(source.get_submodule(holder_name), leaf)
        holder = root
        for part in filter(None, holder_name.split(".")):
            if not hasattr(holder, part):
                setattr(holder, part, nn.Module())
            holder = getattr(holder, part)
        if isinstance(tensor, nn.Parameter):
            holder.register_parameter(leaf, tensor)
        else:
            holder.register_buffer(leaf, tensor)
