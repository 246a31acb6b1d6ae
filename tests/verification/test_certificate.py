"""Certificates: the figures of a comparison of scan and crops, and when it fails."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from fullfield.verification.certificate import Certificate, compare
from fullfield.verification.crops import crops_alone, sample_cells

CELLS = [(0, 0), (0, 4), (3, 1), (5, 4)]
CROPS = np.array([[1.0, 2.0, -3.0], [0.0, 5.0, 1.0], [2.0, 2.5, 1.0], [-1.0, 0.5, 0.0]])


def certified(scan: NDArray[Any], crops: NDArray[Any] = CROPS, **options: Any) -> Certificate:
    return compare(scan, crops, CELLS, **{"mode": "exact", "windows": 30, "dtype": "float64", "seed": 7, **options})


def test_equal_scores_are_exact() -> None:
    found = certified(CROPS.copy())
    assert found.verdict == "EXACT"
    assert found.equal
    assert found.holds
    assert (found.max_difference, found.mean_difference, found.top1_agreement) == (0, 0, 1)
    assert (found.samples, found.windows, found.seed, found.score_range) == (4, 30, 7, 8.0)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-4), ("float16", 1e-2), ("bfloat16", 5e-2)]
)
def test_the_tolerance_is_the_one_promised_for_the_type(dtype: str, tolerance: float) -> None:
    for factor, holds in ((0.9, True), (1.1, False)):
        scan = CROPS.copy()
        scan[2, 1] += factor * tolerance * 8
        found = certified(scan, dtype=dtype)
        assert found.tolerance == tolerance
        assert found.holds is holds


def test_crops_that_differ_alone_and_in_a_batch_are_not_exact_in_any_mode() -> None:
    for factor, holds in ((0.9, True), (1.1, False)):
        lone = {2: CROPS[2] + factor * 1e-9 * 8}
        for scan in (CROPS, np.array([*CROPS[:2], lone[2], CROPS[3]])):
            for mode in ("exact", "context"):
                found = certified(scan, mode=mode, alone=lone)
                assert found.holds is holds
                assert found.batch_difference == pytest.approx(factor * 8e-9)
                assert found.verdict.startswith("NOT EXACT: a crop's scores differ by 1.1e-09 of") is not holds
                assert Certificate.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_scan_is_compared_with_the_crop_alone() -> None:
    found = certified(CROPS, alone={3: CROPS[3] + 4})
    assert (found.worst, found.max_difference, found.worst_scores) == ((5, 4), 4.0, (-1.0, 3.0))


@pytest.mark.parametrize("samples", [1, 2, 15, 16, 17, 33, 64])
def test_of_every_batch_of_crops_the_last_and_a_middle_one_are_run_alone(samples: int) -> None:
    chosen = crops_alone(samples)
    sizes = [min(16, samples - start) for start in range(0, samples, 16)]
    expected = [[] if n == 1 else [0, 1] if n == 2 else [(n - 1) // 2, n - 1] for n in sizes]
    assert chosen == [16 * k + place for k, places in enumerate(expected) for place in places]


def test_the_worst_window_is_named() -> None:
    scan = CROPS.copy()
    scan[1, 2] += 1e-4
    scan[2, 0] -= 4.0
    found = certified(scan)
    assert found.worst == (3, 1)
    assert found.worst_scores == (-2.0, 2.0)
    assert found.max_difference == 4.0
    assert found.relative == 0.5
    assert found.mean_difference == pytest.approx(4.0001 / 12)
    assert found.top1_agreement == 1.0
    assert not found.holds
    assert found.verdict == "NOT EXACT: differs by 0.5 of the scores' range, top class agrees at 100.0% of the windows"


def test_another_top_class_is_counted() -> None:
    scan = CROPS.copy()
    scan[0] = [9.0, 0.0, 0.0]
    assert certified(scan).top1_agreement == 0.75
    assert "75.0%" in certified(scan).verdict


def test_context_promises_nothing_and_says_by_how_much() -> None:
    scan = CROPS + 0.8
    found = certified(scan, mode="context")
    assert found.holds
    assert not found.equal
    assert found.verdict.startswith("CONTEXT: differs by 0.1 of the scores' range")
    assert certified(CROPS, mode="context").verdict == "CONTEXT: equal to the crops on this image"


def test_scores_that_are_no_numbers_must_be_so_on_both_sides() -> None:
    odd = CROPS.copy()
    odd[0, 0], odd[1, 1] = np.nan, np.inf
    assert certified(odd.copy(), odd).verdict == "EXACT"
    for bad in (np.nan, np.inf, -np.inf):
        scan = CROPS.copy()
        scan[3, 2] = bad
        found = certified(scan)
        assert not found.holds
        assert found.worst == (5, 4)
        assert found.max_difference == np.inf
    swapped = odd.copy()
    swapped[1, 1] = -np.inf
    assert not certified(swapped, odd).holds


def test_scores_without_a_range_are_compared_as_they_are() -> None:
    flat = np.full((4, 1), 3.0)
    assert certified(flat, flat).verdict == "EXACT"
    assert certified(flat + 1e-3, flat).relative == pytest.approx(1e-3)
    empty = np.full((4, 1), np.nan)
    assert certified(empty, empty).score_range == 0


def test_figures_are_json_and_text() -> None:
    scan = CROPS.copy()
    scan[2, 0] -= 4.0
    found = certified(scan)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["worst"] == [3, 1]
    assert told["worst_scores"] == [-2.0, 2.0]
    assert told["holds"] is False
    assert told["verdict"] == found.verdict
    assert told["relative"] == 0.5
    for part in ("4 of 30 windows", "float64", "seed 7", "(3, 1)", "100.0%", "NOT EXACT"):
        assert part in str(found)


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(1, 200), st.integers(0, 9))
def test_samples_are_distinct_cells_with_all_corners(shape: tuple[int, int], samples: int, seed: int) -> None:
    cells = sample_cells(shape, samples, seed)
    assert cells == sorted(set(cells))
    corners = {(i, j) for i in (0, shape[0] - 1) for j in (0, shape[1] - 1)}
    assert corners <= set(cells)
    assert all(0 <= i < shape[0] and 0 <= j < shape[1] for i, j in cells)
    assert len(cells) == min(max(samples, len(corners)), shape[0] * shape[1])
    assert cells == sample_cells(shape, samples, seed)


def test_another_seed_draws_others() -> None:
    assert sample_cells((50, 50), 20, 0) != sample_cells((50, 50), 20, 1)


def test_every_cell_can_be_drawn() -> None:
    seen = {cell for seed in range(200) for cell in sample_cells((4, 5), 8, seed)}
    assert len(seen) == 20
