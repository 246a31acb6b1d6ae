"""Local maxima, against looking at every pair of cells."""

import math

import numpy as np
import pytest

from fullfield.exporters.maxima import local_maxima, reach_of


@pytest.mark.parametrize("spacing", [(4.0, 4.0), (3.0, 5.5)])
@pytest.mark.parametrize("distance", [1.0, 4.0, 12.0, 40.0])
def test_no_greater_cell_is_within_the_distance(spacing: tuple[float, float], distance: float) -> None:
    rng = np.random.default_rng(int(distance))
    scores = rng.integers(0, 12, (17, 19)).astype(np.float32)  # many equal ones
    mask = scores > 3
    cells = [(i, j) for i in range(17) for j in range(19) if mask[i, j]]
    wanted = np.zeros_like(mask)
    for i, j in cells:
        wanted[i, j] = not any(
            (scores[k, m], -k, -m) > (scores[i, j], -i, -j)
            and math.hypot((i - k) * spacing[0], (j - m) * spacing[1]) <= distance
            for k, m in cells
        )
    np.testing.assert_array_equal(local_maxima(scores, mask, reach_of(spacing, distance)), wanted)
