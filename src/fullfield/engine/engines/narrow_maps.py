"""Scales maps of few channels by numbers of each window, whole rows at once: on CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from fullfield.lower.windows import SCALED, ScaledMap

aten = torch.ops.aten
_FEW = 16  # numbers that a register has room for


def scale_rows(module: GraphModule) -> GraphModule:
    """The module with the numbers of each window repeated along rows, where maps have few channels; changed in place.

    torch takes no more numbers at once than lie side by side on both sides: the channels of one cell.
    """
    graph = module.graph
    for node in list(graph.nodes):
        scaled = node.meta.get(SCALED)
        if scaled is None or not 1 < scaled.channels < _FEW:
            continue
        with graph.inserting_before(node):

            def call(target: Any, *args: Any) -> Node:
                return graph.call_function(target, args)

            def row(value: Node, *, is_map: bool, size: ScaledMap = scaled) -> Node:
                value = call(aten.permute.default, value, [0, 2, 3, 1])
                if not is_map:
                    value = call(aten.expand.default, value, [-1, 1, size.columns, -1])
                return call(aten.reshape.default, value, [-1, size.rows if is_map else 1, size.columns * size.channels])

            result = call(node.target, *(row(a, is_map=m) for a, m in zip(node.args, scaled.maps, strict=True)))
            result = call(aten.reshape.default, result, [-1, scaled.rows, scaled.columns, scaled.channels])
            result = call(aten.permute.default, result, [0, 3, 1, 2])
        node.replace_all_uses_with(result)
        graph.erase_node(node)
    module.recompile()
    return module
