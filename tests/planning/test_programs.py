"""The memory of a tile's programs, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fullfield.geometry.axis import Op
from fullfield.geometry.network import Network, Scratch
from fullfield.planning import CONTEXT, EXACT, Tile, make_plan
from fullfield.planning.overhead import EngineMemory
from fullfield.planning.plan import Borders
from fullfield.planning.programs import ProgramCost, program_cost, weights_of
from tests.planning.networks import Draft, attentive


def of_tile(network: Network, borders: Borders, tile: tuple[int, int], *, batch: int = 1) -> ProgramCost:
    height, width = (w + 8 * (n - 1) for w, n in zip(network.window, tile, strict=True))
    plan = make_plan(network, image=(height, width), step=(8, 8), borders=borders, tile=tile, budget_bytes=10**9)
    return program_cost(network, plan.layout(Tile(0, 0, *tile)), batch=batch, itemsize=4)


def test_where_windows_share_all_cells_there_is_one_program() -> None:
    draft = Draft((8, 8))
    draft.conv(4, 3)
    draft.conv(2, 3)
    first, second = 4 * 4 * 6 * 6, 4 * 2 * 4 * 4
    assert of_tile(draft.done(), CONTEXT, (1, 1)) == ProgramCost(
        live=2 * second,  # as the program gives it, and as one table
        buffers=first,  # the second is its output
        largest_buffers=first,
        convolved=4 * (4 * 3 * 9 + 2 * 4 * 9),
        operators=2,
    )


def test_each_gather_of_strips_begins_a_program_with_inputs_and_outputs_of_its_own() -> None:
    """Two padded convolutions on two by two windows of 8 cells, which lie side by side."""
    draft = Draft((8, 8))
    draft.conv(4, 3, padding=1)
    draft.conv(2, 3, padding=1)
    found = of_tile(draft.done(), EXACT, (2, 2))
    table = 4 * 4 * (2 + 2 + 14) ** 2  # of each window a row of border on either side, and all cells between them
    strips = 4 * 4 * (2 * 4 + 2 * 4 + 14) ** 2  # two rows of border on either side read four with their padding
    assert found.live == table + strips
    assert found.operators == 9 + 9
    assert found.convolved == 4 * (4 * 3 * 9 + 2 * 4 * 9)


def test_strips_of_shifted_passes_are_copied_where_they_are_filled() -> None:
    """Three by three windows of 8 cells, a cell apart, as four maps: in the second ones a padded cell comes earlier."""
    draft = Draft((8, 8))
    draft.conv(4, 3, stride=2, padding=1)
    draft.conv(4, 3, padding=1)
    options: dict[str, Any] = {"image": (10, 10), "step": (1, 1), "method": "shifted"}
    plan = make_plan(draft.done(), borders=CONTEXT, **options)
    assert (plan.tile, plan.shifts) == ((3, 3), (2, 2))
    found = program_cost(plan.network, plan.layout(Tile(0, 0, 3, 3)), batch=1, itemsize=4)
    table = 4 * 3 * 4 * 11**2
    assert found.live == 3 * table  # as a table, as strips, and as a copy of them


def test_convolutions_of_single_cells_that_grow_are_computed_at_once() -> None:
    """Two of them, and their sum, between padded convolutions on two by two windows of 8 cells side by side."""
    draft = Draft((8, 8))
    draft.conv(4, 3, padding=1)
    one = draft.conv(8, 1)
    other = draft.add("windowed", 8, (Op(1), Op(1)), macs=8 * 4, reads=("n1",))
    draft.add("cell", 8, reads=(one, other))
    draft.conv(2, 3, padding=1)
    found = of_tile(draft.done(), EXACT, (2, 2))
    table = 4 * 8 * (2 + 2 + 14) ** 2
    assert found.operators == 9 + 3 + 9
    assert found.convolved == 4 * (4 * 3 * 9 + 2 * 8 * 4 + 2 * 8 * 9)
    assert found.buffers == found.largest_buffers == 2 * table  # what is added up; all else are outputs


def test_an_operator_that_torch_runs_lies_between_two_programs() -> None:
    """A response norm of a map, of which it holds four copies besides what it reads and gives."""
    draft = Draft((8, 8))
    draft.conv(4, 3)
    draft.add("cell", 4)
    draft.nodes[-1] = replace(draft.nodes[-1], op="local_response_norm")
    draft.conv(2, 3)
    first = 4 * 4 * 6 * 6
    found = of_tile(draft.done(), CONTEXT, (1, 1))
    assert found.operators == 2
    assert found.buffers == 0
    assert found.live == 2 * first + 2 * first + 4 * first  # as given, as tables, and the copies


def test_numbers_of_another_type_are_read_and_given_by_torch() -> None:
    draft = Draft((8, 8))
    draft.conv(4, 3)
    draft.add("cell", 4)
    draft.nodes[-1] = replace(draft.nodes[-1], itemsize_factor=2)
    draft.add("cell", 4)
    draft.conv(2, 3)
    assert of_tile(draft.done(), CONTEXT, (1, 1)).operators == 2


def test_sums_in_pairs_are_slices_and_sums_of_a_sixth_of_other_operators_memory() -> None:
    """Windows that lie further apart than a few cells are summed cell by cell; others by sums of 2, 4, 8 cells."""
    counts = []
    for stride in (16, 1):
        draft = Draft((16, 16))
        draft.add("windowed", 3, (Op(16, stride), Op(16, stride)))
        draft.nodes[-1] = replace(draft.nodes[-1], scratch=Scratch(results=4))
        side = 16 + 29 * stride
        plan = make_plan(draft.done(), image=(side, side), step=(stride, stride), borders=CONTEXT, tile=(30, 30))
        counts.append(program_cost(plan.network, plan.layout(Tile(0, 0, 30, 30)), batch=1, itemsize=4).operators)
    assert counts == [1 + 2 * 2 * 16 // 6, 1 + 2 * 3 * 5 // 6]


def test_what_runs_per_window_is_a_program_for_each_size_of_batch() -> None:
    network = attentive()
    one, two = (of_tile(network, EXACT, (1, 5), batch=n) for n in (5, 3))
    per_window = one.operators - 1
    assert two.operators == 1 + 2 * per_window
    assert two.buffers == one.buffers == one.largest_buffers == 5 * 2 * 4 * 5


def test_what_an_engine_takes_is_a_sum_of_shares() -> None:
    engine = EngineMemory(
        compiles=True,
        live=2,
        buffers=3,
        largest_buffers=5,
        convolved=7,
        multiplied=11,
        operator_bytes=13,
        remade_bytes=17,
    )
    cost = ProgramCost(live=1, buffers=10, largest_buffers=100, convolved=1000, multiplied=10**4, operators=10**5)
    once, each = 2 + 500, 30 + 7000 + 110_000 + 1_300_000
    assert engine.tile_bytes(cost, 1) == once + each
    assert engine.tile_bytes(cost, 4) == once + 4 * each
    assert engine.tile_bytes(cost, 4, remade=True) == once + 4 * each + 17


def test_activations_are_merged_with_the_convolution_before_them() -> None:
    draft = Draft((8, 8))
    draft.conv(4, 3)
    draft.add("cell", 4, op="clamp")
    draft.conv(2, 3)
    found = of_tile(draft.done(), CONTEXT, (1, 1))
    assert found.operators == 2
    assert found.buffers == 4 * 4 * 6 * 6


def test_a_pool_over_whole_windows_is_many_operators_in_each_family() -> None:
    """A pool of windows of 8 cells on two by two of them, all of whose cells are borders of their own kind."""
    draft = Draft((8, 8))
    draft.conv(4, 3)
    before = of_tile(draft.done(), Borders(1), (2, 2)).operators
    draft.add("windowed", 4, (Op(6, low=3, high=2, edge="inside"),) * 2)
    assert of_tile(draft.done(), Borders(1), (2, 2)).operators == before + 9 * 6


def test_each_tap_of_a_max_pool_is_a_value_where_taps_are_spread() -> None:
    """A pool of every second cell, then one whose taps lie two cells apart where windows begin at every cell."""
    draft = Draft((16, 16))
    for _ in range(2):
        draft.add("windowed", 4, (Op(2, 2),) * 2)
        draft.nodes[-1] = replace(draft.nodes[-1], scratch=Scratch(index_bytes=8))
    network = draft.done()
    plan = make_plan(network, image=(19, 19), step=(1, 1), borders=CONTEXT, tile=(4, 4), method="atrous")
    found = program_cost(network, plan.layout(Tile(0, 0, 4, 4)), batch=1, itemsize=4)
    first, second = 4 * 4 * 18 * 18, 4 * 4 * 16 * 16
    assert found.buffers == first + 2 * second  # the taps of the first lie side by side


def test_weights_are_counted_whether_or_not_windows_share_the_layer() -> None:
    draft = Draft((8, 8))
    draft.conv(4, 3)
    draft.conv(2, 3)
    node = draft.nodes[-1]
    assert weights_of(node) == 2 * 4 * 3 * 3
    assert weights_of(replace(node, op="conv2d", kind="whole", macs=node.macs * 4 * 4)) == 2 * 4 * 3 * 3
    assert weights_of(replace(node, op="linear", shape=(16, 2), kind="whole", macs=16 * 2 * 5)) == 2 * 5
