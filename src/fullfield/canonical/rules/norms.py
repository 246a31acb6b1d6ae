"""Norms: over channels they are per cell; over the window's map they slide with the window, or are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from fullfield.canonical.context import Context
from fullfield.canonical.layout import BATCH, CHANNEL
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.rules.pointwise import as_type
from fullfield.canonical.rules.reductions import collapse, moments, pointwise
from fullfield.canonical.values import Mapped, Outputs

aten = torch.ops.aten


def batch_norm(context: Context, args: dict[str, Any]) -> Mapped | Outputs | Refusal:
    """Batch norm with its stored statistics.

    Exact: yes
    """
    x = context.value(args["input"])
    if args.get("training"):
        return Refusal("normalises over the batch; load the network in evaluation mode")
    if len(x.layout.channels) != 1 or x.layout.channel_index(1) != 0:
        return Refusal("scales positions of the window differently")
    names = ("weight", "bias", "running_mean", "running_var")
    moments = [context.value(args[name]) for name in names]
    operands = [x, *moments, False, args["momentum"], args["eps"], False]
    result = Mapped(context.emit(aten.batch_norm.default, operands, kind="per_cell"), x.layout)
    return Outputs((result, None, None)) if isinstance(context.result, (tuple, list)) else result


def layer_norm(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """Layer norm over channels, cell by cell: channels moved last, normalised, moved back.

    Exact: yes
    """
    x = context.value(args["input"])
    layout = x.layout
    rank = len(layout.channels)
    normalised = range(len(layout.dims) - len(args["normalized_shape"]), len(layout.dims))
    indices = [layout.channel_index(d) for d in normalised]
    if any(i is None for i in indices):
        return _layer_norm_of_map(context, args, list(normalised))
    others = [i for i in range(rank) if i not in indices]
    order = [0, *(1 + i for i in others), rank + 1, rank + 2, *(1 + i for i in indices if i is not None)]
    cells_at = (len(others), len(others) + 1)
    moved = context.emit(aten.permute.default, [x, order], kind="per_cell", cells_at=cells_at)
    operands = [moved, *(context.value(v) for name, v in args.items() if name not in ("input", "cudnn_enable"))]
    normed = context.emit(context.node.target, operands, kind="per_cell", cells_at=cells_at)
    back = [order.index(i) for i in range(rank + 3)]
    return Mapped(context.emit(aten.permute.default, [normed, back], kind="per_cell"), layout)


def _layer_norm_of_map(context: Context, args: dict[str, Any], dims: list[int]) -> Mapped | Refusal:
    if args["weight"] is not None:
        return Refusal("scales positions of the window differently")
    if not context.may_slide:
        return Refusal("normalises over the positions of the window")
    x = context.value(args["input"])
    if context.node.target is aten.rms_norm.default:
        return _sliding_rms_norm(context, args, x, dims)
    return _sliding_norm(context, args, x, dims)


def group_norm(context: Context, args: dict[str, Any]) -> Mapped | Outputs | Refusal:
    """Group and instance norm over the whole window; where they may slide, over a neighbourhood of each cell.

    Exact: no, and only on request; yes with stored statistics
    """
    x = context.value(args["input"])
    if args.get("use_input_stats") is False:
        return batch_norm(context, args)
    if not context.may_slide or not x.layout.is_plain or not isinstance(context.result, torch.Tensor):
        return Refusal("normalises over the positions of the window")
    (channels,) = x.layout.channels
    groups = args.get("num_groups", channels)
    dims = (BATCH, CHANNEL, CHANNEL, ("y",), ("x",))
    grouped = replace(x.layout, dims=dims, channels=(groups, channels // groups))
    normed = _sliding_norm(context, args, context.to_channels(x, grouped, [0]), [2, 3, 4])
    result = context.to_channels(normed, x.layout, [0, 1]).node
    for name, target in (("weight", aten.mul.Tensor), ("bias", aten.add.Tensor)):
        if args[name] is not None:
            shape = [1, channels, 1, 1]
            fitted = context.weight(context.value(args[name]), shape, range(4), shape)
            result = context.emit(target, [result, fitted], kind="pointwise")
    return Mapped(result, x.layout)


def _sliding_norm(context: Context, args: dict[str, Any], x: Mapped, dims: list[int]) -> Mapped:
    """A norm by mean and deviation of the cells around each cell, as many as the window has.

    Exact: no: each cell has its own neighbourhood, while the window's cells share one; yes on one window
    Source: Chu et al. 2022 (arXiv 2112.04491), section 3.2
    """
    mean, variance = moments(context, x, args["input"], dims, keep=True, sliding=True)
    dtype = context.type_of(args["input"])
    centred = pointwise(context, aten.sub.Tensor, x, as_type(context, mean, dtype, torch.float64))
    return _scaled(context, centred, variance, args["eps"], dtype)


def _sliding_rms_norm(context: Context, args: dict[str, Any], x: Mapped, dims: list[int]) -> Mapped:
    """A norm by the root mean square of the cells around each cell, as many as the window has.

    Exact: no: each cell has its own neighbourhood, while the window's cells share one; yes on one window
    Source: Zhang & Sennrich 2019 (arXiv 1910.07467); Chu et al. 2022 (arXiv 2112.04491), section 3.2
    """
    dtype = context.type_of(args["input"])
    wide = as_type(context, x, torch.float64, dtype)
    square = collapse(context, pointwise(context, aten.mul.Tensor, wide, wide), dims, "mean", keep=True, sliding=True)
    eps = torch.finfo(dtype).eps if args["eps"] is None else args["eps"]
    return _scaled(context, x, square, eps, dtype)


def _scaled(context: Context, x: Mapped, square: Mapped, eps: float, dtype: torch.dtype) -> Mapped:
    """``x`` over the root of a mean square in double precision, ``eps`` added."""
    raised = pointwise(context, aten.add.Tensor, square, eps)
    factor = pointwise(context, aten.rsqrt.default, raised)
    return pointwise(context, aten.mul.Tensor, x, as_type(context, factor, dtype, torch.float64))


RULES: dict[Any, Any] = {
    aten.batch_norm.default: batch_norm,
    aten._native_batch_norm_legit_no_training.default: batch_norm,
    aten.layer_norm.default: layer_norm,
    aten.rms_norm.default: layer_norm,
    aten.group_norm.default: group_norm,
    aten.native_group_norm.default: group_norm,
    aten.instance_norm.default: group_norm,
}
