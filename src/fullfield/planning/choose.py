"""Chooses a plan: method, tile, batch and frontier, by predicted multiply-adds and bytes. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from operator import attrgetter
from typing import get_args

from fullfield.arguments import check_choice
from fullfield.errors import BudgetError, GeometryError
from fullfield.geometry.network import Network
from fullfield.geometry.region import Pair
from fullfield.planning.constants import CONSTANTS, CostConstants
from fullfield.planning.cost import Cost
from fullfield.planning.cost_cache import CostCache, TileGrid
from fullfield.planning.mac_kinds import covers
from fullfield.planning.overhead import Memory, Overhead, Savings, TileUse, memory_of
from fullfield.planning.plan import EXACT, Borders, Method, Plan
from fullfield.planning.programs import CACHED_PROGRAMS, ProgramCost, weights_of
from fullfield.planning.search import TileOption, TileSearch, evaluate_tile, search_tile
from fullfield.planning.sides import overlap, tiles_along

DEFAULT_BUDGET_BYTES = 2 * 1024**3
_FIRST_TIME = attrgetter("time")  # of a plan: preparing counted


def make_plan(
    network: Network,
    *,
    image: Pair,
    step: Pair,
    borders: Borders = EXACT,
    itemsize: int = 4,
    budget_bytes: int | None = None,
    overhead: Overhead | None = None,
    tile: Pair | None = None,
    batch: int | None = None,
    method: Method = "auto",
    costs: CostCache | None = None,
    constants: CostConstants = CONSTANTS,
    scans: int = 1,
) -> Plan:
    """The plan that should scan ``image`` in the least time within the budget.

    Args:
        network: the network as integers.
        image: height and width of the scanned image, px; at least one window.
        step: px between windows (y, x).
        borders: which cells are computed as in the crops; all by default.
        itemsize: bytes of one number.
        budget_bytes: memory allowed, for everything that ``Plan.memory`` counts; 2 GiB if none is given, or what a scan
            by single windows takes if that is more. Where windows read pixels beyond their own, twice as much as that:
            tiles of single windows would read almost all pixels of larger ones, each for one window.
        overhead: what the scan takes besides the computation; nothing by default.
        tile: rows and columns of windows computed together, if not to be chosen; all of a smaller map. They share all
            that can be shared if that fits the budget.
        batch: windows at a time where the network runs per window, if not to be chosen.
        method: how steps finer than the network's stride are run; the cheapest by default.
        costs: cached costs of this network for numbers of ``itemsize``; new ones are added.
        constants: of the engine that computes.
        scans: equal scans that share what is prepared.

    Raises:
        BudgetError: single windows, or tiles of the size asked for, take more than the budget, and how much they take.
        GeometryError: a step or tile that is not positive, an unknown method.
    """
    for name, pair in (("step", step), ("tile", tile or (1, 1)), ("batch", (batch or 1, 1))):
        if min(pair) < 1:
            raise GeometryError(name, f"{pair} is not positive", fix="use 1 or more")
    check_choice("method", method, get_args(Method))
    costs = costs or CostCache(network, itemsize)
    if network.needs_batch_of_one:
        tile, batch = tile or (1, 1), 1
    budget = DEFAULT_BUDGET_BYTES if budget_bytes is None else budget_bytes
    task = _Task(costs, borders, image, step, overhead or Overhead(), budget, tile, batch, constants, scans)
    key = (borders, image, step, task.overhead, budget_bytes, tile, batch, constants, scans, method)
    return costs.plan(key, partial(_chosen, task, method, strict=budget_bytes is not None))


def _chosen(task: _Task, method: Method, *, strict: bool) -> Plan:
    """The plan that takes the least time; unless ``strict``, the budget may grow.

    Raises:
        BudgetError: none fits.
    """
    if not strict and task.borders.cells is not None:
        task = replace(task, budget=max(task.budget, 2 * _single_window_bytes(task, method)))
    return _within_budget(task, method, strict=strict)


def _single_window_bytes(task: _Task, method: Method) -> int:
    """The least budget for a scan by single windows; 0 where they read no pixels but their own."""
    plans = _plans(replace(task, tile=(1, 1), budget=0), method, task.overhead.savings[-1])
    reads_more = any(n > w for plan in plans for n, w in zip(plan.cost.region, task.network.window, strict=True))
    return min(_least_budget(task.overhead, plan) for plan in plans) if reads_more else 0


def _within_budget(task: _Task, method: Method, *, strict: bool) -> Plan:
    """The plan that takes the least time; unless ``strict``, single windows may take more than the budget.

    Raises:
        BudgetError: none fits.
    """
    for savings in task.overhead.savings:
        plans = _plans(task, method, savings)
        if any(plan.memory.total_bytes <= task.budget for plan in plans):
            return choose_method(plans) if method == "auto" and _methods_differ(task) else plans[0]
    budget, tile = min((_least_budget(task.overhead, plan), plan.tile) for plan in plans)
    if not strict and tile == (1, 1):
        return _within_budget(replace(task, budget=budget), method, strict=True)
    what = "window by window" if tile == (1, 1) else "in tiles of {}x{} windows".format(*tile)
    raise BudgetError(
        "budget",
        f"{task.budget / 1e6:.1f} MB is less than the {budget / 1e6:.1f} MB that a scan {what} takes",
        fix=f"allow at least {math.ceil(budget / 1e6)} MB" + ("" if tile == (1, 1) else ", or use smaller tiles"),
    )


def _least_budget(overhead: Overhead, plan: Plan) -> int:
    """The least budget that allows a plan which does not fit its own."""
    memory = plan.memory
    return overhead.least_budget(memory.total_bytes - memory.cache_bytes)


def choose_method(plans: list[Plan]) -> Plan:
    """The plan that takes the least time of those that fit their budget; ``why`` says how the others compare."""
    best = min((p for p in plans if p.memory.total_bytes <= p.budget_bytes), key=_FIRST_TIME)
    times = ", ".join(f"{p.method} {p.time / best.time:.2f}" for p in plans)
    return replace(best, why=f"predicted time over that of the cheapest: {times}")


def time_per_window(plan: Plan) -> float:
    """Predicted time of one window of a plan, in multiply-adds, in a later scan: programs are not made in it."""
    return _time(plan.cost, plan.tile, plan.all_passes[0].shape, plan.constants)


def _work(cost: Cost, tile: Pair, constants: CostConstants) -> float:
    """Time a window, in multiply-adds, without what each tile takes whatever its size: the limit as tiles grow."""
    moved = cost.moved_bytes + constants.weight_moves * cost.weight_bytes
    kinds = cost.kinds
    others = (constants.pointwise - 1) * kinds.pointwise + (constants.depthwise - 1) * kinds.depthwise
    others += (constants.dilated - 1) * kinds.dilated + (constants.linear - 1) * kinds.linear
    return (cost.macs + others + constants.macs_per_byte * moved) / math.prod(tile)


def _time(cost: Cost, tile: Pair, shape: Pair, constants: CostConstants) -> float:
    """Time a window, in multiply-adds, of all tiles of a map: where it is a row too long for one, it takes two."""
    along = list(zip(shape, tile, strict=True))
    tiles = math.prod(tiles_along(count, side) for count, side in along)
    computed = math.prod(count + overlap(count, side) for count, side in along)
    each = constants.macs_per_call * cost.calls + constants.macs_per_tile
    once = constants.macs_per_fresh_byte * cost.peak_bytes
    return (_work(cost, tile, constants) * computed + each * tiles + once) / math.prod(shape)


@dataclass(frozen=True)
class _Task:
    """What is planned; ``make_plan`` says what the fields mean."""

    costs: CostCache
    borders: Borders
    image: Pair
    step: Pair
    overhead: Overhead
    budget: int
    tile: Pair | None
    batch: int | None
    constants: CostConstants
    scans: int

    @property
    def network(self) -> Network:
        """The network as integers."""
        return self.costs.network

    @property
    def joins_passes(self) -> bool:
        """Whether shifted passes may run in one tile: where each would have programs of its own."""
        return self.borders.cells is not None and self.network.pads_by_numbers

    def map_shape(self, step: Pair) -> Pair:
        """Rows and columns of windows every ``step`` px."""
        (h, w), (height, width) = self.network.window, self.image
        return (height - h) // step[0] + 1, (width - w) // step[1] + 1

    @cached_property
    def apart(self) -> bool:
        """Whether all windows run as crops: none overlaps another, and scores do not depend on what is shared.

        Layers before a head whose weights the caches do not hold may run on more windows at a time than crops do, so
        that it reads its weights less often.
        """
        shape = self.map_shape(self.step)
        overlap = any(
            n > 1 and step < side for n, step, side in zip(shape, self.step, self.network.window, strict=True)
        )
        if self.borders.cells is not None or overlap:
            return False
        heads = [n for n in self.network if n.macs and (n.op == "linear" or covers(n, self.network))]
        return shape == (1, 1) or self.costs.itemsize * sum(map(weights_of, heads)) <= self.constants.cached_bytes


def _plans(task: _Task, method: Method, savings: Savings) -> list[Plan]:
    """The plan of each method that may be chosen.

    Raises:
        GeometryError: a method was asked for that would give other scores.
    """
    shifts = _shifts(task)
    if method == "auto":
        methods: tuple[Method, ...] = ("atrous", "fragments", "shifted") if _methods_differ(task) else ("atrous",)
        counts = _pass_counts(task, shifts, spread=True)
        return [plan for m in methods if _is_defined(task, plan := _cheapest(task, m, counts, savings))]
    chosen = _cheapest(task, method, _pass_counts(task, shifts, spread=False), savings)
    if not _is_defined(task, chosen):
        reason = next(place.reason for place in chosen.places.values() if not place.shared)
        fix = 'use method="shifted" or "auto", or another step'
        raise GeometryError(f"method {method}", f"has no meaning where borders are not recomputed: {reason}", fix=fix)
    return [chosen]


def _methods_differ(task: _Task) -> bool:
    """Whether windows share layers whose stride does not divide the step."""
    return max(_shifts(task)) > 1 and not task.apart


def _is_defined(task: _Task, plan: Plan) -> bool:
    """Whether the plan gives the scores that it should.

    Where not all borders are recomputed, scores depend on what is shared, so that must not depend on the method: an
    upsampling, shared by shifted passes, would run per window in others.
    """
    if task.borders.cells is None:
        return True
    shared = task.costs.shared_places(task.borders)
    return all(place.shared or not shared[name].shared for name, place in plan.places.items())


def _shifts(task: _Task) -> Pair:
    """Passes along y and x whose common step every shared layer's stride divides."""
    return _passes(task, _strides(task))


