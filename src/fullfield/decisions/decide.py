"""Decides a map, or its regions: one score a class from the scores of all windows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.coverage import Coverage
from fullfield.decisions.decision import Decision, DecisionRegion
from fullfield.decisions.exact_sums import binned_halves, from_halves
from fullfield.decisions.regions import map_regions, parse_regions
from fullfield.decisions.rule import DecisionRule, ScoresUsed
from fullfield.decisions.selected import Selected, chunk_regions, select
from fullfield.decisions.statistics import evaluate
from fullfield.decisions.values import values_of, what_makes
from fullfield.errors import ArgumentError, ImageError
from fullfield.store.classes import find_band
from fullfield.store.maps import MapSpec, ScoreMap


def decide_scores(scores: ScoreMap, rule: DecisionRule) -> Decision | tuple[Decision, ...]:
    """The decision of a map; for a rule with regions one for each of them."""
    return decide_map(scores, rule) if rule.regions is None else decide_regions(scores, rule)


def decide_map(scores: ScoreMap, rule: DecisionRule) -> Decision:
    """The decision of a whole map, whatever the rule's regions.

    The result does not depend on how the map is cut into shards or tiles, to the last bit.

    Raises:
        ArgumentError: classes that are named twice.
        ImageError: no window has a score, or the map does not hold what the rule asks for.
    """
    check_rule(scores.spec, rule)
    selected = select(scores)
    if not selected.count:
        rows, columns = selected.shape
        what = f"none of the map's {rows}x{columns} windows has a score"
        raise ImageError("scores", what, fix="check the model's output, or scan with another mask")
    return decide_selected(scores, rule, selected)


def decide_regions(scores: ScoreMap, rule: DecisionRule) -> tuple[Decision, ...]:
    """One decision for each polygon of the rule's regions, in their order.

    Raises:
        ImageError: as for ``decide_map``; or a file without polygons, a polygon that no window with a score touches.
    """
    check_rule(scores.spec, rule)
    assert rule.regions is not None
    found = []
    for region, cells, box in map_regions(scores.spec, rule.regions):
        selected = select(scores, cells, box)
        if not selected.count:
            what = f"no window with a score touches region {region.number}, {region.name!r}"
            raise ImageError("regions", what, fix="scan where it lies, or leave it out of the file")
        found.append(decide_selected(scores, rule, selected, region))
    return tuple(found)


def check_rule(spec: MapSpec, rule: DecisionRule) -> None:
    """Raises where a map like this cannot be decided so, whatever its scores.

    Raises:
        ArgumentError: classes that are named twice.
        ImageError: the map does not hold what the rule asks for, or the regions are no GeoJSON file.
    """
    if rule.regions is not None:
        parse_regions(rule.regions)
    if spec.kind == "labels":
        if rule.how != "mean" or rule.on != "scores" or rule.classes is not None:
            what = "labels are no scores: their mean is the share of each class, and nothing else can be decided"
            raise ImageError("decision", what, fix="decide the mean, or scan for scores")
        return
    bands_of(spec, rule)
    what_makes(spec, used_of(spec, rule), rule.divisor)


def decide_selected(
    scores: ScoreMap, rule: DecisionRule, selected: Selected, region: DecisionRegion | None = None
) -> Decision:
    """The decision of some windows of a map, at least one of which has a score, by a rule that was checked."""
    spec, coverage = scores.spec, Coverage(scores.spec.placement, selected)
    if spec.kind == "labels":
        bands, on, found = tuple(range(len(spec.classes))), "labels", _shares(scores, selected, coverage)
    else:
        bands = bands_of(spec, rule)
        used = used_of(spec, rule)
        values = values_of(scores, bands, selected, used, rule.divisor)
        found, on, coverage = evaluate(values, rule.statistic), rule.on, values.coverage
    return Decision(
        found,
        *classes_of(spec, bands),
        rule.how,
        on,
        selected.count,
        coverage.effective(),
        rule.divisor,
        region,
        remark_of(spec, rule, selected),
    )


def bands_of(spec: MapSpec, rule: DecisionRule) -> tuple[int, ...]:
    """The bands of the classes that are decided on."""
    wanted = rule.classes
    if wanted is None:
        return tuple(range(spec.shape[0]))
    if not isinstance(wanted, Iterable):
        wanted = (wanted,)
    bands = tuple(find_band(spec, cls) for cls in ((wanted,) if isinstance(wanted, str) else wanted))
    if not bands or len(set(bands)) < len(bands):
        what = f"{list(wanted)} names a class twice" if bands else "none is given"
        raise ArgumentError("classes", what, fix="name each class once")
    return bands


def classes_of(spec: MapSpec, bands: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[str, ...] | None]:
    """Index of each band's class among the network's classes, and their names if the map has some."""
    names, classes = spec.class_names, spec.classes or tuple(range(spec.shape[0]))
    return tuple(classes[band] for band in bands), None if names is None else tuple(names[band] for band in bands)


def used_of(spec: MapSpec, rule: DecisionRule) -> ScoresUsed:
    """What the function is of; noisy-or of a map of probabilities takes them without what an encoding rounds beyond."""
    own = rule.statistic.function == "noisy-or" and rule.on == "scores" and spec.went_through in ("softmax", "sigmoid")
    return "probabilities" if own else rule.on


def remark_of(spec: MapSpec, rule: DecisionRule, selected: Selected) -> str:
    """What a user should know of a decision."""
    statistic, place = rule.statistic, spec.placement
    covered = [-(-window // step) for window, step in zip(place.window, place.step, strict=True)]
    if statistic.function == "noisy-or" and max(covered) > 1 and selected.count > 1:
        times = covered[0] * covered[1]
        return (
            f"noisy-or takes windows as independent, and these overlap: each pixel counts up to {times} times; "
            f"a step of {max(place.window)} counts it once"
        )
    if statistic.function == "top-k" and not statistic.share and (statistic.number or 0) > selected.count:
        return f"{selected.count} windows have scores, fewer than {rule.how} takes: all count"
    return ""


def _shares(scores: ScoreMap, selected: Selected, coverage: Coverage) -> NDArray[np.float64]:
    """Weight of each label's windows over the weight of all. Shape: ``(classes,)``"""
    count = len(scores.spec.classes)
    sums = np.zeros((2, count), np.int64)
    for region in chunk_regions(scores.spec, selected.box):
        known = selected.read(region)
        if known.any():
            labels = scores.read(*region)[0][known].astype(np.intp)
            whole = np.ldexp(coverage.weights(region)[known], coverage.unit_bits).astype(np.uint64)
            sums += binned_halves(labels, whole, count)
    weights = [from_halves(high, low) for high, low in sums.T]
    total = sum(weights)
    return np.array([weight / total for weight in weights])
