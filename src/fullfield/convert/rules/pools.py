"""Pools: windowed ones stay; global and adaptive ones become windowed over the map that the window has."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from fullfield.convert.layout import Layout
from fullfield.convert.refusal import Refusal
from fullfield.convert.rewriter import Mapped, Parts, Rewriter
from fullfield.convert.rules.pointwise import cast
from fullfield.nn import operators

aten = torch.ops.aten


def max_pool(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Parts | Refusal:
    """``max_pool2d`` on the canonical map.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    """
    x = rewriter.value(args["self"])
    if not x.layout.is_plain:
        return Refusal("pools dimensions that are not (channels, y, x)")
    kernel, stride, padding = _window(args)
    operands = [x, kernel, stride, padding, _pair(args["dilation"]), bool(args["ceil_mode"])]
    result = rewriter.emit(aten.max_pool2d.default, operands, kind="windowed")
    tuple_result = isinstance(rewriter.shapes[node], (tuple, list))
    _, channels, height, width = (rewriter.shapes[node][0] if tuple_result else rewriter.shapes[node]).shape
    mapped = Mapped(result, Layout.plain(channels, height, width))
    return Parts((mapped, None)) if tuple_result else mapped


def average_pool(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """``avg_pool2d`` on the canonical map.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    """
    x = rewriter.value(args["self"])
    if not x.layout.is_plain:
        return Refusal("pools dimensions that are not (channels, y, x)")
    kernel, stride, padding = _window(args)
    options = [bool(args["ceil_mode"]), bool(args["count_include_pad"]), args["divisor_override"]]
    result = rewriter.emit(aten.avg_pool2d.default, [x, kernel, stride, padding, *options], kind="windowed")
    _, channels, height, width = rewriter.shape(node)
    return Mapped(result, Layout.plain(channels, height, width))


def adaptive_pool(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Parts | Refusal:
    """An adaptive pool as the fixed pool that it is at the window: kernel = stride = cells in / cells out.

    Exact: yes
    """
    x = rewriter.value(args["self"])
    if not x.layout.is_plain:
        return Refusal("pools dimensions that are not (channels, y, x)")
    cells, wanted = (x.layout.height, x.layout.width), _pair(args["output_size"])
    if any(n % o for n, o in zip(cells, wanted, strict=True)):
        return Refusal(f"pools {cells[0]}x{cells[1]} cells into {wanted[0]}x{wanted[1]} of unequal sizes")
    kernel = [n // o for n, o in zip(cells, wanted, strict=True)]
    largest = "max" in str(node.target)
    result = x
    if kernel != [1, 1]:
        node, slides = _emit_pool(rewriter, x, kernel, "max" if largest else "mean")
        result = Mapped(node, replace(x.layout.with_cells(*wanted), slides=slides))
    return Parts((result, None)) if largest else result


def reduce(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """``mean``, ``sum`` or ``amax``: over the window's map a pool as large as the map, over channels per cell.

    Exact: yes, other summation order
    """
    x = rewriter.value(args["self"])
    dims = args.get("dim")
    rank = len(x.layout.dims)
    wanted = range(rank) if dims is None or dims == [] else [d % rank for d in _list(dims)]
    keep = bool(args.get("keepdim"))
    name = str(node.target).split(".")[1]
    if 0 in wanted:
        return Refusal("reduces over the batch")
    x = cast(rewriter, x, args["self"], rewriter.shapes[node].dtype)
    if all(x.layout.spatial(d) for d in wanted):
        return _over_map(rewriter, x, wanted, keep, name)
    if all(x.layout.channel_index(d) is not None for d in wanted) and len(wanted) == 1:
        return _over_channels(rewriter, node.target, x, wanted[0], keep)
    return Refusal("reduces over channels and positions at once")


def largest(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Parts | Refusal:
    """``max`` over one dimension, as ``amax``; its indices are not to be had.

    Exact: yes
    """
    x = rewriter.value(args["self"])
    dim, keep = args["dim"] % len(x.layout.dims), bool(args["keepdim"])
    if x.layout.spatial(dim):
        return Parts((_over_map(rewriter, x, [dim], keep, "amax"), None))
    if x.layout.channel_index(dim) is None or dim == 0:
        return Refusal("takes the largest of channels and positions, or of the batch")
    return Parts((_over_channels(rewriter, aten.amax.default, x, dim, keep), None))


def spread(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """``var`` or ``std`` over channels, cell by cell.

    Exact: yes
    """
    x = rewriter.value(args["self"])
    dims = args["dim"]
    indices = [None] if not dims else [x.layout.channel_index(d % len(x.layout.dims)) for d in _list(dims)]
    if len(indices) != 1 or indices[0] is None:
        return Refusal("takes the variance of positions of the window")
    result = _over_channels(rewriter, node.target, x, _list(dims)[0] % len(x.layout.dims), bool(args["keepdim"]))
    given = {"correction": args["correction"]} if "correction" in args else {"unbiased": args["unbiased"]}
    result.node.kwargs = {**given, "keepdim": bool(args["keepdim"])}
    result.node.args = result.node.args[:2]
    return result


def norm(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """The 2-norm: over the window's map the root of a sum of squares, over channels per cell.

    Exact: yes, other summation order
    """
    x = rewriter.value(args["self"])
    order = args["ord"] if "ord" in args else args["p"]
    dims = args["dim"]
    rank = len(x.layout.dims)
    wanted = range(rank) if dims is None or dims == [] else [d % rank for d in _list(dims)]
    if 0 in wanted:
        return Refusal("takes a norm over the batch")
    if order not in (2, None):
        return Refusal(f"takes a norm of order {order}")
    x = cast(rewriter, x, args["self"], rewriter.shapes[node].dtype)
    if all(x.layout.channel_index(d) is not None for d in wanted):
        return _norm_of_channels(rewriter, x, wanted, bool(args["keepdim"]))
    if not all(x.layout.spatial(d) for d in wanted):
        return Refusal("takes a norm over channels and positions at once")
    squares = Mapped(rewriter.emit(aten.mul.Tensor, [x, x], kind="pointwise"), x.layout)
    total = _over_map(rewriter, squares, wanted, bool(args["keepdim"]), "sum")
    return Mapped(rewriter.emit(operators.root.default, [total], kind="pointwise"), total.layout)


def _norm_of_channels(rewriter: Rewriter, x: Mapped, dims: Sequence[int], keep: bool) -> Mapped:
    indices = [i for i in (x.layout.channel_index(d) for d in dims) if i is not None]
    operands = [x, 2, [1 + i for i in indices], True]
    result = rewriter.emit(aten.linalg_vector_norm.default, operands, kind="per_cell")
    sizes = [1 if i in indices else c for i, c in enumerate(x.layout.channels)]
    mapped = Mapped(result, x.layout.with_channels(sizes))
    if keep:
        return mapped
    layout = mapped.layout
    for d in sorted(dims, reverse=True):
        layout = layout.without(d)
    return rewriter.to_channels(mapped, layout, range(len(sizes)))


def _over_map(rewriter: Rewriter, x: Mapped, dims: Sequence[int], keep: bool, name: str) -> Mapped:
    axes = {s for d in dims for s in x.layout.dims[d]}
    channels = x.layout.channels
    if len(channels) != 1:
        flat = x.layout.with_channels([math.prod(channels)])
        x = replace(rewriter.to_channels(x, flat, range(len(channels))), layout=flat)
    kernel = [x.layout.height if "y" in axes else 1, x.layout.width if "x" in axes else 1]
    node, slides = _emit_pool(rewriter, x, kernel, "max" if name == "amax" else name)
    layout = x.layout.with_cells(x.layout.height // kernel[0], x.layout.width // kernel[1])
    layout = replace(layout, slides=slides)
    for d in sorted(dims, reverse=True):
        if not keep:
            layout = layout.without(d)
    if len(channels) != 1:
        return rewriter.to_channels(Mapped(node, layout), layout.with_channels(channels), [0])
    return Mapped(node, layout)


def _over_channels(rewriter: Rewriter, target: Any, x: Mapped, dim: int, keep: bool) -> Mapped:
    index = x.layout.channel_index(dim)
    assert index is not None
    result = rewriter.emit(target, [x, [1 + index], keep], kind="per_cell")
    if not keep:
        return Mapped(result, x.layout.without(dim))
    sizes = [1 if i == index else c for i, c in enumerate(x.layout.channels)]
    return Mapped(result, x.layout.with_channels(sizes))


def _emit_pool(rewriter: Rewriter, x: Mapped, kernel: list[int], name: str) -> tuple[Node, tuple[int, int] | None]:
    """The pool, and the cells of its canonical form where it slides instead of closing the window's map."""
    cells = (x.layout.height, x.layout.width)
    if rewriter.sliding and tuple(kernel) == cells:
        return slide(rewriter, x, name), cells
    return _closing_pool(rewriter, x, kernel, name), None


