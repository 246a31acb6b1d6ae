"""Four cells become one: means of those with scores, the most frequent label."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fullfield.store.halving import halved

DRAW = np.random.default_rng(0)


def means(band: np.ndarray) -> np.ndarray:
    return halved(band, math.nan if band.dtype.kind == "f" else np.iinfo(band.dtype).max, labels=False)


def test_bytes_are_averaged_to_the_nearest_without_those_that_mean_nothing() -> None:
    band = np.array([[0, 1, 255, 255, 7], [1, 1, 255, 254, 255], [255, 9, 255, 255, 255]], np.uint8)
    assert means(band).tolist() == [[1, 254, 7], [9, 255, 255]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_infinite_scores_are_averaged_without_a_warning(dtype: type) -> None:
    band = np.array([[np.inf, 1, np.inf, -np.inf], [2, 3, 0, 0]], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = means(band)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, [[np.inf, np.nan]])


def test_float16_is_averaged_in_float32() -> None:
    band = np.full((2, 2), 65504, np.float16)
    assert means(band) == 65504


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_maps_without_gaps_are_averaged_to_the_same_bits(dtype: type) -> None:
    band = (DRAW.standard_normal((64, 50)) * 10.0 ** DRAW.integers(-4, 5, (64, 50))).astype(dtype)
    band[3, :7] = np.inf
    gap = np.pad(band, ((0, 1), (0, 1)), constant_values=np.nan)  # takes the way of maps with gaps
    np.testing.assert_array_equal(means(band).view(np.uint8), means(gap)[:-1, :-1].copy().view(np.uint8))


def test_of_labels_the_most_frequent_is_taken_and_of_equals_the_first() -> None:
    band = np.array([[3, 5, 1, 2, 255, 9], [5, 3, 2, 2, 255, 255], [255, 255, 4, 5, 6, 7]], np.uint8)
    assert halved(band, 255, labels=True).tolist() == [[3, 2, 9], [255, 4, 6]]


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.sampled_from([0, 1, 2, 255]))
)
def test_labels_are_counted_as_by_hand(band: np.ndarray) -> None:
    found = halved(band, 255, labels=True)
    for i, j in np.ndindex(found.shape):
        four = [label for label in band[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].ravel().tolist() if label != 255]
        assert found[i, j] == (max(four, key=four.count) if four else 255)


def test_the_sign_of_zero_survives() -> None:
    for band in (np.full((2, 2), -0.0), np.full((3, 3), -0.0)):
        assert np.signbit(means(band)[0, 0])