def _strides(task: _Task) -> list[Pair]:
    """The strides of shared layers along y and x, parts of a pixel; 1 where a head has closed an axis."""
    axes = (p.axes for p in task.costs.shared_places(task.borders).values())
    pairs = [(1 if y.closed else y.jump, 1 if x.closed else x.jump) for y, x in filter(None, axes)]
    return sorted(set(pairs))


def _is_within(pair: Pair, most: Pair) -> bool:
    return pair[0] <= most[0] and pair[1] <= most[1]


def _passes(task: _Task, strides: Iterable[Pair]) -> Pair:
    """Passes along y and x whose common step so many parts of a pixel divide."""
    (y, x), units = task.step, task.network.units
    sy, sx = y * units[0], x * units[1]
    along = list(strides)
    return math.lcm(sy, *(y for y, _ in along)) // sy, math.lcm(sx, *(x for _, x in along)) // sx


def _coinciding(task: _Task) -> list[Pair]:
    """The distances, parts of a pixel along y and x, after which the cells of each upsampled map lie alike."""
    places = task.costs.shared_places(task.borders)
    found: list[Pair] = []
    for node in task.network:
        axes = places[node.name].axes
        if axes is not None:
            y, x = (axis.jump * op.up if op.up > 1 else 1 for axis, op in zip(axes, node.ops, strict=True))
            found.append((y, x))
    return found


