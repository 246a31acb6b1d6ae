"""Decides several maps of one image together: views and modes that share their cells, and sizes that do not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.coverage import WEIGHT_BITS, rounded
from fullfield.decisions.decide import bands_of, check_rule, classes_of, remark_of, used_of
from fullfield.decisions.decision import Decision, DecisionRegion
from fullfield.decisions.regions import map_regions
from fullfield.decisions.rule import DecisionRule
from fullfield.decisions.selected import Selected, chunk_regions, select
from fullfield.decisions.statistics import evaluate
from fullfield.decisions.values import ClassValues, ScoreValues, class_values, values_of
from fullfield.errors import ImageError
from fullfield.geometry.region import Region
from fullfield.store.maps import ScoreMap

SizeMaps = Sequence[ScoreMap]
"""The maps of one size: they have the same cells."""


@dataclass(frozen=True, eq=False)
class JointWeights:
    """Weights of windows of several sizes, in px of the image before it was resized: each size counts a pixel once.

    Args:
        sizes: the values of the first map of each size.
    """

    sizes: tuple[ScoreValues, ...]

    @cached_property
    def unit_bits(self) -> int:
        """Weights are multiples of ``2^-unit_bits`` px, and less than ``2^52`` of these."""
        areas = (values.coverage.window_area * self._area(k) for k, values in enumerate(self.sizes))
        return WEIGHT_BITS - math.ceil(max(areas)).bit_length()

    def weights(self, number: int, region: Region) -> NDArray[np.float64]:
        """Weights ``(y, x)`` of a block of windows of one size."""
        return rounded(self.sizes[number].coverage.weights(region) * self._area(number), self.unit_bits)

    def effective(self) -> float:
        """That of the size with the most: sizes show the same pixels, and are not independent."""
        return max(values.coverage.effective() for values in self.sizes)

    def _area(self, number: int) -> float:
        """Px of the image for one of a size."""
        y, x = self.sizes[number].scores.spec.placement.scale
        return 1 / (y * x)


@dataclass(frozen=True, eq=False)
class JointValues:
    """The values of the windows of several sizes; that of a window is the mean over the maps of its size.

    Args:
        sizes: the values of the maps of each size.
    """

    sizes: tuple[tuple[ScoreValues, ...], ...]

    @property
    def bands(self) -> tuple[int, ...]:
        """Of the classes that are decided on."""
        return self.sizes[0][0].bands

    @cached_property
    def coverage(self) -> JointWeights:
        """How windows are weighed."""
        return JointWeights(tuple(maps[0] for maps in self.sizes))

    def parts(self, *, weighed: bool = True) -> Iterator[ClassValues]:
        """The values of every chunk and class of each size; with the weights of their windows."""
        series = {band: number for number, band in enumerate(self.bands)}
        for number, maps in enumerate(self.sizes):
            first = maps[0]
            for region in chunk_regions(first.scores.spec, first.selected.box):
                known = first.selected.read(region)
                if not known.any():
                    continue
                weights = self.coverage.weights(number, region)[known] if weighed else np.ones(int(known.sum()))
                for planes in zip(*(values.planes(region) for values in maps), strict=True):
                    band = planes[0][0]
                    if band in series:
                        total = sum((plane[known] for _, plane in planes[1:]), start=planes[0][1][known])
                        yield from class_values(series[band], total / len(maps), weights)


def decide_maps(sizes: Sequence[SizeMaps], rule: DecisionRule) -> Decision:
    """The decision of all maps of an image, whatever the rule's regions; of a single one as ``decide_map``'s.

    Views and modes of a size have the same windows: what is decided on is averaged over them, window by window. The
    windows of all sizes are then decided as those of one map, and a pixel of the image counts once for each size.

    Raises:
        ArgumentError: classes that are named twice.
        ImageError: no window has a score, or the maps do not hold what the rule asks for.
    """
    for maps in sizes:
        check_rule(maps[0].spec, rule)
    selected = [select(maps[0]) for maps in sizes]
    if not any(each.count for each in selected):
        what = "none of the windows of any size has a score"
        raise ImageError("scores", what, fix="check the model's output, or scan with another mask")
    return _decided(sizes, rule, selected, None)


def decide_maps_regions(sizes: Sequence[SizeMaps], rule: DecisionRule) -> tuple[Decision, ...]:
    """One decision of all maps for each polygon of the rule's regions, in their order.

    Raises:
        ImageError: as for ``decide_maps``; or a polygon that no window with a score of any size touches.
    """
    check_rule(sizes[0][0].spec, rule)
    assert rule.regions is not None
    found = []
    for alike in zip(*(map_regions(maps[0].spec, rule.regions) for maps in sizes), strict=True):
        region = alike[0][0]
        selected = [select(maps[0], cells, box) for maps, (_, cells, box) in zip(sizes, alike, strict=True)]
        if not any(each.count for each in selected):
            what = f"no window with a score touches region {region.number}, {region.name!r}"
            raise ImageError("regions", what, fix="scan where it lies, or leave it out of the file")
        found.append(_decided(sizes, rule, selected, region))
    return tuple(found)


def _decided(
    sizes: Sequence[SizeMaps], rule: DecisionRule, selected: Sequence[Selected], region: DecisionRegion | None
) -> Decision:
    spec = sizes[0][0].spec
    bands, used = bands_of(spec, rule), used_of(spec, rule)
    values = JointValues(
        tuple(
            tuple(values_of(scores, bands, cells, used, rule.divisor) for scores in maps)
            for maps, cells in zip(sizes, selected, strict=True)
            if cells.count
        )
    )
    remarks = [remark_of(maps[0].spec, rule, cells) for maps, cells in zip(sizes, selected, strict=True)]
    if rule.statistic.function == "noisy-or" and len(values.sizes) > 1:
        remarks.append(f"noisy-or takes windows as independent, and {len(values.sizes)} sizes show the same pixels")
    return Decision(
        evaluate(values, rule.statistic),
        *classes_of(spec, bands),
        rule.how,
        rule.on,
        sum(cells.count for cells in selected),
        values.coverage.effective(),
        rule.divisor,
        region,
        next(filter(None, remarks), ""),
    )
