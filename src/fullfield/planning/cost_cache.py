"""Caches the costs of tiles: every plan of a network asks for many of the same ones. Imports no torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from fullfield.geometry.network import Network, Place
from fullfield.geometry.region import Pair
from fullfield.geometry.tile import AxisCells, AxisTile, TileLayout, frontier_inputs, lay_out_axis
from fullfield.planning.cost import Cost, tile_cost
from fullfield.planning.plan import Borders, Plan
from fullfield.planning.programs import ProgramCost, program_cost, weights_of

T = TypeVar("T")
_COSTS = 4096  # cached; a few hundred bytes each
_PLACES = 64  # they grow with the network
_PLANS = 16  # of images of several sizes, in several modes
_AXES = 4  # these too; a growing tile needs the cells of its other side again, at two frontiers


@dataclass(frozen=True)
class TileGrid:
    """What all tiles of a search have in common.

    Args:
        image: height and width of the scanned image, px.
        step: px between windows (y, x).
        borders: which cells are computed as in the crops.
        fragments: whether operators spread over a map run on its fragments.
        shifts: shifted passes along y and x that a tile computes at once.
    """

    image: Pair
    step: Pair
    borders: Borders
    fragments: bool = False
    shifts: Pair = (1, 1)

    @property
    def pass_step(self) -> Pair:
        """Px between the windows of one pass."""
        return self.step[0] * self.shifts[0], self.step[1] * self.shifts[1]


@dataclass(frozen=True)
class PerWindow:
    """What runs per window, in batches.

    Args:
        value_bytes: of the largest value of a window.
        weight_bytes: of all weights.
        macs: multiply-adds of a window.
    """

    value_bytes: int
    weight_bytes: int
    macs: int


@dataclass
class Repeats:
    """Equal scans that ran before, which share what is prepared.

    Args:
        ran: how many.
        planned: for how many the last of them was planned.
    """

    ran: int = 0
    planned: int = 1


class CostCache:
    """The costs of one network's tiles.

    Args:
        network: the network as integers.
        itemsize: bytes of one number.
    """

    def __init__(self, network: Network, itemsize: int) -> None:
        self.network, self.itemsize = network, itemsize
        self._costs: OrderedDict[Hashable, Cost] = OrderedDict()
        self._programs: OrderedDict[Hashable, ProgramCost] = OrderedDict()
        self._axes: OrderedDict[Hashable, Mapping[str, AxisCells]] = OrderedDict()
        self._places: OrderedDict[Hashable, Mapping[str, Place]] = OrderedDict()
        self._symmetric: OrderedDict[Hashable, bool] = OrderedDict()
        self._per_window: OrderedDict[Hashable, PerWindow] = OrderedDict()
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()
        self._repeats: OrderedDict[Hashable, Repeats] = OrderedDict()

    def repeats(self, key: Hashable) -> Repeats:
        """The scans of an equal ``key`` that ran before; the same object for equal keys."""
        return _cached(self._repeats, _PLANS, key, Repeats)

    def plan(self, key: Hashable, make: Callable[[], Plan]) -> Plan:
        """The plan that was made before for an equal ``key``, or a new one."""
        return _cached(self._plans, _PLANS, key, make)

    def places(self, grid: TileGrid, stop: int | None = None) -> Mapping[str, Place]:
        """Where every node runs, per window from node ``stop`` on; the same object for equal arguments."""
        step = grid.pass_step
        key = grid.borders, step, stop
        return _cached(self._places, _PLACES, key, lambda: grid.borders.places(self.network, stop=stop, step=step))

    def shared_places(self, borders: Borders) -> Mapping[str, Place]:
        """Where every node runs at the step at which most is shared; the same object for equal arguments."""
        return _cached(self._places, _PLACES, borders, lambda: borders.places(self.network))

    def per_window(self, grid: TileGrid, stop: int | None) -> PerWindow:
        """What runs per window; all of the network if none of it need.

        Args:
            grid: of the search.
            stop: index of the node from which on windows share nothing; ``None`` where they cannot.
        """
        key = grid.borders, None if stop is None else (grid.pass_step, stop)

        def found() -> PerWindow:
            places = self.shared_places(grid.borders) if stop is None else self.places(grid, stop)
            alone = [n for n in self.network if not places[n.name].shared] or list(self.network)
            weighted = [n for n in alone if n.scratch.weights or n.op in ("conv2d", "linear")]
            return PerWindow(
                value_bytes=self.itemsize * max(n.window_elements for n in alone),
                weight_bytes=self.itemsize * sum(map(weights_of, weighted)),
                macs=sum(n.window_macs for n in alone),
            )

        return _cached(self._per_window, _PLACES, key, found)

    def cost(self, grid: TileGrid, tile: Pair, first: Pair, *, batch: int, stop: int | None = None) -> Cost:
        """The cost of a tile whose first window is ``first`` (row, column); ``stop`` as for ``places``."""
        grid, first = self._alike(grid, tile, first)
        key = grid, tile, first, batch, stop
        return _cached(self._costs, _COSTS, key, lambda: self._cost(grid, tile, first, batch, stop))

    def programs(self, grid: TileGrid, tile: Pair, first: Pair, *, batch: int, stop: int | None = None) -> ProgramCost:
        """What the programs of a tile take where an engine compiles them; the arguments are those of ``cost``."""
        grid, first = self._alike(grid, tile, first)
        key = grid, tile, first, batch, stop
        return _cached(self._programs, _COSTS, key, lambda: self._program_cost(grid, tile, first, batch, stop))

    def _alike(self, grid: TileGrid, tile: Pair, first: Pair) -> tuple[TileGrid, Pair]:
        """The first of all places where a tile costs the same: in exact mode that of an image of its windows alone.

        There it reads nothing beyond its windows. Where maps are upsampled their cells lie otherwise in other places.
        """
        if grid.borders.cells is not None or self.network.upsamples or max(grid.shifts) > 1:
            return grid, first
        height, width = ((n - 1) * t + w for n, t, w in zip(tile, grid.step, self.network.window, strict=True))
        return replace(grid, image=(height, width)), (0, 0)

    def _cost(self, grid: TileGrid, tile: Pair, first: Pair, batch: int, stop: int | None) -> Cost:
        layout = self._layout(grid, tile, first, stop)
        return tile_cost(self.network, layout, batch=batch, itemsize=self.itemsize)

    def _program_cost(self, grid: TileGrid, tile: Pair, first: Pair, batch: int, stop: int | None) -> ProgramCost:
        layout = self._layout(grid, tile, first, stop)
        return program_cost(self.network, layout, batch=batch, itemsize=self.itemsize)

    def _layout(self, grid: TileGrid, tile: Pair, first: Pair, stop: int | None) -> TileLayout:
        places = self.places(grid, stop)
        axes = zip(grid.step, tile, first, grid.image, grid.shifts, strict=True)
        tiles = [AxisTile(step, n, start, pixels, shifts=shifts) for step, n, start, pixels, shifts in axes]
        y, x = (self._axis(grid, k, each, stop) for k, each in enumerate(tiles))
        return TileLayout(tile, y, x, frontier_inputs(self.network, places), grid.step)

    def _axis(self, grid: TileGrid, index: int, tile: AxisTile, stop: int | None) -> Mapping[str, AxisCells]:
        places = self.places(grid, stop)
        if self._is_symmetric(grid, stop):
            index = 0
        return _cached(
            self._axes,
            _AXES,
            (grid.borders, grid.pass_step, grid.fragments, index, tile, stop),
            lambda: lay_out_axis(self.network, places, index, tile, fragments=grid.fragments),
        )

    def _is_symmetric(self, grid: TileGrid, stop: int | None) -> bool:
        """Whether y and x are alike: tiles of as many windows have the same cells along both."""

        def found() -> bool:
            axes = (place.axes for place in self.places(grid, stop).values())
            along = [*filter(None, axes), *(node.ops for node in self.network), self.network.units]
            return all(y == x for y, x in along)

        return _cached(self._symmetric, _PLACES, (grid.borders, grid.pass_step, stop), found)


def _cached(store: OrderedDict[Hashable, T], most: int, key: Hashable, make: Callable[[], T]) -> T:
    """The value of a key: from the store, or from ``make``; the store keeps the ``most`` used last."""
    found = store.get(key)
    if found is None:
        found = store[key] = make()
        if len(store) > most:
            store.popitem(last=False)
    store.move_to_end(key)
    return found
