"""Images continued beyond their edges, so that there is a score at every step of them, corner to corner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError
from fullfield.image.sources import ImageSource

Edge = Literal["valid", "reflect", "replicate", "constant"]


@dataclass(frozen=True)
class PaddedSource:
    """An image source with px added on all sides.

    Args:
        inner: the image.
        edge: ``reflect`` mirrors it about its outermost pixels, ``replicate`` repeats them, ``constant`` is one value.
        padding: px added: top, bottom, left, right.
        value: of every channel where ``edge`` is ``constant``, as a pixel value of the image.
    """

    inner: ImageSource
    edge: Edge
    padding: tuple[int, int, int, int]
    value: float = 0.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width with the padding, px."""
        channels, height, width = self.inner.shape
        top, bottom, left, right = self.padding
        return channels, height + top + bottom, width + left + right

    @property
    def original_size(self) -> tuple[int, int]:
        """Height and width before resizing and padding, px."""
        return self.inner.original_size

    @property
    def scanned_size(self) -> tuple[int, int]:
        """Height and width after resizing, before padding, px."""
        return self.inner.scanned_size

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.floating]:
        """Preprocessed pixels ``(c, y, x)`` of a region of the padded image."""
        _, height, width = self.inner.shape
        rows, inside_y = self._places(top - self.padding[0], bottom - self.padding[0], height)
        columns, inside_x = self._places(left - self.padding[2], right - self.padding[2], width)
        block = self.inner.read(rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
        if inside_y.all() and inside_x.all():
            return block
        pixels = block[:, (rows - rows.min())[:, None], columns - columns.min()]
        if self.edge == "constant":
            outside = ~(inside_y[:, None] & inside_x)
            pixels[:, outside] = self.inner.constant(self.value)[:, None]
        return pixels

    def _places(self, start: int, stop: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The image's rows or columns that stand at ``[start, stop)``, and which of these lie inside it."""
        at = np.arange(start, stop)
        inside = (at >= 0) & (at < size)
        if self.edge == "reflect" and size > 1:
            period = 2 * (size - 1)
            at = np.abs((at + size - 1) % period - (size - 1))
        return np.clip(at, 0, size - 1), inside


def parse_edge(edge: str) -> Edge:
    """The way to continue an image, by its name.

    Raises:
        GeometryError: an unknown name.
    """
    if edge not in get_args(Edge):
        raise GeometryError("edge", f"{edge!r} is not known", fix=f"use one of {', '.join(get_args(Edge))}")
    return edge  # type: ignore[return-value]


def pad_edges(
    source: ImageSource, edge: Edge, window: tuple[int, int], step: tuple[int, int], **options: Any
) -> PaddedSource:
    """The image continued so that its windows are centred on pixel 0, ``step``, ``2*step``, … along each axis.

    The centre of an even window is a pixel's leading edge, that of an odd one a pixel's centre.
    """
    padding: list[int] = []
    for size, length, s in zip(window, source.scanned_size, step, strict=True):
        count = -(-length // s)
        low = size // 2
        padding += [low, max(0, (count - 1) * s + size - low - length)]
    return PaddedSource(source, edge, (padding[0], padding[1], padding[2], padding[3]), **options)
