"""``einsum`` and ``matmul`` of a map and a fixed tensor, as linear layers over channels or the flattened map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from string import ascii_lowercase
from typing import Any

import torch

from fullfield.canonical.context import Context
from fullfield.canonical.layout import CHANNEL, merged_channels
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.rules.linear import as_convolution
from fullfield.canonical.values import Const, Mapped

aten = torch.ops.aten
_OF_ACTIVATIONS = Refusal("multiplies activations with each other")


def einsum(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """Letters that the map and the tensor share are summed, as by a linear layer; those of the tensor alone are new.

    A letter that they share and that the result has, too, has separate weights for each of its indices.

    ``bchw,oc->bohw``, ``bnc,cgo->bngo``, ``bchw,ochw->bo``, ``bgchw,gc->bghw``

    Exact: yes, other summation order
    """
    tensors = list(args["tensors"])
    terms, _, wanted = args["equation"].replace(" ", "").partition("->")
    letters = terms.split(",")
    if len(tensors) != 2:
        return _OF_ACTIVATIONS
    if isinstance(context.value(tensors[1]), Mapped):
        tensors, letters = tensors[::-1], letters[::-1]
    return _product(context, tensors, (letters[0], letters[1], wanted))


def matmul(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """A map times a fixed matrix or the reverse, also with one matrix for each index of a channel dimension.

    Exact: yes, other summation order
    """
    tensors = list(context.node.args[:2])
    last = isinstance(context.value(tensors[1]), Mapped)
    if last:
        tensors.reverse()
    x, const = map(context.value, tensors)
    if not isinstance(x, Mapped) or not isinstance(const, Const):
        return _OF_ACTIVATIONS
    rank, extra = len(x.layout.dims), len(const.shape) - 2
    if not 0 <= extra <= rank - 2:
        return Refusal("multiplies by a vector, or broadcasts the map over dimensions that only the tensor has")
    of_map, ones, fresh = ascii_lowercase[:rank], ascii_lowercase[rank : rank + extra], "z"
    places = of_map[rank - 2 - extra : rank - 2]
    before = "".join(o if n == 1 else s for n, s, o in zip(const.shape, places, ones, strict=False))
    summed = of_map[-2 if last else -1]
    of_tensor = before + (fresh + summed if last else summed + fresh)
    return _product(context, tensors, (of_map, of_tensor, of_map.replace(summed, fresh)))


def _product(context: Context, tensors: Sequence[Any], letters: tuple[str, str, str]) -> Mapped | Refusal:
    """The map times the tensor, given one letter for each dimension of both and of the result."""
    x, const = context.value(tensors[0]), context.value(tensors[1])
    if not isinstance(x, Mapped) or not isinstance(const, Const):
        return _OF_ACTIVATIONS
    of_map, of_tensor, wanted = letters
    summed = [s for s in of_map if s not in wanted]
    groups = [s for s in of_map if s in wanted and s in of_tensor]
    map_only = [s for s in of_map if s in wanted and s not in of_tensor]
    fresh = [s for s in of_tensor if s in wanted and s not in of_map]
    ones = [s for s, n in zip(of_tensor, const.shape, strict=True) if s not in of_map + wanted and n == 1]
    read, given = groups + summed + fresh + ones, map_only + groups + fresh
    if sorted(of_tensor) != sorted(read) or sorted(wanted) != sorted(given):
        return Refusal(f"is no linear layer: {of_map},{of_tensor}->{wanted}")
    if any(x.layout.channel_index(of_map.index(s)) is None for s in groups):
        return Refusal("has separate weights for each window of a batch, or each position of the window")
    order = [of_map.index(s) for s in map_only + groups + summed]
    lines = _summed_last(context, x, order, len(summed), grouped=bool(groups))
    if isinstance(lines, Refusal):
        return lines
    order = [of_tensor.index(s) for s in ones + groups + fresh + summed]
    size = dict(zip(of_tensor, const.shape, strict=True))
    each, rows = (math.prod(size[s] for s in some) for some in (summed, groups + fresh))
    weight = context.weight(const, const.shape, order, [rows, each])
    result = as_convolution(context, lines, weight, None, math.prod(size[s] for s in groups))
    if isinstance(result, Refusal):
        return result
    return _arranged(context, result, [size[s] for s in fresh], [given.index(s) for s in wanted])


def _summed_last(context: Context, x: Mapped, order: Sequence[int], count: int, *, grouped: bool) -> Mapped | Refusal:
    """The map with its dimensions in ``order`` and the last ``count`` merged, into one of channels if ``grouped``."""
    if order[0] != 0:
        return Refusal("moves the batch from the first dimension")
    layout, channel_order = x.layout.permuted(order)
    moved = context.to_channels(x, layout, channel_order)
    symbols = [s for dim in layout.dims[len(order) - count :] for s in dim]
    read = merged_channels(symbols)
    if read.count("c") > 1:
        return Refusal("interleaves channels with positions")
    if "c" not in read and (grouped or not read):
        read = ("c", *read)
    rest = len(layout.channels) - symbols.count("c")
    channels = layout.channels[:rest] + ((math.prod(layout.channels[rest:]),) if "c" in read else ())
    merged = replace(layout, dims=(*layout.dims[: len(order) - count], read), channels=channels)
    return context.to_channels(moved, merged, range(len(layout.channels)))


def _arranged(context: Context, x: Mapped, sizes: Sequence[int], order: Sequence[int]) -> Mapped | Refusal:
    """The result with its last dimension split into ``sizes``, and then all dimensions in ``order``."""
    if order[0] != 0:
        return Refusal("moves the batch from the first dimension")
    dims = (*x.layout.dims[:-1], *[CHANNEL] * len(sizes))
    apart = replace(x.layout, dims=dims, channels=(*x.layout.channels[:-1], *sizes))
    result = context.to_channels(x, apart, range(len(x.layout.channels)))
    layout, channel_order = apart.permuted(order)
    return context.to_channels(result, layout, channel_order)


RULES: dict[Any, Any] = {
    aten.einsum.default: einsum,
    **dict.fromkeys((aten.matmul.default, aten.mm.default, aten.bmm.default), matmul),
}
