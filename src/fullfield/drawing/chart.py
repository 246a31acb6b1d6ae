"""Draws named points on logarithmic axes, cost along x and error along y, with matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from fullfield.packages import import_packages

INK, PALE, GRID = "#222222", "#787878", "#e4e4e4"
_BEST, _OTHER, _LINE, _CHOSEN, _GOOD = "#21918c", "#b9bec3", "#a0cdc8", "#b41e5a", "#f0f8f3"
_INCHES, _DPI = (12.0, 7.6), 100


@dataclass(frozen=True)
class ChartPoint:
    """A point and its name; the ``chosen`` one is drawn in another colour."""

    x: float
    y: float
    name: str
    chosen: bool = False


def best(points: Sequence[ChartPoint]) -> list[ChartPoint]:
    """The points that no other one beats in both x and y, from left to right.

    Examples:
        >>> [p.name for p in best([ChartPoint(1, 3, "a"), ChartPoint(2, 4, "b"), ChartPoint(3, 1, "c")])]
        ['a', 'c']
    """
    front: list[ChartPoint] = []
    for point in sorted(points, key=lambda p: (p.x, p.y)):
        if not front or point.y < front[-1].y:
            front.append(point)
    return front


def draw_chart(
    points: Sequence[ChartPoint], *, title: str, x_title: str, y_title: str, limit: float | None, floor: float
) -> Image.Image:
    """The points, the line through the best of them, and a dashed line at ``limit``, below which is good.

    Args:
        points: at least one; ``x`` above 0.
        title: above the chart.
        x_title, y_title: of the axes.
        limit: of y, if there is one.
        floor: smaller values of y are drawn here.

    Raises:
        ImageError: matplotlib is not installed.
    """
    figure, axes = new_figure(_INCHES, _DPI, pad=0.25)
    heights = [max(p.y, floor) for p in points] + ([] if limit is None else [max(limit, floor)])
    axes.set(xscale="log", yscale="log", xlim=_around([p.x for p in points]), ylim=_around(heights))
    _style(axes, floor, title=title, x_title=x_title, y_title=y_title)
    lines = []
    if limit is not None:
        axes.axhspan(axes.get_ylim()[0], max(limit, floor), color=_GOOD, zorder=0)
        lines.append(axes.axhline(max(limit, floor), color=PALE, linestyle=(0, (4, 4)), linewidth=1.5, zorder=1))
        place, text = axes.get_yaxis_transform(), f"target: {limit:g} or less"
        lines.append(axes.text(0.01, max(limit, floor), text, transform=place, color=PALE, fontsize=11, va="bottom"))
    front = best(points)
    axes.plot([p.x for p in front], [max(p.y, floor) for p in front], color=_LINE, linewidth=2.5, zorder=2)
    colours = [_CHOSEN if p.chosen else _BEST if p in front else _OTHER for p in points]
    sizes = [180 if p.chosen else 100 for p in points]
    where = [p.x for p in points], [max(p.y, floor) for p in points]
    axes.scatter(*where, s=sizes, c=colours, edgecolors="white", linewidths=1.5, zorder=3)
    figure.canvas.draw()  # the layout is known afterwards
    taken = [line.get_window_extent() for line in lines]
    taken += [_box_around(axes.transData.transform((p.x, max(p.y, floor)))) for p in points]
    for point in sorted(points, key=lambda p: (not p.chosen, p not in front)):
        colour = _CHOSEN if point.chosen else INK if point in front else PALE
        _write_name(axes, point, max(point.y, floor), colour, taken)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")


def check_matplotlib() -> None:
    """Raises where charts cannot be drawn, for a check before a long measurement.

    Raises:
        ImageError: matplotlib is not installed.
    """
    matplotlib_part("figure")


def new_figure(inches: tuple[float, float], dpi: int, *, pad: float) -> tuple[Any, Any]:
    """A figure without a window, and its axes.

    Args:
        inches: width and height.
        dpi: px of an inch.
        pad: around the axes, inches.

    Raises:
        ImageError: matplotlib is not installed.
    """
    figure = matplotlib_part("figure").Figure(figsize=inches, dpi=dpi, layout="constrained")
    figure.get_layout_engine().set(w_pad=pad, h_pad=pad)
    matplotlib_part("backends.backend_agg").FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def draw_frame(axes: Any) -> None:
    """Ticks, grid and the two axes in pale colours."""
    axes.tick_params(labelsize=11, colors=PALE, which="both")
    axes.grid(color=GRID, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)


def _style(axes: Any, floor: float, *, title: str, x_title: str, y_title: str) -> None:
    """Titles, grid, and plain numbers at the ticks: powers of ten, or 1, 2 and 5 times these on short axes."""
    ticker = matplotlib_part("ticker")
    axes.set_title(title, loc="left", fontsize=16, color=INK, pad=14)
    axes.set_xlabel(x_title, fontsize=13, color=INK)
    axes.set_ylabel(y_title, fontsize=13, color=INK)
    for axis, ends in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        wide = math.log10(ends[1] / ends[0]) > 1.8
        axis.set_major_locator(ticker.LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=20))
        axis.set_minor_locator(ticker.NullLocator())
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"≤ {v:g}" if v <= floor * 1.001 else f"{v:g}"))
    draw_frame(axes)


def _box_around(place: Any) -> Any:
    """The pixels of a point."""
    x, y = place
    return matplotlib_part("transforms").Bbox.from_extents(x - 8, y - 8, x + 8, y + 8)


def _write_name(axes: Any, point: ChartPoint, y: float, colour: str, taken: list[Any]) -> None:
    """Writes a point's name beside it, where it covers nothing of ``taken``; leaves it out if there is no room."""
    frame = axes.get_window_extent()
    outline = matplotlib_part("patheffects").withStroke(linewidth=3, foreground="white")
    for gap in (0, 10, 20):
        for dx, dy, across, up in (
            (9, 8 + gap, "left", "bottom"),
            (-9, -8 - gap, "right", "top"),
            (14, gap, "left", "center"),
            (-14, gap, "right", "center"),
            (0, 12 + gap, "center", "bottom"),
            (0, -12 - gap, "center", "top"),
        ):
            text = axes.annotate(
                point.name,
                (point.x, y),
                (dx, dy),
                textcoords="offset pixels",
                ha=across,
                va=up,
                color=colour,
                fontsize=12,
                path_effects=[outline],
            )
            box = text.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                return
            text.remove()


def _around(values: Sequence[float]) -> tuple[float, float]:
    """A range around finite values, with some room on a logarithmic axis."""
    powers = [math.log10(v) for v in values if math.isfinite(v)]
    low, high = min(powers, default=0.0), max(powers, default=0.0)
    room = max(0.1 * (high - low), 0.15)
    return 10 ** (low - room), 10 ** (high + room)


def matplotlib_part(part: str) -> Any:
    """A module of matplotlib; pyplot is not used, so that no window system is needed.

    Raises:
        ImageError: matplotlib is not installed.
    """
    return import_packages(f"matplotlib.{part}", extra="plot", where="chart")[0]
