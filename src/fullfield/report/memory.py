"""Peak memory of the activations of one window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Graph, Node

from fullfield.canonical.form import ACTIVE_KINDS
from fullfield.operators.registry import find


def peak_bytes(graph: Graph, values: Mapping[Node, Any]) -> int:
    """Most bytes of activations alive at a time, if nodes run in order and each value is freed after its last reader.

    A view shares the memory of its input. Scratch memory of operators does not count.
    """
    nodes = [n for n in graph.nodes if n.meta["kind"] in ACTIVE_KINDS]
    home: dict[Node, Node] = {}
    last: dict[Node, int] = {}
    for index, node in enumerate(nodes):
        sources = [n for n in node.all_input_nodes if n in home]
        home[node] = home[sources[0]] if sources and _is_view(node) else node
        for source in (node, *sources):
            last[home[source]] = index
    result = graph.output_node().args[0]
    assert isinstance(result, Node)
    last[home[result]] = len(nodes)
    alive = peak = 0
    ends: dict[int, int] = {}
    for index, node in enumerate(nodes):
        if home[node] is node:
            size = size_bytes(values[node])
            alive += size
            ends[last[node]] = ends.get(last[node], 0) + size
        peak = max(peak, alive)
        alive -= ends.pop(index, 0)
    return peak


def _is_view(node: Node) -> bool:
    record = find(node.target)
    return record is not None and record.movement == "view"


def size_bytes(value: Any) -> int:
    """Bytes of a tensor, or of several."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    return sum(size_bytes(v) for v in value if v is not None) if isinstance(value, (tuple, list)) else 0