@dataclass(frozen=True)
class _Kinds:
    """How many kinds of tiles a scan has, each with programs of its own.

    Args:
        total: in all passes.
        columns: in all passes, along x.
        row: in a row of tiles of one pass.
    """

    total: int
    columns: int
    row: int

    @property
    def kept(self) -> list[int]:
        """Of how many kinds the programs may be kept: of all, of those in a row of tiles, of one."""
        return sorted({min(n, CACHED_PROGRAMS) for n in (self.total, self.row, 1)}, reverse=True)

    def made(self, kept: int, rows: int, scans: int) -> float:
        """How often programs are made for one of several equal scans of so many rows of tiles.

        Those that are kept serve all scans. Where not all are, they are made again in a later scan too, which is
        counted as well; where those of a row of tiles are not kept, in every row.
        """
        once = rows * self.columns if kept < self.row else self.total
        return once / scans if kept >= self.total else 2 * once


def _kinds(task: _Task, tile: Pair, every: Pair, shifts: Pair) -> _Kinds:
    """The kinds of tiles of passes that compute every so many rows and columns of the map, ``shifts`` in every tile."""
    (_, down), (row, across) = (_kinds_along(task, k, tile[k], every[k], shifts[k]) for k in (0, 1))
    return _Kinds(down * across, across, row)


