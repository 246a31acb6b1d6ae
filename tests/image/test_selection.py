"""Selecting level, resolution, bands, series, plane and time of a file."""

import pytest

from fullfield.errors import ImageError
from fullfield.image.selection import Selection, finer_level, select_bands, select_index, select_level


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"level": 0, "mpp": 1.0}, "level 0 and 1 µm/px exclude each other"),
        ({"mpp": 0.0}, "0 µm/px is not a positive number"),
        ({"mpp": float("nan")}, "nan µm/px"),
        ({"bands": ()}, "none is selected"),
        ({"bands": (0, -1)}, r"bands\[1\]: -1 is below 0"),
        ({"z": -2}, "z: -2 is below 0"),
    ],
)
def test_what_cannot_be_wanted_is_refused(wanted: dict[str, object], text: str) -> None:
    with pytest.raises(ImageError, match=text):
        Selection(**wanted)  # type: ignore[arg-type]


def test_an_index_or_band_that_is_not_there_names_what_is() -> None:
    with pytest.raises(ImageError, match=r"a\.tif: z 3 does not exist, there are 3\n  fix: give 0\.\.2"):
        select_index(3, 3, what="z", where="a.tif")
    with pytest.raises(ImageError, match=r"a\.tif: band 4 does not exist, there are 3"):
        select_bands((0, 4), 3, where="a.tif")


def test_a_resolution_takes_the_nearest_finer_level_or_the_finest() -> None:
    assert [finer_level((0.25, 1.0, 4.0), wanted) for wanted in (0.1, 0.25, 0.99, 1.0, 3.9, 100)] == [0, 0, 0, 1, 1, 2]


def test_a_resolution_of_a_file_that_says_none_is_refused() -> None:
    with pytest.raises(ImageError, match=r"does not state its resolution\n  fix: .*--level"):
        select_level(Selection(mpp=0.5), 3, None, where="a.tif")
