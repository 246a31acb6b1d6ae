"""Op and Axis against a walk that marks, tap by tap, what one window's cells read."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from fullfield.errors import GeometryError
from fullfield.geometry.axis import Axis, Op

ops = st.builds(
    Op,
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    low=st.integers(-2, 3),
    high=st.integers(-2, 3),
    dilation=st.integers(1, 3),
    ceil=st.booleans(),
)


@dataclass(frozen=True)
class Cell:
    """The walk's own account of one cell: the first and last pixel it reads, and whether padding reaches it."""

    first: int
    last: int
    padded: bool


def walk(cells: list[Cell], op: Op, start: int, jump: int) -> list[Cell]:
    """One operator applied by hand; cells of padding continue the grid of ``start`` and ``jump``."""
    result, size = [], cells[0].last - cells[0].first
    for y in range(op.cells(len(cells))):
        taps = []
        for m in range(op.kernel):
            at = y * op.stride - op.low + m * op.dilation
            outside = not 0 <= at < len(cells)
            taps.append(Cell(start + at * jump, start + at * jump + size, True) if outside else cells[at])
        result.append(Cell(taps[0].first, taps[-1].last, any(t.padded for t in taps)))
    return result


@given(st.integers(1, 24), st.lists(ops, min_size=1, max_size=4))
def test_fields_and_borders_are_those_of_a_walk_over_every_tap(pixels: int, chain: list[Op]) -> None:
    axis, cells = Axis.window(pixels), [Cell(p, p, False) for p in range(pixels)]
    for op in chain:
        if op.cells(axis.count) < 1:
            with pytest.raises(GeometryError, match="spans"):
                axis.through(op)
            return
        cells = walk(cells, op, axis.start, axis.jump)
        axis = axis.through(op)
        assert axis.count == len(cells)
        assert [c.first for c in cells] == [axis.start + y * axis.jump for y in range(axis.count)]
        assert {c.last - c.first + 1 for c in cells} == {axis.size}
        inside = range(axis.low, axis.count - axis.high)
        assert all(c.padded == (y not in inside) for y, c in enumerate(cells)) or not axis.shared
        assert axis.shared == any(not c.padded for c in cells)


