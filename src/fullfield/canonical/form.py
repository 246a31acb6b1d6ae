"""A network in canonical form."""

from __future__ import annotations

from dataclasses import dataclass

from torch.fx import GraphModule, Node

from fullfield.canonical.rewriter import Refused
from fullfield.graph.calls import op_name

SHARED_KINDS = ("windowed", "pointwise", "per_cell")  # work on maps of any size
ACTIVE_KINDS = ("input", *SHARED_KINDS, "whole")  # depend on the image; ``whole`` works on one window's own tensors
KINDS = (*ACTIVE_KINDS, "const", "scalar", "output")


@dataclass(frozen=True, eq=False)
class Canonical:
    """A graph whose nodes tell their layer (``meta["path"]``), its operator (``op``) and one of ``KINDS`` (``kind``).

    Args:
        graph: one placeholder ``(n, c, y, x)``; shares the memory of the network's parameters.
        refused: operators that stay whole-window, with the reason; empty for a fully convolutional network.
        standardised: the original network, if windows share what is linear before their own mean is taken off.
    """

    graph: GraphModule
    window: tuple[int, int]
    channels: int
    refused: tuple[Refused, ...]
    standardised: GraphModule | None = None

    def __str__(self) -> str:
        """One line a node: its name, its kind, what it calls, what it reads and its layer."""
        return "\n".join(map(_line, self.graph.graph.nodes))


def _line(node: Node) -> str:
    called = str(node.target) if node.op == "get_attr" else op_name(node)
    reads = ", ".join(n.name for n in node.all_input_nodes)
    return f"{node.name}: {node.meta['kind']} {called}({reads}), {node.meta['path']}"
