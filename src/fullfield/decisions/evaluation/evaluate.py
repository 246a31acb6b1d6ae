"""Compares maps with labels of their cells, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from fullfield.decisions.evaluation.evaluation import Evaluation, evaluation_of
from fullfield.decisions.evaluation.froc import Froc, find_hits, froc
from fullfield.decisions.evaluation.label_files import open_labels
from fullfield.decisions.evaluation.labels import CellLabels, ClassCodes, Labels, Targets
from fullfield.decisions.evaluation.tally import PredictionRule, Tally
from fullfield.engine.progress import OnProgress, StageReporter
from fullfield.errors import ImageError
from fullfield.exporters.grid import cover
from fullfield.geometry.region import Region
from fullfield.store.levels import level_grid
from fullfield.store.maps import MapSpec, ScoreMap, decoded

_NUMBERS = 1 << 22  # scores in memory at a time


def evaluate_maps(
    maps: Sequence[ScoreMap],
    labels: Sequence[Labels],
    *,
    rule: PredictionRule,
    bins: int = 15,
    progress: OnProgress | None = None,
) -> Evaluation:
    """How the scores of maps agree with the labels of their cells.

    Args:
        maps: of the same classes.
        labels: of each.
        rule: of predictions.
        bins: of confidences.
        progress: called after every block.

    Raises:
        ImageError: labels that cannot be read, that lie outside the map, or whose cells have no score.
        GeometryError: bins or sizes that are none.
    """
    spec = maps[0].spec
    counted = _Counted(Tally(rule, np.dtype(spec.dtype), bins))
    total = sum(each.spec.shape[1] * each.spec.shape[2] for each in maps)
    stage = StageReporter(progress, "evaluating", total, "cells")
    for scores, given in zip(maps, labels, strict=True):
        with open_labels(given, scores.spec) as opened:
            counted.add(scores, opened, stage)
    names = ClassCodes(spec, None, "").names
    if not counted.samples:
        where = str(labels[0].source) if isinstance(labels[0].source, str) else "labels"
        raise ImageError(where, f"label no cell of the map: {counted.why()}", fix="check that they belong to this map")
    if not counted.tally.confusion.any():
        what = f"none of the {counted.samples} labelled {counted.unit} has a score: all are NaN"
        raise ImageError("scores", what, fix="scan where the labels are (--mask, --region)")
    return evaluation_of(
        counted.tally, names, unit=counted.unit, froc=counted.froc(names), remarks=tuple(counted.remarks())
    )


@dataclass(eq=False)
class _Counted:
    """What was counted of several maps."""

    tally: Tally
    samples: int = 0
    mixed: int = 0
    unit: str = "cells"
    left_out: dict[str, int] = field(default_factory=dict)
    done: int = 0
    detected: list[tuple[ScoreMap, Targets]] = field(default_factory=list)

    def add(self, scores: ScoreMap, labels: CellLabels, stage: StageReporter) -> None:
        """Counts one map's labelled cells, and its detections."""
        self.unit = labels.unit
        for region in _blocks(scores.spec):
            top, bottom, left, right = region
            found = labels.samples(top, left, bottom - top, right - left)
            self.samples, self.mixed = self.samples + len(found.cells), self.mixed + found.mixed
            if len(found.cells):
                block = decoded(scores.read(*region), scores.spec)
                self.tally.add(block.reshape(len(block), -1)[:, found.cells], found.codes)
            self.done += (bottom - top) * (right - left)
            stage.report(self.done)
        for reason, count in labels.left_out.items():
            self.left_out[reason] = self.left_out.get(reason, 0) + count
        if labels.targets is not None and not self.tally.rule.is_labels:
            self.detected.append((scores, labels.targets))

    def froc(self, names: tuple[str, ...]) -> tuple[Froc, ...]:
        """The curve of each class that has targets in some map."""
        present = {
            int(code) for _, targets in self.detected for code in targets.codes[np.unique(targets.shapes.owners)]
        }
        found = []
        for code in sorted(present & set(range(len(names)))):
            hits = [find_hits(scores, targets, code) for scores, targets in self.detected]
            found.append(froc(names[code], hits, self.detected[0][1].distance))
        return tuple(found)

    def why(self) -> str:
        """What was left out, as text."""
        said = [f"{reason}: {count}" for reason, count in self.left_out.items() if count]
        return ", ".join(said) or "none covers the centre of a window"

    def remarks(self) -> Iterator[str]:
        """What was left out, or counts in a way to know of."""
        yield from (f"{reason.capitalize()}: {count}." for reason, count in self.left_out.items() if count)
        if self.mixed:
            yield f"Cells in polygons of several classes, of which the smallest counts: {self.mixed}."


def _blocks(spec: MapSpec) -> Iterator[Region]:
    """Chunks of a map, or parts of them that fit the memory."""
    bands, rows, columns = spec.shape
    _, height, width = level_grid(spec, 0).chunk
    part = max(1, min(height, _NUMBERS // (bands * width)))
    for chunk in cover((0, rows, 0, columns), height, width):
        yield from cover(chunk, part, width)
