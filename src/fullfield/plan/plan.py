"""The immutable decision how a scan will run: mode, frontier, tile, batch. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fullfield.errors import BudgetError, GeometryError
from fullfield.geometry.network import Network, Place
from fullfield.geometry.tile import AxisTile, TileLayout, lay_out
from fullfield.plan.cost import Cost, crop_macs, frontier, tile_cost

Mode = Literal["exact", "context"]
Pair = tuple[int, int]

DEFAULT_BUDGET_BYTES = 2 * 1024**3
_BATCH_BYTES = 64 * 1024**2  # of activations at a time where the network runs per window
_CHUNKS = 64  # batches in one tile's program, at most
_MACS_PER_BYTE = 4.0  # a byte moved costs as much time as this many multiply-adds, on CPUs and GPUs alike
_GAIN = 0.97  # a larger tile must be at least this much cheaper a window


@dataclass(frozen=True)
class Borders:
    """How much of what a window's padding touches is computed as the crop would.

    Args:
        cells: recomputed border cells at each edge of a window's map, in every layer; ``None`` for all of them, which
            is ``exact`` mode, 0 for none, which is ``context`` mode.
        whole_maps: maps of at most this many cells a side keep all their border cells.
    """

    cells: int | None = None
    whole_maps: int = 0

    @property
    def mode(self) -> Mode:
        """``exact`` where all border cells are recomputed."""
        return "exact" if self.cells is None else "context"

    def places(self, network: Network, *, stop: int | None = None) -> dict[str, Place]:
        """Where every node runs."""
        return network.places(cap=self.cells, small=self.whole_maps, stop=stop)


@dataclass(frozen=True)
class Tile:
    """Windows computed together: first row and column, rows and columns."""

    row: int
    column: int
    rows: int
    columns: int


EXACT = Borders()
CONTEXT = Borders(0)


@dataclass(frozen=True)
class Plan:
    """How one scan runs.

    Args:
        network: the network as integers.
        places: where every node runs.
        borders: what is recomputed as the crops would.
        image: height and width of the scanned image, px.
        step: px between windows (y, x).
        shape: rows and columns of the score map.
        tile: rows and columns of windows computed together.
        batch: windows at a time where the network runs per window.
        cost: of one full tile.
        budget_bytes: memory allowed.
    """

    network: Network
    places: Mapping[str, Place] = field(repr=False)
    borders: Borders
    image: Pair
    step: Pair
    shape: Pair
    tile: Pair
    batch: int
    cost: Cost
    budget_bytes: int

    @property
    def mode(self) -> Mode:
        """``exact`` or ``context``."""
        return self.borders.mode

    def tiles(self) -> Iterator[Tile]:
        """All tiles, row by row; the last ones are smaller."""
        for i in range(0, self.shape[0], self.tile[0]):
            for j in range(0, self.shape[1], self.tile[1]):
                yield Tile(i, j, min(self.tile[0], self.shape[0] - i), min(self.tile[1], self.shape[1] - j))

    def layout(self, tile: Tile) -> TileLayout:
        """The cells of one tile."""
        y = AxisTile(self.step[0], tile.rows, tile.row, self.image[0])
        x = AxisTile(self.step[1], tile.columns, tile.column, self.image[1])
        return lay_out(self.network, self.places, y, x)

    @property
    def windows(self) -> int:
        """Windows of the whole map."""
        return self.shape[0] * self.shape[1]

    @property
    def fewer(self) -> float:
        """How many times fewer multiply-adds a full tile takes than its windows crop by crop."""
        return crop_macs(self.network) * self.tile[0] * self.tile[1] / max(1, self.cost.macs)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-able values."""
        first = frontier(self.network, self.places)
        return {
            "mode": self.mode,
            "border": self.borders.cells,
            "whole_maps": self.borders.whole_maps,
            "image": self.image,
            "step": self.step,
            "map": self.shape,
            "tile": self.tile,
            "batch": self.batch,
            "frontier": None if first is None else {"layer": first.path, "reason": self.places[first.name].reason},
            "tile_macs": {"shared": self.cost.shared_macs, "per_window": self.cost.window_macs},
            "crop_macs": crop_macs(self.network),
            "fewer_macs_than_crops": round(self.fewer, 2),
            "predicted_peak_bytes": self.cost.peak_bytes,
            "budget_bytes": self.budget_bytes,
        }

    def __str__(self) -> str:
        first = frontier(self.network, self.places)
        where = (
            "all layers shared" if first is None else f"per window from {first.path} ({self.places[first.name].reason})"
        )
        return (
            f"{self.mode}, {self.shape[0]}x{self.shape[1]} windows in tiles of {self.tile[0]}x{self.tile[1]}, {where}; "
            f"{self.fewer:.1f}x fewer multiply-adds than crops, about {self.cost.peak_bytes / 1e6:.0f} MB"
        )


