"""``einsum`` of a map and a fixed tensor: a linear layer over channels, or over the flattened map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from fullfield.convert.layout import CHANNEL
from fullfield.convert.refusal import Refusal
from fullfield.convert.rewriter import Const, Mapped, Rewriter
from fullfield.convert.rules.linear import linear

aten = torch.ops.aten


def einsum(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """Letters that the map and the tensor share are summed, as a linear layer; those of the tensor alone come out.

    ``bchw,oc->bohw``, ``bnc,cgo->bngo``, ``bchw,ochw->bo``

    Exact: yes, other summation order
    """
    tensors = list(args["tensors"])
    terms, _, wanted = args["equation"].replace(" ", "").partition("->")
    letters = terms.split(",")
    if len(tensors) == 2 and isinstance(rewriter.value(tensors[1]), Mapped):
        tensors, letters = tensors[::-1], letters[::-1]
    x, const = (rewriter.value(tensors[0]), rewriter.value(tensors[1])) if len(tensors) == 2 else (None, None)
    if not isinstance(x, Mapped) or not isinstance(const, Const):
        return Refusal("multiplies activations with each other")
    of_map, of_tensor = letters
    kept, summed = ([s for s in of_map if (s in wanted) is there] for there in (True, False))
    fresh = [s for s in of_tensor if s not in of_map]
    if not summed or sorted(of_tensor) != sorted(summed + fresh) or sorted(wanted) != sorted(kept + fresh):
        return Refusal(f"is no linear layer: {args['equation']}")
    lines = _summed_last(rewriter, x, [of_map.index(s) for s in kept + summed], len(summed))
    if isinstance(lines, Refusal):
        return lines
    order = [of_tensor.index(s) for s in fresh + summed]
    sizes = [const.shape[i] for i in order]
    matrix = [math.prod(sizes[: len(fresh)]), math.prod(sizes[len(fresh) :])]
    weight = rewriter.weight(tensors[1], const.shape, order, matrix)
    rewriter.values |= {lines.node: lines, weight.node: weight}
    result = linear(rewriter, node, {"input": lines.node, "weight": weight.node, "bias": None})
    if isinstance(result, Refusal):
        return result
    return _arranged(rewriter, result, sizes[: len(fresh)], [(kept + fresh).index(s) for s in wanted])


def _summed_last(rewriter: Rewriter, x: Mapped, order: Sequence[int], count: int) -> Mapped | Refusal:
    """The map with its dimensions in ``order``, and the last ``count`` of them as one."""
    if order[0] != 0:
        return Refusal("moves the batch from the first dimension")
    layout, channel_order = x.layout.permuted(order)
    moved = rewriter.to_channels(x, layout, channel_order)
    symbols = [s for dim in layout.dims[-count:] for s in dim]
    read = tuple(s for k, s in enumerate(symbols) if s != "c" or k == 0 or symbols[k - 1] != "c")
    if read.count("c") > 1:
        return Refusal("interleaves channels with positions")
    rest = len(layout.channels) - symbols.count("c")
    channels = layout.channels[:rest] + ((math.prod(layout.channels[rest:]),) if "c" in read else ())
    merged = replace(layout, dims=(*layout.dims[:-count], read), channels=channels)
    return rewriter.to_channels(moved, merged, range(len(layout.channels)))


def _arranged(rewriter: Rewriter, x: Mapped, sizes: Sequence[int], order: Sequence[int]) -> Mapped | Refusal:
    """The result with its last dimension as one of each of ``sizes``, all of them in ``order``."""
    if order[0] != 0:
        return Refusal("moves the batch from the first dimension")
    dims = (*x.layout.dims[:-1], *[CHANNEL] * len(sizes))
    apart = replace(x.layout, dims=dims, channels=(*x.layout.channels[:-1], *sizes))
    result = rewriter.to_channels(x, apart, range(len(x.layout.channels)))
    layout, channel_order = apart.permuted(order)
    return rewriter.to_channels(result, layout, channel_order)


RULES: dict[Any, Any] = {aten.einsum.default: einsum}
