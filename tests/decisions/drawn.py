"""Random maps with plateaus, ties and cells without a score, and the windows in them by plain arithmetic."""

import math
from typing import NamedTuple

import numpy as np

from fullfield.api.scores import Scores
from fullfield.geometry.placement import Placement

IMAGE = 20, 24


class Window(NamedTuple):
    """A candidate: its place in the order first."""

    minus_score: float
    cls: int
    y: float
    x: float
    number: int
    box: tuple[float, float, float, float]

    @property
    def score(self) -> float:
        return -self.minus_score


def drawn_map(rng: np.random.Generator, scale: float, steps: tuple[int, int], classes: int = 2) -> Scores:
    """Few values, some cells NaN in all classes or in one; windows that reach beyond the image, at times."""
    scanned = tuple(round(n * scale) for n in IMAGE)
    window = tuple(int(n) for n in rng.integers(4, 9, 2))
    padding = tuple(int(n) for n in rng.integers(0, 4, 4)) if rng.random() < 0.3 else (0, 0, 0, 0)
    place = Placement(tuple(int(n) for n in rng.integers(*steps, 2)), window, IMAGE, scanned, padding)  # type: ignore[arg-type]
    scores = rng.integers(0, 5, (classes, *place.shape)).astype(np.float32) / np.float32(4)
    if rng.random() < 0.5:
        scores = np.repeat(scores, 3, axis=2)[..., : place.shape[1]]  # plateaus
    scores[:, rng.random(place.shape) < 0.1] = np.nan
    scores[0, rng.random(place.shape) < 0.1] = np.nan
    return Scores.from_array(scores, place, class_names=("cat", "dog", "cow")[:classes])


def windows(maps: list[Scores], threshold: float | None) -> list[Window]:
    """All candidates in order."""
    found = []
    for number, scores in enumerate(maps):
        place, (ky, kx) = scores.placement, scores.placement.scale
        array = scores.array
        for cls, i, j in np.ndindex(array.shape):
            values = array[:, i, j]
            if threshold is None:
                wanted = not np.isnan(values).any() and int(values.argmax()) == cls
            else:
                wanted = bool(values[cls] >= np.float32(threshold))
            if not wanted:
                continue
            top, left = i * place.step[0] - place.padding[0], j * place.step[1] - place.padding[2]
            edges = [
                min(max(edge, 0), length) * whole / length
                for edge, length, whole in (
                    (top, place.scanned[0], IMAGE[0]),
                    (left, place.scanned[1], IMAGE[1]),
                    (top + place.window[0], place.scanned[0], IMAGE[0]),
                    (left + place.window[1], place.scanned[1], IMAGE[1]),
                )
            ]
            y, x = (top + place.window[0] / 2) / ky, (left + place.window[1] / 2) / kx
            found.append(Window(-float(values[cls]), cls, y, x, number, tuple(edges)))  # type: ignore[arg-type]
    return sorted(found)


def area(box: tuple[float, ...]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(height, 0.0) * max(width, 0.0)
    return common / (area(a) + area(b) - common)


def apart(a: Window, b: Window) -> float:
    return math.sqrt((b.y - a.y) ** 2 + (b.x - a.x) ** 2)
