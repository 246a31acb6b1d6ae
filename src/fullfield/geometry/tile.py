"""Which cells of every node one tile of windows needs, and from which pieces each is computed.

Along each axis the cells of a window's map fall into three families: ``low`` and ``high`` depend on padding and belong
to one window row (or column); the ``interior`` of all windows together lives on one map, the grid of spacing
``gcd(step, jump)``. Positions on that map count from cell 0 of the tile's first window. A fourth family, ``window``, is
all cells of each window: what a layer that runs per window reads.

Source: design of à-trous evaluation as in Sermanet et al. 2014, Giusti et al. 2013, Li, Zhao & Wang 2014.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from fullfield.geometry.axis import Axis, Op
from fullfield.geometry.fragments import Fragments, cut
from fullfield.geometry.network import Network, NodeSpec, Place

Family = Literal["low", "interior", "high", "window"]
_FEW = 256  # windows up to which a head is a matrix product


@dataclass(frozen=True)
class Piece:
    """A run of cells of one family: ``[start, stop)`` within a low or high border; of the interior, cells of each
    window where the reader belongs to windows, cells of the interior map where it is interior itself.
    """

    family: Family
    start: int
    stop: int


@dataclass(frozen=True)
class Strip:
    """What one family of a node reads from one input along one axis, and how its operator then runs on it.

    Args:
        pieces: runs of the input's cells, in order.
        pad_low: cells of padding before them.
        pad_high: cells of padding after them; negative drops cells.
        stride: of the operator on this strip.
        dilation: of the operator on this strip.
        over: trailing cells of ``pad_high`` that lie beyond the operator's own padding (``ceil_mode``).
        up: cells that each of the strip becomes.
        crop: of these, how many at the strip's low and high ends nobody wants.
        index: the operator's cells as cells of what it gives for the strip, where its padding repeats some; empty if
            it repeats none.
    """

    pieces: tuple[Piece, ...]
    pad_low: int = 0
    pad_high: int = 0
    stride: int = 1
    dilation: int = 1
    over: int = 0
    up: int = 1
    crop: tuple[int, int] = (0, 0)
    index: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """Cells of the strip, padding included."""
        return self.pad_low + sum(p.stop - p.start for p in self.pieces) + self.pad_high

    def taps(self, kernel: int, *, padding: bool) -> tuple[int, ...]:
        """How many of each output cell's taps read real cells; with ``padding``, cells of the own padding too."""
        first, last = (0, self.length - self.over) if padding else (self.pad_low, self.length - self.pad_high)
        span = self.dilation * (kernel - 1)
        starts = range(0, self.length - span, self.stride)
        return tuple(sum(first <= s + self.dilation * m < last for m in range(kernel)) for s in starts)


@dataclass(frozen=True)
class AxisCells:
    """The cells of one shared node along one axis of a tile.

    Args:
        axis: its receptive field, count and borders within a window.
        grid: px between cells of the interior map.
        ratio: cells of the interior map between neighbouring cells of one window.
        hop: cells of the interior map between neighbouring windows.
        region: the part of the interior map that the tile needs.
        strips: for each family, what is read from each input.
        cut: how the interior's strip is cut into fragments, where the tile runs on fragments.
        covers: whether its operator's kernel reads each cell of a window's map, and nothing else.
    """

    axis: Axis
    grid: int
    ratio: int
    hop: int
    region: tuple[int, int]
    strips: Mapping[Family, Mapping[str, Strip]]
    cut: Fragments | None = None
    covers: bool = False

    def extent(self, family: Family) -> int:
        """Cells of ``family``."""
        if family == "interior":
            return self.region[1] - self.region[0]
        return {"low": self.axis.low, "high": self.axis.high, "window": self.axis.count}[family]

    def computed(self, family: Family) -> int:
        """Cells of ``family`` that are computed: more than wanted where fragments are padded to one size."""
        if family == "interior" and self.cut is not None:
            return self.cut.computed
        return self.extent(family)

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """The families that have cells."""
        names: tuple[Family, ...] = ("low", "interior", "high")
        return tuple(f for f in names if self.extent(f) > 0)

    def whole(self) -> Strip:
        """All cells of each window, border, interior, border."""
        return Strip(_pieces(self.axis, 0, self.axis.count))


