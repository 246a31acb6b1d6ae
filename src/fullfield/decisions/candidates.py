"""Windows of maps that may be detections, in their order: the greatest score first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.progress import OnProgress
from fullfield.exporters.detections import Detections, point_cells
from fullfield.exporters.grid import ExportGrid
from fullfield.geometry.placement import Placement
from fullfield.mask.grid import window_edges

CANDIDATE = np.dtype(
    [(name, np.float64) for name in ("score", "y", "x", "top", "left", "bottom", "right")]
    + [("cls", np.int64), ("map", np.int64)]
)
"""A window: score, centre and edges in px of the image, class, and number of its map."""
Candidates = NDArray[np.void]
_KEY = ("cls", "y", "x", "map")  # of windows with equal scores


@dataclass(frozen=True, eq=False)
class MapOfWindows:
    """A map whose windows may be detections.

    Args:
        grid: its cells.
        placement: of its windows.
        wanted: classes, by index among the network's.
        labels: whether it holds labels, not scores.
    """

    grid: ExportGrid
    placement: Placement
    wanted: tuple[int, ...]
    labels: bool = False


def in_order(found: Candidates) -> Candidates:
    """Sorted: the greatest score first; of equal ones the least class, then y, x, and the number of the map."""
    return found[np.lexsort((*(found[name] for name in reversed(_KEY)), -found["score"]))]


def candidates(
    maps: Sequence[MapOfWindows], threshold: float | None, min_distance: float | None, progress: OnProgress | None
) -> Iterator[Candidates]:
    """All windows whose score reaches the threshold, or else of their top class, strip by strip.

    Args:
        maps: of one image.
        threshold: least score.
        min_distance: of each map only local maxima, so many px apart.
        progress: called after every strip.
    """
    for number, each in enumerate(maps):
        chosen = Detections(threshold, "points", min_distance=min_distance)
        rows, columns = each.placement.shape
        y, x = (window_edges(each.placement, 0, count, axis) for axis, count in enumerate((rows, columns)))
        for cells in point_cells(each.grid, each.wanted, chosen, progress=progress):
            found = np.empty(len(cells), CANDIDATE)
            i, j = cells["row"], cells["column"]
            found["score"], found["cls"], found["map"] = cells["score"], cells["cls"], number
            found["top"], found["bottom"] = y[:, i]
            found["left"], found["right"] = x[:, j]
            found["y"], found["x"] = each.placement.centre(i, j)  # type: ignore[arg-type]  # of arrays too
            yield found


def best(
    parts: Iterator[Candidates],
    most: int,
    last: Candidates | None,
    left_over: Callable[[Candidates], NDArray[np.bool_]],
) -> tuple[Candidates, bool]:
    """The first ``most`` candidates in their order after the ``last`` one; and whether there are no more.

    At most four times as many are in memory.

    Args:
        parts: the candidates in any order.
        most: how many.
        last: one candidate; ``None`` to begin with the first.
        left_over: which of some candidates are still to be decided; the others are passed over.
    """
    kept, all_of_them = np.empty(0, CANDIDATE), True
    bound: Candidates | None = None
    for part in parts:
        for first in range(0, len(part), most):
            some = part[first : first + most]
            if last is not None:
                some = some[_after(some, last)]
            if bound is not None:
                some = some[~_after(some, bound)]
            some = some[left_over(some)]
            kept = np.concatenate([kept, some])
            if len(kept) > 2 * most:
                kept, all_of_them = in_order(kept)[:most], False
                bound = kept[-1:]
    all_of_them = all_of_them and len(kept) <= most
    return in_order(kept)[:most], all_of_them


def _after(found: Candidates, one: Candidates) -> NDArray[np.bool_]:
    """Which candidates come after another one."""
    later, tied = found["score"] < one["score"], found["score"] == one["score"]
    for name in _KEY:
        later |= tied & (found[name] > one[name])
        tied &= found[name] == one[name]
    return later
