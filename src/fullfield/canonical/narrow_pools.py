"""Takes the sliding means of a gate after the 1x1 convolution that makes its channels fewer: the two commute.

A gate squeezes the means of all channels into a few numbers. On a map every cell has means of its own, which are sums
over as many cells as the window has: of few channels these are cheap.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.fx import GraphModule, Node

from fullfield.graph.calls import bind, held_tensor, pair
from fullfield.graph.rewriting import with_own_graph
from fullfield.layers import custom_operators as operators

aten = torch.ops.aten


def narrow_pools(module: GraphModule) -> GraphModule:
    """A canonical graph whose sliding means are taken where there are fewest channels.

    A graph without any that has to move is returned as it is.

    Exact: yes, other summation order
    """
    if not any(wide_pools(module)):
        return module
    new = with_own_graph(module)
    for pool in list(wide_pools(new)):
        for conv in list(pool.users):
            _swap(new, pool, conv)
        new.graph.erase_node(pool)
    new.recompile()
    return new


def wide_pools(module: GraphModule) -> Iterator[Node]:
    """The sliding means that only 1x1 convolutions read which, all together, have fewer channels."""
    for node in module.graph.nodes:
        if node.target is not operators.sliding_pool.default or bind(node)["largest"]:
            continue
        weights = [weight_of_cells(module, reader) for reader in node.users]
        kernels = sum(weight[0] for weight in weights if weight)
        before = max((weight[1] for weight in weights if weight), default=0)
        if weights and all(weights) and kernels < before:
            yield node


def weight_of_cells(module: GraphModule, node: Node) -> tuple[int, int] | None:
    """Channels after and before a convolution that reads one cell for each of its own; ``None`` for all else."""
    if node.target is not aten.conv2d.default:
        return None
    args = bind(node)
    if not isinstance(args["weight"], Node) or args["weight"].op != "get_attr":
        return None
    kernels, channels, *size = held_tensor(module, args["weight"].target).shape
    plain = size == pair(args["stride"]) == [1, 1] and pair(args["padding"]) == [0, 0]
    return (kernels, channels * args["groups"]) if plain else None


def _swap(module: GraphModule, pool: Node, conv: Node) -> None:
    """Lets a convolution read what the pool reads, and the convolution's readers a pool of its result."""
    with module.graph.inserting_after(conv):
        after = module.graph.call_function(operators.sliding_pool.default, (conv, *pool.args[1:]))
    after.meta = dict(pool.meta)
    conv.replace_all_uses_with(after, delete_user_cb=lambda reader: reader is not after)
    conv.replace_input_with(pool, pool.all_input_nodes[0])
