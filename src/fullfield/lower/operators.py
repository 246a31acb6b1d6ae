"""How a windowed operator runs on a strip: without padding of its own, with the strip's stride and dilation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from fullfield.geometry.strip import Gather, Slide, Strip, Upsample
from fullfield.graph.calls import bind
from fullfield.layers import custom_operators as operators
from fullfield.layers.fft_cost import ConvShape, fft_is_faster
from fullfield.lower.assemble import Assembler

aten = torch.ops.aten
_NATIVE = 64  # taps up to which torch's pool, which adds all of them for every cell, beats sums along the axes
Strips = tuple[Strip, Strip]
Emit = Callable[[Assembler, Node, Node, Strips, "Callable[[Any], Any]"], Node]


def fill(node: Node) -> float:
    """What the operator's padding holds."""
    if node.target is aten.max_pool2d.default:
        return -math.inf
    if node.target is aten.constant_pad_nd.default:
        return float(bind(node)["value"])
    return 0.0


def _conv(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    args = bind(node)
    _, _, *kernel = node.meta["kernel"]
    # One cell has no stride; oneDNN's bfloat16 kernels for AMX get it wrong there (pytorch/pytorch#169688).
    single = [s.length == 1 + s.slide.dilation * (k - 1) for s, k in zip(strips, kernel, strict=True)]
    stride = [1 if one else s.slide.stride for s, one in zip(strips, single, strict=True)]
    dilation = [s.slide.dilation for s in strips]
    weight, bias = const(args["weight"]), const(args["bias"])
    if to.fft and stride == [1, 1] and _by_fft(node, strips, args["groups"]):
        return to.call(operators.fft_conv2d, strip, weight, bias, [0, 0], dilation, args["groups"])
    strip, padding = _own_padding(to, strip, strips, kernel, stride, 0.0)
    return to.call(aten.conv2d.default, strip, weight, bias, stride, padding, dilation, args["groups"])


def _own_padding(
    to: Assembler,
    strip: Node,
    strips: Strips,
    kernel: list[int],
    stride: list[int],
    value: float,
    most: list[int] | None = None,
) -> tuple[Node, list[int]]:
    """A strip as it was before it was padded, and the padding, where the operator can pad it itself: without a copy.

    That is as much on both sides, or less on the far one where the stride leaves the rest out.

    Args:
        value: with which the operator pads.
        most: cells that it may pad along y and x; any number if left out.
    """
    sy, sx = strips
    padding, pads = [sy.slide.low, sx.slide.low], [*sx.padding, *sy.padding]
    if not any(pads) or strip.target is not aten.constant_pad_nd.default or list(strip.args[1:]) != [pads, value]:
        return strip, [0, 0]
    before: Any = strip.args[0]
    for s, k, hop, limit in zip(strips, kernel, stride, most or padding, strict=True):
        rest = (s.length - s.slide.dilation * (k - 1) - 1) % hop
        if not 0 <= s.slide.low - s.slide.high < hop - rest or s.slide.low > limit:
            return strip, [0, 0]
    to.graph.erase_node(strip)
    return before, padding


def _by_fft(node: Node, strips: Strips, groups: int) -> bool:
    """Whether transforms should be faster on a strip of one map; where windows are apart, maps are small."""
    kernels, inputs, *kernel = node.meta["kernel"]
    size, dilation = [s.length for s in strips], [s.slide.dilation for s in strips]
    layer = ConvShape.of(
        1, (inputs * groups, kernels), groups, (size[0], size[1]), (kernel[0], kernel[1]), (dilation[0], dilation[1])
    )
    return fft_is_faster(layer, cached=True)  # the engine keeps spectra from tile to tile


def _max_pool(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    stride, dilation = [s.slide.stride for s in strips], [s.slide.dilation for s in strips]
    kernel = bind(node)["kernel_size"]
    strip, padding = _own_padding(to, strip, strips, kernel, stride, -math.inf, [k // 2 for k in kernel])
    return to.call(aten.max_pool2d.default, strip, kernel, stride, padding, dilation, False)


def _average_pool(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    args = bind(node)
    kernel = args["kernel_size"]
    divisor = args["divisor_override"]
    counts = [s.valid_taps(k, padding=args["count_include_pad"]) for s, k in zip(strips, kernel, strict=True)]
    even = divides_evenly(node, strips)
    if even and all(s.slide.dilation == 1 for s in strips) and math.prod(kernel) <= _NATIVE:
        stride = [s.slide.stride for s in strips]
        return to.call(aten.avg_pool2d.default, strip, kernel, stride, [0, 0], False, True, divisor)
    total = _sums(to, strip, strips, kernel)
    if even:
        return to.call(aten.div.Tensor, total, divisor or math.prod(kernel))
    for dim, count in zip((-2, -1), counts, strict=True):
        total = _divide(to, total, count, dim)
    return total


def divides_evenly(node: Node, strips: Strips) -> bool:
    """Whether all cells of the operator's result are made alike: an average pool's divisor may differ at an edge."""
    if node.target is not aten.avg_pool2d.default:
        return True
    args = bind(node)
    kernel, padding = args["kernel_size"], args["count_include_pad"]
    full = all(set(s.valid_taps(k, padding=padding)) == {k} for s, k in zip(strips, kernel, strict=True))
    return full or args["divisor_override"] is not None


def _divide(to: Assembler, value: Node, counts: tuple[int, ...], dim: int) -> Node:
    """``value`` over one count a row (``dim`` -2) or column (-1)."""
    if len(set(counts)) == 1:
        return to.call(aten.div.Tensor, value, counts[0])
    shape = [-1, 1] if dim == -2 else [-1]
    divisors = to.constant(torch.tensor(counts).reshape(shape))
    return to.call(aten.div.Tensor, value, divisors)


def _sums(to: Assembler, value: Node, strips: Strips, kernel: list[int]) -> Node:
    """Sums over windows, one axis after the other, the taps of each spread by the strip's dilation."""
    for dim, strip, taps in zip((-2, -1), strips, kernel, strict=True):
        out = strip.length - strip.slide.dilation * (taps - 1)
        few = taps * (out // strip.slide.stride + 1) <= 2 * taps.bit_length() * strip.length
        value = (_tap_by_tap if few else _doubled)(to, value, dim, strip, taps)
    return value


def _tap_by_tap(to: Assembler, value: Node, dim: int, strip: Strip, taps: int) -> Node:
    """One strided slice a tap."""
    span = strip.length - strip.slide.dilation * (taps - 1)
    starts = [m * strip.slide.dilation for m in range(taps)]
    parts = [to.call(aten.slice.Tensor, value, dim, s, s + span, strip.slide.stride) for s in starts]
    return _add(to, parts)


def _doubled(to: Assembler, value: Node, dim: int, strip: Strip, taps: int) -> Node:
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
    total = _add(to, parts)
    return total if strip.slide.stride == 1 else to.call(aten.slice.Tensor, total, dim, 0, out, strip.slide.stride)


def _add(to: Assembler, parts: list[Node]) -> Node:
    total = parts[0]
    for part in parts[1:]:
        total = to.call(aten.add.Tensor, total, part)
    return total


def _pad(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    return strip


def _edges(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    """Padding by the map's own cells, as a choice of rows and columns."""
    for dim, s in zip((-2, -1), strips, strict=True):
        if isinstance(s.how, Gather) and s.how.index:
            strip = to.call(aten.index_select.default, strip, dim, to.constant(torch.tensor(s.how.index)))
    return strip


def _sliding_pool(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    """One axis after the other over all of the strip; then the cells whose kernels were moved inside the map."""
    args = bind(node)
    kernel = args["kernel_size"]
    dilation = [s.how.dilation if isinstance(s.how, Gather) else s.slide.dilation for s in strips]
    if not args["largest"]:
        sy, sx = (Strip(s.pieces, Slide(dilation=d)) for s, d in zip(strips, dilation, strict=True))
        total = _sums(to, strip, (sy, sx), kernel)
        return _edges(to, node, to.call(aten.div.Tensor, total, math.prod(kernel)), strips, const)
    (ky, kx), (dy, dx) = kernel, dilation
    strip = to.call(aten.max_pool2d.default, strip, [ky, 1], [1, 1], [0, 0], [dy, 1], False)
    strip = to.call(aten.max_pool2d.default, strip, [1, kx], [1, 1], [0, 0], [1, dx], False)
    return _edges(to, node, strip, strips, const)


def _slice(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    return thinned(to, strip, strips)


def thinned(to: Assembler, value: Node, strips: Strips) -> Node:
    """The cells of a strip that its stride leaves: a head has fewer of them than a branch that meets it."""
    for dim, s in zip((-2, -1), strips, strict=True):
        if s.slide.stride > 1:
            value = to.call(aten.slice.Tensor, value, dim, 0, s.length, s.slide.stride)
    return value


def _neighbourhood(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    """Shape: ``(windows, channels, y, x)`` -> ``(windows, channels, ky, kx, y', x')``"""
    for s, k in zip(strips, bind(node)["kernel_size"], strict=True):
        size = s.slide.dilation * (k - 1) + 1
        strip = to.call(aten.unfold.default, strip, 2, size, s.slide.stride)
        if s.slide.dilation > 1:
            strip = to.call(aten.slice.Tensor, strip, -1, 0, size, s.slide.dilation)
        strip = to.call(aten.transpose.int, strip, 2, 3)  # rows done, columns next; then back
    return to.call(aten.permute.default, strip, [0, 1, 4, 5, 2, 3])


def _upsample(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    for dim, s in zip((-2, -1), strips, strict=True):
        if s.factor > 1:
            strip = to.call(aten.repeat_interleave.self_int, strip, s.factor, dim)
    return _cropped(to, strip, strips)


def _pixel_shuffle(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    return _cropped(to, to.call(aten.pixel_shuffle.default, strip, strips[0].factor), strips)


def _depth_to_space(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    fy, fx = (s.factor for s in strips)
    apart = to.call(aten.unflatten.int, strip, 1, [-1, fy, fx])
    moved = to.call(aten.permute.default, apart, [0, 1, 4, 2, 5, 3])
    rows = to.call(aten.flatten.using_ints, to.call(aten.flatten.using_ints, moved, 4, 5), 2, 3)
    return _cropped(to, rows, strips)


def _cropped(to: Assembler, value: Node, strips: Strips) -> Node:
    """An upsampled strip without the unused cells at both ends."""
    for dim, s in zip((-2, -1), strips, strict=True):
        if isinstance(s.how, Upsample) and any(s.how.crop):
            low, high = s.how.crop
            value = to.call(aten.slice.Tensor, value, dim, low, s.length * s.how.factor - high)
    return value


EMIT: dict[Any, Emit] = {
    aten.conv2d.default: _conv,
    aten.max_pool2d.default: _max_pool,
    aten.avg_pool2d.default: _average_pool,
    aten.constant_pad_nd.default: _pad,
    aten.pad.default: _edges,
    aten.slice.Tensor: _slice,
    aten.upsample_nearest2d.vec: _upsample,
    aten.pixel_shuffle.default: _pixel_shuffle,
    operators.depth_to_space.default: _depth_to_space,
    operators.neighbourhood.default: _neighbourhood,
    operators.sliding_pool.default: _sliding_pool,
}
