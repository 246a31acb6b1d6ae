"""Which cells of every node one tile of windows needs, and from which strips each is computed.

The interior cells of all windows together form one map, the grid of spacing ``gcd(step, jump)``. Positions on that map
count from cell 0 of the tile's first window.

Source: à-trous evaluation as in Sermanet et al. 2014, Giusti et al. 2013, Li, Zhao & Wang 2014.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from fullfield.geometry.axis import Axis, Op
from fullfield.geometry.fragments import Fragments, split_into_fragments
from fullfield.geometry.network import Network, NodeSpec, Place
from fullfield.geometry.region import Pair, Region
from fullfield.geometry.strip import Family, Line, Piece, Strip, input_strip, window_pieces

_MATMUL_CELLS = 256  # positions up to which a head is a matrix product over the windows' own cells


@dataclass(frozen=True)
class AxisCells:
    """The cells of one shared node along one axis of a tile.

    Args:
        axis: its receptive field, count and borders within a window.
        grid: parts of a pixel, ``axis.unit`` to each, between cells of the interior map.
        ratio: cells of the interior map between neighbouring cells of one window.
        hop: cells of the interior map between neighbouring windows.
        region: the part of the interior map that the tile needs.
        strips: for each family, what is read from each input.
        cut: how the interior's strip is cut into fragments, where the tile runs on fragments.
        covers: whether its operator's kernel reads each cell of a window's map, and nothing else.
        lines: where a tile has several interior maps, one for each shift, the cells of ``region`` that exist of each.
    """

    axis: Axis
    grid: int
    ratio: int
    hop: int
    region: Pair
    strips: Mapping[Family, Mapping[str, Strip]]
    cut: Fragments | None = None
    covers: bool = False
    lines: tuple[Pair, ...] = ()

    @property
    def shifts(self) -> int:
        """Interior maps: window ``w`` of the tile has its cells on map ``w % shifts``."""
        return max(1, len(self.lines))

    def maps(self, family: Family, windows: int) -> int:
        """How many maps of ``family`` a tile of so many windows has along this axis."""
        return self.shifts if family == "interior" else windows

    def pixels(self, step: int) -> Pair:
        """Where all maps of the image lie, px from the tile's first window, for windows ``step`` px apart."""
        lines = self.lines or (self.region,)
        first = min(k * step + start for k, (start, _) in enumerate(lines))
        return first, max(k * step + stop for k, (_, stop) in enumerate(lines))

    def extent(self, family: Family) -> int:
        """Cells of one map of ``family``."""
        if family == "interior":
            return self.region[1] - self.region[0]
        return {"low": self.axis.low, "high": self.axis.high, "window": self.axis.count}[family]

    def computed(self, family: Family) -> int:
        """Cells of one map of ``family`` that are computed: more than needed where fragments are padded to one size."""
        if family == "interior" and self.cut is not None:
            return self.cut.computed
        return self.extent(family)

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """The families that have cells."""
        names: tuple[Family, ...] = ("low", "interior", "high")
        return tuple(f for f in names if self.extent(f) > 0)

    def is_whole(self, family: Family, strip: Strip) -> bool:
        """Whether a strip has all cells of one family and no others."""
        piece = strip.pieces[0]
        if len(strip.pieces) != 1 or piece.family != family:
            return False
        base = self.region[0] if family == "interior" else 0
        return (piece.start - base, piece.stop - base) == (0, self.extent(family))

    def whole(self) -> Strip:
        """All cells of each window: low border, interior, high border."""
        return Strip(window_pieces(self.axis, 0, self.axis.count))


@dataclass(frozen=True)
class TileLayout:
    """The cells of every shared node in one tile of windows, along y and x.

    Args:
        windows: rows and columns of windows.
        y: cells along y by node name.
        x: cells along x by node name.
        frontier_inputs: shared nodes that layers running per window read, or the scores if they are shared.
        step: px between windows (y, x).
    """

    windows: Pair
    y: Mapping[str, AxisCells]
    x: Mapping[str, AxisCells]
    frontier_inputs: tuple[str, ...]
    step: Pair

    @property
    def shifts(self) -> Pair:
        """Interior maps along y and x."""
        name = next(iter(self.y))
        return self.y[name].shifts, self.x[name].shifts

    def cells(self, name: str) -> int:
        """Cells of one node that the tile computes, over all families."""
        if name not in self._counted:
            matmul = self.head_as_matmul(name)  # runs on windows' own cells: no fragments, so no padded ones
            axes = (self.y[name], self.windows[0]), (self.x[name], self.windows[1])
            self._counted[name] = math.prod(
                sum((c.extent(f) if matmul else c.computed(f)) * c.maps(f, n) for f in c.families) for c, n in axes
            )
        return self._counted[name]

    @cached_property
    def _counted(self) -> dict[str, int]:
        return {}

    def head_as_matmul(self, name: str) -> bool:
        """Whether a node is a head with so few positions that it runs faster on each window's cells than on its map."""
        y, x = self.y[name], self.x[name]
        head = all(c.axis.closed and c.covers and c.shifts == 1 for c in (y, x))
        return head and y.extent("interior") * x.extent("interior") <= _MATMUL_CELLS

    def pixels(self, name: str) -> Region:
        """Top, bottom, left and right of the image that the tile reads, px from its first window's corner."""
        return (*self.y[name].pixels(self.step[0]), *self.x[name].pixels(self.step[1]))


