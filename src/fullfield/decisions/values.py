"""Streams the values that a decision is made of, chunk by chunk: scores, logits or probabilities in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.coverage import Coverage
from fullfield.decisions.rule import ScoresUsed
from fullfield.decisions.selected import Selected, chunk_regions
from fullfield.errors import ImageError
from fullfield.geometry.region import Region
from fullfield.store.encoding import activated
from fullfield.store.levels import level_grid
from fullfield.store.maps import MapSpec, ScoreMap, decoded

_HELD = 48 << 20  # bytes of a chunk's values of all classes that are kept instead of read again

Planes = Iterator[tuple[int, NDArray[np.float64]]]


class ClassValues(NamedTuple):
    """The values of one class in a chunk, NaN left out.

    Args:
        series: position of the class among those decided on.
        values: ``(n,)``.
        weights: of their windows, px ``(n,)``; 1 each where none are asked for.
    """

    series: int
    values: NDArray[np.float64]
    weights: NDArray[np.float64]


def class_values(series: int, values: NDArray[np.float64], weights: NDArray[np.float64]) -> Iterator[ClassValues]:
    """The values of a class that are not NaN, if there are any."""
    there = ~np.isnan(values)
    if there.all():
        yield ClassValues(series, values, weights)
    elif there.any():
        yield ClassValues(series, values[there], weights[there])


class Weights(Protocol):
    """How windows are weighed."""

    @property
    def unit_bits(self) -> int:
        """Weights are multiples of ``2^-unit_bits`` px, and less than ``2^52`` of these."""
        ...

    def effective(self) -> float:
        """Effective number of independent windows."""
        ...


class DecidedValues(Protocol):
    """The values that a decision is made of."""

    @property
    def bands(self) -> tuple[int, ...]:
        """Of the classes that are decided on."""
        ...

    @property
    def coverage(self) -> Weights:
        """How their windows are weighed."""
        ...

    def parts(self, *, weighed: bool = True) -> Iterator[ClassValues]:
        """The values of every chunk and class, with the weights of their windows; each call reads them again."""
        ...


@dataclass(frozen=True, eq=False)
class ScoreValues:
    """The values of some windows and classes; each pass over the ``parts`` reads the map again.

    Args:
        scores: the map.
        bands: of the classes that are decided on, in their order.
        selected: the windows.
        coverage: weighs them.
        turned: makes the value of each number of a plane ``(y, x)``; ``None`` for values as they are in the map.
        softmax: whether values are the softmax over all bands instead.
        temperature: that the softmax divides by first.
    """

    scores: ScoreMap
    bands: tuple[int, ...]
    selected: Selected
    coverage: Coverage
    turned: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    softmax: bool = False
    temperature: float = 1.0

    def parts(self, *, weighed: bool = True) -> Iterator[ClassValues]:
        """The values of every chunk and class; with the weights of their windows."""
        for region in chunk_regions(self.scores.spec, self.selected.box):
            known = self.selected.read(region)
            if not known.any():
                continue
            weights = self.coverage.weights(region)[known] if weighed else np.ones(int(known.sum()))
            series = {band: number for number, band in enumerate(self.bands)}
            for band, plane in self.planes(region):
                if band in series:
                    yield from class_values(series[band], plane[known], weights)

    def planes(self, region: Region) -> Planes:
        """Band and values ``(y, x)`` of a chunk."""
        if self.softmax:
            yield from self._softmax(region)
            return
        for band, plane in self._read(region, frozenset(self.bands)):
            yield band, plane if self.turned is None else self.turned(plane)

    def _read(self, region: Region, wanted: frozenset[int] | None = None) -> Planes:
        """Band and scores ``(y, x)`` as they are in the map; of all bands, or of some."""
        count, depth = self.scores.spec.shape[0], level_grid(self.scores.spec, 0).chunk[0]
        for first in range(0, count, depth):
            bands = range(first, min(first + depth, count))
            used = [band for band in bands if wanted is None or band in wanted]
            if used:
                block = self.scores.read(*region, slice(used[0], used[-1] + 1))
                for band in used:
                    yield band, decoded(block[band - used[0]], self.scores.spec).astype(np.float64)

    def _softmax(self, region: Region) -> Planes:
        """Probabilities over all classes; the sum runs over the bands in their order, as in ``activated``."""
        bands, (top, bottom, left, right) = self.scores.spec.shape[0], region
        held = bands * (bottom - top) * (right - left) * 8 <= _HELD
        kept = [(band, plane / self.temperature) for band, plane in self._read(region)] if held else None

        def logits() -> Planes:
            if kept is not None:
                yield from kept
            else:
                yield from ((band, plane / self.temperature) for band, plane in self._read(region))

        greatest = np.full((bottom - top, right - left), -np.inf)
        for _, plane in logits():
            np.maximum(greatest, plane, out=greatest)
        total = np.zeros_like(greatest)
        with np.errstate(invalid="ignore"):  # infinite scores have no softmax
            for _, plane in logits():
                total += np.exp(plane - greatest)
            for band, plane in logits():
                yield band, np.exp(plane - greatest) / total


def values_of(
    scores: ScoreMap, bands: tuple[int, ...], selected: Selected, on: ScoresUsed, temperature: float = 1.0
) -> ScoreValues:
    """The values of some windows and classes.

    Raises:
        ImageError: the map's scores do not say what ``on`` names.
    """
    coverage = Coverage(scores.spec.placement, selected)
    wanted = what_makes(scores.spec, on, temperature)
    if wanted is None:
        return ScoreValues(scores, bands, selected, coverage)
    if wanted == "softmax":
        return ScoreValues(scores, bands, selected, coverage, softmax=True, temperature=temperature)
    turn = _TURNS[wanted]
    return ScoreValues(scores, bands, selected, coverage, lambda plane: turn(plane / temperature))


_TURNS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "sigmoid": lambda plane: activated(plane, "sigmoid"),
    "exp": np.exp,
    "clip": lambda plane: np.clip(plane, 0.0, 1.0),  # an encoding rounds a little beyond
}


def what_makes(spec: MapSpec, on: ScoresUsed, temperature: float) -> str | None:
    """The function that makes what is decided on of the numbers of a map, by name; ``None`` if they are it.

    Raises:
        ImageError: nothing gives what is wanted.
    """
    through = spec.went_through
    if on == "scores":
        return None
    if on == "logits":
        if through is not None:
            what = f"the map's scores went through {through}, which cannot be undone"
            raise ImageError("logits", what, fix='scan without an activation, or decide on="scores"')
        return None
    if through is None:
        return _of_logits(spec, on)
    log = through in ("log_softmax", "log_sigmoid")
    if on not in ("probabilities", through.removeprefix("log_")):
        what = f"the map's scores went through {through}: {on} of these is no probability"
        raise ImageError("on", what, fix='decide on="probabilities"')
    if temperature == 1:
        return "exp" if log else "clip"
    if through == "log_softmax":
        return _of_logits(spec, "softmax")  # they are logits but for a constant of each window
    what = f"divides logits, and the map's scores went through {through}"
    raise ImageError("temperature", what, fix="scan without an activation")


def _of_logits(spec: MapSpec, on: ScoresUsed) -> str:
    """What makes probabilities of logits."""
    if on == "probabilities":
        what = "the map holds logits, which become probabilities in two ways"
        fix = 'write on="softmax" where one class is right, on="sigmoid" where each class is right or not'
        raise ImageError("probabilities", what, fix=fix)
    if on == "softmax" and not spec.holds_all_classes:
        what = f"needs the scores of all classes, the map holds {len(spec.classes)} of them"
        raise ImageError("softmax", what, fix="scan all classes, or with the encoding's activation softmax")
    return on
