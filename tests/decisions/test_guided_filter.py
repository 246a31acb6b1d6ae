from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fullfield.decisions.guided_filter import GUIDE_LEVELS, guided, window_sums


def slow(guide: NDArray[Any], there: NDArray[Any], plane: NDArray[Any], radius: int, epsilon: float) -> NDArray[Any]:
    """He, Sun & Tang window by window; pixels that are not there count nowhere."""
    channels, rows, columns = guide.shape
    slopes, offsets = np.zeros((channels, rows, columns)), np.zeros((rows, columns))

    def window(y: int, x: int) -> tuple[slice, slice]:
        return slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1)

    for y, x in np.argwhere(there):
        at = window(y, x)
        colours, values = guide[:, *at][:, there[at]], plane[at][there[at]]
        matrix = np.cov(colours, bias=True).reshape(channels, channels) + epsilon * np.eye(channels)
        shared = ((colours - colours.mean(1, keepdims=True)) * (values - values.mean())).mean(1)
        slopes[:, y, x] = np.linalg.solve(matrix, shared)
        offsets[y, x] = values.mean() - slopes[:, y, x] @ colours.mean(1)
    out = np.full((rows, columns), np.nan)
    for y, x in np.argwhere(there):
        at = window(y, x)
        out[y, x] = slopes[:, *at][:, there[at]].mean(1) @ guide[:, y, x] + offsets[at][there[at]].mean()
    return out


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("radius", [1, 3])
def test_it_equals_the_filter_window_by_window(channels: int, holes: bool, radius: int) -> None:
    rng = np.random.default_rng(channels)
    guide = rng.integers(0, GUIDE_LEVELS + 1, (channels, 19, 16))
    there = rng.random((19, 16)) > 0.2 * holes
    planes = rng.random((2, 19, 16))
    halo = 2 * radius
    around = (halo, halo), (halo, halo)
    found = list(
        guided(
            np.pad(guide, ((0, 0), *around)),
            np.pad(there, around),
            (np.pad(plane, around) for plane in planes),
            radius=radius,
            epsilon=0.01,
        )
    )
    for plane, ours in zip(planes, found, strict=True):
        wanted = slow(guide / GUIDE_LEVELS, there, plane, radius, 0.01)
        assert np.abs(ours - wanted)[there].max() < 2e-6  # scores have 20 bits
    assert there.all() is not np.True_ or not holes


def test_grey_that_is_stored_as_colour_is_followed_as_grey_is() -> None:
    rng = np.random.default_rng(0)
    grey, plane = rng.integers(0, GUIDE_LEVELS + 1, (1, 30, 30)), rng.random((30, 30))
    there = np.ones((30, 30), np.bool_)
    one, three = (
        next(guided(guide, there, iter([plane]), radius=4, epsilon=epsilon))
        for guide, epsilon in ((grey, 3e-3 / 3), (np.repeat(grey, 3, 0), 3e-3))
    )  # three equal channels share the slope, so that they are penalised a third as much
    assert np.abs(one - three).max() < 1e-6


def test_a_plane_that_is_linear_in_the_guide_is_unchanged_where_epsilon_is_small() -> None:
    guide = np.random.default_rng(0).integers(0, GUIDE_LEVELS + 1, (1, 40, 40))
    plane = 0.2 + 0.5 * guide[0] / GUIDE_LEVELS
    found = next(guided(guide, np.ones((40, 40), np.bool_), iter([plane]), radius=3, epsilon=1e-6))
    assert np.abs(found - plane[6:-6, 6:-6]).max() < 1e-4


def test_window_sums_equal_the_sums_of_slices() -> None:
    values = np.random.default_rng(0).integers(-(2**40), 2**40, (12, 15))
    found = window_sums(values, 2)
    assert found.shape == (8, 11)
    for y, x in np.ndindex(8, 11):
        assert found[y, x] == values[y : y + 5, x : x + 5].sum()
