"""Legends below a picture: a colour bar for scores, named colours for labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fullfield.drawing.colours import table

_PAPER, _INK = (255, 255, 255), (34, 34, 34)
_MOST_LABELS = 24  # classes named in a legend


def score_legend(
    picture_width: int, *, title: str, note: str, colours: str, limits: tuple[float, float]
) -> Image.Image:
    """A bar of a picture's colours with the least, middle and greatest value.

    It is as wide as the picture, or wider where that is too narrow for a legible bar.
    """
    size = _font_size(picture_width)
    font = ImageFont.load_default(size)
    margin, width = round(0.7 * size), max(picture_width, 18 * size)
    stacked = font.getlength(title) + font.getlength(note) + 4 * margin > width
    lines = [(title, ""), (note, "")] if stacked else [(title, note)]
    leading = round(1.3 * size)
    height = margin + (len(lines) + 1) * leading + size + margin
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    y = margin
    for left, right in lines:
        draw.text((margin, y), _fitted(left, font, width - 2 * margin), _INK, font)
        draw.text((width - margin, y), right, _INK, font, anchor="ra")
        y += leading
    ramp = np.broadcast_to(table(colours), (size, 256, 3))
    sheet.paste(Image.fromarray(np.ascontiguousarray(ramp)).resize((width - 2 * margin, size)), (margin, y))
    y += size + round(0.2 * size)
    low, middle, high = ticks(limits)
    if max(map(font.getlength, (low, high))) + font.getlength(middle) / 2 + margin < width / 2 - margin:
        draw.text((width / 2, y), middle, _INK, font, anchor="ma")
    draw.text((margin, y), low, _INK, font)
    draw.text((width - margin, y), high, _INK, font, anchor="ra")
    return sheet


def label_legend(picture_width: int, labels: Sequence[tuple[str, tuple[int, int, int]]]) -> Image.Image:
    """The names of a picture's labels, each beside a square of its colour; as wide as the picture, or wider.

    Args:
        picture_width: of the picture, px.
        labels: name and colour of each label; of more than 24, the first 24 and the number of the others.
    """
    size = _font_size(picture_width)
    font = ImageFont.load_default(size)
    margin, leading, width = round(0.7 * size), round(1.5 * size), max(picture_width, 18 * size)
    entries = [(name, colour) for name, colour in labels[:_MOST_LABELS]]
    more = len(labels) - len(entries)
    longest = max((font.getlength(" ".join(name.split())) for name, _ in entries), default=0.0)
    column = min(width - 2 * margin, round(longest) + 3 * size)
    columns = max(1, (width - 2 * margin) // column)
    lines = -(-(len(entries) + (more > 0)) // columns)
    sheet = Image.new("RGB", (width, 2 * margin + lines * leading), _PAPER)
    draw = ImageDraw.Draw(sheet)
    places = [(margin + (n % columns) * column, margin + (n // columns) * leading) for n in range(lines * columns)]
    for (name, colour), (x, y) in zip(entries, places, strict=False):
        draw.rectangle((x, y, x + size - 1, y + size - 1), fill=colour)
        draw.text((x + round(1.5 * size), y), _fitted(name, font, column - 2 * size), _INK, font)
    if more:
        draw.text(places[len(entries)], f"and {more} more", _INK, font)
    return sheet


def _font_size(picture_width: int) -> int:
    """Px of the text below a picture."""
    return min(48, max(13, round(picture_width / 45)))


def ticks(limits: tuple[float, float]) -> tuple[str, str, str]:
    """Least, middle and greatest value with as few digits as make them differ, at least 3; if equal, the middle only.

    Examples:
        >>> ticks((0.0, 1.0)), ticks((100.001, 100.003))
        (('0', '0.5', '1'), ('100.001', '100.002', '100.003'))
    """
    low, high = limits
    if low == high:
        return "", f"{low:.3g}", ""
    for digits in range(3, 10):
        texts = tuple(f"{value:.{digits}g}" for value in (low, low + (high - low) / 2, high))
        if len(set(texts)) == 3:
            break
    return texts[0], texts[1], texts[2]


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """The text, shortened to a width in px."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
