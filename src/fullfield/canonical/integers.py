"""The canonical graph as integers: one entry an operator that reads a neighbourhood."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch.fx import Node
from torch.utils.flop_counter import FlopCounterMode, flop_registry, register_flop_formula

from fullfield.canonical.pipeline import Canonical
from fullfield.geometry.axis import Op
from fullfield.geometry.network import IDENTITY, Network, NodeSpec
from fullfield.graph.calls import bind
from fullfield.graph.shapes import propagate, signature
from fullfield.layers import custom_operators as operators

aten = torch.ops.aten
Ops = tuple[Op, Op]

# Attention on a CPU: torch 2.13 has its operator, but no formula for it, and would count nothing.
for name in ("_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_backward"):
    on_cpu = getattr(aten, name.replace("attention", "attention_for_cpu"))
    if on_cpu not in flop_registry:
        register_flop_formula(on_cpu, get_raw=True)(flop_registry[getattr(aten, name)])


def _conv(args: Mapping[str, Any], node: Node, kernel: tuple[int, ...]) -> Ops:
    options = zip(kernel[2:], args["stride"], args["padding"], args["dilation"], strict=True)
    y, x = (Op(k, s, p, p, d) for k, s, p, d in options)
    return y, x


def _max_pool(args: Mapping[str, Any], node: Node, kernel: tuple[int, ...]) -> Ops:
    options = zip(args["kernel_size"], args["stride"], args["padding"], args["dilation"], strict=True)
    y, x = (Op(k, s, p, p, d, ceil=args["ceil_mode"]) for k, s, p, d in options)
    return y, x


def _average_pool(args: Mapping[str, Any], node: Node, kernel: tuple[int, ...]) -> Ops:
    options = zip(args["kernel_size"], args["stride"], args["padding"], strict=True)
    y, x = (Op(k, s, p, p, 1, ceil=args["ceil_mode"]) for k, s, p in options)
    return y, x


def _pad(args: Mapping[str, Any], node: Node, kernel: tuple[int, ...]) -> Ops:
    left, right, top, bottom = args["pad"]
    return Op(1, 1, top, bottom), Op(1, 1, left, right)


def _edges(args: Mapping[str, Any], node: Node, kernel: tuple[int, ...]) -> Ops:
    left, right, top, bottom = args["pad"]
    pads = (top, bottom), (left, right)
    y, x = (Op(1, 1, low, high, edge=args["mode"]) if low or high else Op(1) for low, high in pads)
    return y, x


def _sliding_pool(args: Mapping[str, Any], node: Node, kernel: tuple[int, ...]) -> Ops:
    y, x = (Op(k, 1, k // 2, (k - 1) // 2, edge="inside") if k > 1 else Op(1) for k in args["kernel_size"])
    return y, x


def _slice(args: Mapping[str, Any], node: Node, kernel: tuple[int, ...]) -> Ops:
    end = 0 if args["end"] == sys.maxsize else int(args["end"])
    op = Op(1, args["step"], -args["start"], end)
    return (op, Op(1)) if args["dim"] % node.meta["rank"] == node.meta["rank"] - 2 else (Op(1), op)


def _neighbourhood(args: Mapping[str, Any], node: Node, kernel: tuple[int, ...]) -> Ops:
    options = zip(args["kernel_size"], args["stride"], args["padding"], args["dilation"], strict=True)
    y, x = (Op(k, s, p, p, d) for k, s, p, d in options)
    return y, x


def _upsample(args: Mapping[str, Any], node: Node, kernel: tuple[int, ...]) -> Ops:
    y, x = args["scale_factors"]
    return Op(1, up=int(y)), Op(1, up=int(x))


def _pixel_shuffle(args: Mapping[str, Any], node: Node, kernel: tuple[int, ...]) -> Ops:
    return Op(1, up=args["upscale_factor"]), Op(1, up=args["upscale_factor"])


def _depth_to_space(args: Mapping[str, Any], node: Node, kernel: tuple[int, ...]) -> Ops:
    y, x = args["factors"]
    return Op(1, up=y), Op(1, up=x)


WINDOWED: dict[Any, Callable[[Mapping[str, Any], Node, tuple[int, ...]], Ops]] = {
    aten.conv2d.default: _conv,
    aten.max_pool2d.default: _max_pool,
    aten.avg_pool2d.default: _average_pool,
    aten.constant_pad_nd.default: _pad,
    aten.pad.default: _edges,
    aten.slice.Tensor: _slice,
    aten.upsample_nearest2d.vec: _upsample,
    aten.pixel_shuffle.default: _pixel_shuffle,
    operators.depth_to_space.default: _depth_to_space,
    operators.neighbourhood.default: _neighbourhood,
    operators.sliding_pool.default: _sliding_pool,
}
_SPENDING = (aten.conv3d.default,)  # operators on one cell that multiply and add


def network(net: Canonical, dtype: torch.dtype) -> Network:
    """Every node that depends on the image, as integers; the last one gives the scores."""
    values = propagate(net.graph, (1, net.channels, *net.window), dtype)
    active = {
        n for n in net.graph.graph.nodes if n.meta["kind"] in ("input", "windowed", "pointwise", "per_cell", "whole")
    }
    counts: dict[Hashable, int] = {}
    specs = [_spec(node, values, active, counts, dtype) for node in net.graph.graph.nodes if node in active]
    result = net.graph.graph.output_node().args[0]
    assert isinstance(result, Node)
    order = [s for s in specs if s.name != result.name] + [s for s in specs if s.name == result.name]
    return Network(tuple(order), net.window, needs_batch_of_one=any(node.meta.get("joins") for node in active))


def _spec(
    node: Node, values: Mapping[Node, Any], active: set[Node], counts: dict[Hashable, int], dtype: torch.dtype
) -> NodeSpec:
    kind = {"pointwise": "cell", "per_cell": "cell"}.get(node.meta["kind"], node.meta["kind"])
    value = values[node]
    shape = (
        tuple(value.shape)[1:] if isinstance(value, torch.Tensor) else (sum(v.numel() for v in value if v is not None),)
    )
    if "cells_at" in node.meta:
        cells = node.meta["cells_at"]
        shape = (*(size for i, size in enumerate(shape) if i not in cells), *(shape[i] for i in cells))
    ops, macs = IDENTITY, 0
    if kind == "windowed":
        args = bind(node)
        kernel = tuple(values[args["weight"]].shape) if "weight" in args else ()
        node.meta |= {"rank": len(shape) + 1, "kernel": kernel}
        ops = WINDOWED[node.target](args, node, kernel)
        macs = kernel[0] * math.prod(kernel[1:]) if kernel else 0
    elif kind == "cell" and node.target in _SPENDING:
        macs = _count_macs(node, values, counts) // math.prod(shape[-2:])
    elif kind == "whole":
        macs = _count_macs(node, values, counts)
    inputs = tuple(dict.fromkeys(n.name for n in node.all_input_nodes if n in active))
    wide = -(-value.itemsize // dtype.itemsize) if isinstance(value, torch.Tensor) else 1
    path, op, reason = node.meta["path"], node.meta["op"], node.meta.get("reason", "")
    return NodeSpec(node.name, path, op, kind, inputs, ops, shape, macs, reason, wide)


def _count_macs(node: Node, values: Mapping[Node, Any], counts: dict[Hashable, int]) -> int:
    """Multiply-adds of one operator on one window, as torch's counter has them; ``counts`` those of its like."""

    def fetch(n: Node) -> Any:
        return values[n]

    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), fetch)
    key = signature((node.target, args, kwargs))
    if key not in counts:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            node.target(*args, **kwargs)  # type: ignore[operator]
        counts[key] = int(counter.get_total_flops()) // 2
    return counts[key]