def make_plan(
    network: Network,
    *,
    image: Pair,
    step: Pair,
    borders: Borders = EXACT,
    itemsize: int = 4,
    budget_bytes: int | None = None,
    tile: Pair | None = None,
    batch: int | None = None,
) -> Plan:
    """The cheapest way found to scan ``image`` within the budget.

    Args:
        network: the network as integers.
        image: height and width of the scanned image, px; at least one window.
        step: px between windows (y, x).
        borders: what is recomputed as the crops would; all by default.
        itemsize: bytes of one number.
        tile: rows and columns of windows computed together, if not to be chosen.
        batch: windows at a time where the network runs per window, if not to be chosen.

    Raises:
        BudgetError: one window alone takes more than the budget.
        GeometryError: a step or tile that is not positive.
    """
    for name, pair in (("step", step), ("tile", tile or (1, 1)), ("batch", (batch or 1, 1))):
        if min(pair) < 1:
            raise GeometryError(name, f"{pair} is not positive", fix="use 1 or more")
    shape = _map_shape(network, image, step)
    budget = budget_bytes or DEFAULT_BUDGET_BYTES
    chooser = _Chooser(network, borders, image, step, shape, itemsize)
    whole = tile or shape
    best = (
        chooser.fit(whole, budget, batch) if tile is None else chooser.price(whole, batch or chooser.batch(whole), None)
    )
    if best.cost.peak_bytes > budget:
        raise BudgetError(
            "budget",
            f"{budget / 1e6:.1f} MB is less than the {best.cost.peak_bytes / 1e6:.1f} MB that "
            f"{'one window' if tile is None else 'a tile of ' + 'x'.join(map(str, tile)) + ' windows'} takes",
            fix=f"allow at least {math.ceil(best.cost.peak_bytes / 1e6)} MB"
            + (", or use smaller tiles" if tile else ""),
        )
    return Plan(network, best.places, borders, image, step, shape, best.tile, best.batch, best.cost, budget)


def _map_shape(network: Network, image: Pair, step: Pair) -> Pair:
    (h, w), (height, width) = network.window, image
    return (height - h) // step[0] + 1, (width - w) // step[1] + 1


@dataclass(frozen=True)
class _Option:
    tile: Pair
    batch: int
    places: Mapping[str, Place]
    cost: Cost

    @property
    def price(self) -> float:
        """Time a window, in multiply-adds."""
        return (self.cost.macs + _MACS_PER_BYTE * self.cost.moved_bytes) / (self.tile[0] * self.tile[1])


class _Chooser:
    """Prices tiles, and for each the place of the frontier."""

    def __init__(self, network: Network, borders: Borders, image: Pair, step: Pair, shape: Pair, itemsize: int) -> None:
        self.network, self.image, self.step, self.shape = network, image, step, shape
        self.borders = borders
        self.itemsize = itemsize
        self.natural = borders.places(network)

    def price(self, tile: Pair, batch: int, stop: int | None) -> _Option:
        """One tile in the middle of the map, with the network per window from node ``stop`` on."""
        places = self.natural if stop is None else self.borders.places(self.network, stop=stop)
        first = [(n - t) // 2 for n, t in zip(self.shape, tile, strict=True)]
        axes = [AxisTile(s, t, f, p) for s, t, f, p in zip(self.step, tile, first, self.image, strict=True)]
        layout = lay_out(self.network, places, *axes)
        return _Option(tile, batch, places, tile_cost(self.network, layout, batch=batch, itemsize=self.itemsize))

    def batch(self, tile: Pair) -> int:
        """Windows at a time where the network runs per window: enough to keep the machine busy, in whole rows."""
        windows = tile[0] * tile[1]
        bytes_each = self.itemsize * max(n.window_elements for n in self.network)
        wanted = max(_BATCH_BYTES // bytes_each, windows // _CHUNKS, 1)
        return min(windows, wanted // tile[1] * tile[1] if wanted > tile[1] else wanted)

    def fit(self, largest: Pair, budget: int, batch: int | None) -> _Option:
        """The tile that is cheapest a window within the budget: doubled while that pays."""
        best = self.cut(self.price((1, 1), batch or 1, None))
        tile: Pair = (1, 1)
        misses = 0
        while tile != largest and misses < 3:
            tile = self._grown(tile, largest)
            option = self._within(tile, budget, batch)
            if option is None:
                break
            if option.price < best.price * _GAIN:
                best, misses = option, 0
            else:
                misses += 1
        return best

    def _within(self, tile: Pair, budget: int, batch: int | None) -> _Option | None:
        """The tile at the largest batch that fits the budget; ``None`` if none does."""
        size = batch or self.batch(tile)
        while size >= 1:
            option = self.cut(self.price(tile, size, None))
            if option.cost.peak_bytes <= budget:
                return option
            if batch:
                break
            size //= 2
        return None

    def _grown(self, tile: Pair, largest: Pair) -> Pair:
        """The tile with its shorter side, in px, doubled."""
        spans = [t * s if t < big else math.inf for t, s, big in zip(tile, self.step, largest, strict=True)]
        k = 0 if spans[0] <= spans[1] else 1
        grown = list(tile)
        grown[k] = min(tile[k] * 2, largest[k])
        return grown[0], grown[1]

    def cut(self, option: _Option) -> _Option:
        """The same tile with the frontier moved earlier where gathering and borders cost more than sharing saves."""
        count = len(self.network.nodes)
        stops = sorted({1, *(count * k // 8 for k in range(1, 8))})
        others = [self.price(option.tile, option.batch, stop) for stop in stops] if self.borders.cells != 0 else []
        return min([option, *others], key=lambda o: o.price)
