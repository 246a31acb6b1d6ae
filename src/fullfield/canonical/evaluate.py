"""Evaluates a part of a canonical graph on fixed numbers, in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_arg

from fullfield.graph.attributes import attribute_of


def evaluate(module: nn.Module, result: Node, source: Node | None = None, value: Tensor | None = None) -> Tensor:
    """What ``result`` is where ``source`` is ``value``; weights and operators in float64, without gradients.

    Args:
        module: holds the weights that the nodes read.
        result: depends on weights and ``source`` alone.
    """
    known: dict[Node, Any] = {} if source is None else {source: value}

    def find(node: Node) -> Any:
        if node not in known:
            if node.op == "get_attr":
                tensor = attribute_of(module, str(node.target)).detach()
                known[node] = tensor.double() if tensor.is_floating_point() else tensor
            else:
                args, kwargs = map_arg((node.args, node.kwargs), find)
                known[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        return known[node]

    with torch.no_grad():
        found: Tensor = find(result)
    return found


def depends_on(result: Node, source: Node) -> bool:
    """Whether a node is computed from ``source``, the image not counted."""
    waiting, seen = [result], set[Node]()
    while waiting:
        node = waiting.pop()
        if node is source:
            return True
        if node not in seen:
            seen.add(node)
            waiting += node.all_input_nodes
    return False
