"""Convolutions: kept as they are, with ``same`` padding as numbers; along channels they become per-cell operators.

Transposed ones become convolutions whose channels are the positions within blocks of cells.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from fullfield.canonical.channel_rows import channel_rows, convolve_rows
from fullfield.canonical.context import Context
from fullfield.canonical.layout import BATCH, CHANNEL
from fullfield.canonical.orientation import on_map
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.rules.resampling import emit_blocks
from fullfield.canonical.values import Const, Mapped
from fullfield.graph.shapes import PROBE_BATCH

aten = torch.ops.aten


def convolve(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``conv2d`` on the canonical map; ``conv1d`` as one with a kernel of one row or column.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, k, y', x')``; ``(n, c, x)`` -> ``(n, k, x')``
    """
    x, weight = context.value(args["input"]), context.value(args["weight"])
    if not isinstance(x, Mapped) or not isinstance(weight, Const):
        return Refusal("has a kernel that depends on the image")
    rows = channel_rows(context, x)
    if rows is not None:
        return convolve_rows(context, rows, args, weight)
    found = on_map(x, "convolves")
    if isinstance(found, Refusal):
        return found
    x, axes = found
    weight, bias = axes.kernel(context, weight), context.value(args["bias"])
    stride, dilation = axes.numbers(args["stride"], 1), axes.numbers(args["dilation"], 1)
    padding = args["padding"]
    if isinstance(padding, str):
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, weight.shape[2:], strict=True)]
        low, high = [t // 2 for t in total], [t - t // 2 for t in total]
        if low != high:
            x = _padded(context, x, low, high)
            low = [0, 0]
        padding = low
    else:
        padding = axes.numbers(padding, 0)
    operands = [x, weight, bias, stride, padding, dilation, args["groups"]]
    if x.layout.sliding_cells and any(k != 1 for k in weight.shape[2:]):
        return Refusal("reads neighbours of the one value of a window")
    result = context.emit(aten.conv2d.default, operands, kind="windowed")
    return Mapped(result, replace(axes.layout(context.shape), sliding_cells=x.layout.sliding_cells))


def _padded(context: Context, x: Mapped, low: list[int], high: list[int]) -> Mapped:
    """The map with the rows and columns that an uneven ``same`` padding adds."""
    pads = [low[1], high[1], low[0], high[0]]
    node = context.emit(aten.constant_pad_nd.default, [x, pads, 0.0], kind="windowed")
    cells = x.layout.height + low[0] + high[0], x.layout.width + low[1] + high[1]
    return Mapped(node, x.layout.with_cells(*cells))


def convolve_line(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``conv1d`` along an axis of the map, or along channels."""
    x = context.value(args["input"])
    along_channels = isinstance(x, Mapped) and len(x.layout.dims) == 3 and x.layout.channel_index(2) is not None
    return (convolve_channels if along_channels else convolve)(context, args)


def convolve_channels(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``conv1d`` along a channel dimension (efficient channel attention), cell by cell.

    Exact: yes
    Shape: ``(n, i, c)`` at every cell -> ``(n, o, c')``; canonical ``(n, i, c, y, x)`` -> ``(n, o, c', y, x)``
    """
    x, weight = context.value(args["input"]), context.value(args["weight"])
    if not isinstance(x, Mapped) or not isinstance(weight, Const):
        return Refusal("has a kernel that depends on the image")
    dims = (BATCH, CHANNEL, CHANNEL)
    sizes = x.layout.shape(PROBE_BATCH)[1:]
    if math.prod(sizes) != math.prod(x.layout.channels):
        return Refusal("has positions of the window as its channels")
    lines = context.to_channels(x, replace(x.layout, dims=dims, channels=sizes), range(len(x.layout.channels)))
    shape = [*weight.shape, 1, 1]
    kernel = context.weight(weight, shape, range(5), shape)
    padding = args["padding"]
    if isinstance(padding, str):
        total = args["dilation"][0] * (weight.shape[2] - 1) if padding == "same" else 0
        if total % 2:
            return Refusal("pads channels unevenly")
        padding = [total // 2]
    options = [[args["stride"][0], 1, 1], [padding[0], 0, 0], [args["dilation"][0], 1, 1], args["groups"]]
    operands = [lines, kernel, context.value(args["bias"]), *options]
    result = context.emit(aten.conv3d.default, operands, kind="per_cell")
    return Mapped(result, lines.layout.with_channels(context.shape[1:]))


def transposed(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """A transposed convolution: one flipped kernel for each position in a block of ``stride`` cells.

    All positions of a block read the same cells, as many as the kernel spans blocks. The kernels' results are channels
    first, then moved to their positions; what the padding removes is cropped.

    Exact: yes, other summation order
    Shape: ``(n, c, y, x)`` -> ``(n, k, y', x')``; ``(n, c, x)`` -> ``(n, k, x')``
    Source: Shi et al. 2016 (arXiv 1609.07009), section 3
    """
    x, weight = context.value(args["input"]), context.value(args["weight"])
    if not isinstance(x, Mapped) or not isinstance(weight, Const):
        return Refusal("has a kernel that depends on the image")
    found = on_map(x, "convolves")
    if isinstance(found, Refusal):
        return found
    x, axes = found
    if x.layout.sliding_cells:
        return Refusal("spreads the one value of a window over a map")
    weight = axes.kernel(context, weight)
    _, height, width = axes.map_shape(context.shape)
    stride, dilation, padding = (
        axes.numbers(args[name], n) for name, n in (("stride", 1), ("dilation", 1), ("padding", 0))
    )
    before, after = (x.layout.height, x.layout.width), (height, width)
    # in blocks: cells of the kernel, or more where the result is larger
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    reaches = [
        -(-max(span, p + m - (n - 1) * s) // s)
        for span, p, m, n, s in zip(spans, padding, after, before, stride, strict=True)
    ]
    groups = args["groups"]
    flipped = _flipped(context, weight, reaches, stride, dilation, groups)
    bias = context.value(args["bias"])
    if isinstance(bias, Const):
        positions = stride[0] * stride[1]
        bias = context.emit(aten.repeat_interleave.self_int, [bias, positions], kind="const")
    operands = [x, flipped, bias, [1, 1], [r - 1 for r in reaches], [1, 1], groups]
    result = emit_blocks(context, context.emit(aten.conv2d.default, operands, kind="windowed"), stride)
    ends = [(n + r - 1) * s - p - m for n, r, s, p, m in zip(before, reaches, stride, padding, after, strict=True)]
    crop = [-padding[1], -ends[1], -padding[0], -ends[0]]
    if any(crop):
        result = context.emit(aten.constant_pad_nd.default, [result, crop, 0.0], kind="windowed")
    return Mapped(result, axes.layout(context.shape))


def _flipped(
    context: Context, weight: Const, reaches: list[int], stride: list[int], dilation: list[int], groups: int
) -> Node:
    """The kernels of each position in a block: dilated, filled up with zeros, flipped.

    Shape: ``(c, k, ky, kx)`` -> ``(groups*k*sy*sx, c/groups, ry, rx)``
    """

    def call(target: Any, *operands: Any) -> Node:
        return context.emit(target, operands, kind="const")

    inputs, kernels, ky, kx = weight.shape
    node = weight.node
    (dy, dx), (ry, rx), (sy, sx) = dilation, reaches, stride
    if dilation != [1, 1]:
        apart = call(aten.reshape.default, node, [inputs, kernels, ky, 1, kx, 1])
        apart = call(aten.constant_pad_nd.default, apart, [0, dx - 1, 0, 0, 0, dy - 1])
        node = call(aten.reshape.default, apart, [inputs, kernels, ky * dy, kx * dx])
    fill = [0, rx * sx - kx * dx, 0, ry * sy - ky * dy]
    if any(fill):
        node = call(aten.constant_pad_nd.default, node, fill)
    node = call(aten.reshape.default, node, [groups, inputs // groups, kernels, ry, sy, rx, sx])
    node = call(aten.permute.default, call(aten.flip.default, node, [3, 5]), [0, 2, 4, 6, 1, 3, 5])
    return call(aten.reshape.default, node, [groups * kernels * sy * sx, inputs // groups, ry, rx])


RULES: dict[Any, Any] = {
    aten.conv2d.default: convolve,
    aten.conv2d.padding: convolve,
    aten.conv1d.default: convolve_line,
    aten.conv1d.padding: convolve_line,
    aten.conv_transpose1d.default: transposed,
    aten.conv_transpose2d.input: transposed,
}
