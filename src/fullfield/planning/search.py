"""Searches the tile that costs the least time a window within a budget. Imports no torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from fullfield.geometry.region import Pair
from fullfield.planning.constants import CONSTANTS, CostConstants
from fullfield.planning.cost_cache import PerWindow
from fullfield.planning.sides import even_side

PARTS = 8  # of the network, after each of which the frontier is tried
QUARTERS = 7  # by which a tile's sides are grown, one after the other, to almost twice as much
GAIN = 0.97  # a larger tile must take at most this share of the time a window, or of the work
WEIGHT_SHARE = 0.03  # of a batch's time that reading weights may take, where they do not stay in the caches
MISSES = 3  # larger tiles in a row without that gain end the search
CROPS = 1  # index of the first node behind the image
FEW = 32  # windows along an axis up to which tiles are tried that divide it: the last of others computes windows twice


@dataclass(frozen=True)
class TileOption:
    """A tile that was tried.

    Args:
        tile: rows and columns of windows.
        batch: windows at a time where the network runs per window.
        stop: index of the first node that runs per window though it could be shared; ``None`` if there is none.
        work: time a window, in multiply-adds, without what each tile takes whatever its size.
        time: time a window, in multiply-adds.
        total_bytes: memory that the scan takes.
    """

    tile: Pair
    batch: int
    stop: int | None
    work: float
    time: float
    total_bytes: int


TileCost = Callable[[Pair, int, int | None], TileOption]


@dataclass(frozen=True)
class TileSearch:
    """What is searched.

    Args:
        cost: the option of a tile, a batch and a ``stop``.
        budget: bytes allowed.
        largest: rows and columns of windows of the whole map.
        step: px between windows (y, x).
        stride: px between cells of the network's coarsest shared map (y, x).
        per_window: what runs per window, from the node at an index on; or, with ``None``, where it cannot be shared.
        nodes: of the network, between which the frontier may move; 0 if it must stay where it is.
        batch: windows at a time, if given.
        every: cells of the map between neighbouring windows of a tile (y, x).
        constants: of the engine that computes.
    """

    cost: TileCost
    budget: int
    largest: Pair
    step: Pair
    stride: Pair
    per_window: Callable[[int | None], PerWindow]
    nodes: int = 0
    batch: int | None = None
    every: Pair = (1, 1)
    constants: CostConstants = CONSTANTS

    def fits(self, option: TileOption) -> bool:
        """Whether an option fits the budget."""
        return option.total_bytes <= self.budget


def search_tile(search: TileSearch) -> TileOption:
    """The tile that takes the least time a window within the budget: doubled while that pays, then grown by quarters.

    Of tiles that are as many along both axes, the smallest is tried, so that the last of a row or column is no smaller.
    Below the network's stride windows share little of a map spread over every pixel: there larger tiles may yet pay.
    """
    best = _move_frontier(search, search.cost((1, 1), search.batch or 1, None), 1)
    shared, least = best, best.work
    tile: Pair = (1, 1)
    misses = 0
    while tile != search.largest and misses < MISSES:
        tile = _grown(search, tile, tile)
        option = _within_budget(search, _even(search, tile), parts=1)
        if not search.fits(option):
            break
        if option.stop is None:
            shared = option
        shares_more = option.work < least * GAIN  # though tiles of this size may not fill the map without rest
        least = min(least, option.work)
        if option.time < best.time * GAIN:
            best, misses = option, 0
        elif shares_more:
            misses = 0
        elif _spans_the_stride(search, tile):
            misses += 1
    if misses < MISSES and shared.tile != search.largest:
        best = _between(search, shared, best)
    best = _dividing(search, best)
    return _within_budget(search, best.tile, parts=PARTS)


def evaluate_tile(search: TileSearch, tile: Pair) -> TileOption:
    """The tile that was asked for: its windows share all they can, if that fits the budget."""
    option = search.cost(tile, search.batch or batch_size(search, tile), None)
    return option if search.fits(option) else _within_budget(search, tile, parts=PARTS)


def batch_size(search: TileSearch, tile: Pair, stop: int | None = None) -> int:
    """Windows at a time where the network runs per window: enough to keep the machine busy, in whole rows."""
    rows, columns = tile
    limits, alone = search.constants, search.per_window(stop)
    wanted = max(limits.batch_bytes // alone.value_bytes, limits.least_batch)
    if alone.weight_bytes > limits.cached_bytes:
        enough = math.ceil(limits.macs_per_byte * alone.weight_bytes / (WEIGHT_SHARE * max(1, alone.macs)))
        wanted = max(wanted, min(enough, limits.most_batch_bytes // alone.value_bytes))
    if wanted < columns:
        return even_side(columns, wanted)
    return columns * even_side(rows, wanted // columns)


def _spans_the_stride(search: TileSearch, tile: Pair) -> bool:
    """Whether a tile's windows begin at least a stride apart along both axes, or as far as the map goes."""
    axes = zip(tile, search.step, search.stride, search.largest, strict=True)
    return all(t * s >= far or t == n for t, s, far, n in axes)