@dataclass(frozen=True)
class AxisTile:
    """One axis of a tile: where its windows lie on the image.

    Args:
        step: px between windows.
        windows: how many.
        first: index of the first one among all windows.
        pixels: length of the image.
        offset: px from the image's edge to window 0.
        shifts: every so many windows share an interior map, and others have maps of their own.
    """

    step: int
    windows: int
    first: int
    pixels: int
    offset: int = 0
    shifts: int = 1

    @property
    def start(self) -> int:
        """Px from the image's edge to the tile's first window."""
        return self.offset + self.first * self.step

    def in_parts(self, unit: int) -> AxisTile:
        """The same in parts of a pixel, ``unit`` to each."""
        offset, pixels = self.offset * unit, self.pixels * unit
        return AxisTile(self.step * unit, self.windows, self.first, pixels, offset, self.shifts)

    def each_shift(self) -> tuple[AxisTile, ...]:
        """The windows that share a map, as a tile of their own for each map; all as many as the first has."""
        count, step = -(-self.windows // self.shifts), self.step * self.shifts
        starts = (self.start + k * self.step for k in range(min(self.shifts, self.windows)))
        return tuple(AxisTile(step, count, 0, self.pixels, start) for start in starts)


def lay_out(
    network: Network, places: Mapping[str, Place], y: AxisTile, x: AxisTile, *, fragments: bool = False
) -> TileLayout:
    """The cells that a tile needs of every shared node, and the strips that they are computed from.

    With ``fragments``, operators spread over an interior map run on its fragments.
    """
    along = [lay_out_axis(network, places, k, tile, fragments=fragments) for k, tile in enumerate((y, x))]
    return TileLayout((y.windows, x.windows), along[0], along[1], frontier_inputs(network, places), (y.step, x.step))


def frontier_inputs(network: Network, places: Mapping[str, Place]) -> tuple[str, ...]:
    """Shared nodes that layers running per window read; the output itself when it is shared."""
    if places[network.output.name].shared:
        return (network.output.name,)
    inputs = {i: None for n in network if not places[n.name].shared for i in n.inputs if places[i].shared}
    return tuple(inputs)


def lay_out_axis(
    network: Network, places: Mapping[str, Place], index: int, tile: AxisTile, *, fragments: bool = False
) -> dict[str, AxisCells]:
    """The cells along one axis (0 for y, 1 for x): forward for the maps, then backward for what is needed of each."""
    shared = [node for node in network if places[node.name].shared]
    tiles = tile.in_parts(network.units[index]).each_shift()
    each = [_maps(shared, places, index, tile) for tile in tiles]
    tile, maps = tiles[0], each[0] if len(each) == 1 else {n.name: _joined([m[n.name] for m in each]) for n in shared}
    needed: dict[str, Pair] = {}
    for name in frontier_inputs(network, places):
        axis = maps[name].axis
        needed[name] = maps[name].of_windows(axis.low, axis.count - axis.high, tile.windows)
    found: dict[str, AxisCells] = {}
    for node in reversed(shared):
        cells = _cells(node, node.ops[index], maps, needed[node.name], fragments=fragments)
        for source, family, piece in _interior_pieces(cells):
            start, stop = piece.start, piece.stop
            part = (start, stop) if family == "interior" else maps[source].of_windows(start, stop, tile.windows)
            old = needed.get(source, part)
            needed[source] = min(old[0], part[0]), max(old[1], part[1])
        found[node.name] = cells
    return {node.name: found[node.name] for node in shared}


@dataclass(frozen=True)
class _Map:
    """A node's interior map on the whole image.

    Args:
        axis: of one window.
        grid: parts of a pixel between cells.
        hop: cells between neighbouring windows.
        line: the cells that exist; of several maps, all that exist on any of them.
        lines: where there are several maps, the cells that exist of each.
        end: where cells end on the image: they lie at multiples of their grid below it, in every phase. Parts of a
            pixel from the image's first pixel to a cell's own, receptive field left aside: pixel ``p`` is the image's
            cell at ``p``, and a layer's first cell is at 0.
    """

    axis: Axis
    grid: int
    hop: int
    line: Line
    end: int
    lines: tuple[Line, ...] = ()

    def of_windows(self, start: int, stop: int, windows: int) -> Pair:
        """The run of the map with the cells ``[start, stop)`` of every window."""
        ratio = self.line.ratio
        return start * ratio, (windows - 1) * self.hop + (stop - 1) * ratio + 1


def _maps(shared: list[NodeSpec], places: Mapping[str, Place], index: int, tile: AxisTile) -> dict[str, _Map]:
    """The interior maps of all nodes that windows share."""
    maps: dict[str, _Map] = {}
    for node in shared:
        axes = places[node.name].axes
        assert axes is not None
        maps[node.name] = _map(node, node.ops[index], axes[index], maps, tile)
    return maps


def _joined(maps: list[_Map]) -> _Map:
    """The maps of all shifts of a node as one: they have equal cells, of which others exist on each."""
    lines = tuple(each.line for each in maps)
    line = Line(min(each.first for each in lines), max(each.stop for each in lines), lines[0].ratio)
    return replace(maps[0], line=line, lines=lines)


def _map(node: NodeSpec, op: Op, axis: Axis, maps: Mapping[str, _Map], tile: AxisTile) -> _Map:
    """The interior map of a node, given those of its inputs."""
    grid = tile.step if axis.closed else math.gcd(tile.step, axis.jump)
    sources = [maps[name] for name in node.inputs]
    if node.kind == "input":
        first, end = -(tile.start // grid), tile.pixels
    elif op.up > 1:
        first, end = sources[0].line.first * op.up, min(_end(op, s, tile) for s in sources)
    else:
        first = max(-(-s.line.first * s.grid // grid) for s in sources)
        end = min(_end(op, s, tile) for s in sources)
    ratio = 1 if axis.closed else axis.jump // grid
    stop = -((tile.start - end) // grid)
    return _Map(axis, grid, tile.step // grid, Line(first, stop, ratio), end)


def _end(op: Op, source: _Map, tile: AxisTile) -> int:
    """Where the cells that ``op`` gives end on the image."""
    jump, end = source.axis.jump, source.end
    if op.up > 1:
        return tile.start - (tile.start - end) // jump * jump
    last_tap = end + (op.low + op.high - (op.extent - 1)) * jump
    return min(last_tap + (op.stride - 1) * jump, end + op.low * jump) if op.ceil else last_tap


def _cells(node: NodeSpec, op: Op, maps: Mapping[str, _Map], region: Pair, *, fragments: bool) -> AxisCells:
    """The cells of a node whose interior map is needed in ``region``."""
    own = maps[node.name]
    axis = own.axis
    strips: dict[Family, dict[str, Strip]] = {"low": {}, "interior": {}, "high": {}}
    for name in node.inputs:
        source = maps[name]
        (start, stop), how = input_strip(op, region, source.line, own.grid // source.grid)
        pads = op.low > 0 or op.high > 0 or op.ceil
        exist = [(a - start, b - start) for a, b in _clipped(source.lines, (start, stop))] if pads else []
        inside = () if all(each == (0, stop - start) for each in exist) else tuple(exist)
        strips["interior"][name] = Strip((Piece("interior", start, stop),), how, inside)
        if axis.low:
            strips["low"][name] = _border(op, source.axis, (0, axis.low))
        if axis.high:
            strips["high"][name] = _border(op, source.axis, (axis.count - axis.high, axis.count))
    fragment = None
    if fragments and node.kind == "windowed" and op.up == 1 and not op.edge:
        (name,) = node.inputs
        strip = strips["interior"][name]
        fragment = split_into_fragments(
            strip.length, strip.slide.stride, strip.slide.dilation, op, maps[name].line.ratio
        )
    covers = all(op.covers(maps[name].axis.count) for name in node.inputs)
    lines = _clipped(own.lines, region)
    return AxisCells(axis, own.grid, own.line.ratio, own.hop, region, strips, fragment, covers, lines)


def _clipped(lines: tuple[Line, ...], to: Pair) -> tuple[Pair, ...]:
    """The cells of a run that exist, for each of several maps; the empty end of a run of which none do."""
    ends = ((min(max(line.first, to[0]), to[1]), max(min(line.stop, to[1]), to[0])) for line in lines)
    return tuple((min(first, stop), stop) for first, stop in ends)


def _border(op: Op, source: Axis, wanted: Pair) -> Strip:
    """The strip of a border's cells of each window: that window's own cells, and padding."""
    (start, stop), how = input_strip(op, wanted, Line(0, source.count), op.stride)
    return Strip(window_pieces(source, start, stop), how)


def _interior_pieces(cells: AxisCells) -> list[tuple[str, Family, Piece]]:
    """The interior cells that a node reads, each with the input they belong to and the family that reads them."""
    return [
        (source, family, piece)
        for family, strips in cells.strips.items()
        for source, strip in strips.items()
        for piece in strip.pieces
        if piece.family == "interior"
    ]
