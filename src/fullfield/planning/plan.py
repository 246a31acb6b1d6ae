"""The plan of a scan: mode, method, frontier, tile, batch and memory. Imports no torch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from fullfield.geometry.network import Network, Place
from fullfield.geometry.region import Pair
from fullfield.geometry.tile import AxisTile, TileLayout, lay_out
from fullfield.planning.constants import CONSTANTS, CostConstants
from fullfield.planning.cost import Cost, crop_macs, frontier
from fullfield.planning.overhead import Memory
from fullfield.planning.programs import CACHED_PROGRAMS
from fullfield.planning.sides import overlap, tiles_along
from fullfield.planning.table import PlanTable, TileSpan, TileSpans, halo, layer_costs, numbers_written
from fullfield.text import WIDTH, fewer_text, html_text, number_of, short_count

Mode = Literal["exact", "context"]
Method = Literal["auto", "atrous", "fragments", "shifted"]


@dataclass(frozen=True)
class Borders:
    """How many of the cells that depend on a window's padding are computed as in its crop.

    Args:
        cells: border cells at each edge of a window's map that are, in every layer; ``None`` for all of them, which is
            ``exact`` mode, 0 for none, which is ``context`` mode.
        whole_maps: maps of at most this many cells a side keep all their border cells.
    """

    cells: int | None = None
    whole_maps: int = 0

    @property
    def mode(self) -> Mode:
        """``exact`` if all border cells are computed as in the crop."""
        return "exact" if self.cells is None else "context"

    def places(self, network: Network, *, stop: int | None = None, step: Pair | None = None) -> dict[str, Place]:
        """Where every node runs, for windows ``step`` apart; without a step, as much is shared as at the best one."""
        return network.places(cap=self.cells, small=self.whole_maps, stop=stop, step=step)


@dataclass(frozen=True)
class Tile:
    """Windows whose scores are stored together: first row and column, rows and columns."""

    row: int
    column: int
    rows: int
    columns: int


EXACT = Borders()
CONTEXT = Borders(0)


@dataclass(frozen=True, repr=False)
class Plan:
    """How one scan runs, in one pass over the image or several.

    Args:
        network: the network as integers.
        places: where every node runs.
        borders: which cells are computed as in the crops.
        image: height and width of the scanned image, px.
        step: px between windows (y, x).
        shape: rows and columns of the score map.
        tile: rows and columns of windows computed together.
        batch: windows at a time where the network runs per window.
        cost: of one full tile.
        memory: what the scan is predicted to take.
        budget_bytes: memory allowed.
        method: ``atrous`` spreads operators over one fine map, ``fragments`` runs them on its interleaved parts,
            ``shifted`` scans the image several times, shifted, at a step that the network's stride divides: one pass
            after the other, or in each tile all of them at once.
        why: how the methods compare, if there was a choice.
        offset: px from the image's corner to the first window (y, x).
        cell_stride: cells of the whole map between this plan's rows and columns.
        passes: the plans of a ``shifted`` scan, one a shift, if these run one after the other.
        shifts: passes along y and x that each tile computes at once.
        engine: what runs it, in words.
        constants: of the engine, by which the plan was chosen.
        programs: of tiles that are kept at once; less than ``CACHED_PROGRAMS`` where the budget has no room for those
            of every kind of tile.
        scans: equal scans for which preparing was counted once.
        time: predicted for one window, preparing counted, in multiply-adds.
    """

    network: Network
    places: Mapping[str, Place]
    borders: Borders
    image: Pair
    step: Pair
    shape: Pair
    tile: Pair
    batch: int
    cost: Cost
    memory: Memory
    budget_bytes: int
    method: Method = "atrous"
    why: str = "every layer's stride divides the step"
    offset: Pair = (0, 0)
    cell_stride: Pair = (1, 1)
    passes: tuple[Plan, ...] = ()
    engine: str = ""
    constants: CostConstants = CONSTANTS
    programs: int = CACHED_PROGRAMS
    scans: int = 1
    shifts: Pair = (1, 1)
    time: float = 0.0

    @property
    def all_passes(self) -> tuple[Plan, ...]:
        """The plan of each pass: its own where there is only one."""
        return self.passes or (self,)

    @property
    def mode(self) -> Mode:
        """``exact`` or ``context``."""
        return self.borders.mode

    def tiles(self) -> Iterator[Tile]:
        """All tiles, row by row; those at the end may be smaller. They cover the map once."""
        down, across = map(tiles_along, self.shape, self.tile)
        return (self.tile_at(i, j) for i in range(down) for j in range(across))

    def tile_at(self, row: int, column: int) -> Tile:
        """The tile in a row and a column of tiles."""
        (height, width), (rows, columns) = self.tile, self.shape
        top, left = row * height, column * width
        return Tile(top, left, min(height, rows - top), min(width, columns - left))

    def computed(self, tile: Tile) -> Tile:
        """The windows that are computed for a tile: its own, and before these so many that it equals the others."""
        row = tile.row - self._before(0, tile.row, tile.rows)
        column = tile.column - self._before(1, tile.column, tile.columns)
        return Tile(row, column, tile.row + tile.rows - row, tile.column + tile.columns - column)

    def _before(self, axis: int, first: int, count: int) -> int:
        """Rows or columns of windows before a tile that are computed with it."""
        whole, side = self.shape[axis], self.tile[axis]
        return side - count if first + count == whole and side - count == overlap(whole, side) else 0

    @cached_property
    def alone(self) -> tuple[str, ...]:
        """The nodes that run per window."""
        return tuple(name for name, place in self.places.items() if not place.shared)

    def layout(self, tile: Tile) -> TileLayout:
        """The cells that are computed for one tile of a plan with a single pass."""
        tile = self.computed(tile)
        y = AxisTile(self.step[0], tile.rows, tile.row, self.image[0], self.offset[0], self.shifts[0])
        x = AxisTile(self.step[1], tile.columns, tile.column, self.image[1], self.offset[1], self.shifts[1])
        return lay_out(self.network, self.places, y, x, fragments=self.method == "fragments")

    @property
    def windows(self) -> int:
        """Windows of the whole map."""
        return self.shape[0] * self.shape[1]

    @property
    def spare_bytes(self) -> int:
        """What the scan is not predicted to take of its budget."""
        return self.budget_bytes - self.memory.total_bytes

    @property
    def costs(self) -> Literal["measured", "built-in"]:
        """Whether the costs by which it was chosen were measured on this machine."""
        return "measured" if self.constants.measured else "built-in"

    @property
    def mac_ratio(self) -> float:
        """How many times fewer multiply-adds a full tile takes than its windows crop by crop."""
        return crop_macs(self.network) * self.tile[0] * self.tile[1] / max(1, self.cost.macs)

    @property
    def table(self) -> PlanTable:
        """Layer by layer: where each runs, what each part of it costs in the whole scan, against crop by crop."""
        first, scan = _spans(self.all_passes[:1]), _spans(self.all_passes)
        layers = layer_costs(self.network, self.places, first, scan, self.windows)
        beyond = halo(self.network, first, self.all_passes[0].step)
        numbers = numbers_written(self.network, scan), self.windows * sum(n.window_elements for n in self.network)
        table = PlanTable(
            layers, beyond, numbers, self.windows, self.to_dict(), macs_per_byte=self.constants.macs_per_byte
        )
        return replace(table, notes=_notes(self, table))

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-able values, multiply-adds of a full tile; ``table.to_dict()`` has those of the scan."""
        first = frontier(self.network, self.places)
        return {
            "mode": self.mode,
            "border": self.borders.cells,
            "whole_maps": self.borders.whole_maps,
            "image": self.image,
            "step": self.step,
            "map": self.shape,
            "method": self.method,
            "why": self.why,
            "engine": self.engine,
            "costs": self.costs,
            "scans": self.scans,
            "passes": len(self.passes) or math.prod(map(min, self.shifts, self.shape)),
            "tile": self.tile,
            "batch": self.batch,
            "frontier": None if first is None else {"layer": first.path, "reason": self.places[first.name].reason},
            "tile_macs": {"shared": self.cost.shared_macs, "per_window": self.cost.window_macs},
            "crop_macs": crop_macs(self.network),
            "fewer_macs_than_crops": round(self.mac_ratio, 2),
            "predicted_peak_bytes": self.memory.total_bytes,
            "budget_bytes": self.budget_bytes,
        }

    def __str__(self) -> str:
        first = frontier(self.network, self.places)
        where = (
            "all layers shared" if first is None else f"per window from {first.path} ({self.places[first.name].reason})"
        )
        return (
            f"{self.mode}, {self.shape[0]}x{self.shape[1]} windows in tiles of {self.tile[0]}x{self.tile[1]}, {where}; "
            f"{fewer_text(self.mac_ratio)} multiply-adds than crops, about {self.memory.total_bytes / 1e6:.0f} MB; "
            f"{self.costs} costs"
        )

    def _repr_html_(self) -> str:
        return html_text(str(self.table))

    def __repr__(self) -> str:
        return f"<Plan: {self}>"


