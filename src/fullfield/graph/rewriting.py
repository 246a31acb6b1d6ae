"""Changes of graphs that several passes make."""

from __future__ import annotations

import copy

from torch.fx import GraphModule, Node


def with_own_graph(module: GraphModule) -> GraphModule:
    """A module with a copy of the graph, to be changed; its weights are the module's own."""
    return GraphModule(module, copy.deepcopy(module.graph), type(module).__name__)


def run_before(node: Node, source: Node, read: Node) -> None:
    """Lets a node run before the only one that it reads.

    Args:
        node: reads ``source``, and is its only reader; reads what ``source`` read afterwards.
        source: runs after ``node``, reads it, and is read by all that read ``node``.
        read: what ``source`` read.
    """
    node.append(source)
    node.replace_all_uses_with(source)
    source.replace_input_with(read, node)
    node.replace_input_with(source, read)
