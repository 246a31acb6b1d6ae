"""Gives the engine the pixels that a map's windows cover: all of an image, a region of it, or more than the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import check_choice
from fullfield.errors import GeometryError
from fullfield.geometry.region import Pair, Region
from fullfield.image.region import scanned_region
from fullfield.image.sources import ImageSource

Edge = Literal["valid", "reflect", "replicate", "constant"]


@dataclass(frozen=True)
class WindowedSource:
    """An image with pixels added or taken off on each side; implements ``engine.protocols.Source``.

    Args:
        image: the whole image.
        padding: px added to the scanned image: top, bottom, left, right; less than 0 where px are taken off.
        edge: how pixels beyond the image are made: ``reflect`` mirrors it about its outermost pixels, ``replicate``
            repeats them, ``constant`` gives all of them one value; with ``valid`` there are none.
        value: of every channel where ``edge`` is ``constant``, as a pixel value of the image.
    """

    image: ImageSource
    padding: Region = (0, 0, 0, 0)
    edge: Edge = "valid"
    value: float = 0.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width with the padding, px."""
        channels, height, width = self.image.shape
        top, bottom, left, right = self.padding
        return channels, height + top + bottom, width + left + right

    @property
    def original_size(self) -> Pair:
        """Height and width of the finest level of the whole image, px."""
        return self.image.original_size

    @property
    def scanned_size(self) -> Pair:
        """Height and width of the whole image after resizing and before padding, px."""
        return self.image.scanned_size

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.floating]:
        """Preprocessed pixels ``(c, y, x)`` of a half-open region, counted from the corner of the padded image.

        Raises:
            GeometryError: the region is empty or leaves the padded image.
        """
        _, height, width = self.shape
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise GeometryError(
                f"y {top}:{bottom}, x {left}:{right}",
                f"does not lie in the region of {height}x{width} px",
                fix="ask for pixels of the region only",
            )
        y, x = self.padding[0], self.padding[2]
        if self.edge == "valid":
            return self.image.read(top - y, bottom - y, left - x, right - x)
        _, height, width = self.image.shape
        rows, inside_y = self._indices(top - y, bottom - y, height)
        columns, inside_x = self._indices(left - x, right - x, width)
        block = self.image.read(rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
        if inside_y.all() and inside_x.all():
            return block
        pixels = block[:, (rows - rows.min())[:, None], columns - columns.min()]
        if self.edge == "constant":
            outside = ~(inside_y[:, None] & inside_x)
            pixels[:, outside] = self.image.constant(self.value)[:, None]
        return pixels

    def _indices(self, start: int, stop: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The image's rows (or columns) shown at ``[start, stop)``, and which of these lie inside the image."""
        index = np.arange(start, stop)
        inside = (index >= 0) & (index < size)
        if self.edge == "reflect" and size > 1:
            period = 2 * (size - 1)
            index = np.abs((index + size - 1) % period - (size - 1))
        return np.clip(index, 0, size - 1), inside


def parse_edge(edge: str) -> Edge:
    """How an image is continued beyond its edges, by name.

    Raises:
        GeometryError: an unknown name.
    """
    check_choice("edge", edge, get_args(Edge))
    return edge  # type: ignore[return-value]


def windowed(
    image: ImageSource,
    *,
    window: Pair,
    step: Pair,
    edge: Edge = "valid",
    region: Region | None = None,
    value: float = 0.0,
) -> WindowedSource:
    """The pixels of all windows of an image or region; its ``padding`` is the one of the map's ``Placement``.

    With ``edge="valid"`` windows lie inside the image or region. Otherwise they are centred on its first pixel and
    every step on from there: an even window's centre is a pixel's leading edge, an odd window's is a pixel's centre.
    Windows of a region see the real pixels around it; only pixels beyond the image are made up.

    Args:
        image: the whole image.
        window: px (y, x).
        step: px (y, x).
        edge: how the image is continued beyond its edges.
        region: in px of the image's finest level, as ``region_of`` returns it; all of the image by default.
        value: pixel value beyond the image where ``edge`` is ``constant``.

    Raises:
        GeometryError: ``edge`` is ``valid`` and the region is smaller than a window.
    """
    height, width = image.scanned_size
    if edge == "valid" and region is None:
        return WindowedSource(image)
    top, bottom, left, right = (
        (0, height, 0, width)
        if region is None
        else scanned_region(region, image.original_size, (height, width), inside=edge == "valid")
    )
    if edge == "valid":
        if bottom - top < window[0] or right - left < window[1]:
            raise GeometryError(
                "region",
                f"{bottom - top}x{right - left} px, as scanned, are smaller than the window of "
                f"{window[0]}x{window[1]} px",
                fix="take a larger region, or edge='reflect', which centres windows on the region's pixels",
            )
        return WindowedSource(image, (-top, bottom - height, -left, right - width))
    y = _centred(top, bottom, height, window=window[0], step=step[0], whole=region is None)
    x = _centred(left, right, width, window=window[1], step=step[1], whole=region is None)
    return WindowedSource(image, (*y, *x), edge, value)


def _centred(start: int, stop: int, length: int, *, window: int, step: int, whole: bool) -> Pair:
    """Padding before and after an axis, px, so that windows are centred on ``start`` and every step before ``stop``."""
    count = -(-(stop - start) // step)
    low = window // 2
    after = start + (count - 1) * step + window - low - length
    return low - start, max(0, after) if whole else after
