"""Lowers what windows share: the pixels of a tile in, the cells that run per window or the scores out."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from fullfield.canonical.form import Canonical
from fullfield.geometry.fragments import split_into_fragments
from fullfield.geometry.network import Network
from fullfield.geometry.strip import Slide
from fullfield.geometry.tile import TileLayout
from fullfield.graph.calls import bind
from fullfield.lower.assemble import INTERIOR, Assembler
from fullfield.lower.calls import Calls, cells_last, module_of, windowed
from fullfield.lower.fragments import on_fragments
from fullfield.lower.inplace import SAME_SHAPE
from fullfield.lower.rows import FamilyPair
from fullfield.lower.window_pools import pool_of_windows
from fullfield.operators.emitter import Strips
from fullfield.operators.record import Windowed
from fullfield.operators.registry import record_of
from fullfield.operators.strips import strided

aten = torch.ops.aten


def lower_shared(net: Canonical, network: Network, layout: TileLayout, *, fft: bool, inference: bool) -> GraphModule:
    """The program of a tile's shared cells.

    Shape: ``(1, c, y, x)``, the pixels that ``layout`` reads -> ``(cells, channels)`` of each frontier input, or scores
    ``(rows, columns, k)`` if all layers are shared
    """
    return _Shared(net, network, layout, fft=fft, inference=inference).run()


class _Shared:
    def __init__(self, net: Canonical, network: Network, layout: TileLayout, *, fft: bool, inference: bool) -> None:
        self.net, self.network, self.layout = net, network, layout
        shapes = {n.name: n.shape[:-2] for n in network if n.kind != "whole"}
        self.to = Assembler(layout, shapes, fft=fft, inference=inference)
        self.calls = Calls(net, network, self.to)
        self.pools: dict[tuple[object, ...], Node] = {}  # of windows, by node and whether they slide along y and x

    def run(self) -> GraphModule:
        for spec in self.network:
            if spec.name in self.layout.y:
                self._node(self.calls.nodes[spec.name])
        if self.network.output.name in self.layout.y:
            self.to.graph.output(self._scores(self.network.output.name))
        else:
            self.to.graph.output(tuple(self._frontier_input(name) for name in self.layout.frontier_inputs))
        return module_of(self.to, self.net, "Shared")

    def _frontier_input(self, name: str) -> Node:
        """The table of a node that layers running per window read."""
        node = self.calls.nodes[name]
        if "cells_at" in node.meta:
            order = cells_last(node, len(self.to.channels[name]) + 3)
            maps = self.to.maps[name]
            self.to.maps[name] = {f: self.to.call(aten.permute.default, v, order) for f, v in maps.items()}
        return self.to.rows(name)

    def _node(self, node: Node) -> None:
        """All cells of one shared node."""
        name = node.name
        if node.op == "placeholder":
            self.to.maps[name] = {INTERIOR: self._shifted(name, self.to.graph.placeholder(name))}
        elif self._runs_at_once(node):
            self.to.set_column(name, self._at_once(node))
        else:
            y, x = self.layout.y[name], self.layout.x[name]
            self.to.maps[name] = {(fy, fx): self._family(node, (fy, fx)) for fy in y.families for fx in x.families}

    def _shifted(self, name: str, pixels: Node) -> Node:
        """The image as the interior's maps; those of each shift begin at the first window of their own.

        Shape: ``(1, c, y, x)`` -> ``(maps, c, y', x')``
        """
        if self.layout.shifts == (1, 1):
            return pixels
        cells = self.to.call(aten.permute.default, pixels, [0, 2, 3, 1])
        axes, lengths = (self.layout.y[name], self.layout.x[name]), list[int]()
        for dim, axis, step in zip((1, 2), axes, self.layout.step, strict=True):
            first, stop = axis.pixels(step)
            own = torch.arange(axis.shifts)[:, None] * step + torch.arange(*axis.region)
            index = self.to.constant((own.clamp(first, stop - 1) - first).reshape(-1))
            cells = self.to.call(aten.index_select.default, cells, dim, index)
            lengths += [axis.shifts, axis.extent("interior")]
        cells = self.to.call(aten.reshape.default, cells, [*lengths, *self.to.channels[name]])
        cells = self.to.call(aten.permute.default, cells, [0, 2, 1, 3, 4])
        maps, extents = lengths[0] * lengths[2], (lengths[1], lengths[3])
        return self.to.cells_last(cells, name, maps, extents)

    def _runs_at_once(self, node: Node) -> bool:
        """Whether a node acts on all cells of its inputs alike, whatever family they belong to, and should do so.

        What makes cells smaller runs before they are put together, unless they are already.
        """
        spec = self.network[node.name]
        blocks = self.to.table(node.name).blocks
        if len(blocks) == 1 or not spec.inputs or not self._is_by_cell(node):
            return False
        if any("cells_at" in n.meta for n in (node, *(self.calls.nodes[i] for i in spec.inputs))):
            return False
        strips = {family: self._strips(node, family) for family in blocks}
        if any(s.slide != Slide() for each in strips.values() for pair in each.values() for s in pair):
            return False
        tables = [i for i in spec.inputs if self.to.is_table(i)]
        if spec.kind == "windowed":
            (source,) = spec.inputs
            grows = spec.elements >= self.network[source].elements
            return bool(tables or grows) and all(self.to.is_whole(source, f, s[source]) for f, s in strips.items())
        return any(all(self.to.is_whole(i, f, s[i]) for f, s in strips.items()) for i in tables)

    def _is_by_cell(self, node: Node) -> bool:
        """Whether an operator computes each cell from the same cell of its inputs."""
        spec = self.network[node.name]
        if spec.kind == "cell":
            return not record_of(node).shapes_map
        point = all(
            op.kernel == 1 and op.stride == 1 and not (op.low or op.high or op.edge) and op.up == 1 for op in spec.ops
        )
        return point and node.target is aten.conv2d.default and not self.layout.head_as_matmul(node.name)

    def _at_once(self, node: Node) -> Node:
        """A node on the tables of its inputs."""
        strips = {family: self._strips(node, family) for family in self.to.table(node.name).blocks}
        read = {}
        for source in self.network[node.name].inputs:
            read[source] = self.to.aligned_column(source, {f: each[source] for f, each in strips.items()})
        return self._plain(node, read)

    def _plain(self, node: Node, read: dict[str, Node]) -> Node:
        """A node's own operator on its inputs."""
        args = map_arg(node.args, lambda n: read[n.name] if n.name in read else self.to.weight(n))
        if windowed(node) is not None:
            bound = bind(node)
            args = (*args[:3], [1, 1], [0, 0], [1, 1], bound["groups"])
        result = self.to.graph.call_function(node.target, args, dict(node.kwargs))  # type: ignore[arg-type]
        result.meta[SAME_SHAPE] = self.calls.same_shape(node)
        return result

    def _strips(self, node: Node, family: FamilyPair) -> dict[str, Strips]:
        """What one family reads of each input."""
        y, x = self.layout.y[node.name].strips[family[0]], self.layout.x[node.name].strips[family[1]]
        return {source: (y[source], x[source]) for source in y}

    def _family(self, node: Node, family: FamilyPair) -> Node:
        strips = self._strips(node, family)
        operator = windowed(node)
        if operator is not None and operator.reads_window and family != INTERIOR:
            return self._pool_of_windows(node, family)
        fill = 0.0 if operator is None else operator.padding(bind(node))
        read = {s: self.to.strip(s, family, pair, fill) for s, pair in strips.items()}
        if operator is not None:
            ((source, pair),) = strips.items()
            return self._neighbours(node, operator, family, source, read[source], pair)
        read = {s: strided(self.to, value, strips[s]) for s, value in read.items()}
        if record_of(node).shapes_map:
            (value,) = read.values()
            return self.to.call(node.target, value, [-1, *self._shape(node.name, family)])
        return self._plain(node, read)

    def _pool_of_windows(self, node: Node, family: FamilyPair) -> Node:
        """A family of a pool whose border cells all read all of their window."""
        ((source, strips),) = self._strips(node, family).items()
        kind = node.name, *(f == "interior" for f in family)
        if kind not in self.pools:
            self.pools[kind] = pool_of_windows(self.to, self.calls.call(node), source, family, strips)
        cells = self._shape(node.name, family)[-2:]
        repeated = [-1 if f == "interior" else n for f, n in zip(family, cells, strict=True)]
        return self.to.call(aten.expand.default, self.pools[kind], [-1, -1, *repeated])

    def _shape(self, name: str, family: FamilyPair) -> list[int]:
        """Channels, rows and columns of one family of a node."""
        cells = self.layout.y[name].extent(family[0]), self.layout.x[name].extent(family[1])
        return [*self.to.channels[name], *cells]

    def _neighbours(
        self, node: Node, operator: Windowed, family: FamilyPair, source: str, value: Node, strips: Strips
    ) -> Node:
        """A windowed operator on its strip; if it takes one channel dimension, others are merged before it."""
        if not operator.one_channel_dim:
            return self._on_strip(node, operator, family, source, value, strips)
        if len(self.to.channels[source]) != 1:
            shape = [-1, self.network[source].elements, *(s.length for s in strips)]
            value = self.to.call(aten.reshape.default, value, shape)
        value = self._on_strip(node, operator, family, source, value, strips)
        return self.to.call(aten.reshape.default, value, [-1, *self._shape(node.name, family)])

    def _on_strip(
        self, node: Node, operator: Windowed, family: FamilyPair, source: str, value: Node, strips: Strips
    ) -> Node:
        """A windowed operator on its strip, as it is or by way of fragments."""
        call, name = self.calls.call(node), node.name
        cells = self.layout.y[name], self.layout.x[name]
        if self.layout.head_as_matmul(name) and self.calls.is_head(node):
            return self._head(node, source)
        found = [c.cut if f == "interior" else None for c, f in zip(cells, family, strict=True)]
        assert operator.emit is not None
        if all(c is None or c.ratio == 1 for c in found) or not operator.uniform(call.args, strips):
            return operator.emit(self.to, call, value, strips)  # type: ignore[no-any-return]
        cuts = [
            c or split_into_fragments(s.length, s.slide.stride, s.slide.dilation, op, 1)
            for c, s, op in zip(found, strips, call.ops, strict=True)
        ]
        emit = partial(operator.emit, self.to, call)
        value = on_fragments(self.to, value, strips, (cuts[0], cuts[1]), (call.read, call.written), emit)
        for dim, part, axis, f in zip((-2, -1), cuts, cells, family, strict=True):
            if part.computed > axis.extent(f):
                value = self.to.call(aten.slice.Tensor, value, dim, 0, axis.extent(f))
        return value

    def _head(self, node: Node, source: str) -> Node:
        """A shared operator whose kernel is as large as its map, on every window's own cells."""
        strips = self.layout.y[source].whole(), self.layout.x[source].whole()
        windows = self.to.strip(source, ("window", "window"), strips, 0.0)
        rows, columns = self.layout.windows
        result = self.calls.emit_head(node, windows, rows * columns)
        result = self.to.call(aten.reshape.default, result, [1, rows, columns, -1])
        return self.to.call(aten.permute.default, result, [0, 3, 1, 2])

    def _scores(self, name: str) -> Any:
        """Scores from a shared output: its interior map at the window positions."""
        value = self.to.map(name, INTERIOR)
        for dim, cells in ((-2, self.layout.y[name]), (-1, self.layout.x[name])):
            if cells.hop > 1:
                value = self.to.call(aten.slice.Tensor, value, dim, 0, cells.extent("interior"), cells.hop)
        if self.layout.shifts == (1, 1):
            return self.to.call(aten.permute.default, self.to.call(aten.select.int, value, 0, 0), [1, 2, 0])
        return self._unshifted(value)

    def _unshifted(self, value: Node) -> Node:
        """The scores of all shifts as those of the tile. Shape: ``(maps, k, y, x)`` -> ``(rows, columns, k)``"""
        (down, across), (rows, columns) = self.layout.shifts, self.layout.windows
        y, x = -(-rows // down), -(-columns // across)
        value = self.to.call(aten.reshape.default, value, [down, across, -1, y, x])
        value = self.to.call(aten.permute.default, value, [3, 0, 4, 1, 2])
        value = self.to.call(aten.reshape.default, value, [y * down, x * across, -1])
        value = self.to.slice(value, 0, 0, rows, y * down)
        return self.to.slice(value, 1, 0, columns, x * across)
