"""Means, sums, maxima, variances and norms: over the window's map as pools, over channels per cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from fullfield.canonical.builder import MapStatistic
from fullfield.canonical.context import Context
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.rules.pointwise import as_type, cast
from fullfield.canonical.rules.pools import emit_pool
from fullfield.canonical.values import Mapped, Outputs
from fullfield.layers import custom_operators as operators

aten = torch.ops.aten
_OVER_CHANNELS = {"mean": aten.mean.dim, "sum": aten.sum.dim_IntList, "max": aten.amax.default}


def reduce(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``mean``, ``sum``, ``amax``, ``amin``: over the window's map a pool as large as the map, over channels per cell.

    Sums over the map in a narrower type than the network's stay as they are: in another order they round differently.

    Exact: yes, other summation order
    """
    x = context.value(args["self"])
    dims = dims_of(x, args.get("dim"))
    if 0 in dims:
        return Refusal("reduces over the batch")
    name = {"mean": "mean", "sum": "sum", "amax": "max", "amin": "min"}[str(context.node.target).split(".")[1]]
    dtype = taken = context.result.dtype
    if name in ("mean", "sum") and _axes(x, dims) and _is_narrower(dtype, context.dtype):
        if not context.may_slide:
            reason = f"sums positions of the window in {str(dtype)[6:]}, where another order rounds differently"
            return Refusal(reason, in_order=True)
        taken = context.dtype  # no crop's rounding to reproduce
    x = cast(context, x, args["self"], taken)
    result = collapse(context, x, dims, name, keep=bool(args.get("keepdim")), sliding=context.sliding)
    return as_type(context, result, dtype, taken)


def _is_narrower(dtype: torch.dtype, other: torch.dtype) -> bool:
    """Whether a type has fewer digits."""
    return dtype.is_floating_point and other.is_floating_point and torch.finfo(dtype).eps > torch.finfo(other).eps


def largest(context: Context, args: dict[str, Any]) -> Mapped | Outputs | Refusal:
    """``max`` or ``min`` over one dimension, as ``amax`` or ``amin``. Indices are not supported.

    Exact: yes
    """
    x = context.value(args["self"])
    dims = dims_of(x, args["dim"])
    name = str(context.node.target).split(".")[1]
    if 0 in dims:
        return Refusal(f"takes the {'largest' if name == 'max' else 'smallest'} of the batch")
    return Outputs((collapse(context, x, dims, name, keep=bool(args["keepdim"]), sliding=context.sliding), None))


def variance(context: Context, args: dict[str, Any]) -> Mapped | Outputs | Refusal:
    """``var`` and ``std``, also with their mean: over channels per cell, over the window's map if all windows share it.

    Exact: yes, other rounding; sliding only on one window
    """
    x = context.value(args["self"])
    dims, keep = dims_of(x, args["dim"]), bool(args["keepdim"])
    if 0 in dims:
        return Refusal("takes the variance over the batch")
    name = str(context.node.target).split(".")[1]
    correction = args.get("correction", args.get("unbiased"))
    correction = 1 if correction is None else int(correction)
    if not _axes(x, dims):
        return _variance_of_channels(context, x, name, dims, correction, keep=keep)
    if not context.may_slide and not may_share(context, x, args["self"], dims):
        return Refusal("takes the variance of positions of the window")
    count = math.prod(x.layout.shape(1)[d] for d in dims)
    if count <= correction:
        return Refusal(f"corrects the variance of {count} values by {correction}")
    source = args["self"]
    mean, variance = moments(context, x, source, dims, keep=keep, sliding=context.sliding)
    variance = pointwise(context, aten.mul.Tensor, variance, count / (count - correction))
    if name.startswith("std"):
        variance = pointwise(context, aten.sqrt.default, variance)
    both = [as_type(context, value, context.type_of(source), torch.float64) for value in (variance, mean)]
    return Outputs(tuple(both)) if name.endswith("mean") else both[0]


def _variance_of_channels(
    context: Context, x: Mapped, name: str, dims: Sequence[int], correction: int, *, keep: bool
) -> Mapped | Outputs:
    target = aten.std.correction if name.startswith("std") else aten.var.correction
    found = _per_cell(context, target, x, dims, keep=keep, correction=correction)
    if not name.endswith("mean"):
        return found
    return Outputs((found, _per_cell(context, aten.mean.dim, x, dims, keep=keep)))


def _per_cell(context: Context, target: Any, x: Mapped, dims: Sequence[int], *, keep: bool, **options: Any) -> Mapped:
    """A reduction over channels, cell by cell; over a map of one cell, of each number alone."""
    channels = x.layout.channels
    places = _channels(x, dims)
    wide = x
    if not places:  # to torch, no dimensions are all of them
        places = [len(channels)]
        wide = context.to_channels(x, x.layout.with_channel(len(x.layout.dims), 1), range(len(channels)))
    node = context.emit(target, [wide], kind="per_cell")
    node.kwargs = {**options, "dim": [1 + i for i in places], "keepdim": True}
    if wide is not x:
        node = context.to_channels(Mapped(node, wide.layout), x.layout, range(len(wide.layout.channels))).node
    return _without(context, node, x, dims, keep=keep)


