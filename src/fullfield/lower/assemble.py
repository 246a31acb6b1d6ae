"""Assembles strips from families of cells, and holds the graph of the program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from fullfield.geometry.strip import Family, Piece, Strip
from fullfield.geometry.tile import AxisCells, TileLayout

aten = torch.ops.aten
FamilyPair = tuple[Family, Family]  # along y and x


@dataclass(frozen=True)
class WindowBox:
    """Windows ``[top, bottom) x [left, right)`` of a tile."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def count(self) -> int:
        """Windows in the box."""
        return (self.bottom - self.top) * (self.right - self.left)


class Assembler:
    """Emits the nodes of one program, among them those that join cells of several families into strips.

    Operators write to it as their ``Emitter``.

    Args:
        graph: of the program.
        layout: the tile's cells.
        channels: sizes of the channel dimensions of every node that windows share.
        channels_last: assemble strips in the memory order in which convolutions run fastest.
        fft: whether convolutions may run by Fourier transforms.
    """

    def __init__(
        self,
        graph: Graph,
        layout: TileLayout,
        channels: Mapping[str, tuple[int, ...]],
        *,
        channels_last: bool,
        fft: bool,
    ) -> None:
        self.graph = graph
        self.channels_last = channels_last
        self.fft = fft
        self.layout = layout
        self.channels = channels
        self.maps: dict[str, dict[FamilyPair, Node]] = {}
        self.constants: dict[str, torch.Tensor] = {}
        self.weights: dict[Node, Node] = {}
        self.all = WindowBox(0, layout.windows[0], 0, layout.windows[1])

    def call(self, target: Any, *args: Any) -> Node:
        """A new node."""
        return self.graph.call_function(target, args)

    def constant(self, tensor: torch.Tensor) -> Node:
        """A fixed tensor of the program."""
        name = f"_constant_{len(self.constants)}"
        self.constants[name] = tensor
        return self.graph.get_attr(name)

    def weight(self, node: Any) -> Any:
        """A fixed tensor's node in the program, with all that it is computed from; other arguments unchanged."""
        if not isinstance(node, Node):
            return node
        if node not in self.weights:
            self.weights[node] = self.graph.node_copy(node, self.weight)
        return self.weights[node]

    def unpadded(self, value: Node, pads: list[int], fill: float) -> Node | None:
        """The node that ``value`` pads, in its place; ``None`` if ``value`` is not padded so."""
        if value.target is not aten.constant_pad_nd.default or list(value.args[1:]) != [pads, fill]:
            return None
        before = value.args[0]
        assert isinstance(before, Node)
        self.graph.erase_node(value)
        return before

    def strip(
        self, name: str, out: FamilyPair, strips: tuple[Strip, Strip], fill: float, box: WindowBox | None = None
    ) -> Node:
        """The cells that family ``out`` of some node reads from node ``name``.

        Shape: ``(windows, *channels, y, x)``; ``windows`` counts only axes on which ``out`` belongs to windows.
        """
        sy, sx = strips
        result = self._joined(name, out, strips, box or self.all)
        pads = [max(0, p) for p in (*sx.padding, *sy.padding)]
        result = self.call(aten.constant_pad_nd.default, result, pads, fill) if any(pads) else result
        for dim, s in ((-2, sy), (-1, sx)):
            # Dropped after padding: a strip that lies wholly in the padding drops the only cell it could be cut from.
            low, high = (max(0, -p) for p in s.padding)
            result = self._slice(result, dim, low, low + s.length, low + s.length + high)
        return result

    def _joined(self, name: str, out: FamilyPair, strips: tuple[Strip, Strip], box: WindowBox) -> Node:
        cells = (self.layout.y[name], self.layout.x[name])
        whole = [self._is_whole(c, f, s) for c, f, s in zip(cells, out, strips, strict=True)]
        if all(whole):
            return self.maps[name][out]
        if out == ("interior", "interior"):
            return self._cut(self.maps[name][out], cells, (strips[0].pieces[0], strips[1].pieces[0]))
        last = self.channels_last and len(self.channels[name]) == 1
        y, x = (2, 3) if last else (-2, -1)
        rows = []
        for py in strips[0].pieces:
            columns = [self._take(name, cells, out, (py, px), box) for px in strips[1].pieces]
            if last:  # memory order (y, x, c): runs of all channels are copied, and convolutions read them fastest
                columns = [self.call(aten.permute.default, c, [0, 1, 3, 4, 2]) for c in columns]
            rows.append(self._cat(columns, x))
        joined = self._cat(rows, y)
        lengths = [sum(p.stop - p.start for p in s.pieces) for s in strips]
        if last:
            joined = self.call(aten.reshape.default, joined, [-1, *lengths, *self.channels[name]])
            return self.call(aten.permute.default, joined, [0, 3, 1, 2])
        return self.call(aten.reshape.default, joined, [-1, *self.channels[name], *lengths])

    def _is_whole(self, cells: AxisCells, out: Family, strip: Strip) -> bool:
        piece = strip.pieces[0]
        if len(strip.pieces) != 1 or piece.family != out:
            return False
        base = cells.region[0] if out == "interior" else 0
        return (piece.start - base, piece.stop - base) == (0, cells.extent(out))

    def _cut(self, value: Node, cells: tuple[AxisCells, AxisCells], pieces: tuple[Piece, Piece]) -> Node:
        for dim, (axis, piece) in zip((-2, -1), zip(cells, pieces, strict=True), strict=True):
            value = self._slice(
                value, dim, piece.start - axis.region[0], piece.stop - axis.region[0], axis.extent("interior")
            )
        return value

    def _slice(self, value: Node, dim: int, start: int, stop: int, size: int) -> Node:
        return value if (start, stop) == (0, size) else self.call(aten.slice.Tensor, value, dim, start, stop)

    def _cat(self, values: list[Node], dim: int) -> Node:
        return values[0] if len(values) == 1 else self.call(aten.cat.default, values, dim)

    def _take(
        self,
        name: str,
        cells: tuple[AxisCells, AxisCells],
        out: FamilyPair,
        pieces: tuple[Piece, Piece],
        box: WindowBox,
    ) -> Node:
        """One rectangle of cells. Shape: ``(rows, columns, *channels, y, x)``."""
        family = (pieces[0].family, pieces[1].family)
        batch = [1 if f == "interior" else n for f, n in zip(family, self.layout.windows, strict=True)]
        extents = [c.extent(f) for c, f in zip(cells, family, strict=True)]
        rank = len(self.channels[name])
        value = self.call(aten.reshape.default, self.maps[name][family], [*batch, *self.channels[name], *extents])
        bounds = ((box.top, box.bottom), (box.left, box.right))
        for k in (0, 1):
            dim = 2 + rank + k
            if family[k] == "interior" and out[k] == "interior":
                low = cells[k].region[0]
                value = self._slice(value, dim, pieces[k].start - low, pieces[k].stop - low, extents[k])
            elif family[k] == "interior":
                value = self._gather(value, k, dim, cells[k], pieces[k], bounds[k])
            else:
                value = self._slice(value, dim, pieces[k].start, pieces[k].stop, extents[k])
                value = self._slice(value, k, *bounds[k], self.layout.windows[k])
        return value

    def _gather(self, value: Node, k: int, dim: int, cells: AxisCells, piece: Piece, bounds: tuple[int, int]) -> Node:
        """Each window's own run of cells from the interior map, as a view: windows become batch dimension ``k``."""
        first = bounds[0] * cells.hop + piece.start * cells.ratio - cells.region[0]
        length = (piece.stop - piece.start - 1) * cells.ratio + 1
        span = (bounds[1] - bounds[0] - 1) * cells.hop + length
        value = self._slice(value, dim, first, first + span, cells.extent("interior"))
        value = self.call(aten.unfold.default, value, dim, length, cells.hop)
        last = dim + 2 - k
        if cells.ratio > 1:
            value = self.call(aten.slice.Tensor, value, last, 0, length, cells.ratio)
        order = list(range(last))
        order[k], order[dim] = dim, last
        value = self.call(aten.permute.default, value, [*order, k])
        return self.call(aten.select.int, value, last, 0)
