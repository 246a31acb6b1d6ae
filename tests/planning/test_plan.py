"""Plans: what is scanned together, what it costs, and what fits the memory allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fullfield.engine.layouts import Layouts
from fullfield.errors import BudgetError, FullfieldError, GeometryError
from fullfield.geometry.axis import Op
from fullfield.geometry.network import Network, NodeSpec, Scratch
from fullfield.geometry.region import Pair
from fullfield.planning import CONTEXT, EXACT, Borders, CostCache, Plan, Tile, choose, make_plan
from fullfield.planning.choose import DEFAULT_BUDGET_BYTES, time_per_window
from fullfield.planning.constants import ENGINE_CONSTANTS
from fullfield.planning.cost import Cost, crop_macs, frontier, tile_cost
from fullfield.planning.cost_cache import TileGrid
from fullfield.planning.overhead import ENGINES, EngineMemory, Overhead
from fullfield.planning.programs import program_cost
from fullfield.planning.search import TileOption, TileSearch
from tests.planning.networks import Draft, attentive, padded, unpadded

MAKERS: list[Callable[[], Network]] = [unpadded, padded, attentive]
pairs = st.tuples(st.integers(1, 40), st.integers(1, 40))


@st.composite
def asked(draw: st.DrawFn) -> tuple[Network, tuple[int, int], tuple[int, int]]:
    """A network, an image of at least one window, a step."""
    network = draw(st.sampled_from(MAKERS))()
    extra = draw(st.tuples(st.integers(0, 60), st.integers(0, 60)))
    return network, (network.window[0] + extra[0], network.window[1] + extra[1]), draw(pairs)


@given(asked())
def test_the_map_has_a_cell_for_every_window_inside_the_image(
    case: tuple[Network, tuple[int, int], tuple[int, int]],
) -> None:
    network, image, step = case
    plan = make_plan(network, image=image, step=step)
    wanted = tuple(len(range(0, n - w + 1, s)) for n, w, s in zip(image, network.window, step, strict=True))
    assert plan.shape == wanted
    assert plan.windows == wanted[0] * wanted[1]


@settings(max_examples=25)
@given(asked(), st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_tiles_cover_the_map_exactly_once_and_read_inside_the_image(
    case: tuple[Network, tuple[int, int], tuple[int, int]], tile: tuple[int, int] | None
) -> None:
    network, image, step = case
    plan = make_plan(network, image=image, step=step, tile=tile)
    seen = [(t.row + i, t.column + j) for t in plan.tiles() for i in range(t.rows) for j in range(t.columns)]
    assert sorted(seen) == [(i, j) for i in range(plan.shape[0]) for j in range(plan.shape[1])]
    for t in plan.tiles():
        whole = plan.computed(t)
        assert t.rows <= whole.rows <= plan.tile[0]
        assert t.columns <= whole.columns <= plan.tile[1]
        assert (t.row + t.rows, t.column + t.columns) == (whole.row + whole.rows, whole.column + whole.columns)
        assert plan.layout(t).windows == (whole.rows, whole.columns)
        top, bottom, left, right = plan.layout(t).pixels("x")
        y, x = whole.row * step[0], whole.column * step[1]
        assert 0 <= y + top < y + bottom <= image[0]
        assert 0 <= x + left < x + right <= image[1]


@settings(max_examples=25)
@given(asked(), st.sampled_from([2, 4, 8]), st.integers(1, 40))
def test_what_is_predicted_fits_the_budget_or_the_error_says_what_would(
    case: tuple[Network, tuple[int, int], tuple[int, int]], itemsize: int, kilobytes: int
) -> None:
    network, image, step = case

    def ask(budget: int) -> Plan:
        return make_plan(network, image=image, step=step, itemsize=itemsize, budget_bytes=budget)

    budget = kilobytes * 4000
    try:
        plan = ask(budget)
    except BudgetError as error:
        least = int(float(re.search(r"at least ([\d.]+) MB", error.fix)[1]) * 1e6)  # type: ignore[index]
        assert least > budget
        plan = ask(least)
        budget = least
    assert plan.cost.peak_bytes <= plan.budget_bytes == budget


@pytest.mark.parametrize("make", MAKERS)
def test_the_least_budget_that_is_named_is_the_least_that_works(make: Callable[[], Network]) -> None:
    network = make()

    def ask(budget: int) -> Plan:
        return make_plan(network, image=(60, 60), step=(4, 4), budget_bytes=budget)

    with pytest.raises(BudgetError, match="a scan window by window takes") as caught:
        ask(1)
    wanted = float(re.search(r"less than the ([\d.]+) MB", caught.value.what)[1]) * 1e6  # type: ignore[index]
    assert _works(ask, int(wanted + 0.5e5))  # the text gives a tenth of a megabyte
    assert not any(_works(ask, int(wanted * share - 0.5e5)) for share in (1.0, 0.99, 0.9, 0.7, 0.5, 0.2))


def test_where_no_budget_is_set_one_window_may_take_more_than_the_default() -> None:
    network = unpadded((4000, 4000), 40)  # a window's map is 5 GB

    def ask(**options: Any) -> Plan:
        return make_plan(network, image=(4040, 4040), step=(4, 4), **options)

    assert DEFAULT_BUDGET_BYTES < ask().cost.peak_bytes == ask().budget_bytes
    assert ask().tile == (1, 1)
    assert ask(budget_bytes=ask().budget_bytes) == ask()
    assert make_plan(unpadded(), image=(40, 40), step=(4, 4)).budget_bytes == DEFAULT_BUDGET_BYTES == 2 * 2**30
    with pytest.raises(BudgetError, match="a scan window by window takes"):
        ask(budget_bytes=DEFAULT_BUDGET_BYTES)
    with pytest.raises(BudgetError, match="a scan in tiles of 2x2 windows takes"):
        ask(tile=(2, 2))


def test_where_windows_read_their_neighbours_pixels_single_ones_are_no_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single windows would take almost as much memory as tiles, and many times their time."""
    monkeypatch.setattr("fullfield.planning.choose.DEFAULT_BUDGET_BYTES", 10**5)

    def ask(**options: Any) -> Plan:
        return make_plan(padded(), image=(200, 200), step=(4, 4), **options)

    context, single = ask(borders=CONTEXT), ask(borders=CONTEXT, tile=(1, 1))
    assert single.cost.region > padded().window
    assert context.tile > (1, 1)
    assert context.budget_bytes == 2 * single.cost.peak_bytes > 10**5
    assert ask().budget_bytes == ask(tile=(1, 1)).memory.total_bytes
    with pytest.raises(BudgetError, match="a scan window by window takes"):
        ask(borders=CONTEXT, budget_bytes=10**5)


