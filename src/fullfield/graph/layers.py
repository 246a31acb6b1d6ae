"""Finds what a layer gives in a graph whose nodes know the paths of the layers that they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from torch.fx import Graph, GraphModule, Node

T = TypeVar("T")
Step = tuple[Sequence[str], Sequence[T], Sequence[T]]
"""A node: paths of layers, what it reads, what it makes."""


def layer_value(steps: Iterable[Step[T]], name: str) -> T | None:
    """The last value that a layer makes and that others read, or none reads; ``None`` if there is no such layer.

    A node belongs to the layers of its paths and to those around them: one with the path ``layer4.0.conv1`` to
    ``layer4``.

    Examples:
        >>> steps = [(["a.x"], ["in"], ["u"]), (["a.y"], ["u"], ["v"]), (["b"], ["v"], ["w"])]
        >>> layer_value(steps, "a"), layer_value(steps, "a.x"), layer_value(steps, "c")
        ('v', 'u', None)
    """
    made: list[T] = []
    inner: set[T] = set()
    outer: set[T] = set()
    for paths, reads, makes in steps:
        inside = any(path == name or path.startswith(f"{name}.") for path in paths)
        (inner if inside else outer).update(reads)
        if inside:
            made += makes
    return next((value for value in reversed(made) if value in outer or value not in inner), None)


def layer_node(graph: Graph, name: str) -> Node | None:
    """The node that holds what a layer, or the node of that name, gives; ``None`` if there is neither."""
    found = layer_value(_steps(graph), name)
    if found is None:
        return next((node for node in graph.nodes if node.op == "call_function" and node.name == name), None)
    return found


def layer_names(graph: Graph) -> list[str]:
    """Names that ``layer_node`` finds, in the graph's order."""
    names: dict[str, None] = {}
    for node in graph.nodes:
        if node.op == "call_function":
            names |= dict.fromkeys((*layer_paths(node), node.name))
    return list(names)


def layer_paths(node: Node) -> list[str]:
    """The paths of the layers that a node belongs to, those around the others first."""
    stack = [str(entry[0]) for entry in node.meta.get("nn_module_stack", {}).values()]
    own = node.meta.get("path")
    return [path for path in (*stack, own) if path]


def ended_at(module: GraphModule, node: Node) -> GraphModule:
    """The part of a graph that leads to one of its nodes, as a module with that as its result.

    The graph is not changed.
    """
    graph = Graph()
    copies: dict[Node, Node] = {}
    for each in module.graph.nodes:
        if each.op != "output":
            copies[each] = graph.node_copy(each, copies.__getitem__)
        if each is node:
            break
    graph.output(copies[node])
    graph.eliminate_dead_code()
    return GraphModule(module, graph)


def _steps(graph: Graph) -> Iterator[Step[Node]]:
    """The calls of a graph, without those that read sizes."""
    for node in graph.nodes:
        if node.op == "call_function" and "sym_size" not in str(node.target):
            yield layer_paths(node), node.all_input_nodes, [node]
