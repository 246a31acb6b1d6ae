"""Draws the scores of a signal over time, a line a class, with matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.drawing.chart import INK, draw_frame, matplotlib_part, new_figure
from fullfield.store.palette import Colour

_INCHES, _DPI = (12.0, 5.0), 100
_DARK = 0.8  # of a colour's brightness: the palette's yellow is pale on white
_POINTS = 60  # of a line, that are marked by dots


@dataclass(frozen=True)
class PlotLine:
    """The scores of a class, the least and the greatest of each group of windows.

    Args:
        name: of the class.
        colour: red, green and blue, 0 to 255.
        low, high: of each group, NaN for none; equal where a group is one window.
    """

    name: str
    colour: Colour
    low: NDArray[np.floating]
    high: NDArray[np.floating]


def draw_lines(
    x: NDArray[np.float64], lines: Sequence[PlotLine], *, title: str, x_title: str, y_title: str, remark: str = ""
) -> Image.Image:
    """The lines over their places, with a legend to the right; a group of windows is a band from its least to greatest.

    Args:
        x: place of each group.
        lines: at least one, of as many groups.
        title: above the plot.
        x_title, y_title: of the axes.
        remark: below the names of the legend.

    Raises:
        ImageError: matplotlib is not installed.
    """
    figure, axes = new_figure(_INCHES, _DPI, pad=0.15)
    dots = {"marker": "o", "markersize": 3} if len(x) <= _POINTS else {}
    for line in lines:
        colour = tuple(_DARK * value / 255 for value in line.colour)
        if not np.array_equal(line.low, line.high, equal_nan=True):
            axes.fill_between(x, line.low, line.high, color=colour, alpha=0.35, linewidth=0)
        axes.plot(x, (line.low + line.high) / 2, color=colour, linewidth=1.5, label=_plain(line.name), **dots)
    axes.margins(x=0.01)
    _style(axes, title=title, x_title=x_title, y_title=y_title)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=11, labelcolor=INK, title=remark)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")


def _plain(name: str) -> str:
    """A name that matplotlib shows as it is: not as a formula, and not hidden for its first letter."""
    return f" {name}".replace("$", r"\$")


def _style(axes: Any, *, title: str, x_title: str, y_title: str) -> None:
    ticker = matplotlib_part("ticker")
    axes.set_title(title, loc="left", fontsize=15, color=INK, pad=12, parse_math=False)
    axes.set_xlabel(x_title, fontsize=12, color=INK)
    axes.set_ylabel(y_title, fontsize=12, color=INK)
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    draw_frame(axes)
