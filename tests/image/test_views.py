"""The eight views: arrays and regions there and back, against NumPy's own flips and turns."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullfield.errors import GeometryError
from fullfield.image.views import VIEWS, ImageView, check_views, parse_views

NUMPY = {
    "original": lambda a: a,
    "flip-x": np.fliplr,
    "flip-y": np.flipud,
    "turn-90": np.rot90,
    "turn-180": lambda a: np.rot90(a, 2),
    "turn-270": lambda a: np.rot90(a, 3),
    "transpose": np.transpose,
    "transpose-180": lambda a: np.rot90(a, 2).T,
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_numpys_and_back_undoes_it(name: str) -> None:
    pixels, view = np.arange(12).reshape(3, 4), VIEWS[name]
    np.testing.assert_array_equal(view.apply(pixels), NUMPY[name](pixels))
    np.testing.assert_array_equal(view.back(view.apply(pixels)), pixels)
    assert view.size((3, 4)) == view.apply(pixels).shape


def test_the_eight_views_differ() -> None:
    pixels = np.arange(9).reshape(3, 3)
    for one, other in itertools.combinations(VIEWS.values(), 2):
        assert not np.array_equal(one.apply(pixels), other.apply(pixels))


@given(st.sampled_from(list(VIEWS.values())), st.data())
def test_a_region_of_the_view_is_the_view_of_the_region(view: ImageView, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    pixels = np.arange(height * width).reshape(height, width)
    t, b, l, r = view.region((top, bottom, left, right), (height, width))
    np.testing.assert_array_equal(view.apply(pixels)[t:b, l:r], view.apply(pixels[top:bottom, left:right]))
    assert view.region_back((t, b, l, r), (height, width)) == (top, bottom, left, right)


def test_sets_of_views_are_named() -> None:
    assert [view.name for view in parse_views(None)] == ["original"]
    assert [view.name for view in parse_views("turns")] == ["original", "turn-90", "turn-180", "turn-270"]
    assert [view.name for view in parse_views("all")] == list(VIEWS)
    assert [view.name for view in parse_views("flip-x")] == ["flip-x"]


@pytest.mark.parametrize(
    ("views", "says"),
    [
        ("flip", "'flip' is not known\n  fix: did you mean flip"),
        (["original", "sideways"], "'sideways' is not known"),
        (["flip-x", "flip-x"], "names a view twice"),
        ([], "none is given"),
    ],
)
def test_views_that_mean_nothing_are_refused(views: object, says: str) -> None:
    with pytest.raises(GeometryError, match=says):
        parse_views(views)  # type: ignore[arg-type]


def test_quarter_turns_need_square_windows() -> None:
    check_views(parse_views("all"), (24, 24))
    check_views(parse_views("flips"), (24, 32))
    with pytest.raises(GeometryError, match="quarter turns need square windows, the model's are 24x32 px"):
        check_views(parse_views("turns"), (24, 32))
