"""Whether numbers of a canonical graph are never below zero, as deviations and ranges are."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.fx import Node

from fullfield.canonical.builder import MapStatistic
from fullfield.canonical.evaluate import evaluate
from fullfield.layers import custom_operators as operators

aten = torch.ops.aten
_NEVER = (  # below zero, whatever they read
    *(aten.sqrt, aten.rsqrt, aten.exp, aten.abs, aten.relu, aten.sigmoid, aten.softplus, aten.square, aten.softmax),
    *(aten.var, aten.std, aten.linalg_vector_norm, operators.root, operators.variance_pool),
)
_AS_READ = (
    *(aten.reciprocal, aten._to_copy, aten.permute, aten.reshape, aten.max_pool2d, aten.avg_pool2d),
    *(aten.mean, aten.sum, aten.amax, aten.sign),
)
_ALL = (aten.add, aten.mul, aten.div, aten.minimum)


def is_nonnegative(module: nn.Module, node: Any, statistics: dict[Node, MapStatistic]) -> bool:
    """Whether it is known that no number of a value is below zero.

    Args:
        module: holds the weights that the nodes read.
        node: of a canonical graph, or a number.
        statistics: what nodes are known to be over the window's map.
    """
    if not isinstance(node, Node):
        return isinstance(node, (int, float)) and node >= 0
    if node.meta["kind"] == "const":
        return bool((evaluate(module, node) >= 0).all())

    def known(value: Any) -> bool:
        return is_nonnegative(module, value, statistics)

    packet, args = getattr(node.target, "_overloadpacket", None), node.args
    if packet in _NEVER:
        return True
    if packet in _AS_READ:
        return known(args[0])
    if packet in _ALL and not node.kwargs:
        return bool(packet is aten.mul and args[0] is args[1]) or all(map(known, args[:2]))
    if packet is aten.maximum:
        return any(map(known, args))
    if packet in (aten.clamp, aten.clamp_min):
        return known(args[0]) or (len(args) > 1 and args[1] is not None and known(args[1]))
    if packet is aten.pow:
        return bool(args[1] == 2) or known(args[0])
    return is_range(node, statistics)


def is_range(node: Node, statistics: dict[Node, MapStatistic], of: Node | None = None) -> bool:
    """Whether a node is the largest less the smallest number of a map, of the map ``of`` if it is given."""
    if node.target is not aten.sub.Tensor or node.kwargs:
        return False
    high, low = (statistics.get(arg) if isinstance(arg, Node) else None for arg in node.args)
    if high is None or low is None or (of is not None and low.of is not of):
        return False
    return high == MapStatistic("max", *low[1:]) and low.name == "min"
