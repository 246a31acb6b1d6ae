"""The walk that rebuilds a captured graph in canonical form, one rule an operator."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from fullfield.canonical.layout import Layout
from fullfield.canonical.refusal import Refusal
from fullfield.graph.calls import bind, op_name
from fullfield.graph.shapes import PROBE_BATCH, propagate, window_dims
from fullfield.model.model import Model

aten = torch.ops.aten
STRIDED_VIEWS = (aten.view.default, aten._unsafe_view.default)


@dataclass(frozen=True)
class Mapped:
    """A value in canonical form ``(n, *channels, y, x)``.

    ``replayed`` if an operator that stays as it is gets the original's views instead of this value put back in shape:
    the map cut into blocks, from where it was whole.
    """

    node: Node
    layout: Layout
    replayed: bool = False


@dataclass(frozen=True)
class Raw:
    """A value as the original network has it, which makes sense on one window only.

    ``fixed`` if the image does not reach it, only the batch size: a class token spread over the batch, say.
    """

    node: Node
    fixed: bool = False


@dataclass(frozen=True)
class Const:
    """A tensor that does not depend on the image."""

    node: Node
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Scalar:
    """A number: the batch size or what is computed from it."""

    node: Node


@dataclass(frozen=True)
class Parts:
    """Several canonical values from one operator."""

    items: tuple[Mapped | None, ...]


Value = Mapped | Raw | Const | Scalar | Parts | int
Rule = Callable[["Rewriter", Node, dict[str, Any]], "Mapped | Parts | Refusal"]


@dataclass(frozen=True)
class Refused:
    """An operator that stays as it is, which sees the whole window: its layer, its name, the rule's reason."""

    path: str
    op: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} ({self.op}): {self.reason}"


