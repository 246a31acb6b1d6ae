"""Draws a score map over its image.

Cell ``(i, j)`` covers the rectangle one step wide around its window's centre. A pixel that several cells share shows
their mean weighted by area, so that no map is shifted, not even by the half pixel that an even window with an odd step
would shift a picture made of whole cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.pixels import luma

_BAND = 1 << 17  # pixels drawn together: bounds the memory of a picture


@dataclass(frozen=True)
class DrawnCells:
    """The cells of a map, as they are drawn.

    Args:
        placement: where they lie on the picture.
        read: planes ``(n, rows, columns)`` of the rows from the first to before the second; NaN leaves a cell undrawn.
        colour: of planes ``(n, y, x)`` that were spread over pixels, the colours ``(y, x, 3)`` from 0 to 255.
        smooth: interpolate between the centres of cells; otherwise each cell is a rectangle of one colour, and a pixel
            that several cells share shows the mean of their numbers.
    """

    placement: Placement
    read: Callable[[int, int], NDArray[np.floating]]
    colour: Callable[[NDArray[np.float64]], NDArray[Any]]
    smooth: bool = False


def check_same_image(size: tuple[int, int], placement: Placement) -> None:
    """Raises unless an image of ``size`` is the one that was scanned.

    Raises:
        ImageError: it has another size.
    """
    if size != placement.image:
        (height, width), (h, w) = placement.image, size
        raise ImageError(
            "overlay",
            f"the picture is {h}x{w} px, the scores are of an image of {height}x{width} px",
            fix="give the image that was scanned",
        )


def check_alpha(alpha: float) -> None:
    """Raises unless an opacity is in 0..1.

    Raises:
        ImageError: it is not.
    """
    if not 0 <= alpha <= 1:
        raise ImageError("alpha", f"{alpha} is not in 0..1", fix="0 shows the photograph, 1 the map alone")


def blended(
    photo: Iterable[NDArray[np.uint8]], cells: DrawnCells, *, alpha: float = 0.6
) -> Iterator[NDArray[np.uint8]]:
    """The photograph with a map over it: grey under the map, unchanged where no window is centred.

    Shape: strips ``(rows, x, 3)`` -> strips ``(rows, x, 3)`` of no more rows

    Args:
        photo: the original image, 8-bit RGB, from top to bottom.
        cells: of the map.
        alpha: opacity of the map, 0..1.
    """
    index, shares = _weights(cells.placement, 0, cells.smooth)
    across, top = _weights(cells.placement, 1, cells.smooth), 0
    for strip in photo:
        rows = max(1, _BAND // strip.shape[1])
        for start in range(0, len(strip), rows):
            part = strip[start : start + rows]
            band = slice(top, top + len(part))
            yield _compose(part, cells, (index[band], shares[band]), across, alpha=alpha)
            top += len(part)


def _compose(
    photo: NDArray[np.uint8], cells: DrawnCells, down: PixelWeights, across: PixelWeights, *, alpha: float
) -> NDArray[np.uint8]:
    """Some rows of the photograph under the colours of the cells that lie there."""
    index, shares = down
    used = index[shares > 0]
    if not used.size:
        return photo
    first, last = int(used.min()), int(used.max()) + 1
    drawn = [_draw(plane, (index - first, shares), across) for plane in cells.read(first, last)]
    opacity = drawn[0][1][:, :, None]
    painted = cells.colour(np.stack([mean for mean, _ in drawn]))
    under = luma(photo) * (1 - alpha) + np.where(opacity > 0, painted, 0) * alpha
    return np.rint(photo * (1 - opacity) + under * opacity).astype(np.uint8)


PixelWeights = tuple[NDArray[np.intp], NDArray[np.float64]]


def _weights(placement: Placement, axis: int, smooth: bool) -> PixelWeights:
    """For each pixel along an axis, the cells that it shows and their shares, which add up to the part that is covered.

    Shape: ``(pixels, n)`` both
    """
    count, cells, spacing = placement.image[axis], placement.shape[axis], placement.spacing[axis]
    edge = placement.centre(-0.5, -0.5)[axis]
    low = np.round((np.arange(count) - edge) / spacing, 9)  # in cells; rounded so that a whole edge is whole
    high = np.round((np.arange(1, count + 1) - edge) / spacing, 9)
    reach = int(np.ceil(1 / spacing)) + 1
    index: NDArray[np.float64] = np.floor(low)[:, None] + np.arange(reach)
    share = np.minimum(high[:, None], index + 1) - np.maximum(low[:, None], index)
    share = np.where((index >= 0) & (index < cells), share.clip(0) / (high - low)[:, None], 0)
    if smooth:
        index, share = _interpolated((low + high) / 2 - 0.5, cells, share.sum(axis=1))
    return np.clip(index, 0, cells - 1).astype(np.intp), share


def _interpolated(
    place: NDArray[np.float64], cells: int, cover: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Linear shares of the two cells nearest to each place; beyond the outermost centres, of the outermost cells."""
    place = place.clip(0, cells - 1)
    first = np.floor(place)
    part = (place - first)[:, None]
    return first[:, None] + np.arange(2), np.concatenate([1 - part, part], axis=1) * cover[:, None]


def _draw(
    values: NDArray[np.floating], y: PixelWeights, x: PixelWeights
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean value at each pixel, and the part of the pixel that the map covers (0 where a value is NaN)."""
    rows = _mixed(values, *y)
    cover = y[1].sum(axis=1)[:, None] * x[1].sum(axis=1)
    total = _mixed(rows.T, *x).T
    mean = total / np.where(cover > 0, cover, 1)
    return mean, np.where(np.isnan(mean), 0, np.round(cover, 9))


def _mixed(values: NDArray[np.floating], cells: NDArray[np.intp], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over n of ``shares[p, n] * values[cells[p, n]]``; a share of 0 ignores even NaN."""
    out = np.zeros((cells.shape[0], values.shape[1]))
    for index, share in zip(cells.T, shares.T, strict=True):
        used = share > 0
        out[used] += values[index[used]] * share[used, None]
    return out