def test_every_kind_of_tile_has_programs_of_its_own_where_windows_read_their_neighbours() -> None:
    """In exact mode all tiles are of one kind; else those near the edges differ from each other and from inner ones."""
    engine = EngineMemory(compiles=True, operator_bytes=1000)

    def peak(image: tuple[int, int], borders: Borders) -> int:
        overhead = Overhead(engine=engine)
        options: dict[str, Any] = {"overhead": overhead, "tile": (4, 4), "budget_bytes": 10**9}
        return make_plan(padded(), image=image, step=(8, 8), borders=borders, **options).memory.tile_bytes // 1000

    one, four, many = ((32 + 8 * (n - 1), 32 + 8 * (n - 1)) for n in (4, 8, 40))
    assert peak(four, EXACT) == peak(one, EXACT) > 0
    assert peak(four, CONTEXT) == 4 * peak(one, CONTEXT)
    assert peak(many, CONTEXT) == 9 * peak(one, CONTEXT)


def _works(ask: Callable[[int], Plan], budget: int) -> bool:
    try:
        ask(budget)
    except BudgetError:
        return False
    return True


def test_a_larger_budget_never_makes_the_scan_dearer() -> None:
    network = padded()
    fewer = [
        make_plan(network, image=(300, 300), step=(8, 8), budget_bytes=budget).mac_ratio
        for budget in (2 * 10**6, 4 * 10**6, 10**7, 10**8)
    ]
    assert fewer == sorted(fewer)
    assert fewer[0] < fewer[-1]


def test_tiles_grow_while_that_pays() -> None:
    wide = make_plan(unpadded(), image=(400, 400), step=(2, 2))
    assert min(wide.tile) > 8
    large = make_plan(unpadded((400, 400), 128), image=(2800, 2800), step=(400, 400))
    assert large.tile == (1, 7)  # a row reads the head's weights once


@pytest.mark.parametrize(("rows", "columns"), [(5, 5), (7, 3), (11, 13)])
def test_tiles_of_a_small_map_compute_few_windows_twice(rows: int, columns: int) -> None:
    """All tiles are of one size, so that the last of an axis may begin before the one before it ends."""
    network = unpadded((200, 200), 32)
    plan = make_plan(network, image=(rows * 200, columns * 200), step=(200, 200))
    assert plan.shape == (rows, columns)
    computed = [plan.computed(tile) for tile in plan.tiles()]
    assert sum(tile.rows * tile.columns for tile in computed) <= 1.1 * plan.windows
    assert len(computed) < plan.windows


def test_engines_that_compile_run_small_batches_of_values_that_stay_in_caches() -> None:
    network = unpadded((200, 200), 32)
    options = {"image": (1600, 1600), "step": (200, 200)}
    torch_plan, other = (make_plan(network, **options, constants=ENGINE_CONSTANTS[e]) for e in ("torch", "openvino"))  # type: ignore[arg-type]
    assert torch_plan.batch > other.batch == 2


def test_a_window_alone_is_a_tile_where_nearly_all_arithmetic_is_its_own_also_below_the_stride() -> None:
    draft = Draft((16, 16))
    draft.conv(8, 3, stride=4)
    draft.add("whole", 5, macs=10**11, reason="looks at all positions at once")
    assert make_plan(draft.done(), image=(24, 24), step=(1, 1)).tile == (1, 1)


