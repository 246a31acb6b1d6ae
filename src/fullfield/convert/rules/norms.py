"""Normalisation: over channels it stays per cell; over the window's map it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from fullfield.convert.layout import BATCH, CHANNEL
from fullfield.convert.refusal import Refusal
from fullfield.convert.rewriter import Mapped, Parts, Rewriter
from fullfield.convert.rules.pools import slide

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
    """Group and instance norm need the whole window; where it may slide, each cell has its own neighbourhood.

    Exact: no, and only on request
    """
    x = rewriter.value(args["input"])
    if not rewriter.slides or not x.layout.is_plain or not isinstance(rewriter.shapes[node], torch.Tensor):
        return Refusal("normalises over the positions of the window")
    groups = args["num_groups"] if "num_groups" in args else x.layout.channels[0]
    return _sliding_norm(rewriter, args, x, groups)


def _sliding_norm(rewriter: Rewriter, args: dict[str, Any], x: Mapped, groups: int) -> Mapped:
    """Mean and deviation of the window's map taken round every cell.

    Exact: no: each cell has its own neighbourhood, where the window's cells share one
    Source: Chu et al. 2022 (arXiv 2112.04491), section 3.2
    """

    def call(target: Any, *operands: Any) -> Node:
        return rewriter.emit(target, operands, kind="pointwise")

    def split(node: Node) -> Node:
        return rewriter.to_channels(Mapped(node, x.layout), grouped, [0]).node

    def mean_of(node: Node) -> Node:
        around = split(slide(rewriter, Mapped(node, x.layout), "mean"))
        return rewriter.emit(aten.mean.dim, [around, [2], True], kind="per_cell")

    channels = x.layout.channels[0]
    dims = (BATCH, CHANNEL, CHANNEL, ("y",), ("x",))
    grouped = replace(x.layout, dims=dims, channels=(groups, channels // groups))
    mean = mean_of(x.node)
    squares = mean_of(call(aten.mul.Tensor, x.node, x.node))
    variance = call(aten.clamp.default, call(aten.sub.Tensor, squares, call(aten.mul.Tensor, mean, mean)), 0.0)
    factor = call(aten.rsqrt.default, call(aten.add.Tensor, variance, args["eps"]))
    normed = call(aten.mul.Tensor, call(aten.sub.Tensor, split(x.node), mean), factor)
    result = rewriter.to_channels(Mapped(normed, grouped), x.layout, [0, 1]).node
    for name, target in (("weight", aten.mul.Tensor), ("bias", aten.add.Tensor)):
        if args[name] is not None:
            shape = [1, channels, 1, 1]
            result = call(target, result, rewriter.weight(args[name], shape, range(4), shape).node)
    return Mapped(result, x.layout)


RULES: dict[Any, Any] = {
    aten.batch_norm.default: batch_norm,
    aten._native_batch_norm_legit_no_training.default: batch_norm,
    aten.layer_norm.default: layer_norm,
    aten.rms_norm.default: layer_norm,
    aten.group_norm.default: group_norm,
    aten.native_group_norm.default: group_norm,
    aten.instance_norm.default: group_norm,
}