def norm(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """A norm: over channels per cell, over the window's map as the root of a sum of powers, or the largest number.

    Exact: yes, other summation order
    """
    x = context.value(args["self"])
    order = args["ord"] if "ord" in args else args["p"]
    order = 2 if order is None else order
    dims, keep = dims_of(x, args["dim"]), bool(args["keepdim"])
    if 0 in dims:
        return Refusal("takes a norm over the batch")
    x = cast(context, x, args["self"], context.result.dtype)
    if not _axes(x, dims):
        return _per_cell(context, aten.linalg_vector_norm.default, x, dims, keep=keep, ord=order)
    if order <= 0:
        return Refusal(f"takes a norm of order {order} over positions of the window")
    if order == 2:
        squares = pointwise(context, aten.mul.Tensor, x, x)
        total = collapse(context, squares, dims, "sum", keep=keep, sliding=context.sliding)
        return pointwise(context, operators.root.default, total)
    sizes = pointwise(context, aten.abs.default, x)
    if order == math.inf:
        return collapse(context, sizes, dims, "max", keep=keep, sliding=context.sliding)
    powers = pointwise(context, aten.pow.Tensor_Scalar, sizes, order)
    total = collapse(context, powers, dims, "sum", keep=keep, sliding=context.sliding)
    return pointwise(context, aten.pow.Tensor_Scalar, total, 1 / order)


def moments(
    context: Context, x: Mapped, source: Any, dims: Sequence[int], *, keep: bool, sliding: bool
) -> tuple[Mapped, Mapped]:
    """Mean and variance over original dimensions, in float64: a difference of squares is too inexact in float32.

    Exact: yes, other rounding: where the mean is 1e4 deviations off zero, to 1e-8 of the variance
    Source: Chan, Golub & LeVeque 1983 (doi 10.1080/00031305.1983.10483115)
    Args:
        source: the original value of ``x``.
        sliding: whether each cell has its own neighbourhood, which slides with the window.
    """
    wide = as_type(context, x, torch.float64, context.type_of(source))
    mean = collapse(context, wide, dims, "mean", keep=keep, sliding=sliding)
    if not context.may_slide:
        variance = _variance_of_map(context, wide, dims, keep=keep)
        context.builder.statistics[variance.node] = reduction("variance", x, dims)
        return mean, variance
    squares = pointwise(context, aten.mul.Tensor, wide, wide)
    square = collapse(context, squares, dims, "mean", keep=keep, sliding=sliding)
    off = pointwise(context, aten.sub.Tensor, square, pointwise(context, aten.mul.Tensor, mean, mean))
    return mean, pointwise(context, aten.clamp.default, off, 0.0)


def may_share(context: Context, x: Mapped, source: Any, dims: Sequence[int]) -> bool:
    """Whether windows can share the variance of ``x``, original value ``source``: no layer before it pads.

    In a narrower type than the network's it would be rounded in another way.
    """
    narrow = _is_narrower(context.type_of(source), context.dtype)
    return bool(_axes(x, dims)) and not narrow and not context.builder.pads(x.node)


def _variance_of_map(context: Context, x: Mapped, dims: Sequence[int], *, keep: bool) -> Mapped:
    """The variance over the window's map, divided by the count: within channels, and between their means.

    Exact: yes, other summation order
    Source: Chan, Golub & LeVeque 1983 (doi 10.1080/00031305.1983.10483115)
    """
    axes, places = _axes(x, dims), [1 + i for i in _channels(x, dims)]
    within = _over_map(context, x, axes, "variance", sliding=False)
    if not places:
        return _without(context, within.node, within, dims, keep=keep)
    means = _over_map(context, x, axes, "mean", sliding=False)
    node = context.emit(aten.mean.dim, [within, places, True], kind="per_cell")
    total = context.emit(aten.add.Tensor, [node, _between(context, means, places)], kind="pointwise")
    return _without(context, total, within, dims, keep=keep)


def _between(context: Context, means: Mapped, places: Sequence[int]) -> Node:
    """The variance of channels, of their differences from the first: equal numbers have none, whatever they are."""
    first = means.node
    for place in places:
        first = context.emit(aten.slice.Tensor, [first, place, 0, 1], kind="per_cell")
    off = context.emit(aten.sub.Tensor, [means, first], kind="pointwise")
    square = context.emit(aten.mul.Tensor, [off, off], kind="pointwise")
    square, shift = (context.emit(aten.mean.dim, [node, places, True], kind="per_cell") for node in (square, off))
    shift = context.emit(aten.mul.Tensor, [shift, shift], kind="pointwise")
    between = context.emit(aten.sub.Tensor, [square, shift], kind="pointwise")
    return context.emit(aten.clamp.default, [between, 0.0], kind="pointwise")


def collapse(context: Context, x: Mapped, dims: Sequence[int], name: str, *, keep: bool, sliding: bool) -> Mapped:
    """``mean``, ``sum``, ``max`` or ``min`` over original dimensions: positions by a pool of the map, then channels.

    A pool that slides comes last: it has a result at every cell, so that fewer channels make it cheaper.

    Exact: yes, other summation order
    """
    what = reduction(name, x, dims)
    key = what, tuple(dims), keep, sliding, x.layout
    if key not in context.builder.collapsed:
        found = _collapsed(context, x, dims, name, keep=keep, sliding=sliding)
        context.builder.statistics[found.node] = what
        context.builder.collapsed[key] = found
    return context.builder.collapsed[key]


def reduction(name: str, x: Mapped, dims: Sequence[int]) -> MapStatistic:
    """What a value is of ``x`` if it is its ``name`` over original dimensions."""
    return MapStatistic(name, x.node, tuple(sorted(_axes(x, dims))), tuple(sorted(_channels(x, dims))))


def _collapsed(context: Context, x: Mapped, dims: Sequence[int], name: str, *, keep: bool, sliding: bool) -> Mapped:
    if name == "min":
        opposite = pointwise(context, aten.neg.default, x)
        largest = collapse(context, opposite, dims, "max", keep=keep, sliding=sliding)
        return pointwise(context, aten.neg.default, largest)
    axes, places = _axes(x, dims), _channels(x, dims)
    if places and sliding:
        x = _over_channels(context, x, places, name)
    if axes:
        x = _over_map(context, x, axes, name, sliding=sliding)
    if places and not sliding:
        x = _over_channels(context, x, places, name)
    return _without(context, x.node, x, dims, keep=keep)


def _over_channels(context: Context, x: Mapped, places: Sequence[int], name: str) -> Mapped:
    node = context.emit(_OVER_CHANNELS[name], [x, [1 + i for i in places], True], kind="per_cell")
    sizes = [1 if i in places else c for i, c in enumerate(x.layout.channels)]
    return Mapped(node, x.layout.with_channels(sizes))


def _over_map(context: Context, x: Mapped, axes: set[str], name: str, *, sliding: bool) -> Mapped:
    layout, channels = x.layout, x.layout.channels
    if len(channels) != 1:
        flat = layout.with_channels([math.prod(channels)])
        x = context.to_channels(x, flat, range(len(channels)))
    kernel = [layout.height if "y" in axes else 1, layout.width if "x" in axes else 1]
    node, sliding_cells = emit_pool(context, x, kernel, name, sliding=sliding)
    pooled = layout.with_cells(layout.height // kernel[0], layout.width // kernel[1])
    pooled = replace(pooled, sliding_cells=sliding_cells)
    if len(channels) == 1:
        return Mapped(node, pooled)
    return context.to_channels(Mapped(node, pooled.with_channels([math.prod(channels)])), pooled, [0])


def _without(context: Context, node: Node, x: Mapped, dims: Sequence[int], *, keep: bool) -> Mapped:
    """``x`` whose original dimensions ``dims`` are of size one in ``node``; without them unless ``keep``."""
    places = _channels(x, dims)
    sizes = [1 if i in places else c for i, c in enumerate(x.layout.channels)]
    layout = x.layout.with_channels(sizes)
    if keep:
        return Mapped(node, layout)
    fewer = layout
    for d in sorted(dims, reverse=True):
        fewer = fewer.without(d)
    return context.to_channels(Mapped(node, layout), fewer, range(len(sizes)))


def dims_of(x: Mapped, given: Any) -> list[int]:
    """Original dimensions, counted from 0; all of them if none is given."""
    rank = len(x.layout.dims)
    if given is None or given == []:
        return list(range(rank))
    return [d % rank for d in ([given] if isinstance(given, int) else given)]


def _axes(x: Mapped, dims: Sequence[int]) -> set[str]:
    """The spatial axes of several cells among ``dims``."""
    return {s for d in dims for s in x.layout.dims[d] if s in "yx" and x.layout.size(s) > 1}


def _channels(x: Mapped, dims: Sequence[int]) -> list[int]:
    """The canonical channel dimensions among ``dims``."""
    return [sum("c" in d for d in x.layout.dims[:dim]) for dim in dims if "c" in x.layout.dims[dim]]


def pointwise(context: Context, target: Any, x: Mapped, *operands: Any) -> Mapped:
    """The operator on every number of ``x``."""
    return replace(x, node=context.emit(target, [x, *operands], kind="pointwise"))


VARIANCES = (aten.var, aten.std, aten.var_mean, aten.std_mean)
RULES: dict[Any, Any] = {
    aten.mean.dim: reduce,
    aten.sum.dim_IntList: reduce,
    aten.amax.default: reduce,
    aten.amin.default: reduce,
    aten.max.dim: largest,
    aten.min.dim: largest,
    **dict.fromkeys((op for packet in VARIANCES for op in (packet.dim, packet.correction)), variance),
    aten.linalg_vector_norm.default: norm,
    aten.norm.ScalarOpt_dim: norm,
}
