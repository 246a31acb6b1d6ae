"""Draws a score map over its image.

Cell ``(i, j)`` covers the rectangle one step wide around its window's centre. A pixel that several cells share shows
their mean weighted by area, so that no map is shifted, not even by the half pixel that an even window with an odd step
would shift a picture made of whole cells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.drawing.colours import paint
from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.decode import decode
from fullfield.image.pixels import luma

_BAND = 1 << 20  # pixels drawn together: bounds the memory of a picture


def photograph(image: object) -> NDArray[np.uint8]:
    """Any image as 8-bit RGB: 16-bit values divided by 257, floats 0..1 stretched, many channels averaged to grey.

    Shape: ``(y, x, 3)``
    """
    pixels, _ = decode(image)
    if pixels.shape[2] in (2, 4):
        pixels = pixels[:, :, :-1]
    if pixels.shape[2] not in (1, 3):
        pixels = pixels.mean(axis=2, keepdims=True)
    return np.repeat(_eight_bits(pixels), 3 // pixels.shape[2], axis=2)


def _eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        same: NDArray[np.uint8] = pixels
        return same
    if pixels.dtype == np.uint16:
        return np.rint(pixels / np.float32(257)).astype(np.uint8)
    numbers = np.nan_to_num(pixels.astype(np.float32), posinf=0, neginf=0)
    low, high = float(numbers.min()), float(numbers.max())
    if low >= 0 and high <= 255:
        shown = numbers * (255 if high <= 1 else 1)
    else:
        shown = (numbers - low) * (255 / max(high - low, 1e-30))
    bright: NDArray[np.uint8] = np.rint(shown).astype(np.uint8)
    return bright


def blend(
    photo: NDArray[np.uint8],
    values: NDArray[np.floating],
    placement: Placement,
    *,
    limits: tuple[float, float],
    alpha: float = 0.6,
    colours: str = "viridis",
    smooth: bool = False,
) -> NDArray[np.uint8]:
    """The photograph with the map of one class over it: grey under the map, unchanged where no window is centred.

    Shape: photo ``(y, x, 3)``, values ``(rows, columns)`` -> ``(y, x, 3)``

    Args:
        photo: the original image, 8-bit RGB.
        values: one number a cell; NaN leaves its cell undrawn.
        placement: where the cells lie.
        limits: values of the first and the last colour.
        alpha: opacity of the map, 0..1.
        colours: a name in ``colours.NAMES``.
        smooth: interpolate between the centres of cells; otherwise each cell is a rectangle of one colour.

    Raises:
        ImageError: the photograph is not the size of the image scanned, or ``alpha`` is not in 0..1.
    """
    planes = np.asarray(values)[None]
    return _compose(
        photo, planes, placement, lambda drawn: paint(drawn[0], colours, limits), alpha=alpha, smooth=smooth
    )


def blend_colours(
    photo: NDArray[np.uint8], cells: NDArray[np.floating], placement: Placement, *, alpha: float = 0.6
) -> NDArray[np.uint8]:
    """The same with cells that are coloured already; a pixel that several cells share shows the mean of their colours.

    Shape: photo ``(y, x, 3)``, cells ``(3, rows, columns)`` from 0 to 255, NaN for none -> ``(y, x, 3)``

    Raises:
        ImageError: as ``blend``.
    """
    return _compose(photo, cells, placement, lambda drawn: np.moveaxis(drawn, 0, -1), alpha=alpha, smooth=False)


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


def _compose(
    photo: NDArray[np.uint8],
    planes: NDArray[np.floating],
    placement: Placement,
    colour: Callable[[NDArray[np.float64]], NDArray[Any]],
    *,
    alpha: float,
    smooth: bool,
) -> NDArray[np.uint8]:
    """The photograph under the colours of planes ``(n, rows, columns)`` that are spread over its pixels."""
    check_same_image((photo.shape[0], photo.shape[1]), placement)
    if not 0 <= alpha <= 1:
        raise ImageError("alpha", f"{alpha} is not in 0..1", fix="0 shows the photograph, 1 the map alone")
    (cells, shares), across = (_weights(placement, axis, smooth) for axis in (0, 1))
    out = np.empty_like(photo)
    rows = max(1, _BAND // photo.shape[1])
    for top in range(0, photo.shape[0], rows):
        band = slice(top, top + rows)
        drawn = [_draw(plane, (cells[band], shares[band]), across) for plane in planes]
        opacity = drawn[0][1][:, :, None]
        painted = colour(np.stack([mean for mean, _ in drawn]))
        under = luma(photo[band]) * (1 - alpha) + np.where(opacity > 0, painted, 0) * alpha
        out[band] = np.rint(photo[band] * (1 - opacity) + under * opacity)
    return out


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
