"""Detected boxes, against references that look at every pair of windows."""

import math

import cv2
import numpy as np
import pytest

import fullfield
from fullfield import Placement, Scores
from fullfield.api.detect import detect
from fullfield.decisions import boxes
from fullfield.errors import ArgumentError, BudgetError, ImageError
from tests.decisions.drawn import Window, apart, area, drawn_map, overlap, windows

# 1000 maps in all; the first ones in every run
thousand = pytest.mark.parametrize("seeds", [range(150), pytest.param(range(150, 1000), marks=pytest.mark.slow)])


def drawn(seed: int, steps: tuple[int, int] = (2, 6)) -> tuple[list[Scores], float | None, np.random.Generator]:
    rng = np.random.default_rng(seed)
    scales = (1.0, 0.5, 0.75)[: rng.integers(2, 4)] if seed % 4 == 1 else (1.0,)
    maps = [drawn_map(rng, scale, steps) for scale in scales]
    return maps, (None, 0.5, 0.75, 1.0)[rng.integers(0, 4)], rng


def kept(found: fullfield.DetectedBoxes) -> list[tuple[float, ...]]:
    columns = found.boxes.tolist(), found.scores.tolist(), found.classes.tolist()
    return [(*box, score, cls) for box, score, cls in zip(*columns, strict=True)]


def facts(found: list[Window]) -> list[tuple[float, ...]]:
    return [(*one.box, one.score, one.cls) for one in found]


def small_batches(monkeypatch: pytest.MonkeyPatch, seed: int) -> int | None:
    """The budget, at times so small that maps are read by rows and a few candidates are decided at a time."""
    monkeypatch.setattr(boxes, "_LEAST", 2 + 5 * (seed % 5))
    monkeypatch.setattr("fullfield.exporters.detections._STRIP_ROWS", 1 + 2 * (seed % 4))
    return 1 if seed % 3 else None


@thousand
def test_suppression_equals_a_greedy_loop_over_all_pairs_on_1000_maps(
    monkeypatch: pytest.MonkeyPatch, seeds: range
) -> None:
    several = 0
    for seed in seeds:
        maps, threshold, rng = drawn(seed)
        limit, across = float(rng.choice([0.0, 0.1, 0.3, 0.5, 1.0])), bool(rng.random() < 0.5)
        wanted: list[Window] = []
        for one in windows(maps, threshold):
            if all(overlap(k.box, one.box) <= limit or not (across or k.cls == one.cls) for k in wanted):
                wanted.append(one)
        budget = small_batches(monkeypatch, seed)
        found = detect(maps, threshold=threshold, nms=limit, across_classes=across, budget=budget)
        assert kept(found) == facts(wanted), seed
        several += len(wanted) > 7
    assert several > len(seeds) // 4


@thousand
def test_maxima_equal_a_search_over_all_pairs_on_1000_maps(monkeypatch: pytest.MonkeyPatch, seeds: range) -> None:
    for seed in seeds:
        maps, threshold, rng = drawn(seed)
        distance, across = float(rng.choice([2.0, 4.5, 9.0])), bool(rng.random() < 0.3)
        found: list[Window] = []
        every = windows(maps, threshold)
        for number in range(len(maps)):
            one_map = [each for each in every if each.number == number]
            for cls in (0, 1):
                found += first_of_plateaus([each for each in one_map if each.cls == cls], distance)
        wanted: list[Window] = []
        for one in sorted(found):
            if all(apart(k, one) > distance or not (across or k.cls == one.cls) for k in wanted):
                wanted.append(one)
        budget = small_batches(monkeypatch, seed)
        boxes_found = detect(maps, threshold=threshold, min_distance=distance, across_classes=across, budget=budget)
        assert kept(boxes_found) == facts(wanted), seed


def first_of_plateaus(some: list[Window], distance: float) -> list[Window]:
    """One of the windows that have no greater one within the distance, for each chain of equal ones."""

    def near(a: Window, b: Window) -> bool:
        return apart(a, b) <= distance * (1 + 1e-9)

    left = sorted((a for a in some if not any(b.score > a.score and near(a, b) for b in some)), key=lambda a: a[2:4])
    found = []
    while left:
        found.append(left[0])
        reached = [left.pop(0)]
        while reached:
            one = reached.pop()
            linked = [b for b in left if near(one, b)]
            left = [b for b in left if b not in linked]
            reached += linked
    return found


@thousand
def test_merging_equals_a_search_for_the_best_pair_on_1000_maps(seeds: range) -> None:
    merged = 0
    for seed in seeds:
        maps, _, rng = drawn(seed, (1, 4))
        maps = maps[:2]
        limit = float(rng.choice([0.4, 0.7, 0.95]))
        wanted = merged_one_by_one(windows(maps, 1.0), limit)
        found = detect(maps, threshold=1.0, merge=limit)
        got = [(*facts, count) for facts, count in zip(kept(found), found.windows.tolist(), strict=True)]
        assert got == wanted, seed
        merged += any(count > 2 for *_, count in wanted)
    assert merged > len(seeds) // 4


