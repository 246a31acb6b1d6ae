"""Splits a lowered program into parts: operators that run in an engine, and moves between them that run in torch.

Cells move from table to table by gathers of rows, joins of rows and views, which torch runs at the speed of memory. The
operators between two moves, of all families and branches, are one part: one program of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.fx import Graph, Node

from fullfield.graph.calls import op_name

_VIEWS = frozenset(
    (
        *("reshape", "view", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"),
        *("permute", "transpose", "t", "select", "slice", "narrow", "expand", "expand_as", "detach", "alias"),
    )
)
_TAKES = frozenset(("unbind", "split", "split_with_sizes", "chunk", "getitem"))  # views too, of several parts
Reads = Mapping[Node, list[Node]]  # what every node reads besides fixed tensors


@dataclass(frozen=True)
class Part:
    """Nodes that run together, in their order.

    Args:
        engine: whether they run in the engine; else in torch.
        nodes: the operators.
        inputs: values of other parts, and of the program's inputs, that they read.
        outputs: values that other parts, or the program's reader, take.
    """

    engine: bool
    nodes: tuple[Node, ...]
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]


def split(
    graph: Graph, values: Mapping[Node, Any], fixed: Collection[Node], supports: Callable[[Node], bool]
) -> list[Part]:
    """The parts of a program, each after those that it reads.

    No part waits for another that waits for it: an operator's level is the greatest of what it reads, plus one wherever
    a value goes from torch to the engine or back, and a part holds operators of one level.

    Args:
        graph: of the program, without operators that write in place.
        values: what every node gives, as fake tensors.
        fixed: nodes that do not depend on the program's inputs.
        supports: whether the engine can run a node.
    """
    calls = [n for n in graph.nodes if n.op == "call_function" and n not in fixed]
    reads = {n: [i for i in n.all_input_nodes if i not in fixed] for n in calls}
    chosen = _on_engine(calls, reads, values, supports)
    levels: dict[Node, int] = {}
    groups: dict[tuple[int, bool], list[Node]] = {}
    for node in calls:
        own = node in chosen
        levels[node] = max(levels.get(n, 0) + ((n in chosen) != own) for n in reads[node])
        groups.setdefault((levels[node], own), []).append(node)
    return [_part(nodes, reads, own) for (_, own), nodes in sorted(groups.items(), key=lambda item: item[0])]


def fixed_nodes(graph: Graph) -> set[Node]:
    """The nodes that do not depend on the program's inputs: weights, constants, and views of these."""
    fixed: set[Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr" or (node.op == "call_function" and all(n in fixed for n in node.all_input_nodes)):
            fixed.add(node)
    return fixed


def _on_engine(
    calls: list[Node], reads: Reads, values: Mapping[Node, Any], supports: Callable[[Node], bool]
) -> set[Node]:
    """The operators that run in the engine: those that it can run, but for moves, and views of what torch holds."""
    chosen: set[Node] = set()
    for node in calls:
        if op_name(node) == "getitem":
            taken = reads[node][0] in chosen
        else:
            taken = supports(node) and not _is_move(node, values)
            taken = taken and not (_is_view(node) and not any(n in chosen for n in reads[node]))
        if taken:
            chosen.add(node)
    for node in reversed(calls):
        if op_name(node) in _VIEWS and node in chosen and not any(user in chosen for user in node.users):
            chosen.discard(node)
    return chosen


def _is_view(node: Node) -> bool:
    return op_name(node) in _VIEWS or op_name(node) in _TAKES


def _is_move(node: Node, values: Mapping[Node, Any]) -> bool:
    """Whether a node moves whole rows of a table, or takes some of them: engines would copy what torch need not."""
    value = values[node]
    rows = (
        isinstance(value, Tensor) and value.dim() == 2 and op_name(node) in ("cat", "index_select", "narrow", "slice")
    )
    return rows and _dim(node) == 0


def _dim(node: Node) -> Any:
    return node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)


def _part(nodes: list[Node], reads: Reads, engine: bool) -> Part:
    own = set(nodes)
    inputs = dict.fromkeys(n for node in nodes for n in reads[node] if n not in own)
    outputs = (n for n in nodes if any(user not in own for user in n.users))
    return Part(engine, tuple(nodes), tuple(inputs), tuple(outputs))
