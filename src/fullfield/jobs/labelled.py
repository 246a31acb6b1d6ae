"""Draws windows that the user has labelled, and measures on them how often a mode's prediction is the label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.evaluation.label_files import open_labels
from fullfield.decisions.evaluation.labels import CellLabels, Labels
from fullfield.decisions.evaluation.tally import PredictionRule
from fullfield.engine.protocols import WantedCells
from fullfield.errors import ImageError
from fullfield.jobs.candidates import LabelFigures
from fullfield.mask.grid import map_blocks
from fullfield.planning import Plan, Tile
from fullfield.store.maps import MapSpec
from fullfield.verification.metrics import STANDARD_ERRORS

_SIDE = 256  # cells a side of the blocks in which labels are read


@dataclass(frozen=True, eq=False)
class _Stratum:
    """Drawn windows of one label.

    Args:
        code: of the label.
        share: of all labelled windows, those of this label.
        measured: share of them that is drawn.
        tiles: ``(n,)``, the tile of each window, from 0.
        windows: ``(n,)``, which windows of the sample these are.
    """

    code: int
    share: float
    measured: float
    tiles: NDArray[np.intp]
    windows: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class LabelledTiles:
    """Tiles that hold labelled windows, drawn label by label so that rare ones are among them.

    Args:
        tiles: of the sample.
        rule: of predictions.
        labelled: labelled windows of the whole map.
    """

    tiles: tuple[Tile, ...]
    rule: PredictionRule
    labelled: int
    _strata: tuple[_Stratum, ...]

    @property
    def samples(self) -> int:
        """Labelled windows that are drawn."""
        return sum(len(each.windows) for each in self._strata)

    def figures(self, scores: NDArray[np.floating], crops: NDArray[np.floating]) -> LabelFigures:
        """How often predictions are right, and how much more often than those of the crops.

        The share of right ones is that of each label, weighted by how many windows of the map have that label.

        Args:
            scores, crops: of the windows of all tiles ``(windows, k)``.
        """
        right, level = (self._right(each) for each in (scores, crops))
        accuracy, change = self._mean(right), self._mean(right - level)
        return LabelFigures(
            accuracy=accuracy,
            between=self._interval(right, accuracy, successes=2, failures=2, opposite=0, least=0),
            change=change,
            change_between=self._interval(right - level, change, successes=0.5, failures=1, opposite=0.5, least=-1),
            balanced=float(np.mean([right[each.windows].mean() for each in self._strata])),
            auc=self._auc(scores),
        )

    def _mean(self, values: NDArray[np.float64]) -> float:
        """The mean over the labelled windows of the map."""
        return sum(each.share * float(values[each.windows].mean()) for each in self._strata)

    def _right(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """1 where the prediction of a window is its label, else 0; windows without a label stay 0."""
        found = np.zeros(len(scores))
        predicted = self.rule.predicted(scores.T)
        for each in self._strata:
            found[each.windows] = predicted[each.windows] == each.code
        return found

    def _interval(
        self,
        values: NDArray[np.float64],
        mean: float,
        *,
        successes: float,
        failures: float,
        opposite: float,
        least: int,
    ) -> tuple[float, float]:
        """Between what the mean over the map may lie: two standard errors, with tiles as the units.

        Windows of a tile err alike. Some tiles that are right, wrong and opposite are added to each label's own, so
        that a sample without any error is not taken as proof. Of a label whose windows are all drawn nothing is unsure.

        Source: Agresti & Coull 1998 (doi 10.1080/00031305.1998.10480550); Agresti & Min 2005 (doi 10.1002/sim.1781)
        """
        centre, variance = mean, 0.0
        for each in self._strata:
            counts = np.bincount(each.tiles)
            means = np.bincount(each.tiles, weights=values[each.windows]) / counts
            weights = counts / counts.mean()
            total = len(counts) + successes + failures + opposite
            shrunk = float(weights @ means + successes - opposite) / total
            spread = max(0.0, float(weights @ means**2 + successes + opposite) / total - shrunk**2)
            unknown = max(0.0, 1 - each.measured)
            centre += each.share * math.sqrt(unknown) * (shrunk - float(values[each.windows].mean()))
            variance += each.share**2 * unknown * spread / total
        off = STANDARD_ERRORS * math.sqrt(variance)
        return max(float(least), min(mean, centre - off)), min(1.0, max(mean, centre + off))

    def _auc(self, scores: NDArray[np.floating]) -> float:
        """Mean area under the ROC curve of the classes, windows weighted by how many the map has; NaN without two."""
        found = []
        for each in self._strata:
            others = [other for other in self._strata if other is not each]
            if not others or each.code >= scores.shape[1]:
                continue
            positives = np.sort(scores[each.windows, each.code])
            chances = []
            for other in others:
                values = scores[other.windows, each.code]
                above = len(positives) - np.searchsorted(positives, values, "right")
                equal = len(positives) - above - np.searchsorted(positives, values, "left")
                chances.append(float((above + equal / 2).mean()) / len(positives))
            found.append(float(np.average(chances, weights=[other.share for other in others])))
        return sum(found) / len(found) if found else math.nan


def draw_labelled(
    labels: Labels, spec: MapSpec, plan: Plan, samples: int, seed: int, wanted: WantedCells | None = None
) -> LabelledTiles:
    """Tiles with labelled windows, about ``samples`` of these: half as many of each label, half as the map has them.

    Args:
        labels: of the image.
        spec: of the map.
        plan: whose tiles these are.
        samples: labelled windows wanted.
        seed: of the draw.
        wanted: cells that are scanned, if not all.

    Raises:
        ImageError: labels that cannot be used, or that label no window that is scanned.
    """
    rule = PredictionRule.of(spec)
    with open_labels(labels, spec) as opened:
        cells = _labelled(opened, spec, wanted)
    across = -(-spec.shape[2] // plan.tile[1])
    tile_of = cells.rows // plan.tile[0] * across + cells.columns // plan.tile[1]
    present = np.unique(cells.codes).tolist()
    randomly = np.random.default_rng(seed)
    drawn = {}
    for code in present:
        mine = tile_of[cells.codes == code]
        share = (1 / len(present) + len(mine) / len(tile_of)) / 2
        drawn[code] = _draw(mine, math.ceil(samples * share), randomly)
    tiles = {int(number): plan.tile_at(*divmod(int(number), across)) for each in drawn.values() for number in each}
    starts = np.cumsum([0, *(tile.rows * tile.columns for tile in tiles.values())])
    first = dict(zip(tiles, starts.tolist(), strict=False))
    strata = []
    for code, numbers in drawn.items():
        mine = np.flatnonzero((cells.codes == code) & np.isin(tile_of, numbers))
        held = [(tiles[n], first[n]) for n in tile_of[mine].tolist()]
        row, column, width, start = np.array([(t.row, t.column, t.columns, at) for t, at in held]).T
        windows = start + (cells.rows[mine] - row) * width + cells.columns[mine] - column
        owners = np.unique(tile_of[mine], return_inverse=True)[1]
        total = int((cells.codes == code).sum())
        strata.append(_Stratum(code, total / len(cells.codes), len(mine) / total, owners, windows))
    return LabelledTiles(tuple(tiles.values()), rule, len(cells.codes), tuple(strata))


def _draw(tile_of: NDArray[np.intp], wanted: int, randomly: np.random.Generator) -> NDArray[np.intp]:
    """Random tiles of those that windows lie in, until they hold so many; all of them if they hold fewer."""
    numbers, counts = np.unique(tile_of, return_counts=True)
    order = randomly.permutation(len(numbers))
    drawn: NDArray[np.intp] = numbers[order][: int(np.searchsorted(np.cumsum(counts[order]), wanted)) + 1]
    return drawn


class _LabelledCells(NamedTuple):
    """Labelled cells of a map; one is listed for each point that it is nearest to."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    codes: NDArray[np.intp]


def _labelled(labels: CellLabels, spec: MapSpec, wanted: WantedCells | None) -> _LabelledCells:
    """The labelled cells that are scanned.

    Raises:
        ImageError: there are none.
    """
    parts = []
    for top, left, rows, columns in map_blocks(*spec.shape[1:], _SIDE):
        found = labels.samples(top, left, rows, columns)
        if len(found.cells):
            keep = slice(None) if wanted is None else wanted.cells(top, left, rows, columns).ravel()[found.cells]
            i, j = np.divmod(found.cells[keep], columns)
            parts.append(np.stack([top + i, left + j, found.codes[keep]]))
    every = np.concatenate(parts, axis=1) if parts else np.empty((3, 0), np.intp)
    if not every.size:
        raise ImageError("labels", "label no window that is scanned", fix="check that they belong to this image")
    return _LabelledCells(*every)
