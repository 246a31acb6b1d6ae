"""What a scan takes beside the computation, counted by hand; budgets that are named as enough are enough."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fullfield.errors import BudgetError
from fullfield.planning import Plan, make_plan
from fullfield.planning.overhead import (
    Memory,
    Overhead,
    Savings,
    Stored,
    TileUse,
    memory_of,
    row_cache_bytes,
    shard_size,
)
from tests.planning.networks import attentive, padded, unpadded

ALL, STRIPS, BLOCKS = Savings(), Savings(strips=True), Savings(strips=True, blocks=True)
MB, GB = 10**6, 10**9
# 100 x 200 px of 3 float32 channels, made of 4 bands of 16 bits; maps of 5 classes in float32.
FILE = Overhead(
    channels=3,
    itemsize=4,
    raw_channels=4,
    raw_itemsize=2,
    image=(10_000, 20_000),
    file_tile=(64, 64),
    ahead=2,
    readers=2,
    classes=5,
    stored=Stored(5, 4, (64, 256, 256)),
    fixed_bytes=7,
)
TILE = TileUse(peak_bytes=MB, region=(100, 200), windows=12, extent=(3, 4), shape=(30, 40))
READY, RAW = 100 * 200 * 3 * 4, 100 * 200 * 4 * 2


def counted(overhead: Overhead = FILE, budget: int = 20 * MB, savings: Savings = ALL, **use: Any) -> Memory:
    return memory_of(replace(TILE, **use), overhead, budget, savings)


def test_the_bill_is_that_of_a_count_by_hand() -> None:
    assert counted() == Memory(
        tile_bytes=MB,
        pixels_bytes=3 * READY + 2 * 3 * RAW,
        scores_bytes=2 * 12 * 5 * 4,
        blocks_bytes=2 * 30 * 40 * (5 * 4 + 1),
        levels_bytes=8 * 5 * 30 * 40 * 4,
        cache_bytes=3 * MB,
        fixed_bytes=7,
        block=(30, 40),
    )
    bill = counted()
    assert bill.builds_levels
    assert bill.total_bytes == MB + bill.overhead_bytes == MB + 1_680_000 + 480 + 50_400 + 192_000 + 3 * MB + 7


def test_without_overhead_a_scan_takes_what_its_computation_takes() -> None:
    bill = counted(Overhead(), 0)
    assert bill.total_bytes == bill.tile_bytes == MB
    assert (bill.block, bill.builds_levels, bill.remark) == ((30, 40), False, "")
    assert Overhead().savings == (Savings(),)


def test_memory_of_large_values_is_kept_where_the_budget_has_room_for_it() -> None:
    kept = counted(Overhead(), 6 * MB, large_bytes=5 * MB)
    assert (kept.kept_bytes, kept.total_bytes) == (5 * MB, 6 * MB)
    assert counted(Overhead(), 6 * MB, large_bytes=5 * MB + 1) == counted(Overhead(), 6 * MB)


def test_pixels_beyond_the_edges_take_another_copy_in_each_reader() -> None:
    assert counted(replace(FILE, padded=True)).pixels_bytes == counted().pixels_bytes + 2 * READY


def test_a_map_in_memory_takes_no_blocks_and_an_image_in_memory_no_cache() -> None:
    kept = counted(replace(FILE, stored=None))
    assert (kept.blocks_bytes, kept.levels_bytes, kept.block) == (0, 0, (30, 40))
    assert kept.scores_bytes == counted().scores_bytes
    assert counted(replace(FILE, file_tile=None)).cache_bytes == 0
    assert replace(FILE, file_tile=None).savings == (ALL, BLOCKS)
    assert replace(FILE, stored=None).savings == (ALL, STRIPS)
    assert FILE.savings == (ALL, STRIPS, BLOCKS)


def test_no_more_pixels_are_cached_than_the_image_has() -> None:
    small = replace(FILE, image=(300, 200))
    assert counted(small, 100 * MB).cache_bytes == 300 * 200 * (4 * 2 + 1)
    assert counted(small, 2 * MB).cache_bytes == 300_000


@pytest.mark.parametrize(
    ("budget", "shape", "most"),
    [
        (GB, (10_000, 10_000), GB // 16),  # a sixteenth of the budget
        (16 * GB, (20_000, 20_000), 64 * 2**20),  # at most 64 MiB
        (16 * GB, (4_000, 10_000), 4_000 * 10_000 * 21 // 16),  # a sixteenth of the map
        (16 * GB, (400, 1_000), 2**20),  # if that is no less than 1 MiB
    ],
)
def test_blocks_are_as_large_as_budget_and_map_allow(budget: int, shape: tuple[int, int], most: int) -> None:
    block = counted(budget=budget, shape=shape).block
    assert block == shard_size((3, 4), shape, cell_bytes=21, most_bytes=most)
    assert block != shard_size((3, 4), shape, cell_bytes=21, most_bytes=most // 2)
    assert block != shard_size((3, 4), shape, cell_bytes=21, most_bytes=2 * most)


def test_blocks_shrink_to_what_is_left_only_where_memory_is_saved() -> None:
    full, saved = (counted(budget=40 * MB, peak_bytes=30 * MB, shape=(4000, 4000), savings=s) for s in (ALL, BLOCKS))
    assert full.total_bytes > 30 * MB + full.cache_bytes + 2 * MB
    assert saved.blocks_bytes <= 40 * MB - (saved.total_bytes - saved.blocks_bytes)
    tight = counted(budget=MB, shape=(4000, 4000), savings=BLOCKS)
    assert tight.block == (3, 4)


def test_coarser_levels_are_built_beside_the_computation_where_there_is_room() -> None:
    levels, in_memory = 192_000, replace(FILE, file_tile=None)
    needed = counted(in_memory, GB).total_bytes
    assert counted(in_memory, needed).builds_levels
    assert not counted(in_memory, needed - 1).builds_levels
    little = {"peak_bytes": 0, "region": (1, 1)}
    assert counted(in_memory, 8 * levels, **little).builds_levels
    assert not counted(in_memory, 8 * levels - 1, **little).builds_levels  # more than an eighth of the budget


STRIPED = replace(FILE, file_tile=(64, 20_000))
STRIP_BYTES = 192 * 20_000 * 9  # a region of 100 px touches three strips of 64


def test_strips_are_cached_for_a_row_of_tiles_unless_memory_is_saved() -> None:
    assert counted(STRIPED).cache_bytes == STRIP_BYTES
    assert counted(STRIPED).remark == ""
    saved = counted(STRIPED, savings=STRIPS)
    assert saved.cache_bytes == 3 * MB
    enough = (saved.total_bytes - 3 * MB + STRIP_BYTES) / 1e6
    assert saved.remark.startswith("its strips are 20000 px wide and are decoded anew for every tile")
    assert f"a budget of about {enough:.0f} MB" in saved.remark
    kept = counted(STRIPED, savings=STRIPS, large_bytes=2 * MB)  # which may be kept, but need not
    assert (kept.kept_bytes, kept.remark) == (2 * MB, saved.remark)


def test_tiles_of_a_file_are_strips_where_they_decode_four_times_the_region() -> None:
    def cached(tile: tuple[int, int], region: tuple[int, int] = (40, 10)) -> int:
        return row_cache_bytes((70, 90), tile, region, pixel_bytes=4)

    assert cached((16, 90)) == 64 * 90 * 4
    assert cached((16, 90), (60, 10)) == 70 * 90 * 4  # no more than the image
    assert cached((16, 90), (40, 80)) == 0
    assert cached((16, 20), (40, 16)) == 0  # 64 x 40 px for 40 x 16
    assert cached((16, 20), (40, 15)) > 0
    assert cached((1, 1)) == 0


overheads = st.builds(
    Overhead,
    channels=st.just(3),
    itemsize=st.just(4),
    raw_channels=st.integers(1, 4),
    raw_itemsize=st.sampled_from([1, 2, 4]),
    image=st.just((200, 150)) | st.just((20_000, 10_000)),
    file_tile=st.sampled_from([None, (64, 64), (8, 10_000)]),
    padded=st.booleans(),
    ahead=st.integers(0, 2),
    readers=st.integers(1, 2),
    classes=st.integers(1, 1000),
    stored=st.none() | st.builds(Stored, st.integers(1, 1000), st.just(4), st.just((64, 256, 256))),
    fixed_bytes=st.sampled_from([0, 24 << 20]),
)


@settings(max_examples=15)
@given(overheads, st.sampled_from([unpadded, padded, attentive]), st.integers(1, 80), st.sampled_from([1, 4, 9]))
def test_a_plan_keeps_to_its_budget_or_the_budget_that_is_named_is_enough(
    overhead: Overhead, make: Any, budget: int, step: int
) -> None:
    def ask(bytes_: int | None, tile: tuple[int, int] | None = None) -> Plan:
        options = {"step": (step, step), "overhead": overhead, "tile": tile}
        return make_plan(make(), image=(200, 150), budget_bytes=bytes_, **options)  # type: ignore[arg-type]

    for tile in (None, (2, 3)):
        try:
            plan = ask(budget * MB // 4, tile)
        except BudgetError as error:
            enough = int(re.search(r"at least (\d+) MB", error.fix)[1])  # type: ignore[index]
            least = float(re.search(r"less than the ([\d.]+) MB", error.what)[1])  # type: ignore[index]
            plan = ask(enough * MB, tile)
            assert least * MB > budget * MB // 4 - 5e4  # the text gives a tenth of a megabyte
        assert plan.memory.total_bytes <= plan.budget_bytes
        assert plan.spare_bytes == plan.budget_bytes - plan.memory.total_bytes >= 0
        assert plan.memory.tile_bytes == plan.cost.peak_bytes
        assert all(part.memory == plan.memory for part in plan.passes)


def test_where_no_budget_is_set_a_window_may_take_more_and_the_budget_says_how_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fullfield.planning.choose.DEFAULT_BUDGET_BYTES", MB)
    for overhead in (FILE, replace(FILE, file_tile=None), replace(FILE, image=(200, 150)), Overhead()):
        plan = make_plan(padded(), image=(200, 150), step=(4, 4), overhead=overhead)
        assert plan.memory.total_bytes <= plan.budget_bytes
        assert plan.budget_bytes > MB
        with pytest.raises(BudgetError, match="in tiles of 9x9 windows"):
            make_plan(padded(), image=(200, 150), step=(4, 4), overhead=overhead, tile=(9, 9))


def test_a_shifted_pass_spreads_its_tile_over_the_map() -> None:
    plan = make_plan(padded(), image=(200, 150), step=(1, 1), overhead=FILE, tile=(4, 3), method="shifted")
    across = plan.all_passes[0].cell_stride
    assert across > (1, 1)
    spread = 4 * across[0], 3 * across[1]
    assert plan.memory.block == shard_size(spread, plan.shape, cell_bytes=21, most_bytes=2**20)
