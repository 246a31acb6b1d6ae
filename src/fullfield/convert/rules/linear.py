"""Linear layers: over a flattened map a convolution as large as the map, over channels a 1x1 convolution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from fullfield.convert.layout import CHANNEL
from fullfield.convert.refusal import Refusal
from fullfield.convert.rewriter import Const, Mapped, Rewriter

aten = torch.ops.aten


def linear(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """FC -> CONV: the rows of the weight become kernels, in the order in which ``flatten`` read the map.

    Exact: yes, other summation order
    Shape: weight ``(k, c*y*x)`` -> ``(k, c, y, x)``
    Source: CS231n notes, "Converting FC layers to CONV layers"; Long, Shelhamer & Darrell 2015, section 3.1
    """
    x, weight = rewriter.value(args["input"]), rewriter.value(args["weight"])
    if not isinstance(x, Mapped) or not isinstance(weight, Const):
        return Refusal("has weights that depend on the image")
    layout = x.layout
    if not layout.channels:  # a map of one channel that the network dropped
        layout = replace(layout, dims=(*layout.dims[:-1], ("c", *layout.dims[-1])), channels=(1,))
        x = rewriter.to_channels(x, layout, [])
    read = layout.dims[-1]
    if "c" not in read:
        return Refusal("mixes the positions of the window")
    if len(layout.channels) != 1:
        return Refusal("mixes one of several channel dimensions")
    left = {s for dim in layout.dims[:-1] for s in dim if s in "yx"}
    if any(layout.size(s) > 1 and s in left for s in "yx") and read != CHANNEL:
        return Refusal("mixes channels with one of two spatial axes")
    kernels = weight.shape[0]
    sizes = [layout.size(s) for s in read]
    order = [1 + read.index(s) if s in read else None for s in ("c", "y", "x")]
    shape = [kernels, layout.channels[0], *(layout.size(s) if s in read else 1 for s in "yx")]
    kernel = rewriter.weight(args["weight"], [kernels, *sizes], [0, *(o for o in order if o)], shape)
    operands = [x, kernel, rewriter.value(args["bias"]), [1, 1], [0, 0], [1, 1], 1]
    result = rewriter.emit(aten.conv2d.default, operands, kind="windowed")
    after = replace(layout, dims=(*layout.dims[:-1], CHANNEL), channels=(kernels,))
    return Mapped(result, after.with_cells(layout.height - shape[2] + 1, layout.width - shape[3] + 1))


def matmul(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """``x @ w`` with a fixed matrix, as a linear layer without bias.

    Exact: yes, other summation order
    """
    x, weight = rewriter.value(node.args[0]), rewriter.value(node.args[1])
    if not isinstance(x, Mapped) or not isinstance(weight, Const) or len(weight.shape) != 2:
        return Refusal("multiplies activations with each other")
    rows, columns = weight.shape
    turned = rewriter.weight(node.args[1], [rows, columns], [1, 0], [columns, rows])
    rewriter.values[turned.node] = turned
    return linear(rewriter, node, {"input": node.args[0], "weight": turned.node, "bias": None})


def refuse_attention(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Refusal:
    """Attention in one operator: what weighs a position depends on all others of the window."""
    return Refusal("weighs the positions of the window by each other (attention)")


RULES: dict[Any, Any] = {
    aten.linear.default: linear,
    aten.matmul.default: matmul,
    aten.mm.default: matmul,
    aten.bmm.default: matmul,
    aten.scaled_dot_product_attention.default: refuse_attention,
}
