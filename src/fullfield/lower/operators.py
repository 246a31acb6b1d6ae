"""How a windowed operator runs on a strip: without padding of its own, with the strip's stride and dilation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from fullfield.convert.rewriter import bind
from fullfield.geometry.tile import Strip
from fullfield.lower.assemble import Assembler

aten = torch.ops.aten
Strips = tuple[Strip, Strip]
Emit = Callable[[Assembler, Node, Node, Strips, "Callable[[Any], Any]"], Node]


def fill(node: Node) -> float:
    """What the operator's padding holds."""
    if node.target is aten.max_pool2d.default:
        return -math.inf
    if node.target is aten.constant_pad_nd.default:
        return float(bind(node)["value"])
    return 0.0


def _conv(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    args = bind(node)
    stride, dilation = [s.stride for s in strips], [s.dilation for s in strips]
    weight, bias = const(args["weight"]), const(args["bias"])
    return to.call(aten.conv2d.default, strip, weight, bias, stride, [0, 0], dilation, args["groups"])


def _max_pool(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    stride, dilation = [s.stride for s in strips], [s.dilation for s in strips]
    kernel = bind(node)["kernel_size"]
    return to.call(aten.max_pool2d.default, strip, kernel, stride, [0, 0], dilation, False)


def _average_pool(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    args = bind(node)
    kernel = args["kernel_size"]
    divisor = args["divisor_override"]
    counts = [s.taps(k, padding=args["count_include_pad"]) for s, k in zip(strips, kernel, strict=True)]
    even = divisor is not None or all(set(c) == {k} for c, k in zip(counts, kernel, strict=True))
    if even and all(s.dilation == 1 for s in strips):
        stride = [s.stride for s in strips]
        return to.call(aten.avg_pool2d.default, strip, kernel, stride, [0, 0], False, True, divisor)
    total = _sums(to, strip, strips, kernel)
    if even:
        return to.call(aten.div.Tensor, total, divisor or math.prod(kernel))
    for dim, count in zip((-2, -1), counts, strict=True):
        total = _divide(to, total, count, dim)
    return total


def _divide(to: Assembler, value: Node, counts: tuple[int, ...], dim: int) -> Node:
    """``value`` over one count a row (``dim`` -2) or column (-1)."""
    if len(set(counts)) == 1:
        return to.call(aten.div.Tensor, value, counts[0])
    shape = [-1, 1] if dim == -2 else [-1]
    divisors = to.constant(torch.tensor(counts).reshape(shape))
    return to.call(aten.div.Tensor, value, divisors)


def _sums(to: Assembler, value: Node, strips: Strips, kernel: list[int]) -> Node:
    """Sums over spread-out windows, one axis after the other: a shifted slice a tap."""
    for dim, strip, taps in zip((-2, -1), strips, kernel, strict=True):
        span = strip.length - strip.dilation * (taps - 1)
        parts = [
            to.call(aten.slice.Tensor, value, dim, m * strip.dilation, m * strip.dilation + span, strip.stride)
            for m in range(taps)
        ]
        value = parts[0]
        for part in parts[1:]:
            value = to.call(aten.add.Tensor, value, part)
    return value


def _pad(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    return strip


def _slice(to: Assembler, node: Node, strip: Node, strips: Strips, const: Callable[[Any], Any]) -> Node:
    for dim, s in zip((-2, -1), strips, strict=True):
        if s.stride > 1:
            strip = to.call(aten.slice.Tensor, strip, dim, 0, s.length, s.stride)
    return strip


EMIT: dict[Any, Emit] = {
    aten.conv2d.default: _conv,
    aten.max_pool2d.default: _max_pool,
    aten.avg_pool2d.default: _average_pool,
    aten.constant_pad_nd.default: _pad,
    aten.slice.Tensor: _slice,
}
