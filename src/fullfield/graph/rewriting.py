"""Changes of graphs that several passes make."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torch.fx import Graph, GraphModule, Node
from torch.fx._lazy_graph_module import _LazyGraphModule


def uncompiled(root: nn.Module | dict[str, Any], graph: Graph, name: str) -> GraphModule:
    """A module of a graph that is changed again, or only read: its code is made when it is first called or printed.

    Making it takes a third of the time in which a network is prepared.

    Args:
        root: holds the tensors that the graph reads, by the names by which it reads them.
        graph: of the module.
        name: of its class.
    """
    return _LazyGraphModule(root, graph, name)


def make_code(module: GraphModule) -> None:
    """Makes the code of a module now, not at its first call: several threads may share it from then on."""
    _LazyGraphModule.force_recompile(module)


def with_own_graph(module: GraphModule) -> GraphModule:
    """A module with a copy of the graph, to be changed; its weights are the module's own."""
    return uncompiled(module, copy.deepcopy(module.graph), type(module).__name__)


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
