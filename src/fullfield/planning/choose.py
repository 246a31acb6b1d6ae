"""The choice of a plan: method, tile, batch and frontier, by predicted multiply-adds and bytes. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from fullfield.errors import BudgetError, GeometryError
from fullfield.geometry.network import Network, Place
from fullfield.geometry.region import Pair
from fullfield.planning.cost import Cost
from fullfield.planning.cost_cache import CostCache, Grid
from fullfield.planning.plan import EXACT, Borders, Method, Plan

DEFAULT_BUDGET_BYTES = 2 * 1024**3
_BATCH_BYTES = 64 * 1024**2  # of activations at a time where the network runs per window
_CHUNKS = 64  # batches in one tile's program, at most
_MACS_PER_BYTE = 4.0  # a byte moved costs as much time as this many multiply-adds
_MACS_PER_STEP = 2e5  # an operator's call takes as much time as this many multiply-adds
_MACS_PER_TILE = 5e7  # preparing, handing over and writing a tile take as much time as this many multiply-adds
_PARTS = 8  # places that are tried for the frontier
_QUARTERS = 7  # by which a tile's sides are grown, one after the other, to almost twice as much
_GAIN = 0.97  # a larger tile must be at least this much cheaper a window


def make_plan(
    network: Network,
    *,
    image: Pair,
    step: Pair,
    borders: Borders = EXACT,
    itemsize: int = 4,
    budget_bytes: int | None = None,
    tile: Pair | None = None,
    batch: int | None = None,
    method: Method = "auto",
    costs: CostCache | None = None,
) -> Plan:
    """The cheapest way found to scan ``image`` within the budget.

    Args:
        network: the network as integers.
        image: height and width of the scanned image, px; at least one window.
        step: px between windows (y, x).
        borders: what is recomputed as the crops would; all by default.
        itemsize: bytes of one number.
        budget_bytes: memory allowed; 2 GiB if none is given, or what one window takes where that is more.
        tile: rows and columns of windows computed together, if not to be chosen; all of a smaller map. They share all
            that can be shared if that fits the budget.
        batch: windows at a time where the network runs per window, if not to be chosen.
        method: how steps finer than the network's stride are run; the cheapest by default.
        costs: what earlier plans of this network found, for numbers of ``itemsize``; they are added to.

    Raises:
        BudgetError: one window alone, or the tile asked for, takes more than the budget, and how much it takes.
        GeometryError: a step or tile that is not positive, an unknown method.
    """
    for name, pair in (("step", step), ("tile", tile or (1, 1)), ("batch", (batch or 1, 1))):
        if min(pair) < 1:
            raise GeometryError(name, f"{pair} is not positive", fix="use 1 or more")
    if method not in get_args(Method):
        raise GeometryError("method", f"{method!r} is not known", fix=f"use one of {', '.join(get_args(Method))}")
    costs = costs or CostCache(network, itemsize)
    if network.needs_batch_of_one:
        tile, batch = tile or (1, 1), 1
    budget = DEFAULT_BUDGET_BYTES if budget_bytes is None else budget_bytes
    chooser = _Chooser(costs, borders, image, step, budget, budget_bytes is not None, tile, batch)
    if method == "auto":
        return chooser.cheapest() if chooser.spread else chooser.checked(chooser.plan("atrous"))
    chosen = chooser.plan(method)
    if not chooser.defined(chosen):
        reason = next(place.reason for place in chosen.places.values() if not place.shared)
        fix = 'use method="shifted" or "auto", or another step'
        raise GeometryError(f"method {method}", f"has no meaning where borders are not recomputed: {reason}", fix=fix)
    return chooser.checked(chosen)


@dataclass(frozen=True)
class _Option:
    tile: Pair
    shape: Pair
    batch: int
    places: Mapping[str, Place]
    cost: Cost

    @property
    def work(self) -> float:
        """Time a window, in multiply-adds, without what a tile takes however small: what ever larger tiles come to."""
        return (self.cost.macs + _MACS_PER_BYTE * self.cost.moved_bytes) / (self.tile[0] * self.tile[1])

    @property
    def price(self) -> float:
        """Time a window, in multiply-adds, of all the tiles that the map needs: two where one is a row too short."""
        tiles = math.prod(-(-count // side) for count, side in zip(self.shape, self.tile, strict=True))
        return self.work + (_MACS_PER_STEP * self.cost.calls + _MACS_PER_TILE) * tiles / math.prod(self.shape)


def price(plan: Plan) -> float:
    """Time a window of a plan, in multiply-adds."""
    shape = plan.passes[0].shape if plan.passes else plan.shape
    return _Option(plan.tile, shape, plan.batch, plan.places, plan.cost).price


@dataclass(frozen=True)
class _Chooser:
    """What is to be planned, and the plans for it."""

    costs: CostCache
    borders: Borders
    image: Pair
    step: Pair
    budget: int
    strict: bool
    tile: Pair | None
    batch: int | None

    @property
    def network(self) -> Network:
        """What is to be scanned with."""
        return self.costs.network

    @property
    def spread(self) -> bool:
        """Whether some shared layer's stride does not divide the step."""
        return any(f > 1 for f in self._shifts())

    def cheapest(self) -> Plan:
        """The plan of the cheapest method, which says how the others compare."""
        plans = [self.plan("atrous"), self.plan("fragments"), self.plan("shifted")]
        plans = [p for p in plans if self.defined(p)]
        fitting = [p for p in plans if p.cost.peak_bytes <= self.budget] or plans[:1]
        best = min(fitting, key=price)
        least = price(best)
        costs = ", ".join(f"{p.method} {price(p) / least:.2f}" for p in plans)
        return replace(self.checked(best), why=f"predicted time over that of the cheapest: {costs}")

    def defined(self, plan: Plan) -> bool:
        """Whether the plan gives the scores that it should.

        Where not all borders are recomputed, scores depend on what is shared, so that must not depend on the method:
        an upsampling, shared by shifted passes, would run per window in others.
        """
        if self.borders.cells is None:
            return True
        shared = self.borders.places(self.network)
        return all(place.shared or not shared[name].shared for name, place in plan.places.items())

    def checked(self, plan: Plan) -> Plan:
        """The plan, if it keeps to the budget; where none was set, one window may take more.

        Raises:
            BudgetError: it takes more.
        """
        least = plan.cost.peak_bytes
        if least <= self.budget:
            return plan
        if not self.strict and plan.tile == (1, 1):
            return replace(plan, budget_bytes=least)
        what = "one window" if self.tile is None else "a tile of {}x{} windows".format(*plan.tile)
        raise BudgetError(
            "budget",
            f"{self.budget / 1e6:.1f} MB is less than the {least / 1e6:.1f} MB that {what} takes",
            fix=f"allow at least {math.ceil(least / 1e6)} MB" + (", or use smaller tiles" if self.tile else ""),
        )

    def plan(self, method: Method) -> Plan:
        """The plan of one method."""
        if method != "shifted":
            return self._pass(method, self.step, (0, 0), (1, 1))
        every = self._shifts()
        rows, columns = _map_shape(self.network, self.image, self.step)
        step = (self.step[0] * every[0], self.step[1] * every[1])
        first = self._pass(method, step, (0, 0), every)
        passes = [
            replace(
                first,
                offset=(i * self.step[0], j * self.step[1]),
                shape=(-(-(rows - i) // every[0]), -(-(columns - j) // every[1])),
            )
            for i in range(min(every[0], rows))
            for j in range(min(every[1], columns))
        ]
        return replace(first, step=self.step, shape=(rows, columns), every=(1, 1), passes=tuple(passes))

    def _shifts(self) -> Pair:
        """Passes along y and x whose common step every shared layer's stride divides."""
        axes = [p.axes for p in self.borders.places(self.network).values() if p.axes is not None]
        shifts = []
        for k in (0, 1):
            strides = [a[k].jump for a in axes if not a[k].closed]
            shifts.append(math.lcm(self.step[k], *strides) // self.step[k])
        return shifts[0], shifts[1]

    def _pass(self, method: Method, step: Pair, offset: Pair, every: Pair) -> Plan:
        """The plan of one pass over the image."""
        shape = _map_shape(self.network, self.image, step)
        search = _TileSearch(self, method, step, shape)
        if self.tile is None:
            best = search.fit(shape)
        else:
            best = search.take((min(self.tile[0], shape[0]), min(self.tile[1], shape[1])))
        why = "asked for" if self.spread else "every layer's stride divides the step"
        return Plan(
            self.network,
            best.places,
            self.borders,
            self.image,
            step,
            shape,
            best.tile,
            best.batch,
            best.cost,
            self.budget,
            method,
            why,
            offset,
            every,
        )


def _map_shape(network: Network, image: Pair, step: Pair) -> Pair:
    (h, w), (height, width) = network.window, image
    return (height - h) // step[0] + 1, (width - w) // step[1] + 1


class _TileSearch:
    """Costs of tiles, and for each the place of the frontier."""

    def __init__(self, job: _Chooser, method: Method, step: Pair, shape: Pair) -> None:
        self.job, self.step, self.shape = job, step, shape
        self.grid = Grid(job.image, step, job.borders, method == "fragments")
        axes = [p.axes for p in job.borders.places(job.network).values() if p.axes is not None]
        self.stride = max(a[0].jump for a in axes), max(a[1].jump for a in axes)
        self.natural = job.costs.places(self.grid)

    def price(self, tile: Pair, batch: int, stop: int | None) -> _Option:
        """One tile in the middle of the map, with the network per window from node ``stop`` on."""
        places = self.natural if stop is None else self.job.costs.places(self.grid, stop)
        first = (self.shape[0] - tile[0]) // 2, (self.shape[1] - tile[1]) // 2
        cost = self.job.costs.cost(self.grid, tile, first, batch=batch, stop=stop)
        return _Option(tile, self.shape, batch, places, cost)

    def batch(self, tile: Pair) -> int:
        """Windows at a time where the network runs per window: enough to keep the machine busy, in whole rows."""
        windows = tile[0] * tile[1]
        bytes_each = self.job.costs.itemsize * max(n.window_elements for n in self.job.network)
        wanted = max(_BATCH_BYTES // bytes_each, windows // _CHUNKS, 1)
        return min(windows, wanted // tile[1] * tile[1] if wanted > tile[1] else wanted)

    def fit(self, largest: Pair) -> _Option:
        """The tile that is cheapest a window within the budget: doubled while that pays, then grown by quarters.

        Below the network's stride windows share little of a map spread over every pixel: there it may yet pay.
        """
        best = self.cut(self.price((1, 1), self.job.batch or 1, None), 1)
        shared = best
        tile: Pair = (1, 1)
        misses = 0
        while tile != largest and misses < 3:
            tile = self._grown(tile, largest, tile)
            option = self.within(tile, parts=1)
            if option.cost.peak_bytes > self.job.budget:
                break
            if option.places is self.natural:
                shared = option
            if option.price < best.price * _GAIN:
                best, misses = option, 0
            elif all(
                t * s >= far or t == n for t, s, far, n in zip(tile, self.step, self.stride, largest, strict=True)
            ):
                misses += 1
        if misses < 3 and shared.tile != largest:
            best = self._between(shared, best, largest)
        return self.cut(self.price(best.tile, best.batch, None), _PARTS)

    def _between(self, shared: _Option, best: _Option, largest: Pair) -> _Option:
        """``best``, or a cheaper tile within the budget, up to twice one that shares all it can."""
        tile, quarter = shared.tile, (-(-shared.tile[0] // 4), -(-shared.tile[1] // 4))
        for _ in range(_QUARTERS):
            if tile == largest:
                break
            tile = self._grown(tile, largest, quarter)
            option = self.within(tile, parts=1)
            if option.cost.peak_bytes > self.job.budget:
                break
            if option.price < best.price * _GAIN:
                best = option
        return best

    def _grown(self, tile: Pair, largest: Pair, by: Pair) -> Pair:
        """The tile with so many more windows along its shorter side, in px."""
        spans = [t * s if t < big else math.inf for t, s, big in zip(tile, self.step, largest, strict=True)]
        k = 0 if spans[0] <= spans[1] else 1
        grown = list(tile)
        grown[k] = min(tile[k] + by[k], largest[k])
        return grown[0], grown[1]

    def take(self, tile: Pair) -> _Option:
        """The tile that was asked for: its windows share all they can, if that fits the budget."""
        option = self.price(tile, self.job.batch or self.batch(tile), None)
        return option if option.cost.peak_bytes <= self.job.budget else self.within(tile, parts=_PARTS)

    def within(self, tile: Pair, *, parts: int) -> _Option:
        """The tile at the largest batch that fits the budget; at the one that comes nearest if none does."""
        size = self.job.batch or self.batch(tile)
        option = self.cut(self.price(tile, size, None), parts)
        while option.cost.peak_bytes > self.job.budget and size > 1 and not self.job.batch:
            size //= 2
            option = self.cut(self.price(tile, size, None), parts)
        return option

    def cut(self, option: _Option, parts: int) -> _Option:
        """The same tile with the frontier moved earlier where gathering and borders cost more than sharing saves.

        It is tried after every ``1 / parts`` of the nodes, and at the image itself, which makes the windows crops. Only
        in exact mode: elsewhere the scores would depend on it. Whatever fits the budget comes before what does not.
        """
        count = len(self.job.network.nodes)
        stops = sorted({max(1, count * k // parts) for k in range(parts)})
        exact = self.job.borders.cells is None
        others = [self.price(option.tile, option.batch, stop) for stop in stops] if exact else []
        options = [option, *others]
        fitting = [o for o in options if o.cost.peak_bytes <= self.job.budget]
        if exact and not fitting and parts < _PARTS:
            return self.cut(option, _PARTS)
        return min(fitting, key=lambda o: o.work) if fitting else min(options, key=lambda o: o.cost.peak_bytes)
