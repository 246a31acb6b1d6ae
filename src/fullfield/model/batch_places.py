"""Numbers that a network gives to the places of a batch, whatever windows are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from fullfield.graph.shapes import PROBE_BATCH, window_dims

aten = torch.ops.aten


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
