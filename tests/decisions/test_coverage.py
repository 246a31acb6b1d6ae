"""Weights of windows against a count of every pixel's windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullfield.api.scores import Scores
from fullfield.decisions.coverage import Coverage
from fullfield.decisions.selected import select
from fullfield.geometry.placement import Placement
from tests.decisions.brute_force import weights as brute_weights


def coverage(place: Placement, scored: np.ndarray) -> Coverage:
    array = np.where(scored, 1.0, np.nan)[None]
    return Coverage(place, select(Scores.from_array(array, place).map))


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    axes = [(draw(st.integers(1, 7)), draw(st.integers(1, 15)), draw(st.integers(1, 12))) for _ in range(2)]
    sizes = [(n - 1) * step + window for step, window, n in axes]
    before, after = ([draw(st.integers(-3, window - 1)) for _, window, _ in axes] for _ in range(2))
    scanned = [size - low - high for size, low, high in zip(sizes, before, after, strict=True)]
    step, window = ((axes[0][k], axes[1][k]) for k in (0, 1))
    padding = (before[0], after[0], before[1], after[1])
    if min(scanned) < 1:
        scanned, padding = sizes, (0, 0, 0, 0)
    size = scanned[0], scanned[1]
    return Placement(step, window, size, size, padding)


@settings(deadline=None)
@given(placements(), st.integers(0, 2**32), st.floats(0, 1))
def test_weights_are_sums_over_pixels_of_one_over_their_windows(place: Placement, seed: int, share: float) -> None:
    scored = np.random.default_rng(seed).random(place.shape) <= share
    scored.flat[seed % scored.size] = True
    found, (wanted, covered) = coverage(place, scored), brute_weights(place, scored)
    rows, columns = place.shape
    whole = found.weights((0, rows, 0, columns))
    assert np.allclose(whole[scored], wanted[scored], rtol=1e-9, atol=1e-9)
    assert found.covered_pixels() == covered
    assert found.effective() == max(1, covered / (place.window[0] * place.window[1])) <= max(1, scored.sum())


@settings(deadline=None)
@given(placements(), st.integers(0, 2**32), st.booleans())
def test_a_block_has_the_bits_of_the_whole(place: Placement, seed: int, full: bool) -> None:
    rng = np.random.default_rng(seed)
    scored = np.ones(place.shape, np.bool_) if full else rng.random(place.shape) < 0.7
    scored.flat[0] = True
    found, (rows, columns) = coverage(place, scored), place.shape
    whole = found.weights((0, rows, 0, columns))
    top, left = rng.integers(rows), rng.integers(columns)
    bottom, right = rng.integers(top, rows) + 1, rng.integers(left, columns) + 1
    part = found.weights((top, bottom, left, right))
    assert np.array_equal(
        part[scored[top:bottom, left:right]], whole[top:bottom, left:right][scored[top:bottom, left:right]]
    )
    scaled = np.ldexp(whole[scored], found.unit_bits)
    assert np.array_equal(scaled, np.rint(scaled))
    assert scaled.max() < 2**53


def test_the_weights_of_a_large_masked_map_add_up_to_its_covered_pixels() -> None:
    place = Placement((5, 4), (31, 18), (6026, 4814), (6026, 4814))  # 1200x1200 cells: several blocks
    y, x = np.indices(place.shape)
    scored = (y - 600) ** 2 + (x - 500) ** 2 < 480**2
    found = coverage(place, scored)
    rows, columns = place.shape
    total = sum(
        float(found.weights((i, i + 200, j, j + 300))[scored[i : i + 200, j : j + 300]].sum())
        for i in range(0, rows, 200)
        for j in range(0, columns, 300)
    )
    assert total == pytest.approx(found.covered_pixels(), rel=1e-9)


def test_inside_a_full_map_every_window_weighs_a_step_and_the_corner_more() -> None:
    place = Placement((32, 32), (224, 224), (2240, 2240), (2240, 2240))
    found = coverage(place, np.ones(place.shape, np.bool_)).weights((0, *place.shape[:1], 0, place.shape[1]))
    assert found[30, 30] == pytest.approx(1024)
    assert found[0, 0] == pytest.approx((32 * sum(1 / n for n in range(1, 8))) ** 2)


def test_the_effective_number_is_that_of_means_of_independent_pixels_up_to_the_edges() -> None:
    """1 / sum(p p r) of the weights p and the windows' common shares r, by brute force."""
    place = Placement((8, 8), (24, 24), (320, 320), (320, 320))
    found = coverage(place, np.ones(place.shape, np.bool_))
    rows, columns = place.shape
    weight = found.weights((0, rows, 0, columns))
    total = np.zeros(place.scanned)
    for i, j in np.ndindex(rows, columns):
        total[8 * i : 8 * i + 24, 8 * j : 8 * j + 24] += weight[i, j]
    by_hand = weight.sum() ** 2 * 24 * 24 / (total**2).sum()
    assert by_hand <= found.effective() == pytest.approx(320 * 320 / (24 * 24))
    assert by_hand == pytest.approx(found.effective(), rel=0.1)


def test_weights_of_windows_inside_of_a_mask_are_those_that_sums_give() -> None:
    place = Placement((5, 4), (31, 18), (3026, 2414), (3026, 2414))
    y, x = np.indices(place.shape)
    scored = (y - 300) ** 2 + (x - 300) ** 2 < 280**2
    blocks = [(i, i + 50, j, j + 50) for i in range(0, 600, 50) for j in range(0, 600, 50)]
    short = coverage(place, scored)
    assert short._inside[0].sum() > 500
    plain = [block for block in blocks if np.ptp(short.weights(block)) == 0]
    assert len(plain) > 50
    summed = coverage(place, scored)
    summed.__dict__["_inside"] = (np.zeros(600, np.bool_), np.zeros(600, np.bool_))
    for top, bottom, left, right in blocks:
        known = scored[top:bottom, left:right]
        found, wanted = short.weights((top, bottom, left, right)), summed.weights((top, bottom, left, right))
        assert np.array_equal(found[known], wanted[known])
