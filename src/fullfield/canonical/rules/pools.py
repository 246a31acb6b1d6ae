"""Pools: global and adaptive ones become pools with a fixed kernel, found from the window's map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node

from fullfield.canonical.context import Context
from fullfield.canonical.layout import Layout
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.values import Mapped, Outputs
from fullfield.graph.calls import pair
from fullfield.layers import custom_operators as operators

aten = torch.ops.aten


def max_pool(context: Context, args: dict[str, Any]) -> Mapped | Outputs | Refusal:
    """``max_pool2d`` on the canonical map.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    """
    x = context.value(args["self"])
    if not x.layout.is_plain:
        return Refusal("pools dimensions that are not (channels, y, x)")
    kernel, stride, padding = _window(args)
    operands = [x, kernel, stride, padding, pair(args["dilation"]), bool(args["ceil_mode"])]
    result = context.emit(aten.max_pool2d.default, operands, kind="windowed")
    tuple_result = isinstance(context.result, (tuple, list))
    _, channels, height, width = (context.result[0] if tuple_result else context.result).shape
    mapped = Mapped(result, Layout.plain(channels, height, width))
    return Outputs((mapped, None)) if tuple_result else mapped


def average_pool(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``avg_pool2d`` on the canonical map.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    """
    x = context.value(args["self"])
    if not x.layout.is_plain:
        return Refusal("pools dimensions that are not (channels, y, x)")
    kernel, stride, padding = _window(args)
    options = [bool(args["ceil_mode"]), bool(args["count_include_pad"]), args["divisor_override"]]
    result = context.emit(aten.avg_pool2d.default, [x, kernel, stride, padding, *options], kind="windowed")
    _, channels, height, width = context.shape
    return Mapped(result, Layout.plain(channels, height, width))


def adaptive_pool(context: Context, args: dict[str, Any]) -> Mapped | Outputs | Refusal:
    """An adaptive pool as a fixed one: kernel = stride = cells in / cells out, at the window.

    Exact: yes
    """
    node = context.node
    x = context.value(args["self"])
    if not x.layout.is_plain:
        return Refusal("pools dimensions that are not (channels, y, x)")
    cells, wanted = (x.layout.height, x.layout.width), pair(args["output_size"])
    if any(n % o for n, o in zip(cells, wanted, strict=True)):
        return Refusal(f"pools {cells[0]}x{cells[1]} cells into {wanted[0]}x{wanted[1]} of unequal sizes")
    kernel = [n // o for n, o in zip(cells, wanted, strict=True)]
    largest = "max" in str(node.target)
    result = x
    if kernel != [1, 1]:
        node, sliding_cells = emit_pool(context, x, kernel, "max" if largest else "mean", sliding=context.sliding)
        result = Mapped(node, replace(x.layout.with_cells(*wanted), sliding_cells=sliding_cells))
    return Outputs((result, None)) if largest else result


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


def _window(args: dict[str, Any]) -> tuple[list[int], list[int], list[int]]:
    kernel = pair(args["kernel_size"])
    return kernel, pair(args["stride"]) if args["stride"] else kernel, pair(args["padding"])


RULES: dict[Any, Any] = {
    aten.max_pool2d.default: max_pool,
    aten.max_pool2d_with_indices.default: max_pool,
    aten.avg_pool2d.default: average_pool,
    aten.adaptive_avg_pool2d.default: adaptive_pool,
    aten._adaptive_avg_pool2d.default: adaptive_pool,
    aten.adaptive_max_pool2d.default: adaptive_pool,
}
