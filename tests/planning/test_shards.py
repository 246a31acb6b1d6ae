from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullfield.errors import GeometryError
from fullfield.planning import Plan, make_plan
from fullfield.planning.overhead import shard_size
from fullfield.planning.shards import Shards, first_cell, tile_extent
from tests.planning.networks import padded

METHODS = st.sampled_from(["atrous", "fragments", "shifted"])
PAIRS = st.tuples(st.integers(1, 5), st.integers(1, 5))


def planned(
    more: tuple[int, int], step: tuple[int, int], tile: tuple[int, int] | None = None, method: Any = "atrous"
) -> Plan:
    network = padded()
    image = network.window[0] + more[0], network.window[1] + more[1]
    return make_plan(network, image=image, step=step, tile=tile, method=method)


@given(st.tuples(st.integers(0, 40), st.integers(0, 40)), PAIRS, PAIRS, METHODS, st.integers(1, 4000))
def test_blocks_and_their_tiles_cover_every_cell_once(
    more: tuple[int, int], step: tuple[int, int], tile: tuple[int, int], method: Any, most: int
) -> None:
    plan = planned(more, step, tile, method)
    shards = Shards(plan, shard_size(tile_extent(plan), plan.shape, cell_bytes=4, most_bytes=most))
    covered, computed = (np.zeros(plan.shape, int) for _ in range(2))
    for index in range(len(shards)):
        box = shards.box(index)
        inside = slice(box.row, box.row + box.rows), slice(box.column, box.column + box.columns)
        covered[inside] += 1
        mine = np.zeros(plan.shape, int)
        for part, t in shards.tiles(index):
            row, column = first_cell(part, t)
            mine[row :: part.cell_stride[0], column :: part.cell_stride[1]][: t.rows, : t.columns] += 1
        assert mine.sum() == mine[inside].sum() == box.rows * box.columns
        computed += mine
    assert (covered == 1).all()
    assert (computed == 1).all()


@given(st.tuples(st.integers(0, 60), st.integers(0, 60)), PAIRS, st.integers(1, 4000))
def test_a_block_is_at_most_as_large_as_asked_unless_it_is_one_tile(
    more: tuple[int, int], tile: tuple[int, int], most: int
) -> None:
    plan = planned(more, (1, 1), tile)
    rows, columns = shard_size(tile_extent(plan), plan.shape, cell_bytes=3, most_bytes=most)
    alone = (rows, columns) == tuple(min(t, n) for t, n in zip(tile_extent(plan), plan.shape, strict=True))
    assert alone or 3 * rows * columns <= most


def test_a_block_that_cuts_tiles_is_refused() -> None:
    with pytest.raises(GeometryError, match="3x4 cells are no multiple of the tile of 2x4"):
        Shards(planned((30, 30), (1, 1), (2, 4)), (3, 4))


@given(st.integers(1, 7))
def test_the_processes_share_the_blocks_out(world: int) -> None:
    plan = planned((30, 30), (1, 1), (2, 4))
    shards = Shards(plan, (4, 4))
    shares = [shards.share(rank, world) for rank in range(world)]
    assert sorted(i for share in shares for i in share) == list(range(len(shards)))


@pytest.mark.parametrize(("rank", "world"), [(-1, 2), (2, 2), (0, 0)])
def test_a_process_that_is_none_of_them_is_refused(rank: int, world: int) -> None:
    plan = planned((30, 30), (1, 1), (2, 4))
    with pytest.raises(GeometryError, match=f"{rank} is not one of {world} processes"):
        Shards(plan, (4, 4)).share(rank, world)