@dataclass(frozen=True)
class TileLayout:
    """The cells of every shared node in one tile of windows, along y and x.

    Args:
        windows: rows and columns of windows.
        y: cells along y by node name.
        x: cells along x by node name.
        crossing: shared nodes that layers running per window read, or the scores if they are shared.
    """

    windows: tuple[int, int]
    y: Mapping[str, AxisCells]
    x: Mapping[str, AxisCells]
    crossing: tuple[str, ...]

    def cells(self, name: str) -> int:
        """Cells of one node that the tile computes, over all families."""
        if name not in self._counted:
            few = self.few(name)  # run on windows' own cells: no fragments, hence none too many
            axes = (self.y[name], self.windows[0]), (self.x[name], self.windows[1])
            self._counted[name] = math.prod(
                sum((c.extent(f) if few else c.computed(f)) * (1 if f == "interior" else n) for f in c.families)
                for c, n in axes
            )
        return self._counted[name]

    @cached_property
    def _counted(self) -> dict[str, int]:
        return {}

    def few(self, name: str) -> bool:
        """Whether a head is wanted at so few places that it runs faster on each window's cells than over its map."""
        y, x = self.y[name], self.x[name]
        closed = all(c.axis.closed and c.covers for c in (y, x))
        return closed and y.extent("interior") * x.extent("interior") <= _FEW

    def pixels(self, name: str) -> tuple[int, int, int, int]:
        """Top, bottom, left and right of the image that the tile reads, px from its first window's corner."""
        return (*self.y[name].region, *self.x[name].region)


@dataclass(frozen=True)
class AxisTile:
    """One axis of a tile: where its windows lie on the image.

    Args:
        step: px between windows.
        windows: how many.
        first: index of the first one among all windows.
        pixels: length of the image.
        offset: px from the image's edge to window 0.
    """

    step: int
    windows: int
    first: int
    pixels: int
    offset: int = 0

    @property
    def start(self) -> int:
        """Px from the image's edge to the tile's first window."""
        return self.offset + self.first * self.step


def lay_out(
    network: Network, places: Mapping[str, Place], y: AxisTile, x: AxisTile, *, fragments: bool = False
) -> TileLayout:
    """The cells that a tile needs of every shared node, and the strips that they are computed from.

    With ``fragments``, operators spread over an interior map run on its fragments.
    """
    along = [lay_out_axis(network, places, k, tile, fragments=fragments) for k, tile in enumerate((y, x))]
    return TileLayout((y.windows, x.windows), along[0], along[1], crossing(network, places))


def lay_out_axis(
    network: Network, places: Mapping[str, Place], index: int, tile: AxisTile, *, fragments: bool = False
) -> dict[str, AxisCells]:
    """The same along one axis: 0 for y, 1 for x."""
    return _Layer(network, places, index, tile, crossing(network, places), fragments).run()


def crossing(network: Network, places: Mapping[str, Place]) -> tuple[str, ...]:
    """Shared nodes that something per window reads; the output itself when it is shared."""
    if places[network.output.name].shared:
        return (network.output.name,)
    read = {i: None for n in network if not places[n.name].shared for i in n.inputs if places[i].shared}
    return tuple(read)