def _kinds_along(task: _Task, axis: int, side: int, every: int, shifts: int) -> Pair:
    """Kinds of tiles along an axis, in one pass and in all.

    Where pixels beyond windows are read, tiles near the image's edges differ, and those of each pass from all others.
    """
    whole = task.map_shape(task.step)[axis]
    passes = min(every, whole)
    most, least = tiles_along(whole, every), tiles_along(whole - passes + 1, every)
    if task.borders.cells is None:
        sides = _sides(most, side)
        return len(sides), len(sides | _sides(least, side))
    starts = [p.axes[axis].start for p in task.costs.shared_places(task.borders).values() if p.axes is not None]
    reach = max(0, -min(starts, default=0)) // task.network.units[axis]
    low, high = (-(-far // (side * every * task.step[axis])) for far in (reach, reach + (shifts - 1) * task.step[axis]))
    near, tiles = low + high, tiles_along(most, side)
    return min(tiles, 1 + near), min(tiles * passes, 1 + near * passes)


def _sides(count: int, side: int) -> set[int]:
    """Windows along the tiles of an axis."""
    tiles = tiles_along(count, side)
    last = side if overlap(count, side) else count - (tiles - 1) * side
    return {last} if tiles == 1 else {side, last}


def _pass_counts(task: _Task, shifts: Pair, *, spread: bool) -> list[Pair]:
    """Passes along y and x that shifted passes may be: ``shifts``, and fewer that share all upsampled maps.

    Args:
        shifts: so many that every shared layer's stride divides their common step.
        spread: try as well those of which some layers' strides divide the step: the others are spread, or run per
            window. Where not all borders are recomputed, no layer runs per window, and that saves nothing.
    """
    upsampled, strides = _coinciding(task), _strides(task)
    counts = [shifts, _passes(task, upsampled)]
    if spread and task.borders.cells is None:
        counts += [_passes(task, [*upsampled, *(s for s in strides if _is_within(s, most))]) for most in strides]
    return [shifts, *(count for count in dict.fromkeys(counts) if count not in ((1, 1), shifts))]


def _cheapest(task: _Task, method: Method, counts: list[Pair], savings: Savings) -> Plan:
    """The plan of one method; of shifted passes the cheapest of several counts of them."""
    plans = [_plan(task, method, count, savings) for count in (counts if method == "shifted" else counts[:1])]
    if method == "shifted" and task.joins_passes:
        plans += [_pass(task, method, (1, 1), savings, spread=max(count) > 1, shifts=count) for count in counts]
    fitting = [p for p in plans if p.memory.total_bytes <= task.budget]
    return min(fitting or plans, key=_FIRST_TIME)


def _plan(task: _Task, method: Method, shifts: Pair, savings: Savings) -> Plan:
    """The plan of one method, of passes one after the other; over the budget if it does not fit."""
    if method != "shifted":
        return _pass(task, method, (1, 1), savings, spread=max(shifts) > 1)
    first = _pass(task, method, shifts, savings, spread=max(shifts) > 1)
    rows, columns = task.map_shape(task.step)
    passes = [
        replace(
            first,
            offset=(i * task.step[0], j * task.step[1]),
            shape=(-(-(rows - i) // shifts[0]), -(-(columns - j) // shifts[1])),
        )
        for i in range(min(shifts[0], rows))
        for j in range(min(shifts[1], columns))
    ]
    return replace(first, step=task.step, shape=(rows, columns), cell_stride=(1, 1), passes=tuple(passes))


def _reason(task: _Task, *, spread: bool) -> str:
    """Why a plan is of its method, where none other was tried."""
    if task.apart:
        return "no windows overlap"
    return "asked for" if spread else "every layer's stride divides the step"


def _pass(
    task: _Task, method: Method, cell_stride: Pair, savings: Savings, *, spread: bool, shifts: Pair = (1, 1)
) -> Plan:
    """The plan of one pass over the image, which computes every ``cell_stride``-th row and column of the map.

    Or of so many ``shifts`` along y and x in every tile.
    """
    step = (task.step[0] * cell_stride[0], task.step[1] * cell_stride[1])
    shape = task.map_shape(step)
    grid = TileGrid(task.image, step, task.borders, method == "fragments", shifts)

    def middle(tile: Pair) -> Pair:
        """The first window of a tile in the middle of the map."""
        return (shape[0] - tile[0]) // 2, (shape[1] - tile[1]) // 2

    @cache
    def kinds(tile: Pair) -> _Kinds:
        return _kinds(task, tile, cell_stride, shifts)

    def cost(tile: Pair, batch: int, stop: int | None) -> Cost:
        return task.costs.cost(grid, tile, middle(tile), batch=batch, stop=stop)

    def programs(tile: Pair, batch: int, stop: int | None) -> ProgramCost:
        return task.costs.programs(grid, tile, middle(tile), batch=batch, stop=stop)

    def memory(tile: Pair, batch: int, stop: int | None, found: Cost) -> tuple[Memory, int]:
        """What a scan takes, and of how many kinds of tiles it keeps the programs: all, if the budget allows."""
        engine, extent = task.overhead.engine, (tile[0] * cell_stride[0], tile[1] * cell_stride[1])
        large = 0 if engine.compiles else found.large_bytes
        use = TileUse(found.peak_bytes, found.region, math.prod(tile), extent, task.map_shape(task.step), large)
        counts = kinds(tile).kept
        for kept in counts:
            remade = kept < kinds(tile).total
            if engine.compiles:
                peak = engine.tile_bytes(programs(tile, batch, stop), kept, remade=remade)
            else:
                replaced = kept - 1 if remade else 0  # they are freed once they are as many as are kept
                peak = found.peak_with(kept + replaced)
            use = replace(use, peak_bytes=peak)
            taken = memory_of(use, task.overhead, task.budget, savings)
            if taken.total_bytes <= task.budget:
                break
        return taken, kept

    def option(tile: Pair, batch: int, stop: int | None) -> TileOption:
        found = cost(tile, batch, stop)
        taken, kept = memory(tile, batch, stop, found)
        work, time = _work(found, tile, task.constants), _time(found, tile, shape, task.constants)
        prepared = task.constants.macs_per_prepared_call * found.prepared_calls
        if task.overhead.engine.compiles:
            prepared += task.constants.macs_per_operator * programs(tile, batch, stop).operators
        rows, columns = task.map_shape(task.step)
        made = kinds(tile).made(kept, min(cell_stride[0], rows) * tiles_along(shape[0], tile[0]), task.scans)
        time += made * prepared / (rows * columns)
        return TileOption(tile, batch, stop, work, time, taken.total_bytes)

    search = TileSearch(
        option,
        task.budget,
        shape,
        step,
        stride=task.network.stride(task.costs.shared_places(task.borders)),
        per_window=partial(task.costs.per_window, grid),
        nodes=len(task.network.nodes) if task.borders.cells is None else 0,  # elsewhere scores would depend on it
        batch=task.batch,
        every=cell_stride,
        constants=task.constants,
        apart=task.apart,
    )
    if task.tile is None:
        best = search_tile(search)
    else:
        best = evaluate_tile(search, (min(task.tile[0], shape[0]), min(task.tile[1], shape[1])))
    found = cost(best.tile, best.batch, best.stop)
    taken, kept = memory(best.tile, best.batch, best.stop, found)
    return Plan(
        task.network,
        task.costs.places(grid, best.stop),
        task.borders,
        task.image,
        step,
        shape,
        best.tile,
        best.batch,
        found,
        taken,
        task.budget,
        method,
        _reason(task, spread=spread),
        cell_stride=cell_stride,
        constants=task.constants,
        programs=kept if kept < kinds(best.tile).kept[0] else CACHED_PROGRAMS,
        scans=task.scans,
        shifts=shifts,
        time=best.time,
    )
