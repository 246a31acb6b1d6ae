"""What a rule may ask about the operator that it rewrites, and how it writes the canonical graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.fx import Node

from fullfield.canonical.builder import CanonicalBuilder
from fullfield.canonical.layout import Layout
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.values import CanonicalValue, Const, Mapped, Outputs, Raw, Scalar, Standardised, is_single
from fullfield.graph.attributes import attribute_of

aten = torch.ops.aten


@dataclass(frozen=True)
class Context:
    """One operator of the original network, to be rewritten.

    Args:
        builder: the graph under construction.
        node: the operator.
        values: what the nodes before it have become.
        rewrite: rewrites another node, given its context.
        sliding: whether pools over the window's map slide with the window now, instead of closing the map.
    """

    builder: CanonicalBuilder
    node: Node
    values: Mapping[Node, CanonicalValue]
    rewrite: Callable[[Context], CanonicalValue]
    sliding: bool = False

    @property
    def may_slide(self) -> bool:
        """Whether pools and norms over the window's map may slide with the window."""
        return self.builder.may_slide

    @property
    def dtype(self) -> torch.dtype:
        """The network's type."""
        return self.builder.dtype

    def value(self, arg: Any) -> Any:
        """What an argument has become; arguments that are no nodes are returned unchanged."""
        return self.values[arg] if isinstance(arg, Node) else arg

    @property
    def first(self) -> Any:
        """What the operator's first argument has become."""
        return self.value(self.node.args[0])

    @property
    def result(self) -> Any:
        """The operator's original result for ``PROBE_BATCH`` windows: fake tensors, or a number."""
        return self.builder.tensors[self.node]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the operator's original result, for ``PROBE_BATCH`` windows."""
        return tuple(self.result.shape)

    def type_of(self, node: Node) -> torch.dtype:
        """The type of a node's original value."""
        found: torch.dtype = self.builder.tensors[node].dtype
        return found

    def emit(self, target: Any, args: Sequence[Any], *, kind: str, **meta: Any) -> Node:
        """A new node for the operator, which keeps its layer's name."""
        plain = [a.node if isinstance(a, (Mapped, Raw, Const, Scalar)) else a for a in args]
        return self.builder.call(self.node, target, plain, kind, **meta)

    def weight(self, const: Const, split: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> Const:
        """A weight reshaped to ``split``, permuted by ``order`` and reshaped to ``shape``.

        A parameter stays one, sharing the original's memory when it can; what the network computes from its
        parameters is reshaped in the graph.
        """
        if const.node.op != "get_attr":
            node = self.emit(aten.reshape.default, [const, list(split)], kind="const")
            node = self.emit(aten.permute.default, [node, list(order)], kind="const")
            return Const(self.emit(aten.reshape.default, [node, list(shape)], kind="const"), tuple(shape))
        target = str(const.node.target)
        tensor = attribute_of(self.builder.root, target)

        def changed() -> torch.Tensor:
            result = tensor.detach().reshape(*split).permute(*order).reshape(*shape)
            parameter = isinstance(tensor, nn.Parameter)
            return nn.Parameter(result, requires_grad=tensor.requires_grad) if parameter else result

        made = self.builder.cached((target, tuple(split), tuple(order), tuple(shape)), changed)
        return Const(self.builder.attribute(target, made), tuple(shape))

    def fixed(self, tensor: torch.Tensor) -> Const:
        """A tensor of the rule's own, in the type of the operator's result and on the network's device."""
        key = (self.node.name, "fixed", *tensor.shape)
        made = self.builder.cached(key, lambda: tensor.to(self.builder.device, self.result.dtype))
        return Const(self.builder.attribute(f"{self.node.name}_fixed", made), tuple(made.shape))

    def held(self, name: str, tensor: torch.Tensor) -> Const:
        """A tensor of the rule's own as it is, under a name that no other of the operator's has."""
        made = self.builder.cached((self.node.name, "held", name), lambda: tensor.to(self.builder.device))
        return Const(self.builder.attribute(f"{self.node.name}_{name}", made), tuple(made.shape))

    def to_channels(self, mapped: Mapped, layout: Layout, order: Sequence[int]) -> Mapped:
        """``mapped`` with its canonical channel dimensions brought to ``order`` and then to ``layout.channels``."""
        node = mapped.node
        rank = len(mapped.layout.channels)
        if list(order) != list(range(rank)):
            perm = [0, *(1 + i for i in order), rank + 1, rank + 2]
            node = self.emit(aten.permute.default, [node, perm], kind="per_cell")
        moved = tuple(mapped.layout.channels[i] for i in order)
        if moved != layout.channels:
            rows = self.emit(aten.sym_size.int, [node, rank + 1], kind="scalar")
            columns = self.emit(aten.sym_size.int, [node, rank + 2], kind="scalar")
            shape = [-1, *layout.channels, rows, columns]
            node = self.emit(aten.reshape.default, [node, shape], kind="per_cell")
        return Mapped(node, layout)

    def slide(self, node: Node) -> Mapping[Node, CanonicalValue]:
        """The values in which ``node``, one cell for the window, is a map of such cells that slides with the window.

        The operators from the pool on are rewritten once more, with the pool taken round every cell; once, however many
        readers ask for it.
        """
        chain: list[Node] = []
        waiting = [node]
        while waiting:
            one = waiting.pop()
            if one not in chain and is_single(self.values[one]):
                chain.append(one)
                waiting += one.all_input_nodes
        values = dict(self.values)
        slid = self.builder.slid
        for one in sorted(chain):
            if one not in slid:
                slid[one] = self.rewrite(replace(self, node=one, values=values, sliding=True))
            values[one] = slid[one]
        return values


Rule = Callable[[Context, dict[str, Any]], Mapped | Standardised | Outputs | Refusal]