class _Layer:
    """One axis, forward for the grids, then backward from what is wanted to what must be read."""

    def __init__(
        self,
        network: Network,
        places: Mapping[str, Place],
        index: int,
        tile: AxisTile,
        crossing: tuple[str, ...],
        fragments: bool,
    ) -> None:
        self.tile, self.index, self.crossing, self.fragments = tile, index, crossing, fragments
        self.nodes = [n for n in network if places[n.name].shared]
        self.axes: dict[str, Axis] = {}
        for node in self.nodes:
            axes = places[node.name].axes
            assert axes is not None
            self.axes[node.name] = axes[index]
        self.exist: dict[str, int] = {}
        self.first: dict[str, int] = {}
        self.want: dict[str, tuple[int, int]] = {}

    def grid(self, name: str) -> int:
        axis = self.axes[name]
        return self.tile.step if axis.closed else math.gcd(self.tile.step, axis.jump)

    def ratio(self, name: str) -> int:
        axis = self.axes[name]
        return 1 if axis.closed else axis.jump // self.grid(name)

    def run(self) -> dict[str, AxisCells]:
        for node in self.nodes:
            self.exist[node.name] = self._existing(node)
            self.first[node.name] = self._first(node)
        for name in self.crossing:
            self._want_windows(name, self.axes[name].low, self.axes[name].count - self.axes[name].high)
        found = {node.name: self._cells(node) for node in reversed(self.nodes)}
        return {node.name: found[node.name] for node in self.nodes}

    def _existing(self, node: NodeSpec) -> int:
        """Where cells of the node end on the image: cells lie at multiples of their grid below it, in every phase.

        Px from the image's first pixel to a cell's own, receptive field left aside: pixel ``p`` is the image's cell at
        ``p``, and a layer's first cell is at 0.
        """
        if node.kind == "input":
            return self.tile.pixels
        return min(self._through(node.ops[self.index], i) for i in node.inputs)

    def _first(self, node: NodeSpec) -> int:
        """The first cell of the interior map that the image has."""
        if node.kind == "input":
            return -self.tile.start
        op = node.ops[self.index]
        if op.up > 1:
            return self.first[node.inputs[0]] * op.up
        return max(-(-self.first[i] * self.grid(i) // self.grid(node.name)) for i in node.inputs)

    def _through(self, op: Op, source: str) -> int:
        jump, end = self.axes[source].jump, self.exist[source]
        if op.up > 1:
            return self.tile.start - (self.tile.start - end) // jump * jump
        last_tap = end + (op.low + op.high - (op.extent - 1)) * jump
        return min(last_tap + (op.stride - 1) * jump, end + op.low * jump) if op.ceil else last_tap

    def _want(self, name: str, start: int, stop: int) -> None:
        old = self.want.get(name, (start, stop))
        self.want[name] = (min(old[0], start), max(old[1], stop))

    def _want_windows(self, name: str, start: int, stop: int) -> None:
        """Wants cells ``[start, stop)`` of every window on the interior map."""
        hop, r = self.tile.step // self.grid(name), self.ratio(name)
        self._want(name, start * r, (self.tile.windows - 1) * hop + (stop - 1) * r + 1)

    def _cells(self, node: NodeSpec) -> AxisCells:
        axis, (lo, hi) = self.axes[node.name], self.want[node.name]
        op = node.ops[self.index]
        strips: dict[Family, dict[str, Strip]] = {"low": {}, "interior": {}, "high": {}}
        for source in node.inputs:
            strips["interior"][source] = self._interior(node, op, source, lo, hi)
            if axis.low:
                strips["low"][source] = self._border(op, source, 0, axis.low)
            if axis.high:
                strips["high"][source] = self._border(op, source, axis.count - axis.high, axis.count)
        hop = self.tile.step // self.grid(node.name)
        spread = self.fragments and node.kind == "windowed" and op.up == 1 and not op.edge
        cut = self._cut(node, op, strips["interior"]) if spread else None
        covers = all(op.covers(self.axes[i].count) for i in node.inputs)
        return AxisCells(axis, self.grid(node.name), self.ratio(node.name), hop, (lo, hi), strips, cut, covers)

    def _cut(self, node: NodeSpec, op: Op, strips: Mapping[str, Strip]) -> Fragments:
        ((source, strip),) = strips.items()
        return cut(strip.length, strip.stride, strip.dilation, op, self.ratio(source))

    def _interior(self, node: NodeSpec, op: Op, source: str, lo: int, hi: int) -> Strip:
        """Interior from interior: on the coarser of two grids, with the kernel spread over the finer one."""
        if op.up > 1:
            return self._upsampled(op.up, source, lo, hi)
        if op.edge:
            return self._edged(op, source, lo, hi)
        r, s = self.ratio(source), self.grid(node.name) // self.grid(source)
        start, stop = lo * s - op.low * r, (hi - 1) * s - op.low * r + (op.extent - 1) * r + 1
        inner, outer, last = self._within(source, start, stop)
        over = max(0, stop - last - op.high * r)
        dilation = op.dilation * r if op.kernel > 1 else 1
        return Strip((Piece("interior", inner, outer),), inner - start, stop - outer, s, dilation, over)

    def _within(self, source: str, start: int, stop: int) -> tuple[int, int, int]:
        """What of cells ``[start, stop)`` of an interior map the image has, one cell at least, and where it ends."""
        first, last = self.first[source], -((self.tile.start - self.exist[source]) // self.grid(source))
        inner = min(max(start, first), last - 1)
        outer = max(min(stop, last), inner + 1)
        self._want(source, inner, outer)
        return inner, outer, last

    def _upsampled(self, up: int, source: str, lo: int, hi: int) -> Strip:
        """Interior from interior, where each cell becomes ``up``."""
        start, stop = lo // up, -(-hi // up)
        inner, outer, _ = self._within(source, start, stop)
        crop = lo - start * up, stop * up - hi
        return Strip((Piece("interior", inner, outer),), inner - start, stop - outer, up=up, crop=crop)

    def _edged(self, op: Op, source: str, lo: int, hi: int) -> Strip:
        """Interior from interior, where cells beyond the image's edge are others again."""
        first, last = self.first[source], -((self.tile.start - self.exist[source]) // self.grid(source))
        r = self.ratio(source)
        cells = _behind(op, range(lo - op.low * r, hi - op.low * r), first, last, r)
        inner, outer = min(cells), max(cells) + (op.extent - 1) * r + 1
        self._want(source, inner, outer)
        return Strip((Piece("interior", inner, outer),), dilation=r if op.kernel > 1 else 1, index=_index(cells, inner))

    def _border(self, op: Op, source: str, first: int, stop: int) -> Strip:
        """A border's cells ``[first, stop)`` of each window, from that window's own cells and padding."""
        axis = self.axes[source]
        index: tuple[int, ...] = ()
        if op.edge:
            cells = _behind(op, range(first - op.low, stop - op.low), 0, axis.count, 1)
            start, end = min(cells), max(cells) + op.extent
            crop, index = (0, 0), _index(cells, start)
        elif op.up > 1:
            start, end = first // op.up, -(-stop // op.up)
            crop = first - start * op.up, end * op.up - stop
        else:
            start, end = first * op.stride - op.low, (stop - 1) * op.stride - op.low + op.extent
            crop = (0, 0)
        inner = min(max(start, 0), axis.count - 1)
        outer = max(min(end, axis.count), inner + 1)
        pieces = _pieces(axis, inner, outer)
        for piece in pieces:
            if piece.family == "interior":
                self._want_windows(source, piece.start, piece.stop)
        dilation = op.dilation if op.kernel > 1 else 1
        over = 0 if op.edge else max(0, end - axis.count - op.high)
        return Strip(pieces, inner - start, end - outer, op.stride, dilation, over, op.up, crop, index)


def _behind(op: Op, cells: range, first: int, last: int, ratio: int) -> list[int]:
    """The cells that stand for some that may lie beyond the map's edge, or the first ones of kernels moved off it."""
    stand = op.inside if op.edge == "inside" else op.behind
    return [stand(cell, first, last, ratio=ratio) for cell in cells]


def _index(cells: list[int], start: int) -> tuple[int, ...]:
    """Cells counted from ``start``; empty where they follow each other."""
    inorder = cells == list(range(cells[0], cells[0] + len(cells)))
    return () if inorder else tuple(cell - start for cell in cells)


def _pieces(axis: Axis, start: int, stop: int) -> tuple[Piece, ...]:
    """The cells ``[start, stop)`` of a window by family; borders count from their own first cell."""
    inside = axis.count - axis.high
    runs: list[tuple[Family, int, int, int]] = [
        ("low", 0, axis.low, 0),
        ("interior", axis.low, inside, 0),
        ("high", inside, axis.count, inside),
    ]
    found = [(f, max(start, a) - base, min(stop, b) - base) for f, a, b, base in runs]
    return tuple(Piece(f, a, b) for f, a, b in found if a < b)