@pytest.mark.parametrize(("step", "every"), [(2, 33), (2, 35), (3, 66)])
def test_a_map_a_little_larger_than_a_power_of_two_is_not_cut(step: int, every: int) -> None:
    side = 20 + step * (every - 1)
    plan = make_plan(unpadded(), image=(side, side), step=(step, step))
    assert plan.shape == (every, every)
    assert [every % side for side in plan.tile] == [0, 0]
    assert min(plan.tile) >= every // 2


@settings(max_examples=25)
@given(asked(), st.integers(10, 400))
def test_all_tiles_that_the_plan_chooses_are_of_one_size(
    case: tuple[Network, tuple[int, int], tuple[int, int]], megabytes: int
) -> None:
    network, image, step = case
    plan = make_plan(network, image=image, step=step, method="atrous", budget_bytes=megabytes * 10**6)
    assert {(t.rows, t.columns) for t in map(plan.computed, plan.tiles())} == {plan.tile}


def test_a_tile_asked_for_is_completed_only_where_few_windows_are_computed_twice() -> None:
    def sizes(every: int) -> set[int]:
        side = 20 + 2 * (every - 1)
        plan = make_plan(unpadded(), image=(side, side), step=(2, 2), tile=(16, 16))
        return {t.rows for t in map(plan.computed, plan.tiles())}

    assert sizes(18) == {16, 2}
    assert sizes(31) == sizes(1000) == {16}


@pytest.mark.parametrize("make", [padded, unpadded])
def test_a_budget_between_those_of_two_doubles_gives_a_tile_between_them(make: Callable[[], Network]) -> None:
    network, step = make(), (8, 8) if make is padded else (2, 2)

    def ask(**options: Any) -> Plan:
        return make_plan(network, image=(400, 400), step=step, **options)

    small = ask(tile=(8, 8))
    budget = int(0.97 * ask(tile=(16, 8)).cost.peak_bytes)
    found = ask(budget_bytes=budget)
    assert small.cost.peak_bytes < found.cost.peak_bytes <= budget
    assert found.tile[0] * found.tile[1] > 64
    assert time_per_window(found) < time_per_window(small)


@pytest.mark.parametrize("outputs", [40, 4000])
def test_of_a_heads_weights_laid_out_anew_only_small_ones_leave_pieces_of_the_heap_idle(outputs: int) -> None:
    draft = Draft((20, 20))
    draft.conv(8, 3)
    draft.head(outputs)
    weights = 4 * outputs * 8 * 18 * 18
    few, many = (
        make_plan(draft.done(), image=(300, 300), step=(1, 1), tile=tile, budget_bytes=10**10).cost.peak_bytes
        for tile in ((16, 16), (16, 17))
    )
    assert (weights >= 32 * 2**20) == (outputs == 4000)
    copies = 2 * weights if weights >= 32 * 2**20 else 2 * 3.2 * weights  # a head of few windows makes none
    values = 4 * 272 * (outputs + 8 * 18 * 18) * 6
    assert abs(many - few - copies) <= values


def test_tiles_grow_along_their_shorter_side_in_px() -> None:
    plan = make_plan(unpadded(), image=(400, 400), step=(16, 1), budget_bytes=2_000_000)
    assert plan.tile[1] >= 4 * plan.tile[0]


def test_a_map_of_one_row_grows_along_the_row() -> None:
    plan = make_plan(unpadded(), image=(20, 400), step=(2, 2))
    assert plan.shape[0] == plan.tile[0] == 1
    assert plan.tile[1] > 8


@pytest.mark.parametrize("make", MAKERS)
def test_windows_that_do_not_overlap_run_as_crops(make: Callable[[], Network]) -> None:
    network = make()
    plan = make_plan(network, image=(300, 300), step=(network.window[0] + 5, network.window[1] + 5))
    assert plan.cost.macs <= crop_macs(network) * plan.tile[0] * plan.tile[1]
    assert plan.mac_ratio >= 1


@pytest.mark.parametrize(("image", "step"), [((36, 32), (9, 1)), ((35, 68), (4, 36)), ((100, 100), (33, 33))])
def test_nothing_but_crops_is_tried_of_windows_that_do_not_overlap(
    monkeypatch: pytest.MonkeyPatch, image: tuple[int, int], step: tuple[int, int]
) -> None:
    network, apart = padded(), []
    search_tile = choose.search_tile

    def searched(search: TileSearch) -> TileOption:
        apart.append(search.apart)
        return search_tile(search)

    monkeypatch.setattr(choose, "search_tile", searched)
    plan = make_plan(network, image=image, step=step)
    assert apart == [True]
    assert plan.why == "no windows overlap"
    assert frontier(network, plan.places) == network.nodes[1]
    assert make_plan(network, image=image, step=step, borders=CONTEXT).cost.shared_macs > 0


def test_a_network_that_shares_its_work_is_not_run_as_crops() -> None:
    network = unpadded()
    plan = make_plan(network, image=(300, 300), step=(2, 2))
    assert frontier(network, plan.places) is None
    assert plan.mac_ratio > 5


