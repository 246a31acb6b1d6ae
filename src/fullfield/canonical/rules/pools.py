"""Pools: global and adaptive ones become pools with a fixed kernel, found from the window's map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from fullfield.canonical.channel_rows import ChannelRows, Taps, channel_rows, pool_rows
from fullfield.canonical.context import Context
from fullfield.canonical.layout import Layout
from fullfield.canonical.orientation import Orientation, on_map
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.values import Mapped, Outputs
from fullfield.layers import custom_operators as operators

aten = torch.ops.aten


def max_pool(context: Context, args: dict[str, Any]) -> Mapped | Outputs | Refusal:
    """``max_pool2d`` on the canonical map; ``max_pool1d`` as one with a kernel of one row or column.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``; ``(n, c, x)`` -> ``(n, c, x')``
    """
    tuple_result = isinstance(context.result, (tuple, list))
    shape = (context.result[0] if tuple_result else context.result).shape
    x = context.value(args["self"])
    rows = channel_rows(context, x)
    found = on_map(x, "pools") if rows is None else _along_line(context, rows, args, shape, "max")
    if isinstance(found, Refusal):
        return found
    x, axes = found
    options = rows.along_line(args) if rows else args
    operands = [x, *_window(options, axes, x), axes.numbers(options["dilation"], 1), bool(args["ceil_mode"])]
    result = context.emit(aten.max_pool2d.default, operands, kind="windowed")
    mapped = Mapped(result, axes.layout(shape)) if rows is None else _with_rows(context, result, rows.layout(shape))
    return Outputs((mapped, None)) if tuple_result else mapped


def average_pool(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``avg_pool2d`` on the canonical map; ``avg_pool1d`` as one with a kernel of one row or column.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``; ``(n, c, x)`` -> ``(n, c, x')``
    """
    x, shape, divisor = context.value(args["self"]), context.shape, args.get("divisor_override")
    rows = None if divisor else channel_rows(context, x)
    found = on_map(x, "pools") if rows is None else _along_line(context, rows, args, shape, "mean")
    if isinstance(found, Refusal):
        return found
    x, axes = found
    window = _window(rows.along_line(args) if rows else args, axes, x)
    options = [bool(args["ceil_mode"]), bool(args["count_include_pad"]), divisor]
    result = context.emit(aten.avg_pool2d.default, [x, *window, *options], kind="windowed")
    return Mapped(result, axes.layout(shape)) if rows is None else _with_rows(context, result, rows.layout(shape))


def adaptive_pool(context: Context, args: dict[str, Any]) -> Mapped | Outputs | Refusal:
    """An adaptive pool as a fixed one: kernel = stride = cells in / cells out, at the window.

    Exact: yes
    """
    node = context.node
    value = context.value(args["self"])
    largest = "max" in str(node.target)
    rows = channel_rows(context, value)
    if rows is not None:
        return _adaptive_rows(context, rows, args, largest=largest)
    found = on_map(value, "pools")
    if isinstance(found, Refusal):
        return found
    x, axes = found
    cells, wanted = (x.layout.height, x.layout.width), axes.numbers(args["output_size"], 1)
    if any(n % o for n, o in zip(cells, wanted, strict=True)):
        return Refusal(f"pools {cells[0]}x{cells[1]} cells into {wanted[0]}x{wanted[1]} of unequal sizes")
    kernel = [n // o for n, o in zip(cells, wanted, strict=True)]
    result = x
    if kernel != [1, 1]:
        node, sliding_cells = emit_pool(context, x, kernel, "max" if largest else "mean", sliding=context.sliding)
        result = Mapped(node, replace(x.layout.with_cells(*wanted), sliding_cells=sliding_cells))
    result = replace(result, layout=axes.of_plain(result.layout))
    return Outputs((result, None)) if largest else result


def _adaptive_rows(
    context: Context, rows: ChannelRows, args: dict[str, Any], *, largest: bool
) -> Mapped | Outputs | Refusal:
    """An adaptive pool over a channel dimension and a line, as a fixed one over both."""
    shape = (context.result[0] if largest else context.result).shape
    results, cells = rows.split(list(shape[2:]))
    length = rows.x.layout.height * rows.x.layout.width
    if rows.size % results or length % cells or context.sliding:
        return Refusal(f"pools {rows.size} channels and {length} cells into {results} and {cells}")
    count, name = rows.size // results, "max" if largest else "mean"
    flat = pool_rows(context, rows, Taps(count, count, 1, 0, results), name)
    assert flat is not None
    node, _ = emit_pool(context, flat, rows.line.numbers([length // cells], 1), name, sliding=False)
    pooled = _with_rows(context, node, rows.layout(shape))
    return Outputs((pooled, None)) if largest else pooled


def _along_line(
    context: Context, rows: ChannelRows, args: dict[str, Any], shape: Sequence[int], name: str
) -> tuple[Mapped, Orientation] | Refusal:
    """The taps of a pool along a channel dimension reduced: what is left is a pool along the line."""
    kernel, _ = rows.split(args["kernel_size"])
    (stride, _), (padding, _) = rows.split(args["stride"] or args["kernel_size"]), rows.split(args["padding"])
    dilation, _ = rows.split(args.get("dilation", 1))
    results, _ = rows.split(list(shape[2:]))
    flat = pool_rows(context, rows, Taps(kernel, stride, dilation, padding, results), name)
    return Refusal("pads or rounds up dimensions that are not (y, x)") if flat is None else (flat, rows.line)


def _with_rows(context: Context, pooled: Node, layout: Layout) -> Mapped:
    """A map of merged channels with those of a layout."""
    flat = layout.with_channels([math.prod(layout.channels)])
    return context.to_channels(Mapped(pooled, flat), layout, [0])


def emit_pool(
    context: Context, x: Mapped, kernel: list[int], name: str, *, sliding: bool
) -> tuple[Node, tuple[int, int] | None]:
    """The pool, and the cells of its canonical form where it slides instead of reducing the window's map to one cell.

    Args:
        name: ``max``, ``mean``, ``sum``, or ``variance``, which does not slide.
        sliding: whether a pool over the window's whole map slides with the window.
    """
    cells = (x.layout.height, x.layout.width)
    if sliding and tuple(kernel) == cells:
        return _sliding_pool(context, x, name), cells
    return _pool_without_padding(context, x, kernel, name), None


def _sliding_pool(context: Context, x: Mapped, name: str) -> Node:
    """A pool around each cell, over as many cells as the window has; near the image's border over the last ones inside.

    Exact: no: each cell has its own neighbourhood, while the window's cells share one; yes on one window
    Shape: ``(n, c, y, x)`` -> ``(n, c, y, x)``
    """
    kernel = [x.layout.height, x.layout.width]
    node = context.emit(operators.sliding_pool.default, [x, kernel, name == "max"], kind="windowed")
    if name != "sum":
        return node
    return context.emit(aten.mul.Tensor, [node, kernel[0] * kernel[1]], kind="pointwise")


def _pool_without_padding(context: Context, x: Mapped, kernel: list[int], name: str) -> Node:
    if name == "max":
        operands = [x, kernel, kernel, [0, 0], [1, 1], False]
        return context.emit(aten.max_pool2d.default, _with_unit_stride(operands, x, kernel), kind="windowed")
    if name == "variance":
        operands = [x, kernel, kernel, [1, 1]]
        return context.emit(operators.variance_pool.default, _with_unit_stride(operands, x, kernel), kind="windowed")
    operands = [x, kernel, kernel, [0, 0], False, True, None]
    mean = context.emit(aten.avg_pool2d.default, _with_unit_stride(operands, x, kernel), kind="windowed")
    if name != "sum":
        return mean
    return context.emit(aten.mul.Tensor, [mean, kernel[0] * kernel[1]], kind="pointwise")  # ONNX has no divisor


def _with_unit_stride(operands: list[Any], x: Mapped, kernel: list[int]) -> list[Any]:
    """A stride of one along axes where the kernel is as large as the map, so that it slides on a larger map."""
    cells = (x.layout.height, x.layout.width)
    operands[2] = [1 if k == n else k for k, n in zip(kernel, cells, strict=True)]
    return operands


def _window(args: dict[str, Any], axes: Orientation, x: Mapped) -> tuple[list[int], list[int], list[int]]:
    """Kernel, stride and padding along y and x; a stride of one along axes where the kernel spans the whole map.

    A kernel that reaches beyond the map, as ``ceil_mode`` allows, spans it too.
    """
    kernel = axes.numbers(args["kernel_size"], 1)
    stride = axes.numbers(args["stride"], 1) if args["stride"] else kernel
    cells, padding = (x.layout.height, x.layout.width), axes.numbers(args["padding"], 0)
    if args["ceil_mode"] and set(axes.numbers(args.get("dilation", 1), 1)) == {1}:
        kernel = [k if p else min(k, n) for k, n, p in zip(kernel, cells, padding, strict=True)]
    spans = [k == n and not p for k, n, p in zip(kernel, cells, padding, strict=True)]
    return kernel, [1 if whole else s for whole, s in zip(spans, stride, strict=True)], padding


RULES: dict[Any, Any] = {
    **dict.fromkeys((aten.max_pool1d.default, aten.max_pool1d_with_indices.default), max_pool),
    aten.max_pool2d.default: max_pool,
    aten.max_pool2d_with_indices.default: max_pool,
    **dict.fromkeys((aten.avg_pool1d.default, aten.avg_pool2d.default), average_pool),
    **dict.fromkeys((aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default), adaptive_pool),
    aten._adaptive_avg_pool2d.default: adaptive_pool,
    **dict.fromkeys((aten.adaptive_max_pool1d.default, aten.adaptive_max_pool2d.default), adaptive_pool),
}
