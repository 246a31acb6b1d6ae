"""Differences between scan and crops, by hand."""

import math

import numpy as np
import pytest

from fullfield.verification.metrics import relative_difference, score_spread, window_errors


def test_the_spread_is_what_classes_vary_by() -> None:
    crops = np.array([[0.0, 100.0, np.inf], [2.0, 104.0, 1.0]])
    assert score_spread(crops) == math.sqrt((1 + 4) / 2)
    assert score_spread(np.full((3, 2), 7.0)) == 0
    assert score_spread(np.full((3, 2), np.nan)) == 0


@pytest.mark.parametrize(("kind", "noise"), [(np.float64, 1e-15), (np.float32, 1e-6)])
def test_rounding_is_no_spread(kind: type[np.floating], noise: float) -> None:
    crops = np.array([[5.0, 0.0], [5.0, noise]], kind)
    assert score_spread(crops) == 0
    assert window_errors(crops, crops[::-1]).tolist() == pytest.approx([noise / 2] * 2)
    assert score_spread(1e3 * crops * [[1], [1 + 1e-3]]) == pytest.approx(math.sqrt(2.5**2 / 2), rel=1e-3)


def test_errors_are_means_over_the_classes() -> None:
    crops = np.array([[0.0, 0.0], [2.0, 2.0]])
    assert window_errors(np.array([[0.0, 1.0], [2.0, 2.0]]), crops).tolist() == [0.5, 0]
    assert relative_difference(np.array([[0.0, 1.0], [2.0, 2.0]]), crops) == 0.5
    assert window_errors(np.array([[np.nan, 0.0]]), np.array([[0.0, 0.0]])).tolist() == [np.inf]
    same = np.array([[np.nan, np.inf]])
    assert window_errors(same, same).tolist() == [0]
    assert relative_difference(same, same) == 0
