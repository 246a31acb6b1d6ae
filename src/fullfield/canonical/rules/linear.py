"""Linear layers: over a flattened map a convolution as large as the map, over channels a 1x1 convolution."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from fullfield.canonical.context import Context
from fullfield.canonical.layout import CHANNEL
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.rules.resampling import resample_axis
from fullfield.canonical.values import Const, Mapped
from fullfield.graph.attributes import attribute_of

aten = torch.ops.aten


def linear(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """A linear layer over channels or over the flattened map.

    Exact: yes, other summation order
    """
    x, weight = context.value(args["input"]), context.value(args["weight"])
    if not isinstance(x, Mapped) or not isinstance(weight, Const):
        return Refusal("has weights that depend on the image")
    if x.layout.dims[-1] in (("y",), ("x",)) and args["bias"] is None and weight.node.op == "get_attr":
        matrix = attribute_of(context.builder.root, str(weight.node.target)).detach()
        return resample_axis(context, x, x.layout.dims[-1][0], matrix)
    return as_convolution(context, x, weight, context.value(args["bias"]))


def as_convolution(
    context: Context, x: Mapped, weight: Const, bias: Const | Node | None, groups: int = 1
) -> Mapped | Refusal:
    """FC -> CONV: the rows of the weight become kernels, in the order in which ``flatten`` read the map.

    Of several channel dimensions the last is read; every index of the others has the same weights, in a convolution
    of as many groups.

    Exact: yes, other summation order
    Shape: weight ``(k, c*y*x)`` -> ``(k, c, y, x)``
    Args:
        groups: indices of the channel dimensions before the last that have separate weights, in rows of the weight.
    Source: CS231n notes, "Converting FC layers to CONV layers"; Long, Shelhamer & Darrell 2015, section 3.1
    """
    layout = x.layout
    if not layout.channels:  # a map of one channel that the network dropped
        layout = replace(layout, dims=(*layout.dims[:-1], ("c", *layout.dims[-1])), channels=(1,))
        x = context.to_channels(x, layout, [])
    read = layout.dims[-1]
    if "c" not in read:
        return Refusal("mixes the positions of the window")
    left = {s for dim in layout.dims[:-1] for s in dim if s in "yx"}
    if any(layout.size(s) > 1 and s in left for s in "yx") and read != CHANNEL:
        return Refusal("mixes channels with one of two spatial axes")
    *others, channels = layout.channels
    apart, kernels = math.prod(others), weight.shape[0] // groups
    sizes = [channels if s == "c" else layout.size(s) for s in read]
    order = [1 + read.index(s) if s in read else None for s in ("c", "y", "x")]
    shape = [groups * kernels, channels, *(layout.size(s) if s in read else 1 for s in "yx")]
    kernel = context.weight(weight, [groups * kernels, *sizes], [0, *(o for o in order if o)], shape).node
    if apart > groups:
        kernel = context.emit(aten.repeat.default, [kernel, [apart // groups, 1, 1, 1]], kind="const")
        if bias is not None:
            bias = context.emit(aten.repeat.default, [bias, [apart // groups]], kind="const")
    flat = context.to_channels(x, layout.with_channels([apart * channels]), range(len(layout.channels)))
    operands = [flat, kernel, bias, [1, 1], [0, 0], [1, 1], apart]
    result = context.emit(aten.conv2d.default, operands, kind="windowed")
    after = replace(layout, dims=(*layout.dims[:-1], CHANNEL), channels=(*others, kernels))
    after = after.with_cells(layout.height - shape[2] + 1, layout.width - shape[3] + 1)
    return context.to_channels(Mapped(result, after.with_channels([apart * kernels])), after, [0])


def refuse_attention(context: Context, args: dict[str, Any]) -> Refusal:
    """Attention in one operator: the weight of a position depends on all others of the window."""
    return Refusal("weighs the positions of the window by each other (attention)")


RULES: dict[Any, Any] = {
    aten.linear.default: linear,
    aten.scaled_dot_product_attention.default: refuse_attention,
}
