"""Views, slices, joins and copies: operators that move numbers and compute none."""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node

from fullfield.geometry.axis import Op
from fullfield.graph.calls import bind
from fullfield.layers import custom_operators
from fullfield.operators.emitter import Call, Emitter, Strips
from fullfield.operators.record import Args, Operator, Shapes, Windowed
from fullfield.operators.strips import strided

aten = torch.ops.aten


def _slice(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    """Rows or columns, counted from the window's ends."""
    end = 0 if args["end"] == sys.maxsize else int(args["end"])
    op, rank = Op(1, args["step"], -args["start"], end), len(shapes["self"])
    return (op, Op(1)) if args["dim"] % rank == rank - 2 else (Op(1), op)


def _neighbourhood(args: Args, shapes: Shapes) -> tuple[Op, Op]:
    options = zip(args["kernel_size"], args["stride"], args["padding"], args["dilation"], strict=True)
    y, x = (Op(k, s, p, p, d) for k, s, p, d in options)
    return y, x


def _roll_is_independent(node: Node, values: Mapping[Node, Any]) -> bool:
    """Along other dimensions than the windows'."""
    dims = bind(node)["dims"]
    return bool(dims) and all(dim % values[node].dim() for dim in dims)


def _emit_slice(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    """The strip holds the slice's cells and those that its step leaves out."""
    return strided(to, strip, strips)


def _emit_neighbourhood(to: Emitter, call: Call, strip: Any, strips: Strips) -> Any:
    """Shape: ``(windows, channels, y, x)`` -> ``(windows, channels, ky, kx, y', x')``"""
    for s, k in zip(strips, call.args["kernel_size"], strict=True):
        size = s.slide.dilation * (k - 1) + 1
        strip = to.call(aten.unfold.default, strip, 2, size, s.slide.stride)
        if s.slide.dilation > 1:
            strip = to.call(aten.slice.Tensor, strip, -1, 0, size, s.slide.dilation)
        strip = to.call(aten.transpose.int, strip, 2, 3)  # rows done, columns next; then back
    return to.call(aten.permute.default, strip, [0, 1, 4, 5, 2, 3])


RECORDS = (
    Operator((aten.reshape,), shapes_map=True, movement="view", independent="reshape", takes_batch_size=True),
    Operator((aten.view, aten.unflatten), movement="view", independent="reshape", takes_batch_size=True),
    Operator((aten.flatten, aten.squeeze, aten.unsqueeze), movement="view", independent="reshape"),
    Operator((aten.view_as, aten.reshape_as), independent="reshape"),
    Operator((aten._unsafe_view,), independent="reshape", takes_batch_size=True),
    Operator(
        (aten.permute, aten.transpose, aten.select, aten.unbind, operator.getitem),
        movement="view",
        independent="anywhere",
    ),
    Operator((aten.t, aten.detach, aten.alias, aten.chunk), movement="view", independent="first"),
    Operator((aten.swapaxes, aten.swapdims, aten.movedim, aten.expand_as, aten.unfold), independent="first"),
    Operator(
        (aten.slice,),
        windowed=Windowed(_slice, _emit_slice),
        movement="view",
        independent="first",
        takes_batch_size=True,
    ),
    Operator((aten.expand,), movement="view", independent="first", takes_batch_size=True, repeats=True),
    Operator((aten.split, aten.split_with_sizes), movement="view", independent="first", takes_batch_size=True),
    Operator((aten.narrow,), independent="first", takes_batch_size=True),
    Operator((aten.index,), independent=lambda node, values: bind(node)["indices"][0] is None),
    # joins and rearrangements
    Operator((aten.cat,), movement="arrange", new_memory=True, independent="first"),
    Operator((aten.concat,), independent="first"),
    Operator((aten.stack,), movement="arrange", independent="anywhere"),
    Operator((aten.roll,), movement="arrange", independent=_roll_is_independent),
    Operator((aten.channel_shuffle,), kind="per_cell", movement="arrange", independent="first"),
    Operator((aten.native_channel_shuffle,), kind="per_cell", movement="arrange"),
    Operator((aten.im2col, aten.col2im), independent="first"),
    Operator(
        (custom_operators.neighbourhood,),
        windowed=Windowed(_neighbourhood, _emit_neighbourhood, one_channel_dim=True),
        movement="arrange",
        independent="first",
    ),
    # copies and casts
    Operator((aten.clone, aten.contiguous), movement="copy", independent="anywhere"),
    Operator((aten._to_copy,), movement="copy", casts=True, independent="first"),
    Operator((aten.to, aten.dropout), movement="copy", independent="first"),
    Operator((aten.feature_dropout, aten.alpha_dropout, aten.type_as, aten.lift_fresh_copy), independent="first"),
    # tensors of a size
    Operator(
        (aten.zeros, aten.ones, aten.new_zeros, aten.new_ones, aten.zeros_like, aten.ones_like),
        takes_batch_size=True,
        repeats=True,
        reads_numbers=False,
    ),
    Operator((aten.repeat, aten.tile), independent="first", takes_batch_size=True, repeats=True),
    Operator((aten.empty, aten.new_empty), takes_batch_size=True),
)
