"""A plan as a table: where each layer runs, what each part of it costs, against crop by crop. Imports no torch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fullfield.geometry.axis import Axis
from fullfield.geometry.network import NodeSpec
from fullfield.geometry.tile import AxisCells
from fullfield.planning.cost import crop_macs, frontier
from fullfield.planning.plan import Plan, Tile

_WIDTH = 120  # of running text
_NAME, _OPS = 32, 22  # columns of a layer's name and operators, at most
_MACS_A_NUMBER = 16.0  # writing one number takes about as long as this many multiply-adds


@dataclass(frozen=True)
class Parts:
    """A count by where it is spent: the families of cells, and what each window has for itself.

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

    def __add__(self, other: Parts) -> Parts:
        return Parts(*(a + b for a, b in zip(self.counts, other.counts, strict=True)))

    def __mul__(self, factor: int) -> Parts:
        return Parts(*(factor * n for n in self.counts))

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """The parts in order."""
        return self.interior, self.strips, self.corners, self.windows

    def to_dict(self) -> dict[str, int]:
        """The parts and their total."""
        return asdict(self) | {"total": self.total}


@dataclass(frozen=True)
class Layer:
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
    tile: Parts
    scan: Parts
    crops: int

    def to_dict(self) -> dict[str, Any]:
        """The layer as JSON-able values."""
        axes = None if self.axes is None else {k: asdict(a) for k, a in zip("yx", self.axes, strict=True)}
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
class Table:
    """A plan, layer by layer.

    Args:
        plan: the plan.
        layers: in the order in which they run.
        halo: px read beyond the pixels of a tile's own windows: top, bottom, left, right; the most of any tile.
        numbers: values that the scan writes, a measure of its traffic to memory; crop by crop.
    """

    plan: Plan
    layers: tuple[Layer, ...]
    halo: tuple[int, int, int, int]
    numbers: tuple[int, int]

    @property
    def tile(self) -> Parts:
        """Multiply-adds of one full tile."""
        return sum((layer.tile for layer in self.layers), Parts())

    @property
    def scan(self) -> Parts:
        """Multiply-adds of the whole scan: the sum over all tiles."""
        return sum((layer.scan for layer in self.layers), Parts())

    @property
    def crops(self) -> int:
        """Multiply-adds of all windows crop by crop."""
        return self.plan.windows * crop_macs(self.plan.network)

    @property
    def mac_ratio(self) -> float:
        """How many times fewer multiply-adds the scan takes than the crops."""
        return self.crops / max(1, self.scan.total)

    @property
    def faster(self) -> float:
        """How many times faster than crop by crop the scan should be, by multiply-adds and numbers written."""
        mine, crops = (
            macs + _MACS_A_NUMBER * n for macs, n in zip((self.scan.total, self.crops), self.numbers, strict=True)
        )
        return crops / mine

    def seconds(self, crop_seconds: float) -> float:
        """What the scan should take on a machine that takes ``crop_seconds`` for one window by itself."""
        return crop_seconds * self.plan.windows / self.faster

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON-able values, next to the plan's own."""
        return {
            **self.plan.to_dict(),
            "halo": list(self.halo),
            "tile_parts": self.tile.to_dict(),
            "scan_macs": self.scan.to_dict(),
            "scan_crop_macs": self.crops,
            "scan_fewer_macs_than_crops": round(self.mac_ratio, 3),
            "layers": [layer.to_dict() for layer in self.layers],
        }

    def __str__(self) -> str:
        return "\n".join([*_lines(self), "", *_legend(), "", *_facts(self)])


