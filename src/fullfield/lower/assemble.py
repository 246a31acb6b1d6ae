"""Holds the cells of shared nodes, by family or as rows of one table, and assembles strips from them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from fullfield.geometry.strip import Strip
from fullfield.geometry.tile import TileLayout
from fullfield.layers.custom_operators import fill_cells
from fullfield.lower.rows import FamilyPair, Table, WindowBox, gather_rows
from fullfield.lower.writer import Writer

aten = torch.ops.aten
INTERIOR: FamilyPair = ("interior", "interior")


class Assembler(Writer):
    """Emits the part of a program that windows share.

    A node's cells are held as a map for each family, ``(windows, *channels, y, x)``, or as one table of all cells,
    ``(cells, channels)``; each form is made from the other when it is asked for.

    Args:
        layout: the tile's cells.
        channels: sizes of the channel dimensions of every node that windows share.
        fft: whether convolutions may run by Fourier transforms.
        inference: whether the program may move cells in a way that cannot be differentiated.
    """

    def __init__(
        self, layout: TileLayout, channels: Mapping[str, tuple[int, ...]], *, fft: bool = False, inference: bool = False
    ) -> None:
        super().__init__(fft=fft)
        self.layout = layout
        self.channels = channels
        self.inference = inference
        self.maps: dict[str, dict[FamilyPair, Node]] = {}
        self.all = WindowBox(0, layout.windows[0], 0, layout.windows[1])
        first = next(iter(layout.y))
        self.first = layout.y[first], layout.x[first]
        self._tables: dict[str, Table] = {}
        self._rows: dict[str, Node] = {}
        self._columns: dict[str, Node] = {}

    def table(self, name: str) -> Table:
        """Where a node's cells lie in its table."""
        if name not in self._tables:
            self._tables[name] = Table(self.layout, name)
        return self._tables[name]

    def is_table(self, name: str) -> bool:
        """Whether a node's cells are held as one table."""
        return name in self._rows or name in self._columns

    def map(self, name: str, family: FamilyPair) -> Node:
        """The cells of one family. Shape: ``(windows, *channels, y, x)``."""
        found = self.maps.setdefault(name, {})
        if family not in found:
            block = self.table(name).blocks[family]
            part = self.call(aten.narrow.default, self.rows(name), 0, block.first, block.count)
            found[family] = self.cells_last(part, name, block.windows[0] * block.windows[1], block.cells)
        return found[family]

    def rows(self, name: str) -> Node:
        """All cells as one table. Shape: ``(cells, channels)``."""
        if name not in self._rows:
            values = [self._columns[name]] if name in self._columns else self.maps.pop(name).values()
            parts = [self._flat(value, name) for value in values]
            self._rows[name] = parts[0] if len(parts) == 1 else self.call(aten.cat.default, parts, 0)
        return self._rows[name]

    def column(self, name: str) -> Node:
        """All cells as a map of one column. Shape: ``(1, *channels, cells, 1)``."""
        if name not in self._columns:
            count = sum(block.count for block in self.table(name).blocks.values())
            self._columns[name] = self.cells_last(self.rows(name), name, 1, (count, 1))
        return self._columns[name]

    def aligned_column(self, name: str, strips: Mapping[FamilyPair, tuple[Strip, Strip]]) -> Node:
        """The cells that a reader's families read, in the order of the reader's table, as a map of one column."""
        if all(self.is_whole(name, family, pair) for family, pair in strips.items()):
            return self.column(name)
        parts = [self.table(name).index(family, pair, self.all).reshape(-1) for family, pair in strips.items()]
        index = np.concatenate(parts)
        where = self.constant(torch.from_numpy(index))
        rows = self.call(aten.index_select.default, self.rows(name), 0, where)
        return self.cells_last(rows, name, 1, (len(index), 1))

    def set_column(self, name: str, column: Node) -> None:
        """Takes all cells of a node, as ``column`` gives them."""
        self._columns[name] = column

    def _flat(self, value: Node, name: str) -> Node:
        """A map as rows. Shape: ``(windows, *channels, y, x)`` -> ``(windows * y * x, channels)``"""
        rank = len(self.channels[name])
        value = self.call(aten.permute.default, value, [0, rank + 1, rank + 2, *range(1, rank + 1)])
        return self.call(aten.reshape.default, value, [-1, math.prod(self.channels[name])])

    def cells_last(self, value: Node, name: str, windows: int, cells: tuple[int, int]) -> Node:
        """Rows as a map, in the memory order of the rows. Shape: ``(windows, *channels, y, x)``."""
        value = self.call(aten.reshape.default, value, [windows, *cells, *self.channels[name]])
        return self.call(aten.permute.default, value, [0, *range(3, 3 + len(self.channels[name])), 1, 2])

    def is_whole(self, name: str, out: FamilyPair, strips: tuple[Strip, Strip]) -> bool:
        """Whether family ``out`` of a reader reads all cells of the same family of a node and no others."""
        axes = self.layout.y[name], self.layout.x[name]
        return all(axis.is_whole(f, s) for axis, f, s in zip(axes, out, strips, strict=True))

    def strip(self, name: str, out: FamilyPair, strips: tuple[Strip, Strip], fill: float) -> Node:
        """The cells that family ``out`` of some node reads from node ``name``, padding included.

        Shape: ``(windows, *channels, y, x)``; ``windows`` counts only axes on which ``out`` belongs to windows.
        """
        if self.is_whole(name, out, strips):
            return self._padded(self._filled(self.map(name, out), out, strips, fill), strips, fill)
        if out == INTERIOR:
            value = self.map(name, out)
            for dim, cells, s in zip((-2, -1), (self.layout.y[name], self.layout.x[name]), strips, strict=True):
                low, piece = cells.region[0], s.pieces[0]
                value = self.slice(value, dim, piece.start - low, piece.stop - low, cells.extent("interior"))
            return self._padded(self._filled(value, out, strips, fill), strips, fill)
        return self._filled(self._gathered(name, out, strips, fill), out, strips, fill, padded=True)

    def _filled(
        self, value: Node, out: FamilyPair, strips: tuple[Strip, Strip], fill: float, *, padded: bool = False
    ) -> Node:
        """The cells of a strip with the number in those that exist on other maps of the interior, but not on these."""
        if not any(strip.inside for strip in strips):
            return value
        axes = zip(self.first, out, self.layout.windows, strips, strict=True)
        y, x = (_exist(strip, axis.maps(f, n), padded=padded) for axis, f, n, strip in axes)
        index = np.flatnonzero(~(y[:, None, :, None] & x[None, :, None, :]))
        return self.call(fill_cells.default, value, self.constant(torch.from_numpy(index)), fill)

    def _padded(self, value: Node, strips: tuple[Strip, Strip], fill: float) -> Node:
        sy, sx = strips
        pads = [max(0, p) for p in (*sx.padding, *sy.padding)]
        value = self.call(aten.constant_pad_nd.default, value, pads, fill) if any(pads) else value
        for dim, s in ((-2, sy), (-1, sx)):
            # Dropped after padding: a strip that lies wholly in the padding drops the only cell it could be cut from.
            low, high = (max(0, -p) for p in s.padding)
            value = self.slice(value, dim, low, low + s.length, low + s.length + high)
        return value

    def _gathered(self, name: str, out: FamilyPair, strips: tuple[Strip, Strip], fill: float) -> Node:
        index = self.table(name).index(out, strips, self.all)
        windows, cells = index.shape[0] * index.shape[1], (index.shape[2], index.shape[3])
        sy, sx = strips
        # a strip wholly in the padding has fewer cells than that
        pads = [min(max(0, p), n) for s, n in ((sx, cells[1]), (sy, cells[0])) for p in s.padding]
        where = self.constant(torch.from_numpy(index.reshape(-1)))
        if self.inference:
            shape = [windows, *cells, math.prod(self.channels[name])]
            return self.cells_last(
                self.call(gather_rows, self.rows(name), where, shape, pads, fill), name, windows, cells
            )
        value = self.cells_last(self.call(aten.index_select.default, self.rows(name), 0, where), name, windows, cells)
        if not any(pads):
            return value
        inside = [(low, n - high) for (low, high), n in zip((pads[2:], pads[:2]), cells, strict=True)]
        for dim, (start, stop), size in zip((-2, -1), inside, cells, strict=True):
            value = self.slice(value, dim, start, stop, size)
        return self.call(aten.constant_pad_nd.default, value, pads, fill)


def _exist(strip: Strip, maps: int, *, padded: bool) -> NDArray[np.bool_]:
    """Which cells of a strip exist on each of several maps, with its padding or without. Shape: ``(maps, cells)``"""
    cells, all_of_them = np.arange(strip.unpadded), ((0, strip.unpadded),) * maps
    found = np.array([(first <= cells) & (cells < stop) for first, stop in strip.inside or all_of_them])
    if not padded:
        return found
    low, high = strip.padding
    found = np.pad(found, ((0, 0), (max(0, low), max(0, high))), constant_values=True)
    return found[:, max(0, -low) : max(0, -low) + strip.length]