def _spans(passes: tuple[Plan, ...]) -> TileSpans:
    """The rows and the columns of the tiles of passes, which are every shift along y with every shift along x."""
    top, left = passes[0].offset
    rows = [span for part in passes if part.offset[1] == left for span in _rows(part)]
    columns = [span for part in passes if part.offset[0] == top for span in _columns(part)]
    return rows, columns


def _rows(plan: Plan) -> Iterator[TileSpan]:
    """The rows of a pass's tiles."""
    first = next(iter(plan.tiles()))
    rows = {t.row: t.rows for t in plan.tiles()}
    layouts = (plan.layout(Tile(i, first.column, n, first.columns)) for i, n in rows.items())
    return (TileSpan(each.windows[0], each.y) for each in layouts)


def _columns(plan: Plan) -> Iterator[TileSpan]:
    """The columns of a pass's tiles."""
    first = next(iter(plan.tiles()))
    columns = {t.column: t.columns for t in plan.tiles()}
    layouts = (plan.layout(Tile(first.row, j, first.rows, n)) for j, n in columns.items())
    return (TileSpan(each.windows[1], each.x) for each in layouts)


def _notes(plan: Plan, table: PlanTable) -> tuple[str, ...]:
    """What a plan's table says below its layers."""
    first = frontier(plan.network, plan.places)
    where = "none, windows share every layer" if first is None else f"{first.path}: {plan.places[first.name].reason}"
    (height, width), (rows, columns), (ty, tx) = plan.image, plan.shape, plan.tile
    top, bottom, left, right = table.halo
    per = f", batches of {plan.batch} windows" if first is not None else ""
    step = f"{plan.step[0]}" if plan.step[0] == plan.step[1] else f"{plan.step[0]} x {plan.step[1]}"
    tiles = sum(1 for part in plan.all_passes for _ in part.tiles())
    one_tile, scan, crops = (short_count(macs) for macs in (table.tile.total, table.scan.total, table.crops))
    memory, budget = plan.memory.total_bytes / 1e6, plan.budget_bytes / 1e6
    lines = [
        f"map       {rows}x{columns} windows, step {step} px, of {height}x{width} px; {_setting(plan)}",
        f"method    {plan.method}; {plan.why}",
        f"frontier  {where}",
        f"tile      {ty}x{tx} windows{per}, {one_tile} MACs, {number_of(tiles, 'tile')} in all",
        f"halo      {top} px above, {bottom} below, {left} left, {right} right of a tile's own pixels",
        f"memory    {memory:,.0f} MB of {budget:,.0f} MB allowed",
        *([f"engine    {plan.engine}"] if plan.engine else []),
        f"costs     {plan.costs}" + (f"; {plan.scans} equal scans share what is prepared" if plan.scans > 1 else ""),
        f"work      {scan} MACs, crop by crop {crops}: {fewer_text(table.mac_ratio)}{_cheaper_mode(plan, table)}",
    ]
    return tuple(part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent=" " * 10))


def _cheaper_mode(plan: Plan, table: PlanTable) -> str:
    """Advice where shared maps have more cells between windows than windows share."""
    more = fewer_text(table.mac_ratio).endswith("more")
    return "; exact mode takes at most about as many as crops" if more and plan.borders.cells is not None else ""


def _setting(plan: Plan) -> str:
    cells, whole = plan.borders.cells, plan.borders.whole_maps
    if not cells:
        return plan.mode
    return f"border {cells}" + (f", maps of at most {whole} cells whole" if whole else "")
