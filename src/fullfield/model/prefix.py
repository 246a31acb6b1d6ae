"""Puts operators in front of a network's graph, which keeps its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from fullfield.model.model import Model


def with_prefix(model: Model, write: Callable[[Graph, nn.Module, Node], Node]) -> GraphModule:
    """The network's graph behind operators that ``write`` adds to a graph, with tensors of their own in a module.

    Args:
        write: gives what the network reads in place of its input.
    """
    graph, root = Graph(), _shared_weights(model.graph)
    old = model.graph.graph.find_nodes(op="placeholder")[0]
    x = graph.node_copy(old)
    with torch.no_grad():
        env = {old: write(graph, root, x)}
    for node in model.graph.graph.nodes:
        if node is not old:
            env[node] = graph.node_copy(node, env.__getitem__)
    graph.lint()
    return GraphModule(root, graph, "Network").to(model.device)


def call(graph: Graph, path: str, target: Any, *args: Any, **kwargs: Any) -> Node:
    """A new operator of the layer ``path``."""
    node = graph.call_function(target, args, kwargs)
    node.meta = {"path": path}
    return node


def _shared_weights(module: nn.Module) -> nn.Module:
    """A module with the same submodules, parameters and buffers, to which others can be added."""
    root = nn.Module()
    for name, part in module.named_children():
        root.add_module(name, part)
    for name, parameter in module.named_parameters(recurse=False):
        root.register_parameter(name, parameter)
    for name, buffer in module.named_buffers(recurse=False):
        root.register_buffer(name, buffer)
    return root
