"""Numbers that a network gives to the places of a batch, whatever windows are there; windows read by their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from fullfield.graph.calls import bind
from fullfield.graph.shapes import PROBE_BATCH, window_dims

aten = torch.ops.aten

_IN_ORDER = frozenset(  # operators that keep the order of one tensor's numbers; slices that keep all are copies
    (
        *(aten.unsqueeze, aten.squeeze, aten.view, aten.reshape, aten.flatten, aten.contiguous, aten.clone),
        *(aten.alias, aten.detach, aten.to, aten._to_copy, aten.slice),
    )
)


def last_new_place(graph: GraphModule, values: Mapping[Node, Any], places: int) -> int:
    """The last place at which a tensor differs from its first place for the first time; 0 if none does.

    Looked at are tensors that do not depend on the windows, but have a number for each, such as a table of positions.

    Args:
        graph: of the network.
        values: of its nodes for ``PROBE_BATCH`` windows.
        places: so many are looked at.
    """
    evaluator = _Evaluator(graph, values, places)
    return max((_first_to_differ(*pair, places) for pair in evaluator.tensors()), default=0)


def has_windows(value: Any) -> bool:
    """Whether a node's value for ``PROBE_BATCH`` windows has tensors with a part for each window."""
    return any(isinstance(leaf, Tensor) and bool(window_dims(leaf)) for leaf in pytree.tree_leaves(value))


def own_places(values: dict[Node, Any]) -> set[Node]:
    """Nodes with which every window reads only what is at its own place: ``x[torch.arange(len(x)), ...]``.

    These are the nodes that read so, and the numbers of places that nothing else reads.

    Args:
        values: of a graph's nodes, in their order, for ``PROBE_BATCH`` windows.
    """
    places: set[Node] = set()
    for node in values:
        if _counts_windows(node, values) or (_keeps_order(node, values) and node.args[0] in places):
            places.add(node)
    own = {node for node in values if node.target is aten.index.Tensor and _reads_own_place(node, values, places)}
    for node in reversed(values):
        if node in places and node.users.keys() <= own:
            own.add(node)
    return own


def _counts_windows(node: Node, values: Mapping[Node, Any]) -> bool:
    """Whether a node gives 0, 1, 2, ... to the windows."""
    count = node.args[0] if node.target is aten.arange.default else None
    of_windows = isinstance(count, Node) and count.target is aten.sym_size.int and values[count] == PROBE_BATCH
    return of_windows and values[node].dtype == torch.int64


def _keeps_order(node: Node, values: Mapping[Node, Any]) -> bool:
    """Whether a node gives one whole number for each window, in the order of those that it reads."""
    known = getattr(node.target, "_overloadpacket", None) in _IN_ORDER
    return known and values[node].numel() == PROBE_BATCH and values[node].dtype == torch.int64


def _reads_own_place(node: Node, values: Mapping[Node, Any], places: set[Node]) -> bool:
    """Whether an ``index`` takes for each window numbers of the same window, and puts them at its place."""
    given = bind(node)
    table, first, others = given["self"], given["indices"][0], given["indices"][1:]
    if first not in places or table in places or not places.isdisjoint(others):
        return False
    read, result = values[table], values[node]
    whole = all(other is None or values[other].dtype == torch.int64 for other in others)
    first_dim = window_dims(read) == window_dims(result) == [0]
    return whole and first_dim and len(read) == len(result) == PROBE_BATCH


class _Evaluator(Interpreter):
    """Computes the nodes that depend on no window, but perhaps on the number of windows."""

    def __init__(self, graph: GraphModule, values: Mapping[Node, Any], windows: int) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.values, self.windows = values, windows

    def tensors(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The tensors that other nodes read, and those for ``PROBE_BATCH`` windows."""
        with torch.no_grad():
            for node in self.graph.nodes:
                size = node.target is aten.sym_size.int
                if node.op in ("get_attr", "call_function") and (size or self.env.keys() >= set(node.all_input_nodes)):
                    self.env[node] = self.run_node(node)
        for node, value in self.env.items():
            if has_windows(self.values[node]) and not self.env.keys() >= node.users.keys():
                pairs = zip(pytree.tree_leaves(value), pytree.tree_leaves(self.values[node]), strict=True)
                yield from (pair for pair in pairs if has_windows(pair[1]))

    def run_node(self, n: Node) -> Any:
        if n.target is not aten.sym_size.int:
            return super().run_node(n)
        size = self.values[n]
        return size // PROBE_BATCH * self.windows if size % PROBE_BATCH == 0 else size


def _first_to_differ(tensor: Tensor, shape: Tensor, places: int) -> int:
    """The first place with other numbers than the first place; 0 if there is none."""
    dim = window_dims(shape)[0]
    rows = tensor.movedim(dim, 0).reshape(places, -1)
    others = (rows != rows[:1]).any(1).nonzero()
    return int(others[0]) if len(others) else 0