def merged_one_by_one(some: list[Window], limit: float) -> list[tuple[float, ...]]:
    """Box, score, class and count, by looking for the least match score among all pairs again and again."""
    left = {number: (one.box, one.score, one.cls, 1) for number, one in enumerate(some)}
    following = len(left)
    cached: dict[tuple[int, int], float] = {}

    def match(a: tuple[float, ...], b: tuple[float, ...]) -> float:
        dy, dx = ((b[k] + b[k + 2]) / 2 - (a[k] + a[k + 2]) / 2 for k in (0, 1))
        side = (math.sqrt(area(a)) + math.sqrt(area(b))) / 2
        return math.sqrt(dy**2 + dx**2) / side + (1 - overlap(a, b))

    while True:
        for a in left:
            for b in left:
                if a < b and left[a][2] == left[b][2] and (a, b) not in cached:
                    cached[a, b] = match(left[a][0], left[b][0])
        pairs = [(score, *pair) for pair, score in cached.items() if pair[0] in left and pair[1] in left]
        best = min(pairs, default=(math.inf, -1, -1))
        if best[0] > limit:
            break
        (one, score, cls, count), (other, more, _, others) = left.pop(best[1]), left.pop(best[2])
        box = tuple((p + q) / 2 for p, q in zip(one, other, strict=True))
        left[following] = box, score + more, cls, count + others  # type: ignore[assignment]
        following += 1
    rows = sorted((-s, c, (b[0] + b[2]) / 2, (b[1] + b[3]) / 2, n) for n, (b, s, c, _) in left.items())
    return [(*left[n][0], left[n][1], left[n][2], left[n][3]) for *_, n in rows]


def noise(rows: int = 40, columns: int = 50, seed: int = 0) -> Scores:
    place = Placement((4, 4), (16, 16), (4 * rows + 12, 4 * columns + 12), (4 * rows + 12, 4 * columns + 12))
    scores = np.random.default_rng(seed).random((2, rows, columns)).astype(np.float32)
    return Scores.from_array(scores, place, class_names=("cat", "dog"))


def test_suppression_equals_opencv_without_ties() -> None:
    scores = noise()
    found = detect(scores, threshold=0.5, nms=0.35, classes="cat")
    rows, columns = np.nonzero(scores["cat"] >= 0.5)
    corners = [(4 * int(j), 4 * int(i), 16, 16) for i, j in zip(rows, columns, strict=True)]
    chosen = cv2.dnn.NMSBoxes(corners, scores["cat"][rows, columns].tolist(), 0.0, 0.35)
    wanted = [(y, x, y + h, x + w) for x, y, w, h in (corners[int(k)] for k in np.ravel(chosen))]
    assert found.boxes.tolist() == [list(map(float, box)) for box in wanted]
    assert 50 < len(wanted) < len(corners) // 2


def test_budget_and_strips_do_not_show_in_a_chain_that_crosses_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each window of a ramp is kept or not because of the one below it, down to the last row."""
    place = Placement((4, 4), (8, 8), (4 * 300 + 4, 8), (4 * 300 + 4, 8))
    ramp = np.arange(300, dtype=np.float32).reshape(1, 300, 1)
    scores = Scores.from_array(ramp, place)
    whole = detect(scores, threshold=0.0, nms=0.3)
    assert whole.boxes[:, 0].tolist() == [4.0 * row for row in range(299, -1, -2)]
    budget = small_batches(monkeypatch, 1)
    np.testing.assert_array_equal(detect(scores, threshold=0.0, nms=0.3, budget=budget).boxes, whole.boxes)


def test_boxes_iterate_and_describe_themselves() -> None:
    found = noise().detect(threshold=0.99, nms=0.0)
    first = next(iter(found))
    assert first.name == ("cat", "dog")[first.cls]
    assert first.score == found.scores[0] == found.scores.max()
    assert found.class_names[0] == first.name
    cats, dogs = (int((found.classes == cls).sum()) for cls in (0, 1))
    assert repr(found) == f"DetectedBoxes({cats + dogs}, cat {cats}, dog {dogs})"
    assert len(list(found)) == len(found) == cats + dogs


@pytest.mark.parametrize(
    ("arguments", "error", "fault"),
    [
        ({"nms": 0.3, "merge": 0.5}, ArgumentError, "nms and merge are given"),
        ({"nms": 1.5}, ArgumentError, "nms: 1.5 is out of range"),
        ({"nms": float("nan")}, ArgumentError, "nms: nan is out of range"),
        ({"merge": 1.0}, ArgumentError, "merge: 1.0 is out of range"),
        ({"min_distance": 0}, ArgumentError, "min_distance: 0 is out of range"),
        ({"merge": 0.5, "across_classes": True}, ArgumentError, "windows of one class are merged"),
        ({"threshold": float("inf")}, ImageError, "inf is no number"),
        ({"classes": "cow"}, ImageError, "'cow' is not one of the 2 classes"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments: dict[str, object], error: type, fault: str) -> None:
    with pytest.raises(error, match=fault):
        detect(noise(), **arguments)


def test_maps_that_do_not_belong_together_are_refused() -> None:
    one, other = noise(), noise(30)
    with pytest.raises(ImageError, match="one map is of an image of 172x212 px, another of 132x212 px"):
        detect([one, other])
    with pytest.raises(ArgumentError, match="no map is given"):
        detect([])
    named = Scores.from_array(one.array, one.placement, class_names=("cat", "cow"))
    with pytest.raises(ImageError, match="give maps of one model"):
        detect([one, named])


def test_more_windows_to_merge_than_fit_are_refused() -> None:
    with pytest.raises(BudgetError, match="more than 1024 windows are to be merged"):
        detect(noise(), threshold=0.0, merge=0.5, budget=1000)


def test_a_map_without_a_detection_gives_no_box(tmp_path: object) -> None:
    found = detect(noise(), threshold=2.0)
    assert (len(found), repr(found)) == (0, "DetectedBoxes(0)")
    assert found.boxes.shape == (0, 4)
