"""Sides of tiles: all tiles of a map alike, few windows computed twice, and stored maps that can be cut into chunks."""

from __future__ import annotations

import math

import hypothesis.strategies as st
from hypothesis import given

from fullfield.planning.sides import CHUNK, even_side, overlap, tiles_along
from fullfield.store.shards import CHUNK as STORED
from fullfield.store.shards import shard_grid

counts = st.integers(1, 3000)


@given(counts, counts)
def test_tiles_of_an_even_side_are_no_more_and_cover_the_axis(count: int, side: int) -> None:
    even = even_side(count, side)
    assert even <= min(side, count) + side // 128
    assert tiles_along(count, even) <= tiles_along(count, side)
    assert tiles_along(count, even) * even >= count
    assert even == 1 or side > 256 or tiles_along(count, even - 1) > tiles_along(count, side)


@given(counts, counts)
def test_the_last_tile_of_an_even_side_is_as_large_as_the_others(count: int, side: int) -> None:
    even = even_side(count, side)
    last = count - (tiles_along(count, even) - 1) * even
    assert last + overlap(count, even) == even


@given(counts, counts)
def test_few_windows_are_computed_twice(count: int, side: int) -> None:
    twice = overlap(count, side)
    assert twice == 0 or (twice < side <= count and twice < max(tiles_along(count, side), 1 + count / 128))


@given(st.integers(257, 3000), st.integers(1, 3000), st.integers(1, 64), st.integers(0, 4))
def test_blocks_of_whole_tiles_can_be_cut_into_chunks(count: int, side: int, every: int, doubled: int) -> None:
    """Blocks are tiles doubled: what refuses a block without a divisor from 64 to 256 takes all of these."""
    block = even_side(count, side, every) * every * 2**doubled
    shape = (1, count * every, count * every)
    assert math.prod(shard_grid(shape, "float32", math.nan, (min(block, shape[1]), min(block, shape[2]))).chunk) > 0


def test_chunks_are_those_of_stored_maps() -> None:
    assert STORED[1:] == (CHUNK, CHUNK) == (256, 256)
