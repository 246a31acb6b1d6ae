"""Layouts of a plan's tiles; tiles of one kind share one layout."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.protocols import Engine
from fullfield.geometry.region import Region
from fullfield.geometry.tile import TileLayout
from fullfield.planning import Plan, Tile

_MOST = 4096  # kinds of tiles whose layouts are cached; they share a few layout objects


class Layouts:
    """Layouts of tiles, cached by kind of tile.

    Args:
        engine: that runs them; it knows those of its programs, and finds the program of an object it knows faster than
            that of an equal one.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.cached: OrderedDict[Hashable, TileLayout] = OrderedDict()

    def layout(self, plan: Plan, tile: Tile) -> TileLayout:
        """The layout of a tile; the same object for all tiles of a kind."""
        kind = _kind(plan, tile)
        found = self.cached.get(kind)
        if found is None:
            found = self.cached[kind] = self.engine.layout(kind, partial(plan.layout, tile))
            if len(self.cached) > _MOST:
                self.cached.popitem(last=False)
        return found


def own_scores(tile: Tile, scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """The scores ``(k, y, x)`` of a tile's own windows, which are the last of those computed for it."""
    return scores[:, -tile.rows :, -tile.columns :]


def region_of(plan: Plan, tile: Tile, layout: TileLayout) -> Region:
    """The region of the image that a tile reads, px."""
    tile = plan.computed(tile)
    top, bottom, left, right = layout.pixels(plan.network.nodes[0].name)
    y, x = plan.offset[0] + tile.row * plan.step[0], plan.offset[1] + tile.column * plan.step[1]
    return y + top, y + bottom, x + left, x + right


def _kind(plan: Plan, tile: Tile) -> Hashable:
    """Equal for tiles of equal layout, of all images that a network scans.

    That is: what is shared, size and, unless all borders are recomputed, distance to the image's edges.

    In exact mode a tile reads nothing outside of its windows, so that its place does not matter. In the other modes
    edges farther away than ``_reach`` change nothing.
    """
    tile = plan.computed(tile)
    sides = zip(plan.offset, plan.step, (tile.row, tile.column), (tile.rows, tile.columns), plan.image, strict=True)
    shared = plan.borders, plan.alone, plan.method, plan.step, plan.shifts
    if plan.borders.cells is None:
        return *shared, plan.tile, tile.rows, tile.columns
    near = []
    for k, (offset, step, first, count, length) in enumerate(sides):
        start, far = offset + first * step, _reach(plan, k)
        rest = length - (start + (count - 1) * step + plan.network.window[k])
        beyond = far + (plan.shifts[k] - 1) * step  # the passes of a tile reach as far as the last window of each
        near.append((count, min(start, far), min(rest, beyond)))
    return *shared, plan.tile, *near


def _reach(plan: Plan, k: int) -> int:
    """Px beyond its windows within which the image's edges can change what a tile reads, along one axis.

    The cells that a layer reads of an earlier one begin, before the tile's first window, at most as far out as the
    paddings between the two layers, which is the difference of their starts. They end, behind the last window, at most
    as far out as the later layer's last cell reaches beyond the window plus the earlier layer's start and size.
    An image's first and last cells at a layer lie within its start, size and jump of the image's edges.
    """
    axes = [p.axes[k] for p in plan.places.values() if p.axes is not None]
    window = plan.network.window[k]
    unit = plan.network.units[k]
    over = max(a.start + (a.count - 1) * a.jump + a.size - window * unit for a in axes)
    return -(-(2 * (max(abs(a.start) for a in axes) + max(a.size + a.jump for a in axes)) + max(0, over)) // unit)