def test_a_padded_network_runs_per_window_from_where_its_borders_meet() -> None:
    network = padded()
    plan = make_plan(network, image=(300, 300), step=(4, 4))
    first = frontier(network, plan.places)
    assert first is not None
    assert first.path in {n.path for n in network.nodes[4:]}
    assert plan.mac_ratio > 1.5
    assert plan.cost.shared_macs > 0
    assert plan.cost.window_macs > 0


def test_context_mode_shares_what_exact_mode_cannot() -> None:
    exact, context = (make_plan(padded(), image=(300, 300), step=(4, 4), borders=b) for b in (EXACT, CONTEXT))
    assert frontier(padded(), context.places) is None
    assert context.mac_ratio > exact.mac_ratio
    assert (exact.mode, context.mode) == ("exact", "context")


def test_border_cells_cost_and_whole_small_maps_cost_more() -> None:
    network = padded()
    dials = (Borders(0), Borders(1), Borders(2))
    plans = [make_plan(network, image=(96, 96), step=(8, 8), borders=b, tile=(4, 4)) for b in dials]
    costs = [sum(network[n].macs * p.layout(Tile(0, 0, 4, 4)).cells(n) for n in ("n1", "n3", "n5")) for p in plans]
    assert costs == sorted(set(costs))
    assert Borders(1, 32).places(network) == EXACT.places(network)
    assert (Borders(3).mode, Borders().mode) == ("context", "exact")


def test_the_tile_asked_for_is_the_tile_used_and_no_larger_than_the_map() -> None:
    network = unpadded()
    assert make_plan(network, image=(60, 60), step=(4, 4), tile=(3, 2)).tile == (3, 2)
    small = make_plan(network, image=(24, 28), step=(4, 4), tile=(100, 100))
    assert small.tile == small.shape == (2, 3)
    assert small.cost == make_plan(network, image=(24, 28), step=(4, 4), tile=(2, 3)).cost


def test_a_tile_asked_for_that_does_not_fit_says_so() -> None:
    with pytest.raises(BudgetError, match="a scan in tiles of 50x50 windows takes") as caught:
        make_plan(padded(), image=(300, 300), step=(4, 4), tile=(50, 50), budget_bytes=400_000)
    assert "smaller tiles" in caught.value.fix


def test_a_tile_asked_for_runs_in_batches_that_fit() -> None:
    free = make_plan(attentive(), image=(200, 200), step=(4, 4), tile=(20, 20))
    tight = make_plan(
        attentive(), image=(200, 200), step=(4, 4), tile=(20, 20), budget_bytes=int(free.cost.peak_bytes * 0.8)
    )
    assert 1 <= tight.batch < free.batch
    assert tight.cost.peak_bytes <= tight.budget_bytes


def test_the_batch_asked_for_is_the_batch_used() -> None:
    plan = make_plan(attentive(), image=(200, 200), step=(4, 4), batch=7)
    assert plan.batch == 7
    assert make_plan(attentive(), image=(200, 200), step=(4, 4), tile=(4, 4), batch=3).batch == 3
    with pytest.raises(BudgetError):
        make_plan(attentive(), image=(200, 200), step=(4, 4), tile=(20, 20), batch=400, budget_bytes=10**6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("step", {"step": (0, 1)}),
        ("step", {"step": (1, -4)}),
        ("tile", {"tile": (0, 4)}),
        ("batch", {"batch": -1}),
    ],
)
def test_numbers_that_are_not_positive_are_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(GeometryError, match="not positive") as caught:
        make_plan(unpadded(), **{"image": (60, 60), "step": (4, 4), **options})  # type: ignore[arg-type]
    assert caught.value.where == name


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("borders", [EXACT, CONTEXT, Borders(1, 8)])
def test_a_plan_tells_what_it_is_in_json_and_in_words(make: Callable[[], Network], borders: Borders) -> None:
    network = make()
    plan = make_plan(network, image=(90, 80), step=(8, 4), borders=borders)
    told = json.loads(json.dumps(plan.to_dict()))
    assert told["mode"] == plan.mode
    assert told["map"] == list(plan.shape)
    assert told["tile"] == list(plan.tile)
    assert told["crop_macs"] == crop_macs(network)
    assert told["predicted_peak_bytes"] == plan.cost.peak_bytes
    assert told["border"] == borders.cells
    first = frontier(network, plan.places)
    if first is None:
        assert told["frontier"] is None
        assert "all layers shared" in str(plan)
    else:
        assert told["frontier"]["layer"] == first.path
        assert first.path in str(plan)
        assert plan.places[first.name].reason in str(plan)
    assert f"{plan.shape[0]}x{plan.shape[1]} windows" in str(plan)
    assert f"{plan.mac_ratio:.1f}x fewer" in str(plan)
    assert "NodeSpec" not in repr(plan)
    assert repr(plan) == f"<Plan: {plan}>"
    assert len(repr(plan).splitlines()) == 1


