"""Maps at other resolutions: registered to the pixel, nothing made up."""

from typing import Any

import numpy as np
import pytest

from fullfield.errors import ImageError
from fullfield.exporters.grid import cells
from fullfield.exporters.labels import labelled
from fullfield.exporters.resample import resampled
from fullfield.geometry.placement import Placement
from tests.exporters.maps import Map, placed, score_map

PLAIN = placed(step=(8, 5), window=(16, 9), scanned=(300, 400), padding=(0, 0, 0, 0))


def ramp(placement: Placement) -> Map:
    made = score_map(1, placement=placement, dtype="float64", holes=False)
    rows, columns = placement.shape
    y = np.array([placement.centre(i, 0)[0] for i in range(rows)])
    x = np.array([placement.centre(0, j)[1] for j in range(columns)])
    made.array[0] = 3 * y[:, None] - 2 * x + 7
    return made


@pytest.mark.parametrize("placement", [PLAIN, placed(), placed(step=(1, 1))])
def test_bilinear_gives_a_linear_ramp_back_at_every_pixel_between_centres(placement: Placement) -> None:
    grid = resampled(cells(ramp(placement)), placement.image, placement.image, "bilinear")
    found = grid.read(0, 300, 0, 400)[0]
    y, x = np.mgrid[:300, :400] + 0.5
    (top, left), (bottom, right) = placement.centre(0, 0), placement.centre(*(n - 1 for n in placement.shape))
    between = (y >= top) & (y <= bottom) & (x >= left) & (x <= right)
    assert between.sum() > 50000
    if min(placement.spacing) >= 1:
        np.testing.assert_allclose(found[between], (3 * y - 2 * x + 7)[between], rtol=0, atol=1e-8)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "lanczos"])
def test_there_is_nothing_beyond_half_a_cell_and_something_up_to_it(method: Any) -> None:
    grid = resampled(cells(ramp(PLAIN)), PLAIN.image, PLAIN.image, method)
    top, left, bottom, right = PLAIN.footprint()
    y, x = np.mgrid[:300, :400] + 0.5
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    np.testing.assert_array_equal(~np.isnan(grid.read(0, 300, 0, 400)[0]), inside)
    np.testing.assert_array_equal(grid.valid(0, 300, 0, 400), inside)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "lanczos"])
def test_all_methods_pass_through_the_scores_at_window_centres(method: Any) -> None:
    place = placed(step=(8, 6), window=(15, 9), scanned=(300, 400), padding=(0, 0, 0, 0))  # centres on pixel centres
    scores = score_map(2, placement=place, dtype="float64", holes=False)
    found = resampled(cells(scores), place.image, place.image, method).read(0, 300, 0, 400)
    np.testing.assert_allclose(found[:, 7:-7:8, 4:-4:6][:, :36, :66], scores.array, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "lanczos"])
@pytest.mark.parametrize("labels", [False, True])
def test_blocks_read_the_same_as_the_whole(method: Any, labels: bool) -> None:
    grid = resampled(cells(score_map()), (300, 400), (170, 333), method, labels=labels)
    whole = grid.read(0, 170, 0, 333)
    edges = [(y, min(y + 37, 170)) for y in range(0, 170, 37)], [(x, min(x + 50, 333)) for x in range(0, 333, 50)]
    parts = np.block([[grid.read(*y, *x) for x in edges[1]] for y in edges[0]])
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["bilinear", "lanczos"])
def test_a_cell_without_a_score_has_no_share_in_its_neighbours(method: Any) -> None:
    scores = score_map(1, placement=PLAIN, holes=False)
    scores.array[:] = 5
    scores.array[0, 10, 12], scores.known[10, 12] = np.nan, False
    found = resampled(cells(scores), PLAIN.image, PLAIN.image, method).read(0, 300, 0, 400)[0]
    np.testing.assert_allclose(found[~np.isnan(found)], 5, atol=1e-6)
    y, x = (int(v) for v in PLAIN.centre(10, 12))
    assert np.isnan(found[y, x])


def test_labels_interpolated_are_the_greatest_of_the_interpolated_scores() -> None:
    scores = score_map(5, placement=PLAIN)
    found = resampled(cells(scores), PLAIN.image, PLAIN.image, "bilinear", labels=True).read(0, 300, 0, 400)[0]
    values = resampled(cells(scores), PLAIN.image, PLAIN.image, "bilinear").read(0, 300, 0, 400)
    known = ~np.isnan(values[0])
    np.testing.assert_array_equal(found[known], values[:, known].argmax(axis=0))
    assert (found[~known] == 255).all()


def test_scaled_integers_are_interpolated_as_what_they_mean() -> None:
    scores = score_map(1, placement=PLAIN, dtype="uint8", holes=False)
    scores.array[:] = 127
    found = resampled(cells(scores), PLAIN.image, PLAIN.image, "bilinear").read(100, 200, 100, 200)
    np.testing.assert_allclose(found, 0.75, atol=1e-6)


def test_labels_are_not_interpolated() -> None:
    with pytest.raises(ImageError, match="no meaning for labels"):
        resampled(labelled(cells(score_map())), (300, 400), (300, 400), "lanczos")
    with pytest.raises(ImageError, match="'cubic' is not known"):
        resampled(cells(score_map()), (300, 400), (300, 400), "cubic")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="below 1 px"):
        resampled(cells(score_map()), (300, 400), (0, 400), "nearest")
