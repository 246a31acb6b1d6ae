"""What emissions of several families do with a strip."""

from __future__ import annotations

import math
from typing import Any

import torch

from fullfield.geometry.strip import Gather, Piece, Slide, Strip, Upsample
from fullfield.operators.emitter import Emitter, Strips

aten = torch.ops.aten


def strided(to: Emitter, value: Any, strips: Strips) -> Any:
    """The cells of a strip that its stride leaves."""
    for dim, s in zip((-2, -1), strips, strict=True):
        if s.slide.stride > 1:
            value = to.call(aten.slice.Tensor, value, dim, 0, s.length, s.slide.stride)
    return value


def cropped(to: Emitter, value: Any, strips: Strips) -> Any:
    """An upsampled strip without the unused cells at both ends."""
    for dim, s in zip((-2, -1), strips, strict=True):
        if isinstance(s.how, Upsample) and any(s.how.crop):
            low, high = s.how.crop
            value = to.call(aten.slice.Tensor, value, dim, low, s.length * s.how.factor - high)
    return value


def gathered(to: Emitter, value: Any, strips: Strips) -> Any:
    """The rows and columns of a strip that its padding repeats."""
    for dim, s in zip((-2, -1), strips, strict=True):
        if isinstance(s.how, Gather) and s.how.index:
            value = to.call(aten.index_select.default, value, dim, to.constant(torch.tensor(s.how.index)))
    return value


def own_padding(
    to: Emitter,
    value: Any,
    strips: Strips,
    kernel: list[int],
    stride: list[int],
    fill: float,
    most: list[int] | None = None,
) -> tuple[Any, list[int]]:
    """A strip before it was padded, and the padding, where the operator itself can pad as much: saves a copy.

    It can where both sides are padded alike, or the high one by less and the stride leaves the rest out.

    Args:
        fill: the number in the operator's padding.
        most: cells that it may pad along y and x; any number if left out.
    """
    sy, sx = strips
    padding, pads = [sy.slide.low, sx.slide.low], [*sx.padding, *sy.padding]
    if not any(pads):
        return value, [0, 0]
    for s, k, hop, limit in zip(strips, kernel, stride, most or padding, strict=True):
        rest = (s.length - s.slide.dilation * (k - 1) - 1) % hop
        if not 0 <= s.slide.low - s.slide.high < hop - rest or s.slide.low > limit:
            return value, [0, 0]
    before = to.unpadded(value, pads, fill)
    return (value, [0, 0]) if before is None else (before, padding)


def sums(to: Emitter, value: Any, strips: Strips, kernel: list[int]) -> Any:
    """Sums over kernels, one axis after the other, the taps of each apart by the strip's dilation."""
    for dim, strip, taps in zip((-2, -1), strips, kernel, strict=True):
        value = sums_along(to, value, dim, strip, taps)
    return value


def sums_along(to: Emitter, value: Any, dim: int, strip: Strip, taps: int) -> Any:
    """Sums over so many cells along one axis (-2 or -1), apart by the strip's dilation.

    Kernels that begin a multiple of some cells apart share the sums of blocks of these.
    """
    stride = strip.slide.stride
    size = math.gcd(taps, stride) if strip.slide.dilation == 1 else 1
    if 1 < size < taps:
        blocks = (strip.length - taps) // stride * (stride // size) + taps // size
        value = _tap_by_tap(to, value, dim, _line(blocks * size, size), size)
        strip, taps = _line(blocks, stride // size), taps // size
    out = strip.length - strip.slide.dilation * (taps - 1)
    few = taps * (out // strip.slide.stride + 1) <= 2 * taps.bit_length() * strip.length
    return (_tap_by_tap if few else _doubled)(to, value, dim, strip, taps)


def _line(length: int, stride: int) -> Strip:
    """So many cells, and how far kernels on them lie apart."""
    return Strip((Piece("interior", 0, length),), Slide(stride=stride))


def _tap_by_tap(to: Emitter, value: Any, dim: int, strip: Strip, taps: int) -> Any:
    """One strided slice a tap."""
    span = strip.length - strip.slide.dilation * (taps - 1)
    starts = [m * strip.slide.dilation for m in range(taps)]
    return added(to, [to.call(aten.slice.Tensor, value, dim, s, s + span, strip.slide.stride) for s in starts])


def _doubled(to: Emitter, value: Any, dim: int, strip: Strip, taps: int) -> Any:
    """Sums of 1, 2, 4, … taps, and of these the ones that make up ``taps``: log2(taps) additions a cell."""
    out = strip.length - strip.slide.dilation * (taps - 1)
    parts, offset, size, length = [], 0, 1, strip.length
    while size <= taps:
        if taps & size:
            parts.append(to.call(aten.slice.Tensor, value, dim, offset, offset + out))
            offset += size * strip.slide.dilation
        shift = size * strip.slide.dilation
        size, length = size * 2, length - shift
        if size <= taps:
            head = to.call(aten.slice.Tensor, value, dim, 0, length)
            value = to.call(aten.add.Tensor, head, to.call(aten.slice.Tensor, value, dim, shift, shift + length))
    total = added(to, parts)
    return total if strip.slide.stride == 1 else to.call(aten.slice.Tensor, total, dim, 0, out, strip.slide.stride)


def added(to: Emitter, parts: list[Any]) -> Any:
    """The sum of all parts in pairs: its rounding grows with the logarithm of their number."""
    if len(parts) == 1:
        return parts[0]
    middle = (len(parts) + 1) // 2
    return to.call(aten.add.Tensor, added(to, parts[:middle]), added(to, parts[middle:]))
