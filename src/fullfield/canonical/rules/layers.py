"""Layers of ``fullfield.layers``: L2 pools, local response normalisation, unshared weights."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from fullfield.canonical.context import Context
from fullfield.canonical.layout import Layout
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.values import Mapped
from fullfield.layers import custom_operators as operators

aten = torch.ops.aten


def refuse_unshared(context: Context, args: dict[str, Any]) -> Refusal:
    """A locally connected layer: the weights of a cell depend on its position in the window."""
    return Refusal("is unshared: every position of the window has its own weights")


def pool_squares(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """An L2 pool as squares, an average pool times its divisor, and the root.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    """
    x = context.value(args["x"])
    if not x.layout.is_plain:
        return Refusal("pools dimensions that are not (channels, y, x)")
    kernel, stride, padding = (list(args[name]) for name in ("kernel_size", "stride", "padding"))
    squares = context.emit(aten.mul.Tensor, [x, x], kind="pointwise")
    options = [squares, kernel, stride, padding, False, True, None]
    pooled = context.emit(aten.avg_pool2d.default, options, kind="windowed")
    if not args["mean"]:  # by a product, since ONNX has no divisor
        pooled = context.emit(aten.mul.Tensor, [pooled, kernel[0] * kernel[1]], kind="pointwise")
    result = context.emit(operators.root.default, [pooled], kind="pointwise")
    _, channels, height, width = context.shape
    return Mapped(result, Layout.plain(channels, height, width))


def normalise_within(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """Local response normalisation within a map, by an average pool that counts its padding.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> the same
    Source: Caffe ``lrn_layer.cpp``, ``WITHIN_CHANNEL``
    """
    x = context.value(args["x"])
    if not x.layout.is_plain:
        return Refusal("normalises dimensions that are not (channels, y, x)")
    if x.layout.sliding_cells:
        return Refusal("reads neighbours of the one value of a window")
    size, before = args["size"], args["size"] // 2

    def call(target: Any, *operands: Any) -> Node:
        return context.emit(target, operands, kind="pointwise")

    squares = call(aten.mul.Tensor, x, x)
    options = [squares, [size] * 2, [1, 1], [before] * 2, False, True, None]
    mean = context.emit(aten.avg_pool2d.default, options, kind="windowed")
    for dim in (2, 3) if size % 2 == 0 else ():  # an even size padded on both sides gives one cell too many
        mean = context.emit(aten.slice.Tensor, [mean, dim, 0, -1, 1], kind="windowed")
    scale = call(aten.add.Tensor, call(aten.mul.Tensor, mean, args["alpha"]), args["k"])
    return Mapped(call(aten.div.Tensor, x, call(aten.pow.Tensor_Scalar, scale, args["beta"])), x.layout)


RULES: dict[Any, Any] = {
    operators.locally_connected2d.default: refuse_unshared,
    operators.l2_pool2d.default: pool_squares,
    operators.local_response_norm_within.default: normalise_within,
}
