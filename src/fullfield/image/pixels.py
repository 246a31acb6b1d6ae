"""Converts pixels to the channels, value range and type that a network takes, and checks them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.aligned import aligned_empty
from fullfield.errors import ImageError
from fullfield.model.preprocessing import ORDER_CHANNELS, Preprocessing

_ROWS = 256  # rows checked together: bounds the memory of a check
_FEW_CHANNELS = 4  # up to which they are brought side by side one after the other, in a third of the time
_MARGIN = 0.1  # of the value range: sharpened and enlarged images overshoot a little


def match_channels(
    pixels: NDArray[Any], *, order: str, channels: int, where: str, whole: tuple[int, ...] | None = None
) -> NDArray[Any]:
    """The image ``(y, x, c)`` with 1 or ``channels`` channels: opaque alpha is dropped, RGB becomes grey if needed.

    Grey is ITU-R 601-2 luma, in 8 bits equal to Pillow's ``convert("L")``.

    Args:
        pixels: of the image, or of a part of it.
        order: of the network's channels.
        channels: of the network.
        where: the image, for errors.
        whole: shape of the image, of which the pixels are a part.

    Raises:
        ImageError: the channels cannot be converted to those of the network.
    """
    wanted = ORDER_CHANNELS.get(order, channels)
    if wanted != channels:
        raise ImageError(
            "preprocessing",
            f"order {order!r} has {wanted} channels, the network takes {channels}",
            fix="use a preprocessing of order 'any'" + (", or 'grey'" if channels == 1 else ""),
        )
    found = pixels.shape[2]
    if found == channels or (found == 1 and order in ("RGB", "BGR")):
        return pixels
    if found in (2, 4) and (channels == found - 1 or order != "any"):
        _check_opaque(pixels, channels, where)
        return match_channels(pixels[:, :, :-1], order=order, channels=channels, where=where)
    if found == 3 and order == "grey":
        return luma(pixels)
    raise ImageError(
        where, f"has {found} channels, the network takes {channels}", fix=_channels_fix(whole or pixels.shape, channels)
    )


def _channels_fix(shape: tuple[int, ...], channels: int) -> str:
    if shape[0] in {channels, 1, 3, 4} and shape[2] > 4:
        return f"shape {shape} looks like (c, y, x): give np.moveaxis(image, 0, -1)"
    if (shape[2], channels) in {(1, 3), (3, 1)}:
        order = "RGB" if channels == 3 else "grey"
        return f"say its order, which converts grey and colour: preprocessing={{'order': {order!r}}}, --order {order}"
    return f"give an image of {channels} channels (y, x, {channels})"


def _check_opaque(pixels: NDArray[Any], channels: int, where: str) -> None:
    alpha = pixels[:, :, -1]
    full = (np.iinfo(alpha.dtype).max,) if alpha.dtype in (np.uint8, np.uint16) else (1, 255)
    level = alpha.flat[0]
    if level in full and bool((alpha == level).all()):
        return
    found = pixels.shape[2]
    raise ImageError(
        where,
        f"has {found} channels, the last not opaque; the network takes {channels}",
        fix=f"drop transparency yourself: image[:, :, :{found - 1}], or blend it with a background; if the last is no "
        f"opacity, select {channels} bands",
    )


def luma(pixels: NDArray[Any]) -> NDArray[Any]:
    """Grey ``(y, x, 1)`` of RGB ``(y, x, 3)``: 0.299 R + 0.587 G + 0.114 B, in the depth of the image.

    Source: ITU-R BT.601-2; the integers are Pillow's.
    """
    floating = pixels.dtype.kind == "f"
    kind = np.result_type(pixels.dtype, np.float32) if floating else pixels.dtype
    out = np.empty((*pixels.shape[:2], 1), dtype=kind)
    for rows in _row_blocks(pixels):
        block = pixels[rows]
        if pixels.dtype == np.uint8:
            red, green, blue = (block[:, :, i].astype(np.uint32) for i in range(3))
            out[rows, :, 0] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
            continue
        grey = block.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
        out[rows, :, 0] = grey if floating else np.rint(grey)
    return out


def in_network_order(pixels: NDArray[Any], *, order: str, channels: int) -> NDArray[Any]:
    """The channels in the network's order, without a copy: grey is repeated, RGB reversed for BGR."""
    if pixels.shape[2] == 1 and channels > 1:
        return np.broadcast_to(pixels, (*pixels.shape[:2], channels))
    return pixels[:, :, ::-1] if order == "BGR" else pixels


