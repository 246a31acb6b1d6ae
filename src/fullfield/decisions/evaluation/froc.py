"""Compares detections, the local maxima of a map, with points or polygons: the FROC curve.

Every local maximum of a class's scores is a detection. One that finds a target of its class is a hit, any other a false
positive; of several that find the same target the greatest counts, and the others are neither.

Source: Camelyon16's evaluation, Ehteshami Bejnordi et al. 2017, doi 10.1001/jama.2017.14585
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.evaluation.areas import centres_inside, each_owner, enclosed
from fullfield.decisions.evaluation.labels import Targets, fractional_cells, window_centres
from fullfield.decisions.evaluation.ranks import thinned
from fullfield.exporters.maxima import Plateaus, local_maxima, reach_of
from fullfield.geometry.placement import Placement
from fullfield.mask.polygons import Rings
from fullfield.store.maps import ScoreMap, decoded

RATES = (0.25, 0.5, 1, 2, 4, 8)
"""False positives an image at which sensitivities are averaged."""
_CELLS = 1 << 21  # of a strip


@dataclass(frozen=True, eq=False)
class Froc:
    """Sensitivity against false positives an image, of the detections of one class.

    Args:
        name: of the class.
        targets: points or polygons to find.
        images: number of images.
        distance: px within which a detection finds a point; 0 for polygons, whose inside it is.
        curve: false positives an image and sensitivity ``(2, n)``, from the greatest threshold down.
    """

    name: str
    targets: int
    images: int
    distance: float
    curve: NDArray[np.float64]

    @property
    def sensitivities(self) -> tuple[float, ...]:
        """At each of ``RATES``, linearly between the curve's points; at more false positives than it has, its last."""
        return tuple(np.interp(RATES, *self.curve).tolist())

    @property
    def score(self) -> float:
        """Their mean, Camelyon16's score."""
        return sum(self.sensitivities) / len(RATES)

    def to_dict(self) -> dict[str, Any]:
        """Score, sensitivities and curve as JSON-able values."""
        curve = thinned(self.curve).tolist()
        return {
            "class": self.name,
            "targets": self.targets,
            "images": self.images,
            "distance": self.distance,
            "score": self.score,
            "sensitivities": dict(zip(map(str, RATES), self.sensitivities, strict=True)),
            "curve": {"false_positives": curve[0], "sensitivity": curve[1]},
        }


@dataclass(frozen=True, eq=False)
class Hits:
    """The detections of one class in one image.

    Args:
        found: greatest score of the detections that find each target; -inf where none does.
        false: scores of those that find none.
    """

    found: NDArray[np.float64]
    false: NDArray[np.float64]


def froc(name: str, hits: list[Hits], distance: float) -> Froc:
    """The curve over several images, a point for every different score."""
    found = np.concatenate([each.found for each in hits])
    false = np.concatenate([each.false for each in hits])
    scores = np.unique(np.concatenate([found[found > -np.inf], false]))[::-1]
    rate = _at_least(false, scores) / len(hits)
    curve = np.stack([rate, _at_least(found, scores) / len(found)])
    return Froc(name, len(found), len(hits), distance, np.concatenate([np.zeros((2, 1)), curve], axis=1))


def _at_least(values: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.intp]:
    """How many values reach each threshold."""
    return len(values) - np.searchsorted(np.sort(values), thresholds, side="left")


def find_hits(scores: ScoreMap, targets: Targets, code: int) -> Hits:
    """Compares the local maxima of one class with its targets.

    Two maxima are farther apart than the distance within which a point is found, for polygons than two cells are.

    Args:
        scores: the map.
        targets: of all classes.
        code: of the class, the place of its band.
    """
    parts = list(_maxima(scores, code, targets.distance or max(scores.spec.placement.spacing)))
    points, values = np.concatenate([p for p, _ in parts]), np.concatenate([v for _, v in parts])
    order = np.argsort(points[:, 1], kind="stable")  # plateaus come in the order of their last rows
    points, values = points[order], values[order]
    which = _found(points, targets, code, scores.spec.placement)
    found = np.full(int((targets.codes[_owners(targets)] == code).sum()), -np.inf)
    hit = which >= 0
    np.maximum.at(found, which[hit], values[hit])
    return Hits(found, values[~hit])


def _owners(targets: Targets) -> NDArray[np.intp]:
    return np.unique(targets.shapes.owners)


def _maxima(scores: ScoreMap, band: int, apart: float) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The local maxima of strips of rows: centres ``(n, 2)`` (x, y) on the image, and scores."""
    placement, (_, rows, columns) = scores.spec.placement, scores.spec.shape
    reach = reach_of(placement.spacing, apart)
    halo = len(reach) - 1
    height, plateaus = max(1, halo, _CELLS // columns), Plateaus(reach, columns)
    y, x = window_centres(placement, 0, rows, 0), window_centres(placement, 0, columns, 1)
    for top in range(0, rows, height):
        bottom = min(rows, top + height)
        low, high = max(0, top - halo), min(rows, bottom + halo)
        values = decoded(scores.read(low, high, 0, columns, slice(band, band + 1)), scores.spec)[0]
        inner = slice(top - low, bottom - low)
        greatest = local_maxima(values, ~np.isnan(values), reach)[inner]
        found = plateaus.push(top, greatest, values[inner], end=bottom == rows)
        yield np.stack([x[found.columns], y[found.rows]], axis=1), found.scores.astype(np.float64)


def _found(points: NDArray[np.float64], targets: Targets, code: int, placement: Placement) -> NDArray[np.intp]:
    """The number of the target that each detection finds, -1 for none: the nearest point, the smallest polygon.

    Args:
        points: ``(n, 2)``, x and y, by y.
        targets: of all classes.
        code: of the class; its targets are numbered in their order.
        placement: of the map, at whose cells' centres the points lie.
    """
    which = np.full(len(points), -1)
    least = np.full(len(points), np.inf)
    mine = [rings for owner, rings in each_owner(targets.shapes) if targets.codes[owner] == code]
    for number, rings in enumerate(mine):
        low, high = rings.points.min(axis=0) - targets.distance, rings.points.max(axis=0) + targets.distance
        near = np.arange(*np.searchsorted(points[:, 1], (low[1], np.nextafter(high[1], np.inf))))
        near = near[(points[near, 0] >= low[0]) & (points[near, 0] <= high[0])]
        if len(rings.points) == 1:
            far = ((points[near] - rings.points[0]) ** 2).sum(axis=1)
            inside = far <= targets.distance**2
        else:
            far = np.full(len(near), enclosed(rings))
            inside = _inside(fractional_cells(placement, points[near]), rings, placement)
        better = inside & (far < least[near])
        which[near[better]], least[near[better]] = number, far[better]
    return which


def _inside(cells: NDArray[np.float64], rings: Rings, placement: Placement) -> NDArray[np.bool_]:
    """Which cells (x, y), by points in them, have their centre in a polygon: the same ones as are labelled by it."""
    if not len(cells):
        return np.zeros(0, np.bool_)
    shape = rings._replace(points=fractional_cells(placement, rings.points))
    start = np.floor(shape.points.min(axis=0)).astype(np.intp).clip(0, placement.shape[::-1])
    width, height = np.ceil(shape.points.max(axis=0)).astype(np.intp).clip(0, placement.shape[::-1]) - start
    grid = centres_inside(shape, start, (height, width))
    x, y = np.floor(cells).astype(np.intp).T - start[:, None]
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    found = np.zeros(len(cells), np.bool_)
    found[within] = grid[y[within], x[within]]
    return found
