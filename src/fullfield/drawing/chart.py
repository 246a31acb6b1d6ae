"""Points in a plane, each with its name: cost along x, error along y, both by powers of ten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _PALE, _GRID = (255, 255, 255), (34, 34, 34), (120, 120, 120), (228, 228, 228)
_POINT, _FAINT, _LINE, _CHOSEN = (33, 145, 140), (185, 190, 195), (160, 205, 200), (180, 30, 90)
_GOOD = (240, 248, 243)
_SIZE, _MARGIN = (1200, 760), (110, 120, 60, 90)  # width, height; left, top, right, bottom
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Point:
    """A point and its name; the ``chosen`` one is drawn in another colour."""

    x: float
    y: float
    name: str
    chosen: bool = False


def best(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in both x and y, from left to right.

    Examples:
        >>> [p.name for p in best([Point(1, 3, "a"), Point(2, 4, "b"), Point(3, 1, "c")])]
        ['a', 'c']
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, p.y)):
        if not front or point.y < front[-1].y:
            front.append(point)
    return front


def draw_chart(
    points: Sequence[Point], *, title: str, x_title: str, y_title: str, limit: float | None, floor: float
) -> Image.Image:
    """The points on logarithmic axes, and a line at ``limit``, below which is good.

    Args:
        points: at least one; ``x`` above 0.
        title: above the chart.
        x_title: what x is.
        y_title: what y is.
        limit: of y, if there is one.
        floor: values of y below are drawn here.
    """
    heights = [max(p.y, floor) for p in points] + ([max(limit, floor)] if limit is not None else [])
    plane = _Plane(_around([p.x for p in points]), _around(heights))
    sheet = Image.new("RGB", _SIZE, _PAPER)
    draw = ImageDraw.Draw(sheet)
    _axes(draw, plane, floor)
    if limit is not None:
        _limit(draw, plane, max(limit, floor), f"{limit:g}")
    places = {p: (plane.x(p.x), plane.y(max(p.y, floor))) for p in points}
    front = best(points)
    draw.line([places[p] for p in front], fill=_LINE, width=3)
    taken: list[Box] = [(x - 9, y - 9, x + 9, y + 9) for x, y in places.values()]
    order = sorted(points, key=lambda p: (p.chosen, p in front))
    for point in order:
        x, y = places[point]
        colour, radius = (_CHOSEN, 11) if point.chosen else (_POINT if point in front else _FAINT, 8)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=_PAPER, width=2)
    for point in reversed(order):
        colour = _CHOSEN if point.chosen else _INK if point in front else _PALE
        _name(draw, point.name, places[point], taken, colour)
    left, top, right, bottom = plane.box
    draw.text((left, 28), title, _INK, ImageFont.load_default(26))
    draw.text(((left + right) / 2, bottom + 46), x_title, _INK, ImageFont.load_default(20), anchor="ma")
    draw.text((left, top - 14), y_title, _INK, ImageFont.load_default(20), anchor="lb")
    return sheet


@dataclass(frozen=True)
class _Plane:
    """Where numbers lie on the sheet; ranges in powers of ten."""

    across: tuple[float, float]
    up: tuple[float, float]

    @property
    def box(self) -> Box:
        left, top, right, bottom = _MARGIN
        return left, top, _SIZE[0] - right, _SIZE[1] - bottom

    def x(self, value: float) -> float:
        left, _, right, _ = self.box
        low, high = self.across
        return left + (right - left) * (math.log10(value) - low) / (high - low)

    def y(self, value: float) -> float:
        _, top, _, bottom = self.box
        low, high = self.up
        return bottom - (bottom - top) * (math.log10(value) - low) / (high - low)


def _around(values: Sequence[float]) -> tuple[float, float]:
    """A range in powers of ten round finite values, with some room."""
    powers = [math.log10(v) for v in values if math.isfinite(v)]
    low, high = min(powers, default=0.0), max(powers, default=0.0)
    room = max(0.1 * (high - low), 0.15)
    return low - room, high + room


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two powers of ten: powers of ten if these are enough, else 1, 2 and 5 times them.

    Examples:
        >>> ticks(-2.1, 0.1), ticks(0.2, 1.1)
        ([0.01, 0.1, 1.0], [2.0, 5.0, 10.0])
    """
    powers = range(math.floor(low), math.ceil(high) + 1)
    factors = (1,) if high - low > 1.8 else (1, 2, 5)
    numbers = [float(f"{f}e{p}") for p in powers for f in factors]
    return [n for n in numbers if low <= math.log10(n) <= high]


def _axes(draw: ImageDraw.ImageDraw, plane: _Plane, floor: float) -> None:
    left, top, right, bottom = plane.box
    font = ImageFont.load_default(18)
    for value in ticks(*plane.across):
        x = plane.x(value)
        draw.line((x, top, x, bottom), fill=_GRID)
        draw.text((x, bottom + 12), f"{value:g}", _PALE, font, anchor="ma")
    for value in ticks(*plane.up):
        y = plane.y(value)
        draw.line((left, y, right, y), fill=_GRID)
        less = "≤ " if value <= floor else ""
        draw.text((left - 12, y), f"{less}{value:g}", _PALE, font, anchor="rm")
    draw.line((left, top, left, bottom, right, bottom), fill=_PALE, width=2)


def _limit(draw: ImageDraw.ImageDraw, plane: _Plane, value: float, text: str) -> None:
    left, _, right, bottom = plane.box
    y = plane.y(value)
    draw.rectangle((left + 2, y, right, bottom - 2), fill=_GOOD)
    for x in range(round(left) + 2, round(right), 14):
        draw.line((x, y, x + 7, y), fill=_PALE, width=2)
    draw.text((left + 10, y + 6), f"wished: {text} or less", _PALE, ImageFont.load_default(18))


def _name(
    draw: ImageDraw.ImageDraw, name: str, place: tuple[float, float], taken: list[Box], colour: tuple[int, int, int]
) -> None:
    """A point's name beside it, where nothing else stands; left out where there is no room."""
    font = ImageFont.load_default(18)
    x, y = place
    spots = [(x + dx, y + dy, anchor) for gap in (0, 10, 20) for dx, dy, anchor in _spots(gap)]
    for left, top, anchor in spots:
        box = draw.textbbox((left, top), name, font, anchor=anchor)
        inside = (
            box[0] > _MARGIN[0] and box[2] < _SIZE[0] - 8 and box[1] > _MARGIN[1] and box[3] < _SIZE[1] - _MARGIN[3]
        )
        if inside and not any(_meet(box, other) for other in taken):
            draw.text((left, top), name, colour, font, anchor=anchor)
            taken.append(box)
            return


def _spots(gap: int) -> tuple[tuple[int, int, str], ...]:
    return (
        *((9, -8 - gap, "lb"), (-9, 8 + gap, "rt"), (16, gap, "lm"), (-16, gap, "rm")),
        *((0, -14 - gap, "mb"), (0, 14 + gap, "mt")),
    )


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] + 3 and b[0] < a[2] + 3 and a[1] < b[3] + 1 and b[1] < a[3] + 1