def slide(rewriter: Rewriter, x: Mapped, name: str) -> Node:
    """A pool over the window's map centred on each cell, where it would stop at the image's border.

    Exact: no: each cell has its own neighbourhood, where the window's cells share one
    Shape: ``(n, c, y, x)`` -> ``(n, c, y, x)``
    Source: Chu et al. 2022 (arXiv 2112.04491), test-time local converter
    """
    kernel = [x.layout.height, x.layout.width]
    pads = [k // 2 for k in kernel]
    if name == "max":
        operands = [x, kernel, [1, 1], pads, [1, 1], False]
        node = rewriter.emit(aten.max_pool2d.default, operands, kind="windowed")
    else:
        operands = [x, kernel, [1, 1], pads, False, False, None]
        node = rewriter.emit(aten.avg_pool2d.default, operands, kind="windowed")
        if name == "sum":
            node = rewriter.emit(aten.mul.Tensor, [node, kernel[0] * kernel[1]], kind="pointwise")
    for dim, k in zip((2, 3), kernel, strict=True):
        if k % 2 == 0:  # an even kernel padded on both sides gives one cell too many
            node = rewriter.emit(aten.slice.Tensor, [node, dim, 0, -1, 1], kind="windowed")
    return node


def _closing_pool(rewriter: Rewriter, x: Mapped, kernel: list[int], name: str) -> Node:
    if name == "max":
        operands = [x, kernel, kernel, [0, 0], [1, 1], False]
        return rewriter.emit(aten.max_pool2d.default, _sliding(operands, x, kernel), kind="windowed")
    operands = [x, kernel, kernel, [0, 0], False, True, None]
    mean = rewriter.emit(aten.avg_pool2d.default, _sliding(operands, x, kernel), kind="windowed")
    if name != "sum":
        return mean
    return rewriter.emit(aten.mul.Tensor, [mean, kernel[0] * kernel[1]], kind="pointwise")  # ONNX knows no divisor


def _sliding(operands: list[Any], x: Mapped, kernel: list[int]) -> list[Any]:
    """A pool over the whole map slides cell by cell on a larger one; one over parts of it keeps its stride."""
    cells = (x.layout.height, x.layout.width)
    operands[2] = [1 if k == n else k for k, n in zip(kernel, cells, strict=True)]
    return operands


def _window(args: dict[str, Any]) -> tuple[list[int], list[int], list[int]]:
    kernel = _pair(args["kernel_size"])
    return kernel, _pair(args["stride"]) if args["stride"] else kernel, _pair(args["padding"])


def _pair(value: Any) -> list[int]:
    numbers = _list(value)
    return numbers * 2 if len(numbers) == 1 else numbers


def _list(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else [min(int(v), sys.maxsize) for v in value]


RULES: dict[Any, Any] = {
    aten.max_pool2d.default: max_pool,
    aten.max_pool2d_with_indices.default: max_pool,
    aten.avg_pool2d.default: average_pool,
    aten.adaptive_avg_pool2d.default: adaptive_pool,
    aten._adaptive_avg_pool2d.default: adaptive_pool,
    aten.adaptive_max_pool2d.default: adaptive_pool,
    aten.mean.dim: reduce,
    aten.sum.dim_IntList: reduce,
    aten.amax.default: reduce,
    aten.max.dim: largest,
    **dict.fromkeys((aten.var.dim, aten.var.correction, aten.std.dim, aten.std.correction), spread),
    aten.linalg_vector_norm.default: norm,
    aten.norm.ScalarOpt_dim: norm,
}
