"""Local maxima, against looking at every pair of cells."""

import math

import numpy as np
import pytest

from fullfield.exporters.maxima import Plateaus, local_maxima, reach_of


def wanted_maxima(
    scores: np.ndarray, mask: np.ndarray, spacing: tuple[float, float], distance: float
) -> list[tuple[int, int]]:
    """One cell of each plateau, by following the links between equal maxima one by one."""
    cells = [(int(i), int(j)) for i, j in np.argwhere(mask)]

    def near(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return math.hypot((a[0] - b[0]) * spacing[0], (a[1] - b[1]) * spacing[1]) <= distance

    left = [a for a in cells if not any(scores[b] > scores[a] and near(a, b) for b in cells)]
    found = []
    while left:
        found.append(left[0])  # the first in reading order
        reached = [left.pop(0)]
        while reached:
            one = reached.pop()
            linked = [b for b in left if near(one, b)]
            left = [b for b in left if b not in linked]
            reached += linked
    return found


def in_strips(
    scores: np.ndarray, mask: np.ndarray, spacing: tuple[float, float], distance: float, height: int
) -> list[tuple[int, int]]:
    reach, rows = reach_of(spacing, distance), len(scores)
    plateaus, found = Plateaus(reach, scores.shape[1]), []
    for top in range(0, rows, height):
        low, bottom = max(0, top - len(reach) + 1), min(rows, top + height)
        part = slice(low, min(rows, bottom + len(reach) - 1))
        inner = local_maxima(scores[part], mask[part], reach)[top - low : bottom - low]
        one = plateaus.push(top, inner, scores[top:bottom], end=bottom == rows)
        found += list(zip(one.rows.tolist(), one.columns.tolist(), one.last.tolist(), strict=True))
        np.testing.assert_array_equal(one.scores, scores[one.rows, one.columns])
    assert [last for *_, last in found] == sorted(last for *_, last in found)
    return sorted((i, j) for i, j, _ in found)


@pytest.mark.parametrize("spacing", [(4.0, 4.0), (3.0, 5.5)])
@pytest.mark.parametrize("distance", [1.0, 4.0, 12.0, 40.0])
@pytest.mark.parametrize("values", [2, 12])
def test_a_plateau_without_a_greater_cell_within_the_distance_gives_its_first_cell(
    spacing: tuple[float, float], distance: float, values: int
) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        scores = rng.integers(0, values, (17, 19)).astype(np.float32)  # many equal ones
        mask = scores > rng.integers(-1, values - 1)
        wanted = wanted_maxima(scores, mask, spacing, distance)
        for height in (1, 5, 17):
            assert in_strips(scores, mask, spacing, distance, height) == wanted


def test_a_plateau_with_two_arms_upwards_gives_one_maximum() -> None:
    scores = np.zeros((9, 30))
    for step in range(9):
        scores[8 - step, [14 - step, 15 + step]] = 1
    assert in_strips(scores, scores > 0, (1.0, 1.0), 2.0, 3) == [(0, 6)]
