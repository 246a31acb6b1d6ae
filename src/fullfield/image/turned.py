"""Gives the engine the pixels of a view of an image, so that its windows are the image's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.region import Pair
from fullfield.image.sources import ImageSource
from fullfield.image.views import ImageView
from fullfield.image.windowed import WindowedSource


@dataclass(frozen=True)
class TurnedSource:
    """A view of the part of an image that its windows cover; implements ``engine.protocols.Source``.

    Where the step does not divide the image, some px at its bottom and right are in no window. In a view they would
    come first, and shift every window: they are left out, so that window ``(i, j)`` of the image is a window of each
    view too.

    Args:
        source: the image, with its padding.
        view: of it.
        covered: height and width that windows cover from the top left, px.
    """

    source: WindowedSource
    view: ImageView
    covered: Pair

    @property
    def image(self) -> ImageSource:
        """The whole image, not turned."""
        return self.source.image

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the view, px."""
        return self.source.shape[0], *self.view.size(self.covered)

    @property
    def original_size(self) -> Pair:
        """Height and width of the view, px: it counts as an image of its own."""
        return self.view.size(self.covered)

    @property
    def scanned_size(self) -> Pair:
        """Height and width of the view, px."""
        return self.view.size(self.covered)

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """None: that of the image is part of it."""
        return 0, 0, 0, 0

    @property
    def edge(self) -> str:
        """As of the image."""
        return self.source.edge

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.floating]:
        """Preprocessed pixels ``(c, y, x)`` of a half-open region of the view."""
        region = self.view.region_back((top, bottom, left, right), self.covered)
        return np.ascontiguousarray(self.view.apply(self.source.read(*region)))


ScannedSource = WindowedSource | TurnedSource
"""What a scan reads."""


def turned_source(source: WindowedSource, view: ImageView, *, cells: Pair, window: Pair, step: Pair) -> TurnedSource:
    """The view of an image whose map has so many cells.

    Args:
        cells: rows and columns of the image's map.
        window, step: px (y, x) on the image.
    """
    height, width = ((n - 1) * t + w for n, t, w in zip(cells, step, window, strict=True))
    return TurnedSource(source, view, (height, width))