def tabulate(plan: Plan) -> Table:
    """The plan layer by layer, its cost summed over all tiles.

    Cells of a tile are a product over the axes, and so is their sum over all tiles:

        sum of cells = (sum over tile rows of interior + border) * (sum over tile columns of interior + border)
    """
    runs = [(run, _spans(run)) for run in plan.all_passes]
    first, spans = runs[0]
    middle = (
        first,
        tuple([axis[(len(axis) - 1) // 2]] for axis in spans),
    )  # never the last of several: that is smaller
    layers = []
    for nodes in _grouped(first):
        tile, scan = (sum((_parts(n, axes) for n in nodes for _, axes in each), Parts()) for each in ([middle], runs))
        place = first.places[nodes[-1].name]
        ops = tuple(dict.fromkeys(n.op for n in nodes))
        crops = plan.windows * sum(n.window_macs for n in nodes)
        layers.append(Layer(nodes[0].path, ops, place.shared, place.reason, place.axes, tile, scan, crops))
    numbers = sum(_numbers(run, axes) for run, axes in runs), _crop_numbers(plan)
    return Table(plan, tuple(layers), _halo(first, spans), numbers)


@dataclass(frozen=True)
class _Span:
    """One row (or column) of tiles: its windows along that axis, and the cells of every shared node."""

    windows: int
    cells: Mapping[str, AxisCells]


def _spans(plan: Plan) -> tuple[list[_Span], list[_Span]]:
    """The rows and the columns of tiles."""
    first = next(iter(plan.tiles()))
    rows = {t.row: t.rows for t in plan.tiles()}
    columns = {t.column: t.columns for t in plan.tiles()}
    down = [_Span(n, plan.layout(Tile(i, first.column, n, first.columns)).y) for i, n in rows.items()]
    across = [_Span(n, plan.layout(Tile(first.row, j, first.rows, n)).x) for j, n in columns.items()]
    return down, across


def _grouped(plan: Plan) -> Iterator[list[NodeSpec]]:
    """Nodes of one layer that run one after the other and in one place."""
    group: list[NodeSpec] = []
    for node in plan.network:
        if node.kind == "input":
            continue
        if group and (node.path, plan.places[node.name].shared) != (group[0].path, plan.places[group[0].name].shared):
            yield group
            group = []
        group.append(node)
    yield group


def _cells(name: str, spans: tuple[list[_Span], ...]) -> Parts:
    """Cells of a shared node over all tiles that rows and columns of tiles make."""
    (inner_y, edge_y), (inner_x, edge_x) = (
        (
            sum(s.cells[name].computed("interior") for s in axis),
            sum(s.windows * (s.cells[name].extent("low") + s.cells[name].extent("high")) for s in axis),
        )
        for axis in spans
    )
    return Parts(inner_y * inner_x, edge_y * inner_x + inner_y * edge_x, edge_y * edge_x)


def _windows(spans: tuple[list[_Span], ...]) -> int:
    return math.prod(sum(s.windows for s in axis) for axis in spans)


def _parts(node: NodeSpec, spans: tuple[list[_Span], ...]) -> Parts:
    if node.name in spans[0][0].cells:
        return _cells(node.name, spans) * node.macs
    return Parts(windows=_windows(spans) * node.window_macs)


def _numbers(plan: Plan, spans: tuple[list[_Span], list[_Span]]) -> int:
    """Values written by the whole scan: cells of every node, and what is gathered for layers that run per window."""
    shared = spans[0][0].cells
    cells = sum(_cells(n.name, spans).total * n.elements for n in plan.network if n.name in shared)
    rest = [n for n in plan.network if n.name not in shared]
    if not rest:
        return cells
    read = {i for n in rest for i in n.inputs if i in shared}
    return cells + plan.windows * sum(n.window_elements for n in [*rest, *(plan.network[i] for i in sorted(read))])


def _crop_numbers(plan: Plan) -> int:
    return plan.windows * sum(n.window_elements for n in plan.network)


def _halo(plan: Plan, spans: tuple[list[_Span], list[_Span]]) -> tuple[int, int, int, int]:
    found: list[int] = []
    image = plan.network.nodes[0].name
    for axis, step, window in zip(spans, plan.step, plan.network.window, strict=True):
        regions = [(s.cells[image].region, (s.windows - 1) * step + window) for s in axis]
        found += [max(0, *(-start for (start, _), _ in regions)), max(0, *(stop - own for (_, stop), own in regions))]
    return found[0], found[1], found[2], found[3]


Column = tuple[str, Callable[[Layer], str]]
_COLUMNS: tuple[Column, ...] = (
    ("layer", lambda r: r.name if len(r.name) <= _NAME else f"…{r.name[1 - _NAME :]}"),
    ("operators", lambda r: _cut(", ".join(r.ops))),
    ("runs", lambda r: "shared" if r.shared else "per window"),
    ("borders", lambda r: "" if r.axes is None else _borders(r.axes)),
    ("shared map", lambda r: _count(r.scan.interior)),
    ("strips", lambda r: _count(r.scan.strips)),
    ("corners", lambda r: _count(r.scan.corners)),
    ("per window", lambda r: _count(r.scan.windows)),
    ("crops", lambda r: _count(r.crops)),
    ("fewer", lambda r: f"{r.crops / r.scan.total:.1f}x" if r.scan.total else ""),
)


def _lines(table: Table) -> list[str]:
    scan = table.scan
    cells = [[title for title, _ in _COLUMNS], *([show(row) for _, show in _COLUMNS] for row in table.layers)]
    total = ["all layers", "", "", "", *map(_count, scan.counts), _count(table.crops), f"{table.mac_ratio:.1f}x"]
    widths = [max(len(line[k]) for line in [*cells, total]) for k in range(len(_COLUMNS))]
    head, *rows, last = (
        "  ".join(
            text.ljust(w) if k < 3 else text.rjust(w) for k, (text, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in [*cells, total]
    )
    rule = "-" * len(head)
    return [line.rstrip() for line in (head, rule, *rows, rule, last)]


def _cut(text: str) -> str:
    return text if len(text) <= _OPS else f"{text[: _OPS - 1]}…"


def _borders(axes: tuple[Axis, Axis]) -> str:
    y, x = (f"{a.low},{a.high}" if a.low or a.high else "0" for a in axes)
    return y if y == x else f"{y} x {x}"


def _count(number: int) -> str:
    return short(number) if number else ""


def short(number: float) -> str:
    """A count with three digits and its thousands as a letter.

    Examples:
        >>> short(999), short(34_944), short(1_600_000_000), short(2e16)
        ('999', '34.9 k', '1.60 G', '20.0 P')
    """
    value, letters = float(number), iter("kMGTP")
    letter = ""
    while value >= 999.5 and letter != "P":
        value, letter = value / 1000, next(letters)
    return f"{number:.0f}" if not letter else f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {letter}"


def _legend() -> list[str]:
    text = (
        "Multiply-adds of the whole scan. Borders: first and last cells of a window's map, computed as its crop "
        "would. Shared map: cells that all windows share. Strips: border cells that a row or a column of windows "
        "shares. Corners: border cells of each window. Per window: layers that each window has for itself. Crops: "
        "all windows one by one."
    )
    return textwrap.wrap(text, _WIDTH)


def _facts(table: Table) -> list[str]:
    plan, tile = table.plan, table.tile
    first = frontier(plan.network, plan.places)
    where = "none, windows share every layer" if first is None else f"{first.path}: {plan.places[first.name].reason}"
    (height, width), (rows, columns), (ty, tx) = plan.image, plan.shape, plan.tile
    top, bottom, left, right = table.halo
    per = f", batches of {plan.batch} windows" if first is not None else ""
    lines = [
        f"map       {rows}x{columns} windows, step {_pair(*plan.step)} px, of {height}x{width} px; {_setting(plan)}",
        f"method    {plan.method}; {plan.why}",
        f"frontier  {where}",
        f"tile      {ty}x{tx} windows{per}, {short(tile.total)} MACs, {_tiles(plan)}",
        f"halo      {top} px above, {bottom} below, {left} left, {right} right of a tile's own pixels",
        f"memory    {plan.memory.total_bytes / 1e6:,.0f} MB of {plan.budget_bytes / 1e6:,.0f} MB allowed",
        f"work      {short(table.scan.total)} MACs, crop by crop {short(table.crops)}: {table.mac_ratio:.1f}x fewer",
    ]
    return [part for line in lines for part in textwrap.wrap(line, _WIDTH, subsequent_indent=" " * 10)]


def _setting(plan: Plan) -> str:
    cells, whole = plan.borders.cells, plan.borders.whole_maps
    if not cells:
        return plan.mode
    return f"border {cells}" + (f", maps of at most {whole} cells whole" if whole else "")


def _tiles(plan: Plan) -> str:
    count = sum(1 for run in plan.all_passes for _ in run.tiles())
    return f"{count} tile{'' if count == 1 else 's'} in all"


def _pair(y: int, x: int) -> str:
    return f"{y}" if y == x else f"{y} x {x}"
