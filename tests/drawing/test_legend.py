"""The colour bar below a picture."""

import numpy as np
import pytest
from PIL import Image

from fullfield.drawing.legend import score_legend, ticks
from fullfield.drawing.strips import StripPicture, to_image

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 400, 3), dtype=np.uint8)


def sheet(width: int = 400, title: str = "face", **options: object) -> Image.Image:
    legend = score_legend(width, title=title, note="exact", colours="viridis", **{"limits": (0.0, 1.0), **options})
    return to_image(StripPicture(60, width, lambda: iter([PHOTO[:20, :width], PHOTO[20:, :width]])).above(legend))


@pytest.mark.parametrize("width", [1, 30, 400])
def test_the_picture_stays_pixel_for_pixel_where_it_was(width: int) -> None:
    result = np.asarray(sheet(width))
    np.testing.assert_array_equal(result[:60, :width], PHOTO[:, :width])
    assert (result[:60, width:] == 255).all()
    assert result.shape[1] >= max(width, 200)


def test_the_bar_runs_through_the_map_from_left_to_right() -> None:
    pixels = np.asarray(sheet())[60:].reshape(-1, 3)
    for colour in ((68, 1, 84), (253, 231, 37)):
        assert (abs(pixels.astype(int) - colour).max(axis=1) <= 2).sum() > 5


def test_words_are_drawn_and_a_long_name_makes_room_for_the_note() -> None:
    assert np.asarray(sheet(title="")).tobytes() != np.asarray(sheet()).tobytes()
    assert sheet(title="x" * 200).height > sheet().height
    assert sheet(title="x" * 200).width == 400
    assert sheet(title="two\nlines").height == sheet().height


def test_ticks_tell_close_values_apart_and_of_one_value_there_is_one() -> None:
    assert ticks((0, 1)) == ("0", "0.5", "1")
    assert ticks((-2.3456, 7.89)) == ("-2.35", "2.77", "7.89")
    assert ticks((100.001, 100.003)) == ("100.001", "100.002", "100.003")
    assert ticks((5.0, 5.0)) == ("", "5", "")
    assert len(set(ticks((1.0, 1.0 + 1e-15)))) == 1


@pytest.mark.parametrize("limits", [(5.0, 5.0), (1.00000001, 1.00000003), (-1e-30, 1e30)])
def test_odd_ranges_can_be_drawn(limits: tuple[float, float]) -> None:
    assert sheet(20, limits=limits).height > 60
