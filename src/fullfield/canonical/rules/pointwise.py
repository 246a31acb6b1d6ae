"""Pointwise operators, with tensors that broadcast cell by cell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from fullfield.canonical.context import Context
from fullfield.canonical.layout import Layout
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.values import Const, Mapped, Raw, Scalar

aten = torch.ops.aten

ALIASES: dict[Any, Any] = {
    aten.multiply.Tensor: aten.mul.Tensor,
    aten.divide.Tensor: aten.div.Tensor,
    aten.subtract.Tensor: aten.sub.Tensor,
    aten.special_expit.default: aten.sigmoid.default,
}


def pointwise(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """The operator on canonical maps of the same cells; fixed tensors reshaped to ``(1, channels, 1, 1)``.

    Exact: yes
    """
    node = context.node
    operands = [context.value(a) for a in node.args]
    if context.may_slide:
        operands = [_sliding_gate(context, a, v, operands) for a, v in zip(node.args, operands, strict=True)]
    if any(isinstance(v, Raw) for v in operands):
        return Refusal("combines a map with one value for the whole window (a gate)")
    if node.kwargs and any(isinstance(v, Node) for v in node.kwargs.values()):
        return Refusal("takes a tensor by name")
    if any(isinstance(v, Scalar) for v in operands):
        return Refusal("computes with the batch size")
    layout = _common_layout([v.layout for v in operands if isinstance(v, Mapped)])
    if isinstance(layout, Refusal):
        return layout
    new: list[Any] = []
    for operand in operands:
        fitted = operand
        if isinstance(operand, Const):
            per_channel = node.target in (aten.prelu.default, aten._prelu_kernel.default)
            fitted = fit(context, operand, layout, per_channel=per_channel)
        if isinstance(fitted, Refusal):
            return fitted
        new.append(fitted)
    result = context.emit(ALIASES.get(node.target, node.target), new, kind="pointwise")
    result.kwargs = dict(node.kwargs)
    if context.shape != layout.shape(context.shape[0]):
        return Refusal("broadcasts to another shape")
    return Mapped(result, layout)


def cast(context: Context, x: Mapped, source: Any, dtype: torch.dtype) -> Mapped:
    """``x``, the canonical form of ``source``, as numbers of another type if they are not of it.

    Exact: yes
    """
    return as_type(context, x, dtype, context.type_of(source))


def as_type(context: Context, x: Mapped, dtype: torch.dtype, before: torch.dtype) -> Mapped:
    """``x``, of type ``before``, as numbers of ``dtype``."""
    if before == dtype:
        return x
    result = context.emit(aten._to_copy.default, [x], kind="pointwise")
    result.kwargs = {"dtype": dtype}
    return replace(x, node=result)


def broadcast_over_map(context: Context, arg: Any) -> Mapped | Refusal:
    """One value for the window as a map that slides with it, as large as the map that the value was taken from.

    Exact: no, and only on request; yes on one window
    """
    sliding = context.slide(arg)[arg] if context.may_slide and context.value(arg).layout.single else None
    if not isinstance(sliding, Mapped) or sliding.layout.sliding_cells is None:
        return Refusal("spreads one value over many positions or channels")
    return Mapped(sliding.node, replace(sliding.layout.with_cells(*sliding.layout.sliding_cells), sliding_cells=None))


def _sliding_gate(context: Context, arg: Any, value: Any, operands: list[Any]) -> Any:
    """A gate as a map that slides with the window, if another operand is a map; any other value unchanged."""
    gate = isinstance(value, Mapped) and value.layout.single
    maps = any(isinstance(v, Mapped) and not v.layout.single for v in operands)
    return context.slide(arg)[arg] if gate and maps else value


def _common_layout(layouts: list[Layout]) -> Layout | Refusal:
    """The layout of the result, if all operands have the same cells."""
    first = max(layouts, key=lambda o: o.height * o.width)
    for other in layouts:
        if other.dims != first.dims or len(other.channels) != len(first.channels):
            return Refusal("combines tensors whose dimensions are arranged differently")
        size = first.height, first.width
        if (other.height, other.width) != size and other.sliding_cells != size:
            return Refusal("combines a map with one value for the whole window (a gate)")
        if (other.height, other.width) == size and other.sliding_cells != first.sliding_cells:
            return Refusal("combines a value of the window with one that slides")
    channels = [max(sizes) for sizes in zip(*(o.channels for o in layouts), strict=True)]
    if any(s not in (1, c) for o in layouts for s, c in zip(o.channels, channels, strict=True)):
        return Refusal("combines different numbers of channels")
    return first.with_channels(channels)


def fit(context: Context, const: Const, layout: Layout, *, per_channel: bool) -> Const | Refusal:
    """A fixed tensor shaped to broadcast against the canonical map."""
    rank = len(layout.channels)
    if len(const.shape) == 0 or (per_channel and const.shape == (1,)):
        return const
    if per_channel:
        if rank != 1:
            return Refusal("has one slope a channel for several channel dimensions")
        return const if const.shape == (layout.channels[0],) else Refusal("has slopes for other channels")
    aligned = (1,) * (len(layout.dims) - len(const.shape)) + const.shape
    if len(aligned) > len(layout.dims):
        return Refusal("broadcasts against a tensor of more dimensions")
    shape = [1] * rank
    for index, (_dim, size) in enumerate(zip(layout.dims, aligned, strict=True)):
        if size == 1:
            continue
        channel = layout.channel_index(index)
        if channel is None:
            return Refusal("differs between positions of the window (a position embedding or unshared weights)")
        shape[channel] = size
    wanted = (1, *shape, 1, 1)
    return const if const.shape == wanted else context.weight(const, wanted, range(len(wanted)), wanted)