class Rewriter:
    """Rebuilds a graph node by node; rules call its ``emit``, ``weight`` and ``value``."""

    def __init__(self, net: Model, rules: Callable[[Any], Rule | None], *, sliding: bool = False) -> None:
        self.source, self.dtype = net.graph, net.dtype
        self.rules = rules
        self.sliding_allowed = sliding
        self.sliding = False
        self.graph = Graph()
        self.root = nn.Module()
        self.values: dict[Node, Value] = {}
        self.refused: list[Refused] = []
        self.reshaped: dict[tuple[object, ...], torch.Tensor] = {}
        self.shapes = propagate(net.graph, (PROBE_BATCH, net.channels, *net.window), net.dtype)
        self.plain = Layout.plain(net.channels, *net.window)
        self._current: Node | None = None

    # -- what rules call ---------------------------------------------------------------------------------------

    def value(self, arg: Any) -> Any:
        """The value behind an argument; numbers, lists and ``None`` stand for themselves."""
        return self.values[arg] if isinstance(arg, Node) else arg

    def shape(self, node: Node) -> tuple[int, ...]:
        """Shape of the original tensor at the window, for ``PROBE_BATCH`` windows."""
        return tuple(self.shapes[node].shape)

    def emit(self, target: Any, args: Sequence[Any], *, kind: str, **meta: Any) -> Node:
        """A new node for the operator being rewritten, which keeps its layer's name."""
        plain = tuple(a.node if isinstance(a, (Mapped, Raw, Const, Scalar)) else a for a in args)
        node = self.graph.call_function(target, plain)
        source = self._current
        assert source is not None
        node.meta = {"path": source.meta.get("path", source.name), "op": op_name(source), "kind": kind, **meta}
        return node

    def weight(self, like: Any, split: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> Const:
        """A weight reshaped to ``split``, permuted by ``order`` and reshaped to ``shape``.

        A parameter stays one, sharing the original's memory when it can; what the network computes from its
        parameters is reshaped in the graph.
        """
        const: Const = self.value(like)
        if const.node.op != "get_attr":
            node = self.emit(aten.reshape.default, [const, list(split)], kind="const")
            node = self.emit(aten.permute.default, [node, list(order)], kind="const")
            return Const(self.emit(aten.reshape.default, [node, list(shape)], kind="const"), tuple(shape))
        target = str(const.node.target)
        tensor = _attribute(self.root, target)
        changed = tensor.detach().reshape(*split).permute(*order).reshape(*shape)
        if isinstance(tensor, nn.Parameter):
            changed = nn.Parameter(changed, requires_grad=tensor.requires_grad)
        key = (target, tuple(split), tuple(order), tuple(shape))
        changed = self.reshaped.setdefault(key, changed)
        return Const(self._get_attr(target, changed), tuple(shape))

    def fixed(self, node: Node, tensor: torch.Tensor) -> Const:
        """A tensor of the rule's own for ``node``, in the type and on the device of its value."""
        like = self.shapes[node]
        key = (node.name, "fixed", *tensor.shape)
        kept = self.reshaped.setdefault(key, tensor.to(like.device, like.dtype))
        return Const(self._get_attr(f"{node.name}_fixed", kept), tuple(kept.shape))

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

    def slide(self, node: Node) -> Any:
        """The value of a node that holds one cell for the window, as a map of such cells that slides with it.

        The operators from the pool on are rewritten once more, with the pool taken round every cell.
        """
        chain: list[Node] = []
        wanted = [node]
        while wanted:
            one = wanted.pop()
            if one not in chain and _single(self.values[one]):
                chain.append(one)
                wanted += one.all_input_nodes
        saved, current = dict(self.values), self._current
        self.sliding = True
        try:
            for one in sorted(chain):
                self._current = one
                self.values[one] = self._rewrite(one)
            return self.values[node]
        finally:
            self.sliding, self._current, self.values = False, current, saved

    # -- the walk ----------------------------------------------------------------------------------------------

    def run(self) -> GraphModule:
        """The canonical graph. Its output is ``(n, k, 1, 1)`` at the window, or ``(n, k)`` where that is refused."""
        for node in self.source.graph.nodes:
            self._current = node
            if node.op == "placeholder":
                new = self.graph.placeholder(node.name)
                new.meta = {"path": "image", "op": "image", "kind": "input"}
                self.values[node] = Mapped(new, self.plain)
            elif node.op == "get_attr":
                tensor = _attribute(self.source, str(node.target))
                self.values[node] = Const(self._get_attr(str(node.target), tensor), tuple(tensor.shape))
            elif node.op == "output":
                self._finish(self.values[node.args[0]])
            else:
                self.values[node] = self._rewrite(node)
        self.graph.eliminate_dead_code()
        _drop_unused(self.root, self.graph)
        return GraphModule(self.root, self.graph, "FullyConvolutional")

    def _rewrite(self, node: Node) -> Value:
        if node.target is aten.sym_size.int:
            return self._size(node)
        inputs = [self.values[n] for n in node.all_input_nodes]
        if node.target is operator.getitem and isinstance(inputs[0], Parts):
            item = inputs[0].items[int(node.args[1])]  # type: ignore[arg-type]
            if item is not None:
                return item
            return self._refuse(node, Refusal("asks for the indices of a pool"))
        if not any(isinstance(v, (Mapped, Raw, Parts)) for v in inputs):
            return self._fixed(node, inputs)
        raws = [v for v in inputs if isinstance(v, Raw)]
        if raws and all(v.fixed for v in raws):
            if any(isinstance(v, (Mapped, Parts)) for v in inputs):
                return self._refuse(node, Refusal("joins values that do not come from the image (a class token, say)"))
            return Raw(self._copy(node).node, fixed=True)
        if raws:
            return self._copy(node)
        rule = self.rules(node.target)
        if rule is None:
            return self._refuse(node, Refusal("is in no list of operators that act window by window or cell by cell"))
        result = rule(self, node, bind(node))
        return self._refuse(node, result) if isinstance(result, Refusal) else result

    def _size(self, node: Node) -> Value:
        if self.shapes[node] != PROBE_BATCH or int(node.args[1]) != 0:  # type: ignore[arg-type]
            return int(self.shapes[node])
        image = next(n for n in self.graph.nodes if n.op == "placeholder")
        return Scalar(self.emit(aten.sym_size.int, [image, 0], kind="scalar"))

    def _fixed(self, node: Node, inputs: Sequence[Value]) -> Value:
        """A node that the image does not reach."""
        found = self.shapes[node]
        if not isinstance(found, torch.Tensor):
            new = self._copy(node).node
            new.meta["kind"] = "const" if isinstance(found, (tuple, list)) else "scalar"
            return Const(new, ()) if isinstance(found, (tuple, list)) else Scalar(new)
        raw = self._copy(node)
        if any(isinstance(v, Scalar) for v in inputs):
            return Raw(raw.node, fixed=True)
        raw.node.meta["kind"] = "const"
        return Const(raw.node, tuple(found.shape))

    def _refuse(self, node: Node, refusal: Refusal) -> Raw:
        self.refused.append(Refused(node.meta.get("path", node.name), op_name(node), refusal.reason))
        return self._copy(node, refusal.reason, in_order=refusal.in_order)

    def _copy(self, node: Node, reason: str = "", *, in_order: bool = False) -> Raw:
        """The node as it is, on inputs in their original shape."""

        def new_arg(n: Node) -> Any:
            restored = self._restore(n, reason)
            if not in_order or not isinstance(restored, Node):
                return restored
            ordered = self.emit(aten.clone.default, [restored], kind="whole", reason=reason)
            ordered.kwargs = {"memory_format": torch.contiguous_format}
            return ordered

        # the strides are no longer the original's, and a view asks for those
        target = aten.reshape.default if node.target in STRIDED_VIEWS else node.target
        copy = self.graph.create_node(
            node.op, target, map_arg(node.args, new_arg), map_arg(node.kwargs, new_arg), name=node.name
        )
        copy.meta = {"path": node.meta.get("path", node.name), "op": op_name(node), "kind": "whole", "reason": reason}
        given = self.shapes[node]  # each window of a batch beside each?
        copy.meta["joins"] = isinstance(given, torch.Tensor) and len(window_dims(given)) > 1
        return Raw(copy)

    def _restore(self, node: Node, reason: str = "") -> Any:
        """The original tensor behind a value: canonical form undone where it differs."""
        value = self.values[node]
        if isinstance(value, int):
            return value
        if isinstance(value, Parts) or (isinstance(value, Mapped) and value.replayed):
            return self._copy(node, reason).node
        if not isinstance(value, Mapped) or value.layout.is_plain:
            return value.node
        layout = value.layout
        rank = len(layout.channels)
        place = {"n": 0, "y": rank + 1, "x": rank + 2}
        channel = iter(range(1, rank + 1))
        order = [place[s] if s in place else next(channel) for dim in layout.dims for s in dim]
        order += [i for i in range(rank + 3) if i not in order]
        permuted = self.emit(aten.permute.default, [value, order], kind="whole", reason=reason)
        shape = [-1, *layout.shape(PROBE_BATCH)[1:]]
        return self.emit(aten.reshape.default, [permuted, shape], kind="whole", reason=reason)

    def _finish(self, value: Value) -> None:
        assert isinstance(value, (Mapped, Raw))
        result = value.node
        if isinstance(value, Mapped) and not (value.layout.single and len(value.layout.channels) == 1):
            output = next(n for n in self.source.graph.nodes if n.op == "output")
            assert isinstance(output.args[0], Node)
            self.refused.append(Refused("output", "flatten", "the scores are cells of a map, not one vector a window"))
            result = self._restore(output.args[0], self.refused[-1].reason)
        node = self.graph.output(result)
        node.meta = {"path": "scores", "op": "output", "kind": "output"}

    def _get_attr(self, target: str, tensor: torch.Tensor) -> Node:
        holder = self.root
        *path, name = target.split(".")
        for part in path:
            if not hasattr(holder, part):
                setattr(holder, part, nn.Module())
            holder = getattr(holder, part)
        taken = getattr(holder, name, None)
        if taken is not None and taken is not tensor:
            return self._get_attr(f"{target}_as_convolution", tensor)
        if taken is None:
            if isinstance(tensor, nn.Parameter):
                setattr(holder, name, tensor)
            else:
                holder.register_buffer(name, tensor)
        node = self.graph.get_attr(target)
        node.meta = {"path": target, "op": "weight", "kind": "const"}
        return node


def _single(value: Value) -> bool:
    """Whether it is one cell for the window, or parts of such a cell."""
    items = value.items if isinstance(value, Parts) else (value,)
    return any(isinstance(item, Mapped) and item.layout.single for item in items)


def _attribute(module: nn.Module, target: str) -> torch.Tensor:
    for part in target.split("."):
        module = getattr(module, part)
    assert isinstance(module, torch.Tensor)
    return module


def _drop_unused(root: nn.Module, graph: Graph) -> None:
    """Removes weights that no node reads any more (the originals of reshaped ones, batch counters)."""
    used = {str(n.target) for n in graph.nodes if n.op == "get_attr"}
    for name in [
        *dict(root.named_parameters(remove_duplicate=False)),
        *dict(root.named_buffers(remove_duplicate=False)),
    ]:
        if name not in used:
            holder, _, leaf = name.rpartition(".")
            delattr(root.get_submodule(holder), leaf)
