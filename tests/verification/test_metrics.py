"""Differences between scan and crops, by hand."""

import math

import numpy as np
import pytest

from fullfield.verification.metrics import (
    agreement_noise,
    error_noise,
    relative_difference,
    score_spread,
    window_errors,
    windows_for,
)


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


def drawn(draw: np.random.Generator, tiles: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two by two windows each, that are alike and err alike, as on a photograph."""
    crops = (draw.normal(size=(tiles, 1, 3)) + 0.3 * draw.normal(size=(tiles, 4, 3))).reshape(-1, 3)
    sizes = np.exp(draw.normal(size=(tiles, 1, 1)) + 0.3 * draw.normal(size=(tiles, 4, 3))).reshape(-1, 3)
    return crops + 0.01 * sizes, crops


def test_the_error_of_all_windows_lies_below_that_of_the_sample_and_its_noise() -> None:
    truth = window_errors(*drawn(np.random.default_rng(0), 20_000)).mean()
    below = naive = 0
    for seed in range(200):
        scan, crops = drawn(np.random.default_rng(seed), 16)
        each = window_errors(scan, crops)
        below += truth <= each.mean() + error_noise(scan, crops, [4] * 16, measured=0.0)
        naive += truth <= each.mean() + 2 * each.std(ddof=1) / 8
    assert below >= 0.9 * 200
    assert naive < 0.9 * 200  # takes neighbours for independent, and the spread for known


def test_a_single_tile_shows_nothing_and_all_windows_show_all() -> None:
    scan, crops = drawn(np.random.default_rng(0), 5)
    assert error_noise(scan, crops, [20], measured=0.5) == math.inf
    assert error_noise(scan, crops, [4] * 5, measured=1.0) == 0
    half, none = (error_noise(scan, crops, [4] * 5, measured=m) for m in (0.5, 0.0))
    error = window_errors(scan, crops).mean()
    assert math.log(1 + half / error) == pytest.approx(math.log(1 + none / error) * math.sqrt(0.5))
    assert error_noise(crops, crops, [4] * 5, measured=0.0) == 0


def test_an_agreement_is_at_least_the_end_of_its_score_interval() -> None:
    assert agreement_noise(1.0, windows_for(0.99), measured=0.0) == pytest.approx(0.01)
    assert agreement_noise(0.9, 64, measured=0.0) == pytest.approx(0.9 - 0.7999, abs=1e-4)
    assert agreement_noise(0.9, 64, measured=1.0) == 0