@given(st.integers(1, 30), ops, st.booleans())
def test_counts_are_torchs(count: int, op: Op, ceil: bool) -> None:
    pad = max(0, min(op.low, op.high, op.kernel // 2))
    op = Op(op.kernel, op.stride, pad, pad, op.dilation, ceil)
    pool = torch.nn.MaxPool1d(op.kernel, op.stride, pad, op.dilation, ceil_mode=ceil)
    try:
        expected = pool(torch.zeros(1, 1, count)).shape[-1]
    except RuntimeError:
        expected = 0
    assert op.cells(count) == expected


@given(st.integers(1, 30), ops, st.booleans())
def test_leftover_is_what_no_tap_reads(count: int, op: Op, ceil: bool) -> None:
    op = Op(op.kernel, op.stride, op.low, op.high, op.dilation, ceil)
    cells = op.cells(count)
    if cells:
        last_read = (cells - 1) * op.stride + op.dilation * (op.kernel - 1) - op.low
        assert op.leftover(count) == count + op.high - 1 - last_read


def test_a_last_pool_window_in_the_high_padding_alone_is_dropped() -> None:
    assert Op(2, 2, 1, 1, ceil=True).cells(2) == 2
    assert Op(1, 2, 0, 0, ceil=True).cells(2) == 1


def test_a_pool_larger_than_the_map_still_has_one_cell_where_it_rounds_up() -> None:
    assert Op(3, 2, ceil=True).cells(2) == 1
    assert Op(3, 2).cells(2) == 0


@given(st.integers(4, 24), st.lists(ops, min_size=1, max_size=3), st.integers(0, 2))
def test_a_cap_limits_borders_and_nothing_else(pixels: int, chain: list[Op], cap: int) -> None:
    free, capped = Axis.window(pixels), Axis.window(pixels)
    for op in chain:
        if op.cells(free.count) < 1:
            return
        free, capped = free.through(op), capped.through(op, cap=cap)
        assert capped.low <= min(cap, free.low)
        assert capped.high <= min(cap, free.high)
        assert (capped.size, capped.jump, capped.start, capped.count) == (free.size, free.jump, free.start, free.count)


def test_branches_meet_with_the_larger_field_and_borders() -> None:
    stem = Axis.window(20)
    long, short = stem.through(Op(5, low=2, high=2)), stem.through(Op(1))
    met = long.union(short)
    assert (met.low, met.high, met.size, met.start) == (2, 2, 5, -2)
    assert long.aligned(short)
    assert not long.aligned(stem.through(Op(5, low=1, high=3)))


def test_branches_of_other_counts_do_not_meet() -> None:
    stem = Axis.window(20)
    with pytest.raises(GeometryError, match="20 cells every 1 px meet 10 cells every 2 px"):
        stem.union(stem.through(Op(2, 2)))


def test_branches_of_as_many_cells_at_another_distance_do_not_meet() -> None:
    stem = Axis.window(20)
    near, far = stem.through(Op(11)), stem.through(Op(2, 2))
    assert near.count == far.count == 10
    with pytest.raises(GeometryError, match="10 cells every 1 px meet 10 cells every 2 px"):
        near.union(far)
    head = Axis.window(7).through(Op(7))
    assert head.union(Axis(3, 4, 0, 1)).jump == 4  # a head has one cell, whose distance to others does not count


def test_a_cell_is_closed_when_it_has_read_a_whole_unpadded_map() -> None:
    stem = Axis.window(7)
    assert stem.through(Op(7)).closed
    assert stem.through(Op(7)).through(Op(1)).closed
    assert not stem.through(Op(9, low=1, high=1)).closed
    assert not stem.through(Op(5, 3)).closed


@pytest.mark.parametrize(
    ("kernel", "stride", "cells", "leftover"), [(3, 1, 5, 0), (3, 2, 3, 0), (3, 3, 2, 1)], ids=["S=1", "S=2", "S=3"]
)
def test_the_lectures_seven_by_seven_input(kernel: int, stride: int, cells: int, leftover: int) -> None:
    assert (Op(kernel, stride).cells(7), Op(kernel, stride).leftover(7)) == (cells, leftover)


def test_cells_too_close_to_each_other_are_not_upsampled() -> None:
    with pytest.raises(GeometryError, match="each of the cells every 3 px becomes 2"):
        Axis.window(9).through(Op(3, 3)).through(Op(1, up=2))
    with pytest.raises(GeometryError, match="upsampling"):
        Axis.window(8).through(Op(8)).through(Op(1, up=2))  # a head


def test_of_border_blocks_the_cells_inside_are_no_border() -> None:
    blocks = Axis.window(32, 7).through(Op(1, low=1, high=1)).through(Op(18, 16))
    assert (blocks.count, blocks.low, blocks.high, blocks.shared, blocks.touch) == (2, 1, 1, False, True)
    cells = blocks.through(Op(1, up=7, inside=(6, 5)))
    assert (cells.count, cells.low, cells.high) == (14, 1, 2)
    capped = blocks.through(Op(1, up=7, inside=(6, 5)), cap=1)
    assert (capped.low, capped.high) == (1, 1)
    none = Axis.window(32, 7).through(Op(16, 16)).through(Op(1, up=7, inside=(6, 5)))
    assert (none.low, none.high) == (0, 0)


def test_upsampling_leaves_no_cell_over() -> None:
    assert Op(1, up=3).leftover(7) == 0


@given(st.integers(1, 5), st.integers(0, 9), st.integers(1, 4), st.integers(0, 12))
def test_a_kernel_is_moved_inside_along_its_own_cells_and_no_further_than_it_must(
    kernel: int, first: int, ratio: int, more: int
) -> None:
    op = Op(kernel, low=kernel // 2, high=(kernel - 1) // 2, edge="inside")
    stop = first + (kernel - 1) * ratio + 1 + more
    for tap in range(first - 2 * kernel * ratio, stop + kernel * ratio):
        fitting = [t for t in range(first, stop - (kernel - 1) * ratio) if (t - tap) % ratio == 0]
        found = op.first_tap_inside(tap, first, stop, ratio=ratio)
        assert first <= found <= stop - 1 - (kernel - 1) * ratio
        assert not fitting or found == min(fitting, key=lambda t: abs(t - tap))
