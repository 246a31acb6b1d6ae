"""Views, permutations, squeezes: most only change the layout that is kept beside the canonical map."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from fullfield.capture.shapes import PROBE_BATCH
from fullfield.convert.refusal import Refusal
from fullfield.convert.rewriter import Mapped, Rewriter

aten = torch.ops.aten


def view(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """Any regrouping of dimensions, by the shapes before and after; rows and columns are never split.

    Exact: yes
    """
    x = rewriter.value(node.args[0])
    layout = x.layout.viewed(rewriter.shape(node), PROBE_BATCH)
    if isinstance(layout, Refusal):
        return layout
    return rewriter.to_channels(x, layout, range(len(x.layout.channels)))


def permute(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """A permutation: of the canonical channel dimensions if it changes their order, of the layout in any case.

    Exact: yes
    """
    x = rewriter.value(node.args[0])
    rank = len(x.layout.dims)
    order = list(range(rank))
    if "dim0" in args:
        a, b = args["dim0"] % rank, args["dim1"] % rank
        order[a], order[b] = b, a
    else:
        order = [d % rank for d in args["dims"]]
    if order[0] != 0:
        return Refusal("moves the batch from the first dimension")
    layout, channel_order = x.layout.permuted(order)
    return rewriter.to_channels(x, layout, channel_order)


def expand(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """An expansion that changes nothing.

    Exact: yes
    """
    x = rewriter.value(node.args[0])
    if rewriter.shape(node) != x.layout.shape(PROBE_BATCH):
        return Refusal("spreads one value over many positions or channels")
    assert isinstance(x, Mapped)
    return x


VIEWS = (
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,
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
    aten.transpose.int: permute,
    aten.expand.default: expand,
}