def check_values(
    pixels: NDArray[Any],
    *,
    span: tuple[float, float] | None,
    declared: tuple[float, float] | None = None,
    dtype: np.dtype[Any],
    where: str,
    part: bool = False,
) -> tuple[float, float] | None:
    """Raises an ImageError if pixels are NaN, infinite, or evidently in another range than ``span``.

    8- and 16-bit unsigned integers pass, because their range is known; others are taken to be in ``span`` already,
    unless another range is ``declared``. In a ``part`` of an image only values outside the range are evidence: it may
    just be dark.

    Returns:
        The least and the greatest pixel value; ``None`` of pixels that pass.
    """
    if pixels.dtype in (np.uint8, np.uint16, np.bool_):
        return None
    blocks = [pixels[rows] for rows in _row_blocks(pixels)]
    low = float(np.min([block.min() for block in blocks]))  # NaN if there is one
    high = float(np.max([block.max() for block in blocks]))
    if not math.isfinite(high - low):
        _raise_if_not_finite(pixels, where)
    if max(-low, high) > float(np.finfo(dtype).max):
        raise ImageError(
            where, f"has a pixel of {max(-low, high):g}, beyond {dtype}", fix="bring it to a smaller range"
        )
    if span is not None and declared is None:
        _check_span(low, high, span, where, part=part)
    return low, high


def _raise_if_not_finite(pixels: NDArray[Any], where: str) -> None:
    bad, first = 0, None
    for rows in _row_blocks(pixels):
        wrong = ~np.isfinite(pixels[rows])
        count = int(wrong.sum())
        if count and first is None:
            y, x, c = (int(i) for i in np.argwhere(wrong)[0])
            first = (rows.start + y, x, c)
        bad += count
    if first is None:
        return
    y, x, c = first
    raise ImageError(
        where,
        f"{bad} of {pixels.size} values are NaN or infinite, the first ({pixels[first]}) at y={y}, x={x}, channel {c}",
        fix="replace them: numpy.nan_to_num(image), or crop the image",
    )


def _check_span(low: float, high: float, span: tuple[float, float], where: str, *, part: bool) -> None:
    least, most = span
    values = f"values {low:g}..{high:g}"
    wanted = f"the network was trained on {least:g}..{most:g}"
    if not part and most > 2 and low >= -1 and 0 < high <= 1:
        fix = f"multiply by {most:g}" if low >= 0 else f"give (image + 1) * {most / 2:g}"
        raise ImageError(where, f"{values} look like {0 if low >= 0 else -1}..1, {wanted}", fix=fix)
    margin = _MARGIN * (most - least)
    if low < least - margin or high > most + margin:
        if 2 < high <= 255 and low >= 0 and most <= 1:
            fix = "divide by 255" if least == 0 else "give image / 127.5 - 1"
        elif 255 < high <= 65535 and low >= 0:
            fix = "give 16-bit pixels as image.astype(numpy.uint16)"
        else:
            fix = f"bring the image to {least:g}..{most:g}, or name another preprocessing"
        raise ImageError(where, f"{values} lie outside the range: {wanted}", fix=fix)


def _row_blocks(pixels: NDArray[Any]) -> Iterator[slice]:
    return (slice(top, top + _ROWS) for top in range(0, pixels.shape[0], _ROWS))


def pixel_range(dtype: np.dtype[Any], declared: tuple[float, float] | None) -> tuple[float, float] | None:
    """Pixel values of black and white: those declared, else those of 8 and 16 bits; ``None`` for other types."""
    if declared is not None or dtype not in (np.uint8, np.uint16):
        return declared
    return 0.0, float(np.iinfo(dtype).max)


def network_input(
    pixels: NDArray[Any],
    preprocessing: Preprocessing,
    dtype: np.dtype[Any],
    declared: tuple[float, float] | None = None,
) -> NDArray[Any]:
    """A new array ``(c, y, x)``: ``(value * scale - mean) / std`` of every pixel, value by value in ``dtype``.

    Before that, pixels are brought from their own range (``pixel_range``) to the preprocessing's. No value depends on
    other pixels, so that a region has the same bits as in the whole image. The memory order is ``(y, x, c)``, as in
    images and in channels-last convolutions.
    """
    out = aligned_empty(pixels.shape, dtype)
    one_by_one = pixels.strides[2] != pixels.itemsize and pixels.shape[2] <= _FEW_CHANNELS
    for channel in range(pixels.shape[2]) if one_by_one else (slice(None),):
        out[:, :, channel] = pixels[:, :, channel]
    rows = out.reshape(out.shape[0], -1)  # long rows: broadcasting over three channels is slow
    span, own = preprocessing.value_range, pixel_range(pixels.dtype, declared)
    if span is not None and own is not None:
        factor = (span[1] - span[0]) / (own[1] - own[0])
        _apply(np.subtract, rows, own[0], identity=0)
        _apply(np.multiply, rows, factor, identity=1)
        _apply(np.add, rows, span[0], identity=0)
    _apply(np.multiply, rows, preprocessing.scale, identity=1)
    _apply(np.subtract, rows, *preprocessing.mean, identity=0)
    _apply(np.divide, rows, *preprocessing.std, identity=1)
    return out.transpose(2, 0, 1)


def _apply(operator: np.ufunc, rows: NDArray[Any], *operands: float, identity: int) -> None:
    """Applies an operator in place to rows ``(y, x*c)``, with one operand or one per channel."""
    if all(operand == identity for operand in operands):
        return
    numbers = np.array(operands, rows.dtype)
    operator(rows, numbers if numbers.size == 1 else np.tile(numbers, rows.shape[1] // numbers.size), out=rows)
