"""The search for a tile on costs that are made up, so that each of its rules decides alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fullfield.geometry.region import Pair
from fullfield.planning.constants import ENGINE_CONSTANTS, CostConstants
from fullfield.planning.cost_cache import PerWindow
from fullfield.planning.search import TileOption, TileSearch, batch_size, evaluate_tile, search_tile

MB = 2**20


class Costs:
    """Made-up costs of tiles, and what was asked."""

    def __init__(self, time: Callable[[int], float], total: Callable[[Pair], float] = lambda tile: 0) -> None:
        self.time, self.total = time, total
        self.asked: list[tuple[Pair, int, int | None]] = []

    def __call__(self, tile: Pair, batch: int, stop: int | None) -> TileOption:
        self.asked.append((tile, batch, stop))
        time = self.time(tile[0] * tile[1])
        return TileOption(tile, batch, stop, time, time, int(self.total(tile)))

    @property
    def windows(self) -> list[int]:
        """Windows of the tiles that were asked for, each once."""
        return list(dict.fromkeys(tile[0] * tile[1] for tile, _, _ in self.asked))


def alone(value_bytes: int, weight_bytes: int = 0, macs: int = 10**9) -> Callable[[int | None], PerWindow]:
    """What runs per window, wherever the frontier is."""
    return lambda stop: PerWindow(value_bytes, weight_bytes, macs)


def search(costs: Any, **fields: Any) -> TileSearch:
    plain = TileSearch(costs, 100, largest=(1000, 1000), step=(1, 1), stride=(1, 1), per_window=alone(MB))
    return replace(plain, **fields)


@pytest.mark.parametrize(("time", "tile"), [(0.98, (1, 1)), (0.96, (2, 1))])
def test_a_larger_tile_must_take_three_percent_less_time_a_window(time: float, tile: Pair) -> None:
    assert search_tile(search(Costs(lambda windows: 1 if windows == 1 else time))).tile == tile


def test_three_larger_tiles_that_do_not_pay_end_the_search() -> None:
    costs = Costs(lambda windows: 1)
    search_tile(search(costs))
    assert costs.windows == [1, 2, 4, 8]
    assert search_tile(search(Costs(lambda windows: 1 if windows < 8 else 0.5))).tile == (4, 2)
    assert search_tile(search(Costs(lambda windows: 1 if windows < 16 else 0.5))).tile == (1, 1)


def test_tiles_below_the_stride_are_no_misses() -> None:
    late = Costs(lambda windows: 1 if windows < 64 else 0.5)
    assert search_tile(search(late)).tile == (1, 1)
    assert search_tile(search(late, stride=(8, 8))).tile == (8, 8)


def test_a_map_of_one_row_counts_as_spanned() -> None:
    costs = Costs(lambda windows: 1)
    search_tile(search(costs, largest=(1, 1000), stride=(8, 1)))
    assert costs.windows == [1, 2, 4, 8]


def test_tiles_grow_along_their_shorter_side_in_px_up_to_the_map() -> None:
    costs = Costs(lambda windows: 1 / windows)
    assert search_tile(search(costs, largest=(3, 5), step=(4, 1))).tile == (3, 5)
    tiles = list(dict.fromkeys(tile for tile, _, _ in costs.asked))
    assert tiles == [(1, 1), (1, 2), (1, 3), (2, 3), (2, 5), (3, 5)]


def test_of_tiles_that_are_as_many_the_smallest_is_tried() -> None:
    costs = Costs(lambda windows: 1 / windows, lambda tile: tile[0] * tile[1])
    assert search_tile(search(costs, largest=(18, 18), budget=300)).tile == (18, 9)
    assert {side for tile, _, _ in costs.asked for side in tile} == {1, 2, 4, 6, 9, 18}  # 18 / 5 takes as many as 4


def test_between_two_doubles_a_tile_grows_by_seven_quarters_at_most() -> None:
    costs = Costs(lambda windows: 1 / windows**2, lambda tile: 10**9 if tile == (16, 8) else 0)
    assert search_tile(search(costs)).tile == (16, 14)


def test_quarters_end_at_the_budget_and_must_pay_too() -> None:
    costs = Costs(lambda windows: 1 / windows**2, lambda tile: tile[0] * tile[1])
    assert search_tile(search(costs)).tile == (10, 10)
    flat = Costs(lambda windows: 1 / min(windows, 64), lambda tile: tile[0] * tile[1])
    assert search_tile(search(flat)).tile == (8, 8)


def test_the_frontier_is_tried_after_every_eighth_of_the_network() -> None:
    costs = Costs(lambda windows: 1)
    search_tile(search(costs, largest=(1, 1), nodes=64))
    assert {stop for _, _, stop in costs.asked} == {None, 1, *range(8, 64, 8)}
    costs = Costs(lambda windows: 1)
    search_tile(search(costs, largest=(1, 1)))
    assert {stop for _, _, stop in costs.asked} == {None}


def test_windows_that_do_not_overlap_are_tried_as_crops_alone() -> None:
    costs = Costs(lambda windows: 1 / windows)
    found = search_tile(search(costs, largest=(2, 2), nodes=64, apart=True))
    assert (found.tile, found.stop) == ((2, 2), 1)
    assert {stop for _, _, stop in costs.asked} == {1}


@pytest.mark.parametrize("tight", [False, True])
def test_no_option_is_priced_twice(tight: bool) -> None:
    costs = Costs(lambda windows: 1 / min(windows, 16), lambda tile: 1000 if tight else 0)
    for find in (search_tile, lambda given: evaluate_tile(given, (4, 4))):
        costs.asked.clear()
        find(search(costs, largest=(18, 18), nodes=64))
        assert len(costs.asked) == len(set(costs.asked))


def test_the_frontier_is_where_the_time_is_least_of_what_fits() -> None:
    def cost(tile: Pair, batch: int, stop: int | None) -> TileOption:
        place = 64 if stop is None else stop
        return TileOption(tile, batch, stop, 1, abs(place - 17), place)

    assert search_tile(search(cost, largest=(1, 1), nodes=64)).stop == 16
    assert search_tile(search(cost, largest=(1, 1), nodes=64, budget=15)).stop == 8
    assert search_tile(search(cost, largest=(1, 1), nodes=64, budget=0)).stop == 1


def test_a_map_too_small_for_what_sharing_takes_once_runs_as_crops() -> None:
    """Sharing takes a tenth of the arithmetic, and as long as twenty crops besides, whatever the tile."""

    def cost(tile: Pair, batch: int, stop: int | None) -> TileOption:
        windows = tile[0] * tile[1]
        time = 1.0 if stop == 1 else 0.1 + 20 / windows
        return TileOption(tile, batch, stop, 1.0 if stop == 1 else 0.1, time, 1)

    assert search_tile(search(cost, largest=(4, 4), nodes=2)).stop == 1
    found = search_tile(search(cost, largest=(8, 8), nodes=2))
    assert (found.tile, found.stop) == ((8, 8), None)


def test_a_frontier_inside_the_network_is_tried_in_a_tile_too_large_for_crops() -> None:
    """Crops are fastest one by one, sharing half the network is faster still, in a tile of all windows."""

    def cost(tile: Pair, batch: int, stop: int | None) -> TileOption:
        alone, windows = 0.5 + tile[0] * tile[1] / 32, tile[0] * tile[1]
        time = {1: alone, 8: 0.1 + 4 / windows}.get(stop or 0, 0.1 + 16 / windows)
        return TileOption(tile, batch, stop, 1.0 if stop == 1 else 0.5, time, 1)

    found = search_tile(search(cost, largest=(4, 4), nodes=16, stride=(4, 4)))
    assert (found.tile, found.stop) == ((4, 4), 8)


def test_a_batch_is_of_whole_rows_and_its_largest_value_31_mib() -> None:
    def batch(tile: Pair, **fields: Any) -> int:
        return batch_size(search(Costs(lambda windows: 1), **fields), tile)

    assert batch((100, 10)) == 30
    assert batch((5, 10)) == 30
    assert batch((2, 100)) == 25  # four equal parts of a row
    assert batch((100, 10), per_window=alone(100 * MB)) == 1
    assert batch((1, 10), per_window=alone(100 * MB)) == 1


def test_a_batch_is_larger_where_weights_that_the_caches_do_not_hold_are_read_for_each() -> None:
    compiled = ENGINE_CONSTANTS["openvino"]

    def batch(weights: int, value: int = MB, macs: int = 10**10, constants: CostConstants = compiled) -> int:
        found = search(Costs(lambda windows: 1), per_window=alone(value, weights, macs), constants=constants)
        return batch_size(found, (1, 100))

    assert batch(32 * MB) == batch(33 * MB) == 6  # as its values ask for
    assert batch(550 * MB) == 8  # a window takes 10 G, the weights 2.3 G: 3 % of eight windows
    assert batch(550 * MB, macs=10**9) == 50
    assert batch(550 * MB, 50 * MB) == batch(33 * MB, 50 * MB) == 2
    assert batch(550 * MB, 15 * MB, constants=ENGINE_CONSTANTS["onnxruntime"]) == 2


def test_a_batch_is_halved_until_it_fits() -> None:
    def cost(tile: Pair, batch: int, stop: int | None) -> TileOption:
        return TileOption(tile, batch, stop, 1, 1, batch)

    assert evaluate_tile(search(cost, budget=20), (8, 8)).batch == 12
    assert evaluate_tile(search(cost, budget=20, batch=30), (8, 8)).batch == 30
    assert evaluate_tile(search(cost, budget=0), (8, 8)).batch == 1
    assert evaluate_tile(search(cost), (8, 8)).batch == 24


def test_tiles_that_do_not_fill_the_map_do_not_end_the_search() -> None:
    """Of a map of 10x10 windows, tiles of 4x4 compute 144: slower than 2x2, on the way to 5x5."""

    def cost(tile: Pair, batch: int, stop: int | None) -> TileOption:
        work = 1 + 1 / (tile[0] * tile[1])
        computed = math.prod(-(-10 // side) * side for side in tile)
        return TileOption(tile, batch, stop, work, work * computed / 100, 1)

    found = search_tile(search(cost, largest=(10, 10), budget=100))
    assert found.tile == (5, 5)
