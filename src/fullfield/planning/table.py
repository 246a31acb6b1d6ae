"""A plan as a table: where each layer runs, what each of its parts costs, against crop by crop. Imports no torch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fullfield.geometry.axis import Axis
from fullfield.geometry.network import Network, NodeSpec, Place
from fullfield.geometry.region import Pair
from fullfield.geometry.tile import AxisCells
from fullfield.planning.constants import CONSTANTS
from fullfield.text import WIDTH, fewer_text, html_text, short_count, shortened, table_lines

_NAME, _OPS = 32, 22  # columns of a layer's name and operators, at most
_NUMBER_BYTES = 4  # of a number that the estimate of the time assumes


@dataclass(frozen=True)
class FamilyCounts:
    """A count split by the families of cells, and by what runs per window.

    Args:
        interior: interior x interior, the one map of all windows.
        strips: border x interior, one strip for each row or column of windows.
        corners: border x border, one for each window.
        windows: what runs per window.
    """

    interior: int = 0
    strips: int = 0
    corners: int = 0
    windows: int = 0

    @property
    def total(self) -> int:
        """All parts together."""
        return self.interior + self.strips + self.corners + self.windows

    def __add__(self, other: FamilyCounts) -> FamilyCounts:
        return FamilyCounts(*(a + b for a, b in zip(self.counts, other.counts, strict=True)))

    def __mul__(self, factor: int) -> FamilyCounts:
        return FamilyCounts(*(factor * n for n in self.counts))

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """The parts in order."""
        return self.interior, self.strips, self.corners, self.windows

    def to_dict(self) -> dict[str, int]:
        """The parts and their total."""
        return asdict(self) | {"total": self.total}


@dataclass(frozen=True)
class LayerCosts:
    """One layer of the plan.

    Args:
        name: the layer.
        ops: its operators, in order, without repeats.
        shared: whether windows share it.
        reason: why they do not.
        axes: receptive field, jump and borders of its last cells along y and x, where it is shared.
        tile: multiply-adds of one full tile.
        scan: multiply-adds of the whole scan.
        crops: multiply-adds of all windows crop by crop.
    """

    name: str
    ops: tuple[str, ...]
    shared: bool
    reason: str
    axes: tuple[Axis, Axis] | None
    tile: FamilyCounts
    scan: FamilyCounts
    crops: int

    def to_dict(self) -> dict[str, Any]:
        """The layer as JSON-able values."""
        axes = None if self.axes is None else {k: a.to_dict() for k, a in zip("yx", self.axes, strict=True)}
        return {
            "layer": self.name,
            "operators": list(self.ops),
            "runs": "shared" if self.shared else "per window",
            "reason": self.reason,
            "axes": axes,
            "tile_macs": self.tile.to_dict(),
            "scan_macs": self.scan.to_dict(),
            "crop_macs": self.crops,
        }


@dataclass(frozen=True)
class PlanTable:
    """A plan, layer by layer.

    Args:
        layers: in the order in which they run.
        halo: px read beyond the pixels of a tile's own windows: top, bottom, left, right; the most of any tile.
        numbers: values that the scan writes, a measure of its traffic to memory; crop by crop.
        windows: of the whole map.
        facts: of the plan, as JSON-able values.
        notes: lines of text below the layers.
        macs_per_byte: time to write a byte, by the constants of the plan.
    """

    layers: tuple[LayerCosts, ...]
    halo: tuple[int, int, int, int]
    numbers: tuple[int, int]
    windows: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    macs_per_byte: float = CONSTANTS.macs_per_byte

    @property
    def tile(self) -> FamilyCounts:
        """Multiply-adds of one full tile."""
        return sum((layer.tile for layer in self.layers), FamilyCounts())

    @property
    def scan(self) -> FamilyCounts:
        """Multiply-adds of the whole scan: the sum over all tiles."""
        return sum((layer.scan for layer in self.layers), FamilyCounts())

    @property
    def crops(self) -> int:
        """Multiply-adds of all windows crop by crop."""
        return sum(layer.crops for layer in self.layers)

    @property
    def mac_ratio(self) -> float:
        """How many times fewer multiply-adds the scan takes than the crops."""
        return self.crops / max(1, self.scan.total)

    @property
    def speedup(self) -> float:
        """How many times faster than crop by crop the scan should be, by multiply-adds and numbers written."""
        each = self.macs_per_byte * _NUMBER_BYTES
        mine, crops = (
            macs + each * count for macs, count in zip((self.scan.total, self.crops), self.numbers, strict=True)
        )
        return crops / mine

    def seconds(self, crop_seconds: float) -> float:
        """What the scan should take on a machine that takes ``crop_seconds`` for one window by itself."""
        return crop_seconds * self.windows / self.speedup

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON-able values, with the plan's facts."""
        return {
            **self.facts,
            "halo": list(self.halo),
            "tile_parts": self.tile.to_dict(),
            "scan_macs": self.scan.to_dict(),
            "scan_crop_macs": self.crops,
            "scan_fewer_macs_than_crops": round(self.mac_ratio, 3),
            "layers": [layer.to_dict() for layer in self.layers],
        }

    def __repr__(self) -> str:
        return f"<PlanTable: {len(self.layers)} layers, {fewer_text(self.mac_ratio)} multiply-adds than crops>"

    def _repr_html_(self) -> str:
        return html_text(str(self))

    def __str__(self) -> str:
        return "\n".join([*_lines(self), "", *_legend(), "", *self.notes])


@dataclass(frozen=True)
class TileSpan:
    """One row (or column) of tiles: the windows computed along that axis, and the cells of every shared node."""

    windows: int
    cells: Mapping[str, AxisCells]