def test_where_a_scan_takes_more_multiply_adds_than_crops_its_plan_says_that_exact_mode_does_not() -> None:
    advice = "exact mode takes at most about as many as crops"
    network, image = padded(), (96, 96)
    context = make_plan(network, image=image, step=(31, 31), borders=CONTEXT)
    assert context.table.mac_ratio < 0.95
    assert f"{1 / context.mac_ratio:.1f}x more multiply-adds than crops" in str(context)
    assert str(context.table).endswith(f"{1 / context.table.mac_ratio:.1f}x more; {advice}")
    exact = make_plan(network, image=image, step=(31, 31))
    assert exact.table.mac_ratio > 0.95
    assert advice not in str(exact.table)
    assert advice not in str(make_plan(network, image=image, step=(8, 8), borders=CONTEXT).table)


def test_fewer_compares_a_tile_with_its_windows_as_crops() -> None:
    network = unpadded()
    plan = make_plan(network, image=(60, 60), step=(4, 4), tile=(2, 5))
    assert plan.mac_ratio == pytest.approx(10 * crop_macs(network) / plan.cost.macs)


def test_a_network_without_multiply_adds_can_be_planned() -> None:
    draft = Draft((8, 8))
    draft.add("cell", 3)
    plan = make_plan(draft.done(), image=(20, 20), step=(3, 3))
    assert plan.mac_ratio == 0


def test_a_cost_is_of_shared_and_window_work() -> None:
    network = attentive()
    plan = make_plan(network, image=(40, 40), step=(4, 4), tile=(3, 3))
    cost = tile_cost(network, plan.layout(Tile(0, 0, 3, 3)), batch=2, itemsize=4)
    assert cost.window_macs == 9 * 10**8
    side = 14 + 2 * 4  # cells of the convolution that 3 windows every 4 px read
    assert cost.shared_macs == side**2 * network["n1"].macs
    assert cost.macs == cost.shared_macs + cost.window_macs
    assert isinstance(cost, Cost)


def test_more_at_a_time_takes_more_memory() -> None:
    network = attentive()
    layout = make_plan(network, image=(80, 80), step=(4, 4), tile=(8, 8)).layout(Tile(0, 0, 8, 8))
    peaks = [tile_cost(network, layout, batch=b, itemsize=4).peak_bytes for b in (8, 32, 64, 10**6)]
    assert peaks == sorted(peaks)
    assert peaks[0] < peaks[2] == peaks[3]
    assert tile_cost(network, layout, batch=8, itemsize=8).peak_bytes >= 2 * peaks[0] * 0.9


def test_a_convolution_lays_out_its_weights_anew_unless_it_is_a_matrix_product() -> None:
    """Of a head over many windows the weights count twice; on each window's own cells not at all."""
    network = unpadded((40, 40), 4)
    head = network.output
    few, many = (
        make_plan(network, image=(40 + 2 * n, 40 + 2 * n), step=(2, 2), tile=(n + 1, n + 1), itemsize=4)
        for n in (15, 16)
    )
    assert few.layout(Tile(0, 0, 16, 16)).head_as_matmul(head.name)
    assert not many.layout(Tile(0, 0, 17, 17)).head_as_matmul(head.name)
    fat = replace(head, macs=head.macs * 1000)
    heavy = Network((*network.nodes[:-1], fat), network.window)
    rise = []
    for plan in (few, many):
        layout = plan.layout(next(plan.tiles()))
        thin, thick = (tile_cost(n, layout, batch=8, itemsize=4).peak_bytes for n in (network, heavy))
        rise.append(thick - thin)
    assert rise[0] == 0
    assert rise[1] > 2 * 4 * 900 * head.macs


