"""Detections as boxes: windows that suppress their neighbours, are merged with them, or are local maxima."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.candidates import CANDIDATE, Candidates, MapOfWindows, candidates, in_order
from fullfield.decisions.merging import merge
from fullfield.decisions.suppression import SuppressionRule, suppress
from fullfield.engine.progress import OnProgress
from fullfield.errors import ArgumentError, BudgetError, ImageError
from fullfield.exporters.detections import check_threshold
from fullfield.exporters.grid import BUDGET_BYTES

_EACH = 800  # bytes that a candidate takes, with all that is computed of it
_LEAST = 1024  # candidates in memory, however small the budget
_SHARE = 8  # part of the budget in which strips are read: where all their cells are candidates these take more
_NEARLY = 1e-9  # so much farther apart than the reach may two centres seem, by rounding


@dataclass(frozen=True)
class BoxRule:
    """Which windows are detections of an object; exactly one of the first three.

    Args:
        nms: greatest intersection over union of a window and a kept one of a greater score.
        merge: greatest match score of windows that are merged.
        min_distance: local maxima so many px apart.
        across_classes: whether windows suppress those of other classes too.
    """

    nms: float | None = None
    merge: float | None = None
    min_distance: float | None = None
    across_classes: bool = False

    @classmethod
    def parse(cls, nms: float | None, merge: float | None, min_distance: float | None, across_classes: bool) -> BoxRule:
        """The rule for the arguments of a verb; suppression above 0.3 where none is given.

        Raises:
            ArgumentError: several are given, or one that means nothing.
        """
        given = {"nms": nms, "merge": merge, "min_distance": min_distance}
        names = [name for name, value in given.items() if value is not None]
        if len(names) > 1:
            what = f"{' and '.join(names)} are given, and each finds the boxes in its own way"
            raise ArgumentError("detect", what, fix="give one of nms, merge and min_distance")
        if merge is not None and across_classes:
            raise ArgumentError("across_classes", "windows of one class are merged", fix="leave it out, or use nms")
        for name, top, fix in (
            ("nms", 1.0, "give the overlap from 0 to 1 above which a window is suppressed, such as 0.3"),
            (
                "merge",
                math.nextafter(1.0, 0.0),
                "give the match score from 0 to below 1 up to which windows merge, such as 0.5",
            ),
            ("min_distance", math.inf, "give px of the image"),
        ):
            value = given[name]
            least = math.nextafter(0.0, 1.0) if name == "min_distance" else 0.0
            if value is not None and (isinstance(value, bool) or not least <= value <= top or value == math.inf):
                raise ArgumentError(name, f"{value!r} is out of range", fix=fix)
        return cls(0.3 if not names else nms, merge, min_distance, across_classes)


class FoundBoxes(NamedTuple):
    """Boxes in order, and of how many windows each is made."""

    boxes: Candidates
    windows: NDArray[np.int64]


def find_boxes(
    maps: Sequence[MapOfWindows],
    threshold: float | None,
    rule: BoxRule,
    *,
    budget_bytes: int | None,
    progress: OnProgress | None,
) -> FoundBoxes:
    """The boxes of the objects in one or several maps of an image.

    The result does not depend on the strips in which maps are read, nor on the budget.

    Args:
        maps: whose windows are the boxes; of different scales, say.
        threshold: least score of a window; by default each is a detection of its top class.
        rule: which of the windows remain.
        budget_bytes: memory besides the result; 0.3 GB by default.
        progress: called after every strip.

    Raises:
        ImageError: maps of labels, or another threshold than a number.
        BudgetError: more windows are to be merged than fit into memory.
    """
    for each in maps:
        if each.labels:
            raise ImageError("scores", "a map of labels has no scores", fix="scan for scores")
    check_threshold(threshold, labels=False)
    budget = budget_bytes or BUDGET_BYTES
    most = max(_LEAST, budget // 2 // _EACH)
    small = [replace(each, grid=replace(each.grid, budget_bytes=budget // _SHARE)) for each in maps]

    def read() -> Iterator[Candidates]:
        return candidates(small, threshold, rule.min_distance, progress)

    if rule.merge is not None:
        found, windows = merge(_all(read(), most), rule.merge, _largest(maps))
        return FoundBoxes(found, windows)
    if rule.min_distance is not None and len(maps) == 1 and not rule.across_classes:
        kept = in_order(np.concatenate([np.empty(0, CANDIDATE), *read()]))
    else:
        away = rule.min_distance
        reach = _largest(maps) if away is None else (away * (1 + _NEARLY), away * (1 + _NEARLY))
        kept = suppress(read, SuppressionRule(rule.nms, away, rule.across_classes), reach=reach, most=most)
    return FoundBoxes(kept, np.ones(len(kept), np.int64))


def _all(parts: Iterator[Candidates], most: int) -> Candidates:
    """All candidates in order.

    Raises:
        BudgetError: there are more than ``most``.
    """
    found: list[Candidates] = []
    count = 0
    for part in parts:
        found.append(part)
        count += len(part)
        if count > most:
            what = f"more than {most} windows are to be merged, which take {most * _EACH >> 20} MB of memory"
            raise BudgetError("merge", what, fix="raise the threshold, use nms, or allow more memory (budget)")
    return in_order(np.concatenate([np.empty(0, CANDIDATE), *found]))


def _largest(maps: Sequence[MapOfWindows]) -> tuple[float, float]:
    """Height and width of the largest window, px of the image."""
    sizes = [
        tuple(n / scale for n, scale in zip(each.placement.window, each.placement.scale, strict=True)) for each in maps
    ]
    return tuple(max(size[axis] for size in sizes) * (1 + _NEARLY) for axis in (0, 1))  # type: ignore[return-value]
