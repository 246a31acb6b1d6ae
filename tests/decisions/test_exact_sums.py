"""Sums without rounding, whatever the order."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullfield.decisions.exact_sums import ExactSums, quotient, units

finite = st.floats(allow_nan=False, allow_infinity=False)


def summed(*parts: list[float]) -> ExactSums:
    sums = ExactSums(1)
    for part in parts:
        sums.add(0, np.array(part, np.float64))
    return sums


@given(st.lists(finite, max_size=40), st.integers(0, 40))
def test_the_sum_is_rounded_once_however_it_is_cut(numbers: list[float], cut: int) -> None:
    whole = sum(map(Fraction, numbers), Fraction(0))
    found = summed(numbers[:cut], numbers[cut:][::-1])
    assert Fraction(found.whole(0), 2**1074) == whole
    try:
        assert found.value(0) == float(whole)
    except OverflowError:
        assert found.value(0) == (math.inf if whole > 0 else -math.inf)


def test_a_plain_sum_would_differ() -> None:
    assert summed([1e16, 1.0, -1e16]).value(0) == 1.0 != sum([1e16, 1.0, -1e16])


def test_many_numbers_are_added_in_pieces() -> None:
    numbers = np.random.default_rng(0).standard_normal(3 * 2**20 + 5) * 1e300
    assert summed(numbers.tolist()).value(0) == math.fsum(numbers)


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [([1.0, np.inf], np.inf), ([-np.inf, 5.0], -np.inf), ([np.inf, -np.inf], np.nan), ([np.nan], np.nan)],
)
def test_infinite_numbers_make_the_sum_infinite_or_nan(numbers: list[float], wanted: float) -> None:
    assert summed(numbers).value(0) == pytest.approx(wanted, nan_ok=True)


def test_a_quotient_of_sums_is_rounded_once_and_nan_over_nothing() -> None:
    assert summed([1.0]).over(0, summed([3.0])) == 1 / 3
    assert math.isnan(summed([1.0]).over(0, summed([])))
    assert quotient(10**400, 1) == math.inf
    assert quotient(-(10**400), 1) == -math.inf


@given(finite)
def test_units_are_those_of_sums(number: float) -> None:
    assert units(number) == summed([number]).whole(0)
