"""The eight views of an image, its flips and quarter turns: applied to arrays and regions, and turned back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError
from fullfield.geometry.region import Pair, Region
from fullfield.text import did_you_mean

N = TypeVar("N", bound=np.generic)


@dataclass(frozen=True)
class ImageView:
    """A flip or quarter turn: the axes are exchanged first, then reversed.

    Args:
        name: as users write it.
        transposed: whether y and x are exchanged.
        flipped: whether y, and whether x is reversed.
    """

    name: str
    transposed: bool = False
    flipped: tuple[bool, bool] = (False, False)

    def size(self, size: Pair) -> Pair:
        """The size of the view of an image, and the size of the image of a view."""
        return (size[1], size[0]) if self.transposed else size

    def apply(self, pixels: NDArray[N]) -> NDArray[N]:
        """The view of an image ``(..., y, x)``, without a copy.

        Examples:
            >>> VIEWS["turn-90"].apply(np.array([[1, 2, 3], [4, 5, 6]]))
            array([[3, 6],
                   [2, 5],
                   [1, 4]])
        """
        return pixels.swapaxes(-1, -2)[self._order] if self.transposed else pixels[self._order]

    def back(self, pixels: NDArray[N]) -> NDArray[N]:
        """The image of a view ``(..., y, x)``, without a copy: the inverse of ``apply``."""
        return pixels[self._order].swapaxes(-1, -2) if self.transposed else pixels[self._order]

    def region(self, region: Region, size: Pair) -> Region:
        """Where a region of an image of some size lies on its view."""
        top, bottom, left, right = region
        turned = (left, right, top, bottom) if self.transposed else region
        return self._flipped(turned, self.size(size))

    def region_back(self, region: Region, size: Pair) -> Region:
        """Where a region of the view lies on the image, which has some size: the inverse of ``region``."""
        top, bottom, left, right = self._flipped(region, self.size(size))
        return (left, right, top, bottom) if self.transposed else (top, bottom, left, right)

    @property
    def _order(self) -> tuple[EllipsisType, slice, slice]:
        y, x = (slice(None, None, -1 if reverse else 1) for reverse in self.flipped)
        return ..., y, x

    def _flipped(self, region: Region, size: Pair) -> Region:
        top, bottom, left, right = region
        if self.flipped[0]:
            top, bottom = size[0] - bottom, size[0] - top
        if self.flipped[1]:
            left, right = size[1] - right, size[1] - left
        return top, bottom, left, right


_ALL = (
    ImageView("original"),
    ImageView("flip-x", False, (False, True)),
    ImageView("flip-y", False, (True, False)),
    ImageView("turn-180", False, (True, True)),
    ImageView("turn-90", True, (True, False)),  # counterclockwise, as np.rot90
    ImageView("turn-270", True, (False, True)),
    ImageView("transpose", True),
    ImageView("transpose-180", True, (True, True)),
)
VIEWS = {view.name: view for view in _ALL}
ORIGINAL = _ALL[0]
_SETS = {
    "flips": ("original", "flip-x", "flip-y", "turn-180"),
    "turns": ("original", "turn-90", "turn-180", "turn-270"),
    "all": tuple(VIEWS),
}
ViewsLike = str | Sequence[str] | None


def parse_views(views: ViewsLike) -> tuple[ImageView, ...]:
    """The views that are named: ``flips``, ``turns`` (four each, the image itself included), ``all`` eight, or a list.

    Raises:
        GeometryError: an unknown name, a view that is named twice, or none.

    Examples:
        >>> [view.name for view in parse_views("flips")]
        ['original', 'flip-x', 'flip-y', 'turn-180']
        >>> [view.name for view in parse_views(["original", "flip-x"])]
        ['original', 'flip-x']
    """
    if views is None:
        return (ORIGINAL,)
    names = _SETS.get(views, (views,)) if isinstance(views, str) else tuple(views)
    for name in names:
        if name not in VIEWS:
            known = [*_SETS, *VIEWS]
            fix = did_you_mean(str(name), known, f"use {', '.join(_SETS)}, or a list of {', '.join(VIEWS)}")
            raise GeometryError("views", f"{name!r} is not known", fix=fix)
    if not names or len(set(names)) < len(names):
        what = f"{', '.join(names)} names a view twice" if names else "none is given"
        raise GeometryError("views", what, fix="name each view once")
    return tuple(VIEWS[name] for name in names)


def check_views(views: Sequence[ImageView], window: Pair) -> None:
    """Passes if the windows of these views are windows of the image.

    Raises:
        GeometryError: quarter turns, and windows that are not square.
    """
    if window[0] != window[1] and any(view.transposed for view in views):
        what = f"quarter turns need square windows, the model's are {window[0]}x{window[1]} px"
        raise GeometryError("views", what, fix='use views="flips"')
