"""Norms: over channels they are per cell; over the window's map they slide with the window, or are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from fullfield.canonical.context import Context
from fullfield.canonical.evaluate import evaluate
from fullfield.canonical.layout import BATCH, CHANNEL
from fullfield.canonical.orientation import on_map
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.rules.pointwise import as_type
from fullfield.canonical.rules.reductions import collapse, may_share, moments, pointwise
from fullfield.canonical.rules.standardised import with_contrast
from fullfield.canonical.values import Const, Mapped, Outputs, Standardised, Term

aten = torch.ops.aten
_OVER_POSITIONS = "normalises over the positions of the window"


def batch_norm(context: Context, args: dict[str, Any]) -> Mapped | Outputs | Refusal:
    """Batch norm with its stored statistics.

    Exact: yes
    """
    x = context.value(args["input"])
    if args.get("training"):
        return Refusal("normalises over the batch; load the network in evaluation mode")
    if x.layout.channel_index(1) != 0:
        return Refusal("scales positions of the window differently")
    names = ("weight", "bias", "running_mean", "running_var")
    moments = [context.value(args[name]) for name in names]
    operands = [x, *moments, False, args["momentum"], args["eps"], False]
    result = Mapped(context.emit(aten.batch_norm.default, operands, kind="per_cell"), x.layout)
    return Outputs((result, None, None)) if isinstance(context.result, (tuple, list)) else result


def layer_norm(context: Context, args: dict[str, Any]) -> Mapped | Standardised | Refusal:
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


def _layer_norm_of_map(context: Context, args: dict[str, Any], dims: list[int]) -> Mapped | Standardised | Refusal:
    args = args | {"weight": _unless(context, args["weight"], 1.0), "bias": _unless(context, args.get("bias"), 0.0)}
    if args["weight"] is not None or args["bias"] is not None:
        return Refusal("scales positions of the window differently")
    x = context.value(args["input"])
    if not context.may_slide:
        return _standardised(context, args, x, dims) or Refusal(_OVER_POSITIONS)
    if context.node.target is aten.rms_norm.default:
        return _sliding_rms_norm(context, args, x, dims)
    return _sliding_norm(context, args, x, dims)


def _unless(context: Context, weight: Any, neutral: float) -> Any:
    """A norm's weight, or ``None`` where all its numbers are ``neutral``, as exporters write one that has none."""
    value = context.value(weight)
    if not isinstance(value, Const) or not (evaluate(context.builder.root, value.node) == neutral).all():
        return weight
    return None


def group_norm(context: Context, args: dict[str, Any]) -> Mapped | Standardised | Outputs | Refusal:
    """Group and instance norm over the whole window; where they may slide, over a neighbourhood of each cell.

    Exact: yes, other rounding; no where they slide
    """
    x = context.value(args["input"])
    if args.get("use_input_stats") is False:
        return batch_norm(context, args)
    found = on_map(x, "normalises")
    if not isinstance(found, tuple) or not isinstance(context.result, torch.Tensor):
        return Refusal(_OVER_POSITIONS)
    if not context.may_slide and not x.layout.is_plain:
        return Refusal(_OVER_POSITIONS)
    x, axes = found
    (channels,) = x.layout.channels
    groups = args.get("num_groups", channels)
    if not context.may_slide:
        dims = {1: [1, 2, 3], channels: [2, 3]}.get(groups, [])
        return _standardised(context, args, x, dims) or Refusal(_OVER_POSITIONS)
    split = (BATCH, CHANNEL, CHANNEL, ("y",), ("x",))
    grouped = replace(x.layout, dims=split, channels=(groups, channels // groups))
    normed = _sliding_norm(context, args, context.to_channels(x, grouped, [0]), [2, 3, 4])
    result = context.to_channels(normed, x.layout, [0, 1]).node
    for name, target in (("weight", aten.mul.Tensor), ("bias", aten.add.Tensor)):
        if args[name] is not None:
            shape = [1, channels, 1, 1]
            fitted = context.weight(context.value(args[name]), shape, range(4), shape)
            result = context.emit(target, [result, fitted], kind="pointwise")
    return Mapped(result, axes.of_plain(x.layout))


def _standardised(context: Context, args: dict[str, Any], x: Mapped, dims: list[int]) -> Standardised | None:
    """A norm over all positions, by the window's mean and deviation; ``None`` where windows cannot share these.

    Exact: yes, other rounding
    """
    sizes, source = x.layout.channels, args["input"]
    if len(sizes) != 1 or x.layout.single or x.replayed or not may_share(context, x, source, dims):
        return None
    if {s for d in dims for s in x.layout.dims[d]} < {"y", "x"}:
        return None
    ones = torch.ones(sizes[0], 1, 1, dtype=torch.float64)
    shift: tuple[Term, ...] = ()
    if context.node.target is aten.rms_norm.default:
        wide = as_type(context, x, torch.float64, context.type_of(source))
        variance = collapse(
            context, pointwise(context, aten.mul.Tensor, wide, wide), dims, "mean", keep=True, sliding=False
        )
        eps = torch.finfo(context.type_of(source)).eps if args["eps"] is None else args["eps"]
    else:
        mean, variance = moments(context, x, source, dims, keep=True, sliding=False)
        eps = args["eps"]
    factor = pointwise(context, aten.rsqrt.default, pointwise(context, aten.add.Tensor, variance, eps)).node
    if context.node.target is not aten.rms_norm.default:
        factor = with_contrast(context, factor, x.node)
        shift = (Term((mean.node, factor), -ones),)
    else:
        factor = as_type(context, replace(variance, node=factor), context.type_of(source), torch.float64).node
    by_channel = variance.layout.channels != (1,)
    result = Standardised(x, (factor,), shift, by_channel=by_channel, reason=_OVER_POSITIONS, origin=x.node)
    gain, bias = (context.value(args.get(name)) for name in ("weight", "bias"))
    if gain is not None:
        shape = [1, sizes[0], 1, 1]
        scale = context.weight(gain, shape, range(4), shape)
        numbers = evaluate(context.builder.root, scale.node)[0]
        base = replace(x, node=context.emit(aten.mul.Tensor, [x, scale], kind="pointwise"))
        terms = tuple(replace(term, pattern=term.pattern * numbers) for term in shift)
        result = replace(result, base=base, terms=terms)
    if bias is not None:
        numbers = evaluate(context.builder.root, bias.node).reshape(-1, 1, 1)
        result = replace(result, terms=(*result.terms, Term((), numbers)))
    return result


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
