"""Takes the means of an average pool before the 1x1 convolution in front of it: the two commute.

The convolution then computes the pool's cells alone, in DenseNet's transitions a quarter of the map's.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.fx import GraphModule, Node

from fullfield.canonical.narrow_pools import weight_of_cells
from fullfield.graph.calls import bind, pair
from fullfield.graph.rewriting import run_before, with_own_graph

aten = torch.ops.aten


def early_pools(module: GraphModule) -> GraphModule:
    """A canonical graph whose convolutions read pools that make the map smaller, and not the other way round.

    A graph without any that has to move is returned as it is.

    Exact: yes, other summation order
    """
    if not any(late_pools(module)):
        return module
    new = with_own_graph(module)
    while (pool := next(late_pools(new), None)) is not None:
        conv = bind(pool)["self"]
        run_before(pool, conv, bind(conv)["input"])
    new.recompile()
    return new


def late_pools(module: GraphModule) -> Iterator[Node]:
    """The average pools that leave fewer cells, without padding, and alone read a 1x1 convolution."""
    for node in module.graph.find_nodes(op="call_function", target=aten.avg_pool2d.default):
        args = bind(node)
        conv, strides = args["self"], pair(args["stride"]) if args["stride"] else pair(args["kernel_size"])
        plain = pair(args["padding"]) == [0, 0] and not args["divisor_override"]
        if plain and max(strides) > 1 and len(conv.users) == 1 and weight_of_cells(module, conv):
            yield node
