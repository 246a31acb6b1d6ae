"""The cost of a tile, counted by hand."""

from __future__ import annotations

import pytest

from fullfield.geometry.network import Network
from fullfield.geometry.tile import lay_out_axis
from fullfield.planning import CONTEXT, CostCache, Tile, make_plan
from fullfield.planning.choose import time_per_window
from fullfield.planning.cost import Cost, tile_cost
from fullfield.planning.cost_cache import TileGrid
from tests.planning.networks import Draft, attentive, padded, unpadded

MIB = 2**20


def one_window(network: Network) -> Cost:
    plan = make_plan(network, image=network.window, step=(1, 1), borders=CONTEXT, budget_bytes=10**10)
    return tile_cost(network, plan.layout(Tile(0, 0, 1, 1)), batch=1, itemsize=4)


def test_the_cost_of_a_convolution_is_that_of_a_count_by_hand() -> None:
    draft = Draft((8, 8))
    draft.conv(4, 3)
    values, weights = 4 * (3 * 8 * 8 + 4 * 6 * 6), 4 * 4 * 3 * 9
    scores = 4 * 4 * 6 * 6
    in_use = values + 2 * weights + scores
    assert one_window(draft.done()) == Cost(
        shared_macs=6 * 6 * 4 * 3 * 9,
        window_macs=0,
        moved_bytes=values,
        peak_bytes=in_use + int(2.6 * in_use) + 2 * 40_000 + weights,
        calls=2,
        region=(8, 8),
        weight_bytes=weights,
        prepared_calls=2,
        kind_bytes=2 * 10_000,
    )


@pytest.mark.parametrize(("rows", "idle"), [(1024, 0), (1023, 2.6)])
def test_values_of_32_mib_and_more_leave_no_pieces_of_the_heap_idle(rows: int, idle: float) -> None:
    draft = Draft((rows, 1024), 8)
    draft.add("cell", 1)
    image, own = 32 * MIB * rows // 1024, 4 * MIB * rows // 1024
    cost = one_window(draft.done())
    assert cost.peak_bytes == 2 * own + image + int(2.6 * 2 * own + idle * image) + 2 * 40_000
    assert cost.large_bytes == (0 if idle else image)


@pytest.mark.parametrize("make", [padded, attentive, unpadded])
@pytest.mark.parametrize("tile", [(3, 4), (5, 5)])
def test_the_time_of_a_window_counts_arithmetic_bytes_calls_tiles_and_the_first_tiles_memory(
    make: object, tile: tuple[int, int]
) -> None:
    network = make()  # type: ignore[operator]
    h, w = network.window
    plan = make_plan(network, image=(h + 4 * 9, w + 4 * 10), step=(4, 4), tile=tile)
    assert plan.shape == (10, 11)
    tiles, computed = {(3, 4): (4 * 3, 12 * 12), (5, 5): (2 * 3, 10 * 11)}[tile]  # 15 columns would be 4 too many
    cost, windows = plan.cost, tile[0] * tile[1]
    work = (cost.macs + 4 * (cost.moved_bytes + 3 * cost.weight_bytes)) * computed / windows
    fresh = 10 * cost.peak_bytes
    assert time_per_window(plan) == pytest.approx((work + (1e6 * cost.calls + 5e7) * tiles + fresh) / 110)


def test_a_map_of_few_windows_gets_smaller_tiles_than_one_of_many() -> None:
    network = padded()
    few, many = (make_plan(network, image=(side, side), step=(4, 4)) for side in (160, 4000))
    assert few.tile < many.tile
    assert few.cost.peak_bytes < many.cost.peak_bytes


def test_writing_a_number_takes_as_long_as_sixteen_multiply_adds() -> None:
    plan = make_plan(padded(), image=(60, 60), step=(4, 4), tile=(3, 3))
    scan, crops = plan.table.numbers
    assert plan.table.speedup == pytest.approx(
        (plan.table.crops + 16 * crops) / (plan.table.scan.total + 16 * scan), rel=1e-12
    )


@pytest.mark.parametrize(("window", "laid"), [((32, 40), [4, 6, 8, 10, 12]), ((32, 32), [2, 4, 4, 6, 6])])
def test_a_growing_tile_lays_out_only_the_side_that_grew_and_like_sides_once(
    window: tuple[int, int], laid: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out = []

    def counting(*args: object, **more: object) -> object:
        laid_out.append(args)
        return lay_out_axis(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("fullfield.planning.cost_cache.lay_out_axis", counting)
    costs, grid = CostCache(padded(window), 4), TileGrid((300, 300), (8, 8), CONTEXT)
    calls = []
    for tile in ((4, 4), (8, 4), (8, 8), (16, 8), (16, 16)):
        for stop in (None, 1):
            costs.cost(grid, tile, (0, 0), batch=1, stop=stop)
        calls.append(len(laid_out))
    assert calls == laid


def test_places_are_the_same_object_for_the_same_question() -> None:
    costs, grid = CostCache(padded(), 4), TileGrid((300, 300), (8, 8), CONTEXT)
    first = costs.places(grid)
    others = [costs.places(TileGrid((300, 300), (step, 8), CONTEXT)) for step in range(20, 60)]
    assert costs.places(grid) is first
    assert costs.places(TileGrid((300, 300), (20, 8), CONTEXT)) is others[0]
