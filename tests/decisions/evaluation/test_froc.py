"""FROC against a brute-force one: every local maximum by itself, every target by itself."""

from pathlib import Path

import numpy as np
import pytest

import fullfield
from fullfield import Labels
from fullfield.decisions.evaluation.froc import RATES
from tests.decisions.evaluation.maps import box, geojson, point, scores_of


def maxima(plane: np.ndarray, centres: np.ndarray, apart: float) -> list[tuple[float, float, float]]:
    """y, x and score of cells without a greater one near; the first of equal ones that are near in a chain."""
    flat, places = plane.ravel(), centres.reshape(-1, 2)
    near = [np.flatnonzero(((places - place) ** 2).sum(axis=1) <= apart**2 + 1e-9) for place in places]
    left = [k for k in range(len(flat)) if not np.isnan(flat[k]) and not (flat[near[k]] > flat[k]).any()]
    found = []
    while left:
        found.append((*places[left[0]], float(flat[left[0]])))
        reached = [left.pop(0)]
        while reached:
            linked = set(near[reached.pop()]) & set(left)
            left = [k for k in left if k not in linked]
            reached += linked
    return found


def brute(detections: list[tuple[float, float, float]], hit: list[int], targets: int) -> list[float]:
    """Sensitivities at the six rates: every threshold by itself, linearly between them."""
    rates, shares = [0.0], [0.0]
    for threshold in sorted({score for _, _, score in detections}, reverse=True):
        taken = [h for (_, _, score), h in zip(detections, hit, strict=True) if score >= threshold]
        rates.append(sum(h < 0 for h in taken))
        shares.append(len({h for h in taken if h >= 0}) / targets)
    return [float(np.interp(rate, rates, shares)) for rate in RATES]


def drawn(seed: int) -> tuple[fullfield.Scores, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    array = np.round(rng.random((2, 23, 31)), 2).astype(np.float32)  # with ties
    array[:, rng.random((23, 31)) < 0.1] = np.nan
    array[:, 5:9, 5:12] = 0.5  # a plateau
    scores = scores_of(array)
    centres = np.array([[scores.placement.centre(i, j) for j in range(31)] for i in range(23)])
    return scores, centres, rng


@pytest.mark.parametrize("seed", range(12))
def test_points_are_found_as_by_brute_force(seed: int, tmp_path: Path) -> None:
    scores, centres, rng = drawn(seed)
    points = rng.uniform((6, 6), (94, 126), (9, 2)).round(1)
    path = tmp_path / "points.csv"
    path.write_text("y;x;class\n" + "".join(f"{y};{x};kind 1\n" for y, x in points))
    found = fullfield.evaluate(scores, Labels(path, distance=10))
    detections = maxima(scores.array[1], centres, 10)
    hit = []
    for y, x, _ in detections:
        far = np.hypot(*(points - (y, x)).T)
        hit.append(int(far.argmin()) if far.min() <= 10 else -1)
    (froc,) = found.froc
    assert (froc.name, froc.targets, froc.images) == ("kind 1", 9, 1)
    assert froc.sensitivities == pytest.approx(brute(detections, hit, 9), abs=1e-12)
    assert froc.score == pytest.approx(np.mean(froc.sensitivities))


@pytest.mark.parametrize("seed", range(6))
def test_polygons_are_found_from_inside(seed: int, tmp_path: Path) -> None:
    scores, centres, rng = drawn(seed)
    corners = rng.uniform(0, 80, (6, 2)).round(1) + 0.03
    boxes = [(y, x, y + 15, x + 21) for y, x in corners]
    path = geojson(tmp_path / "p.geojson", *((box(*each), {"label": "kind 0"}) for each in boxes))
    found = fullfield.evaluate(scores, Labels(path, outside="kind 1"))
    detections = maxima(scores.array[0], centres, 4)
    hit = []
    for y, x, _ in detections:
        inside = [n for n, (top, left, bottom, right) in enumerate(boxes) if top < y < bottom and left < x < right]
        hit.append(inside[0] if inside else -1)
    (froc,) = found.froc
    assert froc.sensitivities == pytest.approx(brute(detections, hit, 6), abs=1e-12)
    assert fullfield.evaluate(scores, path).froc == ()  # what lies outside may be of any class


def test_of_two_detections_of_one_target_the_lesser_is_no_false_positive(tmp_path: Path) -> None:
    array = np.zeros((1, 1, 20), np.float32)
    array[0, 0, [4, 8]] = 0.9, 0.8
    scores = scores_of(array, class_names=("a",))
    y, x = scores.placement.centre(0, 6)
    path = geojson(tmp_path / "p.geojson", (point(y, x), {"class": "a"}))
    (froc,) = fullfield.evaluate(scores, Labels(path, distance=8)).froc
    detections = maxima(array[0], np.array([[scores.placement.centre(0, j) for j in range(20)]]), 8)
    assert [round(score, 1) for _, _, score in detections] == [0, 0.9, 0.8, 0]
    np.testing.assert_array_equal(froc.curve, [[0, 0, 2], [0, 1, 1]])


def test_a_plateau_that_ends_below_other_maxima_finds_the_target_at_its_first_cell(tmp_path: Path) -> None:
    array = np.zeros((1, 20, 20), np.float32)
    array[0, 1:18, 2] = 0.9  # a long plateau, known only when later rows are read
    array[0, 9, 15] = 0.8
    scores = scores_of(array, class_names=("a",))
    path = geojson(tmp_path / "p.geojson", (point(10, 14), {"class": "a"}), (point(42, 66), {"class": "a"}))
    (froc,) = fullfield.evaluate(scores, Labels(path, distance=5)).froc
    np.testing.assert_array_equal(froc.curve[:, :3], [[0, 0, 0], [0, 0.5, 1]])