def _between(search: TileSearch, shared: TileOption, best: TileOption) -> TileOption:
    """``best``, or a cheaper tile within the budget, up to twice the largest that shares all it can."""
    tile, quarter = shared.tile, (-(-shared.tile[0] // 4), -(-shared.tile[1] // 4))
    for _ in range(QUARTERS):
        if tile == search.largest:
            break
        tile = _grown(search, tile, quarter)
        option = _within_budget(search, _even(search, tile), parts=1)
        if not search.fits(option):
            break
        if option.time < best.time * GAIN:
            best = option
    return best


def _dividing(search: TileSearch, best: TileOption) -> TileOption:
    """``best``, or a cheaper tile within the budget that divides a small map, such as one of whole rows."""
    for rows, columns in itertools.product(*map(_dividing_sides, search.largest, best.tile)):
        if (rows, columns) != best.tile:
            option = _within_budget(search, (rows, columns), parts=1)
            if search.fits(option) and option.time < best.time * GAIN:
                best = option
    return best


def _dividing_sides(count: int, side: int) -> list[int]:
    """A tile's side, the next larger one that divides the axis, and the whole axis."""
    if count > FEW:
        return [side]
    return sorted({side, next(n for n in range(side, count + 1) if count % n == 0), count})


def _grown(search: TileSearch, tile: Pair, by: Pair) -> Pair:
    """The tile with more windows along its shorter side, in px."""
    axes = zip(tile, search.step, search.largest, strict=True)
    spans = [t * s if t < most else math.inf for t, s, most in axes]
    k = 0 if spans[0] <= spans[1] else 1
    grown = list(tile)
    grown[k] = min(tile[k] + by[k], search.largest[k])
    return grown[0], grown[1]


def _even(search: TileSearch, tile: Pair) -> Pair:
    """The smallest tile of which as many lie along both axes."""
    y, x = map(even_side, search.largest, tile, search.every)
    return y, x


def _within_budget(search: TileSearch, tile: Pair, *, parts: int) -> TileOption:
    """The tile at the largest batch that fits the budget; at the smallest if none does."""
    size = search.batch or batch_size(search, tile)
    option = _move_frontier(search, search.cost(tile, size, None), parts)
    while not search.fits(option) and size > 1 and not search.batch:
        size //= 2
        option = _move_frontier(search, search.cost(tile, size, None), parts)
    return option


def _move_frontier(search: TileSearch, option: TileOption, parts: int) -> TileOption:
    """The same tile with the frontier moved earlier where gathering and borders cost more than sharing saves.

    It is tried after every ``1 / parts`` of the nodes, and at the image itself, which makes the windows crops: these
    are taken unless sharing is clearly cheaper. What fits the budget is preferred to what does not.
    """
    stops = sorted({max(CROPS, search.nodes * k // parts) for k in range(parts)}) if search.nodes else []
    sizes = (search.batch or min(option.batch, batch_size(search, option.tile, stop)) for stop in stops)
    options = [option, *(search.cost(option.tile, size, stop) for size, stop in zip(sizes, stops, strict=True))]
    fitting = [o for o in options if search.fits(o)]
    if search.nodes and not fitting and parts < PARTS:
        return _move_frontier(search, option, PARTS)
    if not fitting:
        return min(options, key=lambda o: o.total_bytes)
    best = min(fitting, key=lambda o: o.work)
    return next((o for o in fitting if o.stop == CROPS and best.work > GAIN * o.work), best)
