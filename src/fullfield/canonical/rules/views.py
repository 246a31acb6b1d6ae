"""Views, permutations, squeezes: most only change the layout of the canonical map.

Where views split rows and columns into blocks, the positions within a block become channels (space to depth).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from fullfield.canonical.context import Context
from fullfield.canonical.layout import BATCH, CHANNEL, Layout
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.rules.pointwise import broadcast_over_map
from fullfield.canonical.values import Mapped
from fullfield.geometry.axis import Op
from fullfield.graph.shapes import PROBE_BATCH
from fullfield.layers import custom_operators as operators

aten = torch.ops.aten


def view(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """Any regrouping of dimensions, by the shapes before and after.

    Exact: yes
    """
    x = context.first
    layout = x.layout.viewed(context.shape, PROBE_BATCH)
    if isinstance(layout, Refusal):
        return layout
    blocks = [x.layout.height // layout.height, x.layout.width // layout.width]
    if blocks == [1, 1]:
        return replace(context.to_channels(x, layout, range(len(x.layout.channels))), replayed=x.replayed)
    apart = _blocks(context, x, blocks)
    return replace(context.to_channels(apart, layout, x.layout.block_order()), replayed=True)


def _blocks(context: Context, x: Mapped, blocks: list[int]) -> Mapped:
    """The map in blocks; the positions within a block are two more canonical channel dimensions."""
    operands = [x, blocks, blocks, [0, 0], [1, 1]]
    node = context.emit(operators.neighbourhood.default, operands, kind="windowed")
    layout = x.layout.with_cells(x.layout.height // blocks[0], x.layout.width // blocks[1])
    return Mapped(node, layout.with_channels([*layout.channels, *blocks]))


def space_to_depth(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``pixel_unshuffle``: blocks of the map, the positions within them as channels.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, c*f*f, y/f, x/f)``
    """
    x = context.value(args["self"])
    if not x.layout.is_plain:
        return Refusal("rearranges dimensions that are not (channels, y, x)")
    apart = _blocks(context, x, [args["downscale_factor"]] * 2)
    return context.to_channels(apart, Layout.plain(*context.shape[1:]), range(3))


def neighbourhoods(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``im2col`` (``nn.Unfold``): the cells under a sliding kernel as channels.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, c*ky*kx, y'*x')``
    """
    x = context.value(args["self"])
    if not x.layout.is_plain:
        return Refusal("unfolds dimensions that are not (channels, y, x)")
    options = [list(args[name]) for name in ("kernel_size", "stride", "padding", "dilation")]
    result = context.emit(operators.neighbourhood.default, [x, *options], kind="windowed")
    ops = [Op(k, s, p, p, d) for k, s, p, d in zip(*options, strict=True)]
    cells = [op.cells(n) for op, n in zip(ops, (x.layout.height, x.layout.width), strict=True)]
    plain = Layout.plain(context.shape[1], *cells)
    apart = Mapped(result, plain.with_channels([x.layout.channels[0], *options[0]]))
    tokens = replace(plain, dims=(BATCH, CHANNEL, ("y", "x")))
    return replace(context.to_channels(apart, tokens, range(3)), replayed=True)


def permute(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """A permutation of the layout, and of the canonical channel dimensions if it changes their order.

    Exact: yes
    """
    x = context.first
    rank = len(x.layout.dims)
    order = list(range(rank))
    if "dims" in args:
        order = [d % rank for d in args["dims"]]
    else:
        a, b = (int(d) % rank for d in context.node.args[1:3])  # type: ignore[arg-type]
        order[a], order[b] = b, a
    if order[0] != 0:
        return Refusal("moves the batch from the first dimension")
    layout, channel_order = x.layout.permuted(order)
    return replace(context.to_channels(x, layout, channel_order), replayed=x.replayed)


def expand(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """One channel expanded to several, cell by cell; one value for the window spread over the map with which it slides.

    Exact: yes
    """
    x = context.first
    if not isinstance(x, Mapped):
        return Refusal("spreads values that do not come from the image")
    before, after = x.layout.shape(PROBE_BATCH), context.shape
    if len(after) != len(before):
        return Refusal("spreads one value over a new dimension")
    wider = [d for d, (n, m) in enumerate(zip(before, after, strict=True)) if n != m]
    if any(s in "yx" for d in wider for s in x.layout.dims[d]):
        broadcast = broadcast_over_map(context, context.node.args[0])
        if isinstance(broadcast, Refusal):
            return broadcast
        x = broadcast
    sizes = list(x.layout.channels)
    for d in wider:
        if "c" in x.layout.dims[d]:
            cells = math.prod(x.layout.size(s) for s in x.layout.dims[d] if s != "c")
            sizes[sum("c" in dim for dim in x.layout.dims[:d])] = after[d] // cells
    layout = x.layout.with_channels(sizes)
    if layout.shape(PROBE_BATCH) != after:
        return Refusal("spreads a value of the window over other cells than those it was taken from")
    if sizes == list(x.layout.channels):
        return Mapped(x.node, layout)
    return Mapped(context.emit(aten.expand.default, [x, [-1, *sizes, -1, -1]], kind="per_cell"), layout)


VIEWS = (
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,
    aten.reshape_as.default,
    aten.view_as.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.squeeze.default,
    aten.unsqueeze.default,
)

RULES: dict[Any, Any] = {
    **dict.fromkeys(VIEWS, view),
    aten.permute.default: permute,
    **dict.fromkeys((aten.transpose.int, aten.swapaxes.default, aten.swapdims.default), permute),
    **dict.fromkeys((aten.expand.default, aten.expand_as.default), expand),
    aten.pixel_unshuffle.default: space_to_depth,
    aten.im2col.default: neighbourhoods,
}
