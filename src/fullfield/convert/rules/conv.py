"""Convolutions: already in canonical form; ``same`` padding becomes numbers. Over channels they stay per cell."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from fullfield.capture.shapes import PROBE_BATCH
from fullfield.convert.layout import BATCH, CHANNEL, Layout
from fullfield.convert.refusal import Refusal
from fullfield.convert.rewriter import Const, Mapped, Rewriter

aten = torch.ops.aten


def convolve(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """``conv2d`` on the canonical map.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, k, y', x')``
    """
    x, weight = rewriter.value(args["input"]), rewriter.value(args["weight"])
    if not isinstance(x, Mapped) or not isinstance(weight, Const):
        return Refusal("has a kernel that depends on the image")
    if not x.layout.is_plain or len(weight.shape) != 4:
        return Refusal("convolves dimensions that are not (channels, y, x)")
    bias = rewriter.value(args["bias"])
    stride, dilation = _pair(args["stride"]), _pair(args["dilation"])
    padding = args["padding"]
    if isinstance(padding, str):
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, weight.shape[2:], strict=True)]
        low, high = [t // 2 for t in total], [t - t // 2 for t in total]
        if low != high:
            x = _padded(rewriter, x, low, high)
            low = [0, 0]
        padding = low
    operands = [x, weight, bias, stride, _pair(padding), dilation, args["groups"]]
    if x.layout.slides and any(k != 1 for k in weight.shape[2:]):
        return Refusal("reads beside the one value of a window")
    result = rewriter.emit(aten.conv2d.default, operands, kind="windowed")
    _, channels, height, width = rewriter.shape(node)
    return Mapped(result, replace(Layout.plain(channels, height, width), slides=x.layout.slides))


def _padded(rewriter: Rewriter, x: Mapped, low: list[int], high: list[int]) -> Mapped:
    """The map with the rows and columns that an uneven ``same`` padding adds."""
    pads = [low[1], high[1], low[0], high[0]]
    node = rewriter.emit(aten.constant_pad_nd.default, [x, pads, 0.0], kind="windowed")
    cells = x.layout.height + low[0] + high[0], x.layout.width + low[1] + high[1]
    return Mapped(node, x.layout.with_cells(*cells))


def _pair(value: Any) -> list[int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return numbers * 2 if len(numbers) == 1 else numbers


def convolve_channels(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """``conv1d`` along a channel dimension (efficient channel attention), cell by cell.

    Exact: yes
    Shape: ``(n, i, c)`` at every cell -> ``(n, o, c')``; canonical ``(n, i, c, y, x)`` -> ``(n, o, c', y, x)``
    """
    x, weight = rewriter.value(args["input"]), rewriter.value(args["weight"])
    if not isinstance(x, Mapped) or not isinstance(weight, Const):
        return Refusal("has a kernel that depends on the image")
    dims = (BATCH, CHANNEL, CHANNEL)
    if len(x.layout.dims) != 3 or x.layout.channel_index(2) is None:
        return Refusal("convolves the positions of the window")
    sizes = x.layout.shape(PROBE_BATCH)[1:]
    if math.prod(sizes) != math.prod(x.layout.channels):
        return Refusal("has positions of the window as its channels")
    lines = rewriter.to_channels(x, replace(x.layout, dims=dims, channels=sizes), range(len(x.layout.channels)))
    shape = [*weight.shape, 1, 1]
    kernel = rewriter.weight(args["weight"], shape, range(5), shape)
    padding = args["padding"]
    if isinstance(padding, str):
        total = args["dilation"][0] * (weight.shape[2] - 1) if padding == "same" else 0
        if total % 2:
            return Refusal("pads channels unevenly")
        padding = [total // 2]
    options = [[args["stride"][0], 1, 1], [padding[0], 0, 0], [args["dilation"][0], 1, 1], args["groups"]]
    operands = [lines, kernel, rewriter.value(args["bias"]), *options]
    result = rewriter.emit(aten.conv3d.default, operands, kind="per_cell")
    return Mapped(result, lines.layout.with_channels(rewriter.shape(node)[1:]))


def refuse_transposed(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Refusal:
    """Transposed convolutions spread one cell over many, at places that depend on the window."""
    return Refusal("is a transposed convolution, whose output grid hangs on the window's own corner")


RULES: dict[Any, Any] = {
    aten.conv2d.default: convolve,
    aten.conv2d.padding: convolve,
    aten.conv1d.default: convolve_channels,
    aten.conv1d.padding: convolve_channels,
    aten.conv_transpose2d.input: refuse_transposed,
}
