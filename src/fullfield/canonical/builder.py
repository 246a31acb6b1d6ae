"""The canonical graph under construction, with the weights that it reads."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from fullfield.canonical.values import CanonicalValue, Mapped
from fullfield.graph.calls import bind, op_name, pair
from fullfield.graph.rewriting import uncompiled
from fullfield.graph.shapes import PROBE_BATCH, propagate
from fullfield.model.model import Model


class MapStatistic(NamedTuple):
    """What a node is of another one: its ``max``, ``min`` or ``mean`` over the window's map and channels.

    Args:
        axes: spatial axes of several cells.
        channels: canonical channel dimensions.
    """

    name: str
    of: Node
    axes: tuple[str, ...]
    channels: tuple[int, ...]


class CanonicalBuilder:
    """Adds nodes and weights to a new graph.

    Args:
        net: the original network.
        may_slide: whether pools and norms over the window's map may slide with the window.
    """

    def __init__(self, net: Model, *, may_slide: bool) -> None:
        self.dtype, self.device, self.may_slide = net.dtype, net.device, may_slide
        self.tensors = propagate(net.graph, (PROBE_BATCH, net.channels, *net.window), net.dtype)
        self.graph = Graph()
        self.root = nn.Module()
        self.slid: dict[Node, CanonicalValue] = {}  # what nodes of one cell have become where they slide
        self.statistics: dict[Node, MapStatistic] = {}
        self.collapsed: dict[Hashable, Mapped] = {}  # what statistics of a map have become
        self.standardises = False  # whether a map is scaled and shifted by numbers of the window after it was shared
        self._pads: dict[Node, frozenset[str]] = {}
        self._made: dict[tuple[object, ...], torch.Tensor] = {}

    def call(self, source: Node, target: Any, args: Sequence[Any], kind: str, **meta: Any) -> Node:
        """A new node for the original node ``source``, whose layer's name it keeps."""
        node = self.graph.call_function(target, tuple(args))
        self.describe(node, source, kind, **meta)
        return node

    def pads(self, node: Node, axes: str = "yx") -> bool:
        """Whether a layer pads the map that a new node gives, or one before it, along one of ``axes``."""
        waiting = [node]
        while waiting:
            before = waiting[-1].all_input_nodes
            unknown = [n for n in before if n not in self._pads]
            if unknown:
                waiting += unknown
            else:
                one = waiting.pop()
                self._pads[one] = _own_pads(one).union(*(self._pads[n] for n in before))
        return any(axis in self._pads[node] for axis in axes)

    def describe(self, node: Node, source: Node, kind: str, **meta: Any) -> None:
        """Gives a new node the layer and the operator of the original node that it is made for."""
        node.meta = {"path": source.meta.get("path", source.name), "op": op_name(source), "kind": kind, **meta}

    def attribute(self, target: str, tensor: torch.Tensor) -> Node:
        """A node that reads ``tensor``, under the name ``target`` if that is free."""
        holder = self.root
        *path, name = target.split(".")
        for part in path:
            if not hasattr(holder, part):
                setattr(holder, part, nn.Module())
            holder = getattr(holder, part)
        taken = getattr(holder, name, None)
        if taken is not None and taken is not tensor:
            return self.attribute(f"{target}_as_convolution", tensor)
        if taken is None:
            if isinstance(tensor, nn.Parameter):
                setattr(holder, name, tensor)
            else:
                holder.register_buffer(name, tensor)
        node = self.graph.get_attr(target)
        node.meta = {"path": target, "op": "weight", "kind": "const"}
        return node

    def cached(self, key: tuple[object, ...], make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The tensor that ``make`` returned when ``key`` was asked for first."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def finish(self, name: str) -> GraphModule:
        """The graph as a module, without dead nodes; it takes the weights that nodes read."""
        self.graph.eliminate_dead_code()
        return uncompiled(self.root, self.graph, name)


def _own_pads(node: Node) -> frozenset[str]:
    """The axes along which an operator itself pads."""
    args = bind(node) if node.meta["kind"] == "windowed" else {}
    (y, x), (left, right, top, bottom) = pair(args.get("padding") or 0), (*args.get("pad", ()), 0, 0, 0, 0)[:4]
    return frozenset(axis for axis, cells in (("y", (y, top, bottom)), ("x", (x, left, right))) if any(cells))