TileSpans = tuple[list[TileSpan], list[TileSpan]]  # rows and columns of tiles, of one pass or of all


def layer_costs(
    network: Network, places: Mapping[str, Place], first: TileSpans, whole: TileSpans, windows: int
) -> tuple[LayerCosts, ...]:
    """The layers of a network, their costs summed over all tiles of the ``whole`` scan; crop by crop of ``windows``.

    One full tile is of the ``first`` pass.

    Cells of a tile are a product over the axes, and so is their sum over all tiles:

        sum of cells = (sum over tile rows of interior + border) * (sum over tile columns of interior + border)
    """
    rows, columns = first
    middle = rows[(len(rows) - 1) // 2], columns[(len(columns) - 1) // 2]  # not the last of several: that is smaller
    one_tile: TileSpans = [middle[0]], [middle[1]]
    layers = []
    for nodes in _grouped(network, places):
        tile, scan = (sum((_counts(n, spans) for n in nodes), FamilyCounts()) for spans in (one_tile, whole))
        place = places[nodes[-1].name]
        ops = tuple(dict.fromkeys(n.op for n in nodes))
        crops = windows * sum(n.window_macs for n in nodes)
        layers.append(LayerCosts(nodes[0].path, ops, place.shared, place.reason, place.axes, tile, scan, crops))
    return tuple(layers)


def numbers_written(network: Network, spans: TileSpans) -> int:
    """Values that a scan writes: cells of every node, and what is gathered for layers per window."""
    shared = spans[0][0].cells
    cells = sum(_cells(n.name, spans).total * n.elements for n in network if n.name in shared)
    rest = [n for n in network if n.name not in shared]
    gathered = {i for n in rest for i in n.inputs if i in shared}
    each = sum(n.window_elements for n in [*rest, *(network[i] for i in sorted(gathered))])
    return cells + _windows(spans) * each


def halo(network: Network, spans: TileSpans, step: Pair) -> tuple[int, int, int, int]:
    """Px read beyond the pixels of a tile's own windows: top, bottom, left, right; the most of any tile."""
    found: list[int] = []
    image = network.nodes[0].name
    for axis, distance, window in zip(spans, step, network.window, strict=True):
        regions = [(s.cells[image].pixels(distance), (s.windows - 1) * distance + window) for s in axis]
        found += [max(0, *(-start for (start, _), _ in regions)), max(0, *(stop - own for (_, stop), own in regions))]
    return found[0], found[1], found[2], found[3]


def _grouped(network: Network, places: Mapping[str, Place]) -> Iterator[list[NodeSpec]]:
    """Nodes of one layer that run one after the other, all of them shared or all of them per window."""
    group: list[NodeSpec] = []
    for node in network:
        if node.kind == "input":
            continue
        if group and (node.path, places[node.name].shared) != (group[0].path, places[group[0].name].shared):
            yield group
            group = []
        group.append(node)
    yield group


def _cells(name: str, spans: TileSpans) -> FamilyCounts:
    """Cells of a shared node over all tiles."""
    (inner_y, edge_y), (inner_x, edge_x) = (
        (
            sum(s.cells[name].computed("interior") * s.cells[name].shifts for s in axis),
            sum(s.windows * (s.cells[name].extent("low") + s.cells[name].extent("high")) for s in axis),
        )
        for axis in spans
    )
    return FamilyCounts(inner_y * inner_x, edge_y * inner_x + inner_y * edge_x, edge_y * edge_x)


def _windows(spans: TileSpans) -> int:
    return math.prod(sum(s.windows for s in axis) for axis in spans)


def _counts(node: NodeSpec, spans: TileSpans) -> FamilyCounts:
    """Multiply-adds of a node over all tiles."""
    if node.name in spans[0][0].cells:
        return _cells(node.name, spans) * node.macs
    return FamilyCounts(windows=_windows(spans) * node.window_macs)


_Column = tuple[str, Callable[[LayerCosts], str]]
_COLUMNS: tuple[_Column, ...] = (
    ("layer", lambda r: shortened(r.name, _NAME, front=True)),
    ("operators", lambda r: shortened(", ".join(r.ops), _OPS)),
    ("runs", lambda r: "shared" if r.shared else "per window"),
    ("borders", lambda r: "" if r.axes is None else _borders(r.axes)),
    ("shared map", lambda r: _count(r.scan.interior)),
    ("strips", lambda r: _count(r.scan.strips)),
    ("corners", lambda r: _count(r.scan.corners)),
    ("per window", lambda r: _count(r.scan.windows)),
    ("crops", lambda r: _count(r.crops)),
    ("fewer", lambda r: f"{r.crops / r.scan.total:.1f}x" if r.scan.total else ""),
)


def _lines(table: PlanTable) -> list[str]:
    cells = [[title for title, _ in _COLUMNS], *([show(row) for _, show in _COLUMNS] for row in table.layers)]
    counts = [_count(number) for number in (*table.scan.counts, table.crops)]
    cells.append(["all layers", "", "", "", *counts, f"{table.mac_ratio:.1f}x"])
    return table_lines(cells, left=3, totals=True)


def _borders(axes: tuple[Axis, Axis]) -> str:
    y, x = (f"{a.low},{a.high}" if a.low or a.high else "0" for a in axes)
    return y if y == x else f"{y} x {x}"


def _count(number: int) -> str:
    return short_count(number) if number else ""


def _legend() -> list[str]:
    text = (
        "Multiply-adds of the whole scan. Borders: first and last cells of a window's map, computed as its crop "
        "would. Shared map: cells that all windows share. Strips: border cells that a row or a column of windows "
        "shares. Corners: border cells of each window. Per window: layers that each window has for itself. Crops: "
        "all windows one by one."
    )
    return textwrap.wrap(text, WIDTH)
