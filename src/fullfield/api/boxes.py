"""``fullfield.DetectedBoxes``: the objects that windows of one or several maps detect."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import checks_keywords
from fullfield.decisions.boxes import BoxRule, find_boxes
from fullfield.decisions.candidates import MapOfWindows
from fullfield.errors import ArgumentError, ImageError
from fullfield.exporters import Exported
from fullfield.exporters.grid import Classes, ExportGrid, band_indices, cells

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress
    from fullfield.exporters.coordinates import Coordinates
    from fullfield.store.maps import ScoreMap


class DetectedBox(NamedTuple):
    """One detected object: its box in px of the image, the score, and the class as the network's index and by name."""

    top: float
    left: float
    bottom: float
    right: float
    score: float
    cls: int
    name: str


@dataclass(frozen=True, eq=False, repr=False)
class DetectedBoxes:
    """Detected objects, the greatest score first; of equal ones the least class, then y and x of the window's centre.

    Iterating gives a ``DetectedBox`` each.

    Args:
        boxes: ``(n, 4)``: top, left, bottom and right, px of the image's finest level.
        scores: ``(n,)``; of merged windows the sum.
        classes: ``(n,)``: the network's index of each one's class.
        windows: ``(n,)``: of how many windows each is made.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]
    windows: NDArray[np.int64]
    _grid: ExportGrid = field(repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[DetectedBox]:
        names = self._names()
        columns = self.boxes.tolist(), self.scores.tolist(), self.classes.tolist()
        for (top, left, bottom, right), score, cls in zip(*columns, strict=True):
            yield DetectedBox(top, left, bottom, right, score, cls, names[cls])

    def __repr__(self) -> str:
        names, (numbers, counts) = self._names(), np.unique(self.classes, return_counts=True)
        shown = [f"{names[cls]} {count}" for cls, count in zip(numbers.tolist(), counts.tolist(), strict=True)]
        return f"DetectedBoxes({', '.join([str(len(self)), *shown[:8]])}{', …' * (len(shown) > 8)})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each one's class."""
        names = self._names()
        return tuple(names[cls] for cls in self.classes.tolist())

    def _names(self) -> dict[int, str]:
        return dict(zip(self._grid.classes, self._grid.names, strict=True))

    @checks_keywords
    def save(
        self, path: str | os.PathLike[str], *, coordinates: Coordinates = "auto", overwrite: bool = False
    ) -> Exported:
        """Writes the boxes as ``.geojson``, ``.csv``, ``.parquet``, ``.gpkg`` or ``.fgb``.

        Args:
            path: where to.
            coordinates: ``image``, px of the image; ``map``, its coordinate system; ``wgs84``, degrees; ``auto`` is
                ``map`` where the image has a place on one. Tables give all that are known.
            overwrite: replace an earlier file.

        Raises:
            ImageError: unknown suffix, a file is there already, a package is missing, no space.
        """
        from fullfield.exporters.boxes import write_boxes

        columns = self.boxes, self.scores, self.classes, self.windows
        return write_boxes(self._grid, path, *columns, coordinates=coordinates, overwrite=overwrite)


def detect_in_maps(
    maps: Sequence[ScoreMap],
    threshold: float | None,
    classes: Classes,
    rule: BoxRule,
    *,
    budget_bytes: int | None,
    progress: OnProgress | None,
) -> DetectedBoxes:
    """The objects in maps of one image; ``fullfield.detect`` describes the arguments."""
    _check_alike(maps)
    sources = []
    for each in maps:
        grid = cells(each)
        stored = each.spec.kind == "labels"
        wanted = grid.classes if stored else tuple(grid.classes[band] for band in band_indices(each, classes))
        sources.append(MapOfWindows(grid, each.spec.placement, wanted, stored))
    found, windows = find_boxes(sources, threshold, rule, budget_bytes=budget_bytes, progress=progress)
    boxes = np.stack([found[edge] for edge in ("top", "left", "bottom", "right")], axis=1)
    return DetectedBoxes(boxes, found["score"].copy(), found["cls"].copy(), windows, sources[0].grid)


def _check_alike(maps: Sequence[ScoreMap]) -> None:
    """Raises unless the maps are of one image and hold the same classes.

    Raises:
        ArgumentError: there are none.
        ImageError: they differ.
    """
    if not maps:
        raise ArgumentError("scores", "no map is given", fix="give one or several maps of an image")
    first = maps[0].spec
    for each in (scores.spec for scores in maps[1:]):
        (h, w), (height, width) = first.placement.image, each.placement.image
        if (h, w) != (height, width):
            what = f"one map is of an image of {h}x{w} px, another of {height}x{width} px"
            raise ImageError("scores", what, fix="give maps of one image, scanned with different scale")
        if (each.classes, each.class_names) != (first.classes, first.class_names):
            what = f"one map holds {len(first.classes)} classes, another {len(each.classes)} others"
            raise ImageError("scores", what, fix="give maps of one model with the same encoding")
