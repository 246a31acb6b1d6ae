"""Makes segments of a score map: labels of each pixel, cleaned, as a map of labels that the exporters write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.clean import without_holes, without_small, without_weak
from fullfield.decisions.guide import open_guide
from fullfield.decisions.label_file import LabelFile
from fullfield.decisions.label_pixels import label_pixels
from fullfield.decisions.label_regions import STRONG, Regions, find_regions, recode
from fullfield.decisions.pixel_scores import PixelScores
from fullfield.decisions.segmentation import ParsedSegmentation, Segmentation, parse_segmentation
from fullfield.engine.progress import OnProgress, StageReporter
from fullfield.exporters.grid import BUDGET_BYTES, class_names
from fullfield.exporters.labels import label_type
from fullfield.geometry.placement import Placement
from fullfield.store.maps import ALL, MapSpec, ScoreMap, check_level, check_region
from fullfield.store.shards import default_shard


@dataclass(frozen=True, eq=False)
class SegmentMap:
    """A map of labels in a temporary file; implements ``ScoreMap``.

    Args:
        spec: of labels, a cell for each pixel.
        raster: codes, in the order of the map's classes.
        table: the label of each code.
        certificate: of the scores.
    """

    spec: MapSpec
    raster: LabelFile
    table: NDArray[Any]
    certificate: dict[str, Any] | None = None

    @property
    def levels(self) -> int:
        """1: the map itself."""
        return 1

    def level(self, number: int) -> SegmentMap:
        """The map itself.

        Raises:
            GeometryError: a number above 0.
        """
        check_level(number, 1)
        return self

    def read(self, top: int, bottom: int, left: int, right: int, bands: slice = ALL) -> NDArray[Any]:
        """Labels of a half-open region of pixels. Shape: ``(1, y, x)``"""
        check_region((top, bottom, left, right), self.raster.shape)
        labels: NDArray[Any] = self.table[self.raster.read((top, bottom, left, right))][None]
        return labels[bands]

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        """Which pixels ``(y, x)`` of a region have a class."""
        found: NDArray[np.bool_] = self.read(top, bottom, left, right)[0] != self.spec.fill
        return found


@dataclass(frozen=True)
class SegmentCount:
    """The segments of one class.

    Args:
        cls: index among the network's classes.
        name: of the class.
        segments: number of its connected regions.
        area: pixels of the labels that have this class.
    """

    cls: int
    name: str
    segments: int
    area: int


def segment(
    scores: ScoreMap,
    how: Segmentation,
    image: object = None,
    *,
    budget_bytes: int | None = None,
    progress: OnProgress | None = None,
) -> tuple[SegmentMap, tuple[SegmentCount, ...]]:
    """Labels at the resolution of the image, and how many segments each class has.

    Args:
        scores: in memory or on disk.
        how: the options.
        image: that was scanned, for the guided filter.
        budget_bytes: memory allowed; 0.3 GB by default.
        progress: called after every block.

    Raises:
        FullfieldError: options or an image that do not fit the scores, too little memory, or no space.
    """
    parsed = parse_segmentation(scores, how, has_image=image is not None)
    budget = BUDGET_BYTES if budget_bytes is None else budget_bytes
    guide = open_guide(image, scores.spec.placement.image, parsed.size) if parsed.radius else None
    pixels = PixelScores(scores, parsed.bands, parsed.activation, parsed.size)
    raster = label_pixels(pixels, parsed, guide, budget_bytes=budget, progress=progress)
    regions = _cleaned(raster, parsed, budget, progress)
    found = _segment_map(scores, how, parsed, raster)
    names = class_names(found)
    counts = []
    for code, cls in enumerate(found.spec.classes):
        areas = regions.area[regions.code == code]
        counts.append(SegmentCount(cls, names[code], len(areas), int(areas.sum())))
    return found, tuple(counts)


def _cleaned(raster: LabelFile, parsed: ParsedSegmentation, budget: int, progress: OnProgress | None) -> Regions:
    """Removes and fills regions in a raster of codes; returns those that it has then."""
    total = raster.shape[0] * raster.shape[1]
    found = find_regions(raster, budget_bytes=budget, stage=StageReporter(progress, "finding segments", total, "px"))
    regions, numbers = found.regions, np.arange(found.regions.count)
    for step in _steps(parsed):
        regions, owner = step(regions)
        numbers = owner[numbers]
    codes = regions.code[numbers]
    if (codes != found.regions.code).any():
        recode(raster, found, codes, stage=StageReporter(progress, "cleaning segments", total, "px"))
    return regions


def _steps(parsed: ParsedSegmentation) -> list[Any]:
    """What is done to the regions, in order."""
    steps: list[Any] = []
    if parsed.has_thresholds and (parsed.low < parsed.high).any():
        steps.append(without_weak)
    if parsed.least > 1:
        steps.append(lambda regions: without_small(regions, parsed.least))
    if parsed.hole > 0:
        steps.append(lambda regions: without_holes(regions, parsed.hole))
    return steps


def _segment_map(scores: ScoreMap, how: Segmentation, parsed: ParsedSegmentation, raster: LabelFile) -> SegmentMap:
    spec, names = scores.spec, class_names(scores)
    known = spec.classes or tuple(range(spec.shape[0]))
    classes = tuple(known[band] for band in parsed.bands)
    dtype = label_type(max(classes))
    fill = int(np.iinfo(dtype).max)
    table = np.full(1 << 16, fill, dtype)
    table[: len(classes)] = classes
    table[STRONG : STRONG + len(classes)] = classes
    labels = replace(
        spec,
        shape=(1, *parsed.size),
        dtype=str(dtype),
        shard=default_shard(1, str(dtype)),
        placement=Placement((1, 1), (1, 1), spec.placement.image, parsed.size),
        kind="labels",
        classes=classes,
        class_names=tuple(names[band] for band in parsed.bands) if spec.class_names else None,
        activation=None,
        scale=1.0,
        offset=0.0,
        fill=float(fill),
        provenance=spec.provenance | {"segmentation": how.to_dict()},
    )
    return SegmentMap(labels, raster, table, scores.certificate)
