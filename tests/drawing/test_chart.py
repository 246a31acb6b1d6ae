"""The chart of settings: what it shows, and where names are written."""

import sys

import numpy as np
import pytest

from fullfield.drawing.chart import ChartPoint, best, check_matplotlib, draw_chart
from fullfield.errors import ImageError


def chart(*points: ChartPoint, limit: float | None = None) -> np.ndarray:
    sheet = draw_chart(points, title="t", x_title="x", y_title="y", limit=limit, floor=1e-6)
    assert sheet.size == (1200, 760)
    return np.asarray(sheet)


def drawn(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((pixels == colour).all(axis=2).sum())


def test_a_chart_needs_no_limit_and_bears_one_point() -> None:
    chart(ChartPoint(1.0, 0.0, "a"))
    assert [p.name for p in best([ChartPoint(1, 1, "a"), ChartPoint(1, 2, "b")])] == ["a"]


def test_the_range_below_the_limit_is_tinted() -> None:
    points = ChartPoint(1.0, 0.1, "a"), ChartPoint(2.0, 0.001, "b")
    tint = (240, 248, 243)
    assert drawn(chart(*points), tint) == 0
    some, more = (drawn(chart(*points, limit=limit), tint) for limit in (0.002, 0.05))
    assert 10_000 < some < more


def test_an_infinite_error_is_left_out() -> None:
    chart(ChartPoint(1.0, float("inf"), "a"), ChartPoint(2.0, 0.1, "b"))


def test_names_that_would_cover_each_other_are_left_out() -> None:
    def ink(count: int) -> int:
        points = [ChartPoint(1.0, 0.1, f"setting {k} with a long name") for k in range(count)]
        return int((chart(*points, ChartPoint(9.0, 0.01, "b"), limit=0.1) < 140).all(axis=2).sum())

    assert ink(4) > ink(1)
    assert ink(60) < 3 * ink(4)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImageError, match=r"needs the package matplotlib\n  fix: pip install 'fullfield\[plot\]'"):
        check_matplotlib()
