"""Searches the tile that costs the least time a window within a budget. Imports no torch."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

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
        apart: no windows overlap, so that they share nothing: all run as crops.
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
    apart: bool = False

    def fits(self, option: TileOption) -> bool:
        """Whether an option fits the budget."""
        return option.total_bytes <= self.budget


def search_tile(search: TileSearch) -> TileOption:
    """The tile that takes the least time a window within the budget: doubled while that pays, then grown by quarters.

    Of tiles that are as many along both axes, the smallest is tried, so that the last of a row or column is no smaller.
    Below the network's stride windows share little of a map spread over every pixel: there larger tiles may yet pay.
    """
    search = _priced_once(search)
    options = _options(search, (1, 1), parts=1)
    best, shared = _fastest(options), _least_work(options)
    least = shared.work
    tile: Pair = (1, 1)
    misses = 0
    while tile != search.largest and misses < MISSES:
        tile = _grown(search, tile, tile)
        options = _options(search, _even(search, tile), parts=1)
        option, fastest = _least_work(options), _fastest(options)
        if not search.fits(option):
            break
        if option.stop is None:
            shared = option
        shares_more = option.work < least * GAIN  # though tiles of this size may not fill the map without rest
        least = min(least, option.work)
        if fastest.time < best.time * GAIN:
            best, misses = fastest, 0
        elif shares_more:
            misses = 0
        elif _spans_the_stride(search, tile):
            misses += 1
    if misses < MISSES and shared.tile != search.largest:
        best = _between(search, shared, best)
    best = _dividing(search, best)
    best, other = (_fastest(_options(search, tile, parts=PARTS)) for tile in (best.tile, shared.tile))
    return other if search.fits(other) and other.time < best.time * GAIN else best


def evaluate_tile(search: TileSearch, tile: Pair) -> TileOption:
    """The tile that was asked for: its windows share all they can, if that fits the budget."""
    search = _priced_once(search)
    option = search.cost(tile, search.batch or batch_size(search, tile), None)
    return option if search.fits(option) else _least_work(_options(search, tile, parts=PARTS))


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


def _priced_once(search: TileSearch) -> TileSearch:
    """The search, which asks for the cost of each option once."""
    return replace(search, cost=functools.cache(search.cost))


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
        option = _fastest(_options(search, _even(search, tile), parts=1))
        if not search.fits(option):
            break
        if option.time < best.time * GAIN:
            best = option
    return best


def _dividing(search: TileSearch, best: TileOption) -> TileOption:
    """``best``, or a cheaper tile within the budget that divides a small map, such as one of whole rows."""
    for rows, columns in itertools.product(*map(_dividing_sides, search.largest, best.tile)):
        if (rows, columns) != best.tile:
            option = _fastest(_options(search, (rows, columns), parts=1))
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


def _options(search: TileSearch, tile: Pair, *, parts: int) -> list[TileOption]:
    """The tile with its frontier at several places, at the largest batch that fits the budget; all options fit it.

    The frontier is tried after every ``1 / parts`` of the nodes, and at the image itself, which makes the windows
    crops; of windows that do not overlap there alone. Where nothing fits at any batch, the one option is what takes the
    least memory.
    """
    size = search.batch or batch_size(search, tile, CROPS if search.apart else None)
    options = _frontiers(search, tile, size, parts)
    while not search.fits(options[0]) and size > 1 and not search.batch:
        size //= 2
        options = _frontiers(search, tile, size, parts)
    return options


def _frontiers(search: TileSearch, tile: Pair, size: int, parts: int) -> list[TileOption]:
    """The options of a tile at a batch, or at smaller ones behind a frontier that is moved to larger values."""
    if search.apart:
        return [search.cost(tile, size, CROPS)]
    stops = sorted({max(CROPS, search.nodes * k // parts) for k in range(parts)}) if search.nodes else []
    sizes = (search.batch or min(size, batch_size(search, tile, stop)) for stop in stops)
    options = [search.cost(tile, size, None)]
    options += [search.cost(tile, size, stop) for size, stop in zip(sizes, stops, strict=True)]
    if search.nodes and parts < PARTS and not any(map(search.fits, options)):
        return _frontiers(search, tile, size, PARTS)
    return _fitting(search, options)


def _fitting(search: TileSearch, options: list[TileOption]) -> list[TileOption]:
    """The options that fit the budget; where none does, the one that takes the least memory."""
    least = min(options, key=lambda option: option.total_bytes)
    return [option for option in options if search.fits(option)] or [least]


def _fastest(options: list[TileOption]) -> TileOption:
    """The option that takes the least time: crops unless sharing is clearly faster."""
    return _preferred(options, lambda option: option.time)


def _least_work(options: list[TileOption]) -> TileOption:
    """The option that will take the least time in larger tiles."""
    return _preferred(options, lambda option: option.work)


def _preferred(options: list[TileOption], cost: Callable[[TileOption], float]) -> TileOption:
    """The option of least cost, or the least of crops where gathering and borders cost about what sharing saves."""
    best = min(options, key=cost)
    crops = min((option for option in options if option.stop == CROPS), key=cost, default=best)
    return crops if cost(best) > GAIN * cost(crops) else best