def test_types_without_kernels_of_their_own_lay_every_tap_side_by_side() -> None:
    draft = Draft((40, 40))
    draft.conv(16, 5)
    draft.conv(4, 5)
    network = draft.done()
    layout = make_plan(network, image=(80, 80), step=(2, 2), tile=(8, 8)).layout(Tile(0, 0, 8, 8))
    costs = [tile_cost(network, layout, batch=8, itemsize=k) for k in (4, 8, 2)]
    single, double, half = (c.peak_bytes - 40_000 * c.calls for c in costs)
    assert double > 3 * single
    assert half > single


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("step", [(1, 1), (3, 1), (2, 5)])
@pytest.mark.parametrize("method", ["auto", "atrous", "fragments", "shifted"])
def test_every_method_computes_every_cell_once(make: Callable[[], Network], step: tuple[int, int], method: Any) -> None:
    network = make()
    image = (network.window[0] + 11, network.window[1] + 9)
    plan = make_plan(network, image=image, step=step, method=method)
    seen = []
    for part in plan.all_passes:
        first = [o // s for o, s in zip(part.offset, plan.step, strict=True)]
        for t in part.tiles():
            top, bottom, left, right = part.layout(t).pixels("x")
            y, x = (o + n * s for o, n, s in zip(part.offset, (t.row, t.column), part.step, strict=True))
            assert 0 <= y + top < y + bottom <= image[0]
            assert 0 <= x + left < x + right <= image[1]
            rows, columns = (range(n) for n in (t.rows, t.columns))
            seen += [
                (first[0] + (t.row + i) * part.cell_stride[0], first[1] + (t.column + j) * part.cell_stride[1])
                for i in rows
                for j in columns
            ]
    assert sorted(seen) == [(i, j) for i in range(plan.shape[0]) for j in range(plan.shape[1])]


def test_the_cheapest_method_is_taken_and_the_others_are_compared_with_it() -> None:
    plan = make_plan(padded(), image=(90, 90), step=(1, 1))
    assert plan.method in ("atrous", "fragments", "shifted")
    assert f"{plan.method} 1.00" in plan.why
    assert plan.to_dict()["method"] == plan.method
    assert make_plan(padded(), image=(90, 90), step=(1, 1), method="shifted").why == "asked for"
    assert "divides the step" in make_plan(padded(), image=(90, 90), step=(8, 8)).why


def test_fewer_passes_than_all_strides_ask_for_are_taken_where_they_are_cheaper() -> None:
    draft = Draft((224, 224))
    for k in range(5):
        for stride in (2, 1, 1):
            draft.conv(16 << k, 3, stride=stride, padding=1)
            draft.add("cell", 16 << k)
    draft.head(5)
    options: dict[str, Any] = {"image": (674, 674), "step": (7, 7)}
    plan = make_plan(draft.done(), **options)
    every_stride = make_plan(draft.done(), method="shifted", **options)
    assert (plan.method, len(every_stride.all_passes)) == ("shifted", 32**2)
    assert 1 < len(plan.all_passes) < 32**2
    assert time_per_window(plan) < 0.9 * time_per_window(every_stride)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(GeometryError, match="'best' is not known") as caught:
        make_plan(padded(), image=(90, 90), step=(1, 1), method="best")  # type: ignore[arg-type]
    assert "atrous" in caught.value.fix


def test_errors_of_the_planner_are_fullfield_s_own() -> None:
    with pytest.raises(FullfieldError, match="budget"):
        make_plan(padded(), image=(64, 64), step=(8, 8), budget_bytes=10)


def test_tiles_finer_than_the_stride_grow_until_their_windows_share() -> None:
    draft = Draft((76, 76))
    for channels in (8, 16, 32, 32):
        draft.conv(channels, 5)
        draft.conv(channels, 2, stride=2)
    draft.conv(4, 1)
    plan = make_plan(draft.done(), image=(176, 176), step=(1, 1), method="atrous")
    assert min(plan.tile) >= 16
    assert plan.mac_ratio > 30


@pytest.mark.parametrize("borders", [EXACT, CONTEXT])
def test_prices_of_earlier_plans_change_no_plan(borders: Borders) -> None:
    network, cache = padded(), CostCache(padded(), 4)
    asked = [((300, 300), (8, 8), 10**7), ((300, 300), (8, 8), 2 * 10**6), ((90, 300), (3, 8), 10**7)]
    for image, step, budget in [*asked, *asked]:
        options = {"image": image, "step": step, "borders": borders, "budget_bytes": budget}
        found = make_plan(cache.network, costs=cache, **options)  # type: ignore[arg-type]
        assert replace(found, network=network) == make_plan(network, **options)  # type: ignore[arg-type]


def test_the_same_plan_is_priced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, asked = CostCache(padded(), 4), []

    def counting(*args: object, **kwargs: object) -> Cost:
        asked.append(args)
        return tile_cost(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("fullfield.planning.cost_cache.tile_cost", counting)
    make_plan(cache.network, image=(300, 300), step=(8, 8), costs=cache)
    first = len(asked)
    make_plan(cache.network, image=(300, 300), step=(8, 8), budget_bytes=10**9, costs=cache)
    assert first > 10
    assert len(asked) == first


@pytest.mark.parametrize(("borders", "again"), [(EXACT, False), (CONTEXT, True)])
def test_tiles_of_exact_mode_are_priced_once_for_images_of_all_sizes(
    borders: Borders, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, asked = CostCache(padded(), 4), []

    def counting(*args: object, **kwargs: object) -> Cost:
        asked.append(args)
        return tile_cost(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("fullfield.planning.cost_cache.tile_cost", counting)
    plan = make_plan(cache.network, image=(300, 300), step=(8, 8), borders=borders, costs=cache)
    first = len(asked)
    other = make_plan(cache.network, image=(301, 302), step=(8, 8), borders=borders, costs=cache)
    assert other.shape == plan.shape
    assert other.image == (301, 302)
    assert (len(asked) > first) == again


def test_prices_forget_what_was_asked_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullfield.planning.cost_cache._COSTS", 5)
    cache = CostCache(padded(), 4)
    options = {"image": (300, 300), "step": (8, 8)}
    plan = make_plan(cache.network, costs=cache, **options)  # type: ignore[arg-type]
    assert len(cache._costs) == 5
    assert make_plan(cache.network, costs=cache, **options) == plan  # type: ignore[arg-type]


def test_numbers_of_twice_the_bytes_move_twice_as_many() -> None:
    plain = padded()
    wide = Network(tuple(replace(node, itemsize_factor=2) for node in plain), plain.window)
    plan = make_plan(plain, image=(300, 300), step=(4, 4))
    layout = plan.layout(next(plan.tiles()))
    costs = [tile_cost(network, layout, batch=8, itemsize=4) for network in (plain, wide)]
    assert costs[1].moved_bytes == 2 * costs[0].moved_bytes
    assert costs[1].peak_bytes > costs[0].peak_bytes


def test_partial_results_that_an_operator_holds_count() -> None:
    ops = tuple(Op(n, low=n // 2, high=(n - 1) // 2, edge="inside") for n in (15, 16))
    peaks = []
    for results in (0, 5):
        nodes = (NodeSpec("x", "", "image", "input", (), shape=(3, 15, 16)),)
        spec = NodeSpec("pool", "", "mean", "windowed", ("x",), (ops[0], ops[1]), (3, 15, 16))
        nodes += (replace(spec, scratch=Scratch(results=results)),)
        plan = make_plan(Network(nodes, (15, 16)), image=(64, 64), step=(1, 1), borders=CONTEXT)
        layout = plan.layout(Tile(0, 0, 8, 8))
        peaks.append(tile_cost(plan.network, layout, batch=8, itemsize=4).peak_bytes)
    assert peaks[1] >= peaks[0] + 5 * 4 * 3 * 22 * 23


@pytest.mark.parametrize(("megabytes", "kept"), [(43, 16), (20, 3), (8, 1)])
def test_programs_of_fewer_kinds_of_tiles_are_kept_where_the_budget_has_no_room_for_all(
    megabytes: int, kept: int
) -> None:
    """In context tiles at the image's edges differ: nine kinds, three of which follow each other in a row."""
    engine = EngineMemory(compiles=True, live=1, buffers=1.3, convolved=1.6, multiplied=1.85, operator_bytes=430_000)
    plan = make_plan(
        padded(),
        image=(2000, 2000),
        step=(8, 8),
        borders=CONTEXT,
        tile=(4, 4),
        overhead=Overhead(engine=engine),
        budget_bytes=megabytes * 10**6,
    )
    assert plan.programs == kept
    assert plan.memory.total_bytes <= plan.budget_bytes


def counting_padding() -> Network:
    """A network with a pool whose divisor depends on how much padding is under its kernel."""
    first, pool, *rest = padded().nodes
    return Network((first, replace(pool, counts_padding=True), *rest), padded().window)


@pytest.mark.parametrize("borders", [CONTEXT, Borders(1)])
def test_shifted_passes_of_a_small_map_run_in_one_tile(borders: Borders) -> None:
    """Each would have programs of its own; in exact mode passes have the same ones."""
    options: dict[str, Any] = {"image": (34, 35), "step": (1, 1), "method": "shifted"}
    plan = make_plan(padded(), borders=borders, **options)
    assert (plan.shape, plan.tile, plan.shifts, plan.passes) == ((3, 4), (3, 4), (4, 4), ())
    assert plan.to_dict()["passes"] == 3 * 4
    assert "shifted; asked for" in str(plan.table)
    for other in (make_plan(counting_padding(), borders=borders, **options), make_plan(padded(), **options)):
        assert (len(other.passes), other.shifts) == (3 * 4, (1, 1))
    assert plan.time < make_plan(counting_padding(), borders=borders, **options).time


def test_the_kinds_of_tiles_that_hold_several_passes_are_counted() -> None:
    """Three along each axis: those at both edges of the image, and all between them."""
    options: dict[str, Any] = {"image": (300, 300), "step": (2, 2), "borders": CONTEXT, "method": "shifted"}
    plan = make_plan(padded(), tile=(24, 24), **options)
    assert plan.shifts == (2, 2)
    layouts = Layouts(SimpleNamespace(layout=lambda kind, make: make()))  # type: ignore[arg-type]
    found = [layouts.layout(plan, tile) for tile in plan.tiles()]
    assert sum(layout not in found[:k] for k, layout in enumerate(found)) == 9
    assert plan.memory.tile_bytes == plan.cost.peak_with(9)


@pytest.mark.parametrize(
    ("borders", "image", "kinds"),
    [(CONTEXT, (34, 35), 12), (EXACT, (38, 38), 4), (EXACT, (35, 38), 2), (EXACT, (39, 39), 1)],
)
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_memory_counts_the_programs_of_all_passes_whose_tiles_are_not_alike(
    engine: str, borders: Borders, image: Pair, kinds: int
) -> None:
    """In context each pass lies otherwise on the image; in exact mode passes differ where some have fewer windows."""
    options: dict[str, Any] = {"image": image, "step": (1, 1), "borders": borders, "method": "shifted", "tile": (2, 2)}
    plan = make_plan(counting_padding(), overhead=Overhead(engine=ENGINES[engine]), **options)
    layouts = Layouts(SimpleNamespace(layout=lambda kind, make: make()))  # type: ignore[arg-type]
    found = [layouts.layout(part, tile) for part in plan.all_passes for tile in part.tiles()]
    assert sum(layout not in found[:k] for k, layout in enumerate(found)) == kinds
    programs = program_cost(plan.network, found[0], batch=plan.batch, itemsize=4)
    compiled, lowered = ENGINES["openvino"].tile_bytes(programs, kinds), plan.cost.peak_with(kinds)
    assert plan.memory.tile_bytes == pytest.approx({"torch": lowered, "openvino": compiled}[engine], rel=0.02)
    assert lowered == plan.cost.peak_bytes + max(0, kinds - 4) * plan.cost.kind_bytes


def test_torch_keeps_the_programs_of_fewer_kinds_of_tiles_where_the_budget_has_no_room_for_all() -> None:
    options: dict[str, Any] = {"image": (40, 40), "step": (1, 1), "borders": CONTEXT, "method": "shifted"}
    network = counting_padding()
    plan = make_plan(network, tile=(1, 1), **options)
    assert plan.programs == 16
    assert plan.memory.tile_bytes == plan.cost.peak_with(31)  # 16 kept, and 15 replaced and not yet freed
    small = make_plan(network, tile=(1, 1), budget_bytes=plan.memory.total_bytes - 1, **options)
    assert small.programs == 3
    assert small.memory.tile_bytes == plan.cost.peak_with(5)
    least = make_plan(network, tile=(1, 1), budget_bytes=small.memory.total_bytes - 1, **options)
    assert least.programs == 1
    assert least.memory.tile_bytes == plan.cost.peak_bytes


def test_weights_that_run_per_window_are_those_of_convolutions_and_linear_layers() -> None:
    """A matrix product and a sum of all numbers have none."""
    nodes = list(attentive().nodes)
    nodes.append(NodeSpec("product", "", "matmul", "whole", (nodes[-1].name,), shape=(5,), macs=10**6))
    nodes.append(NodeSpec("total", "", "mean", "whole", ("product",), shape=()))
    nodes.append(NodeSpec("head", "", "linear", "whole", ("total",), shape=(7,), macs=7 * 30))
    found = CostCache(Network(tuple(nodes), (16, 16)), 4).per_window(TileGrid((32, 32), (4, 4), EXACT), None)
    assert found.weight_bytes == 4 * 7 * 30
    assert found.macs == sum(node.window_macs for node in nodes[2:])


def test_compiling_many_kinds_of_tiles_is_part_of_a_plans_time() -> None:
    """In context a map has one kind of tile or nine; a slow compiler makes it one."""
    options: dict[str, Any] = {"image": (400, 400), "step": (8, 8), "borders": CONTEXT, "budget_bytes": 10**9}
    options["overhead"] = Overhead(engine=ENGINES["openvino"])
    free = replace(ENGINE_CONSTANTS["openvino"], macs_per_call=2e5, macs_per_prepared_call=0)
    quick, slow = (replace(free, macs_per_operator=macs) for macs in (0.0, 1e9))
    tiles = [make_plan(padded(), constants=constants, **options) for constants in (quick, slow)]
    assert tiles[0].tile != tiles[1].tile == tiles[1].shape


@pytest.mark.parametrize("engine", sorted(ENGINE_CONSTANTS))
def test_maps_of_few_windows_run_as_crops_where_preparing_takes_longer_than_sharing_saves(engine: str) -> None:
    """Of four windows sharing saves some multiply-adds; nine families of every operator are to be prepared for it."""
    network, options = padded(), {"step": (4, 4), "overhead": Overhead(engine=ENGINES[engine])}
    few, many = (
        make_plan(network, image=(side, side), constants=ENGINE_CONSTANTS[engine], **options) for side in (36, 2000)
    )  # type: ignore[arg-type]
    assert few.cost.shared_macs == 0
    assert few.cost.prepared_calls == len(network.nodes)
    assert many.cost.shared_macs > 0
    shared = make_plan(network, image=(36, 36), tile=(2, 2), constants=ENGINE_CONSTANTS[engine], **options)  # type: ignore[arg-type]
    assert shared.mac_ratio > 1
    assert shared.cost.prepared_calls > 3 * few.cost.prepared_calls


def test_the_plan_of_an_equal_scan_is_made_once() -> None:
    costs = CostCache(padded(), 4)
    settings = {"image": (90, 90), "step": (4, 4), "costs": costs, "overhead": Overhead(channels=3)}
    first = make_plan(padded(), **settings)
    assert make_plan(padded(), **settings | {"overhead": Overhead(channels=3)}) is first
    others = [{"image": (91, 90)}, {"step": (4, 8)}, {"borders": CONTEXT}, {"budget_bytes": 10**8}, {"tile": (2, 2)}]
    others += [{"overhead": Overhead(channels=4)}, {"constants": ENGINE_CONSTANTS["openvino"]}, {"batch": 2}]
    assert all(make_plan(padded(), **settings | other) is not first for other in others)


def test_a_network_that_multiplies_the_windows_of_a_batch_runs_them_one_at_a_time() -> None:
    plan = make_plan(replace(padded(), needs_batch_of_one=True), image=(64, 64), step=(8, 8))
    assert (plan.tile, plan.batch) == ((1, 1), 1)


def test_plan_and_table_show_themselves_to_notebooks_and_consoles() -> None:
    plan = make_plan(padded(), image=(64, 64), step=(8, 8))
    assert plan._repr_html_() == plan.table._repr_html_()
    assert plan._repr_html_().startswith("<pre")
    assert repr(plan.table).startswith(f"<PlanTable: {len(plan.table.layers)} layers, ")
