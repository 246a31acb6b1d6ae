"""Normalisation: over channels it stays per cell; over the window's map it is refused."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from fullfield.convert.refusal import Refusal
from fullfield.convert.rewriter import Mapped, Parts, Rewriter

aten = torch.ops.aten


def batch_norm(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Parts | Refusal:
    """Batch norm with its stored statistics.

    Exact: yes
    """
    x = rewriter.value(args["input"])
    if args.get("training"):
        return Refusal("normalises over the batch; capture the network in evaluation mode")
    if len(x.layout.channels) != 1 or x.layout.channel_index(1) != 0:
        return Refusal("scales positions of the window differently")
    names = ("weight", "bias", "running_mean", "running_var")
    moments = [rewriter.value(args[name]) for name in names]
    operands = [x, *moments, False, args["momentum"], args["eps"], False]
    result = Mapped(rewriter.emit(aten.batch_norm.default, operands, kind="per_cell"), x.layout)
    return Parts((result, None, None)) if isinstance(rewriter.shapes[node], (tuple, list)) else result


def layer_norm(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """Layer norm over channels, cell by cell: channels moved last, normalised, moved back.

    Exact: yes
    """
    x = rewriter.value(args["input"])
    layout = x.layout
    rank = len(layout.channels)
    normalised = range(len(layout.dims) - len(args["normalized_shape"]), len(layout.dims))
    indices = [layout.channel_index(d) for d in normalised]
    if any(i is None for i in indices):
        return Refusal("normalises over the positions of the window")
    others = [i for i in range(rank) if i not in indices]
    order = [0, *(1 + i for i in others), rank + 1, rank + 2, *(1 + i for i in indices if i is not None)]
    cells_at = (len(others), len(others) + 1)
    moved = rewriter.emit(aten.permute.default, [x, order], kind="per_cell", cells_at=cells_at)
    operands = [moved, *(rewriter.value(v) for name, v in args.items() if name not in ("input", "cudnn_enable"))]
    normed = rewriter.emit(node.target, operands, kind="per_cell", cells_at=cells_at)
    back = [order.index(i) for i in range(rank + 3)]
    return Mapped(rewriter.emit(aten.permute.default, [normed, back], kind="per_cell"), layout)


def group_norm(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """Group norm of a single cell is per cell; of a larger map it needs the whole window.

    Exact: yes
    """
    x = rewriter.value(args["input"])
    if not x.layout.single or x.layout.channel_index(1) != 0:
        return Refusal("normalises over the positions of the window")
    return Refusal("normalises groups of channels of one cell")


def refuse(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Refusal:
    """Instance norm takes mean and deviation of the window's map."""
    return Refusal("normalises over the positions of the window")


RULES: dict[Any, Any] = {
    aten.batch_norm.default: batch_norm,
    aten._native_batch_norm_legit_no_training.default: batch_norm,
    aten.layer_norm.default: layer_norm,
    aten.rms_norm.default: layer_norm,
    aten.group_norm.default: group_norm,
    aten.native_group_norm.default: group_norm,
    aten.instance_norm.default: refuse,
}
