"""Rebuilds a captured graph in canonical form, node by node, by one rule an operator."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from fullfield.canonical.builder import CanonicalBuilder
from fullfield.canonical.context import Context, Rule
from fullfield.canonical.layout import Layout
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.rules import standardised
from fullfield.canonical.values import CanonicalValue, Const, Mapped, Outputs, Raw, Scalar, Standardised
from fullfield.graph.attributes import attribute_of
from fullfield.graph.calls import bind, op_name
from fullfield.graph.shapes import PROBE_BATCH, window_dims
from fullfield.model.model import Model

aten = torch.ops.aten
_STRIDED_VIEWS = (aten.view.default, aten._unsafe_view.default)


@dataclass(frozen=True)
class Refused:
    """An operator that stays as it is and reads the whole window: its layer, its name, the rule's reason."""

    path: str
    op: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} ({self.op}): {self.reason}"


class Rewriter:
    """One walk over a network's graph.

    Args:
        rules: the rule of an operator, if it has one.
        may_slide: whether pools and norms over the window's map may slide with the window.
    """

    def __init__(self, net: Model, rules: Callable[[Any], Rule | None], *, may_slide: bool = False) -> None:
        self.net, self.rules = net, rules
        self.builder = CanonicalBuilder(net, may_slide=may_slide)
        self.refused: list[Refused] = []
        self.scaled: dict[Node, Node] = {}

    def run(self) -> GraphModule:
        """The canonical graph. Its output is ``(n, k, 1, 1)`` at the window, or ``(n, k)`` where that is refused."""
        values: dict[Node, CanonicalValue] = {}
        for node in self.net.graph.graph.nodes:
            context = Context(self.builder, node, values, self._rewrite)
            if node.op == "placeholder":
                new = self.builder.graph.placeholder(node.name)
                new.meta = {"path": "image", "op": "image", "kind": "input"}
                values[node] = Mapped(new, Layout.plain(self.net.channels, *self.net.window))
            elif node.op == "get_attr":
                tensor = attribute_of(self.net.graph, str(node.target))
                values[node] = Const(self.builder.attribute(str(node.target), tensor), tuple(tensor.shape))
            elif node.op == "output":
                self._finish(context, node.args[0])
            else:
                values[node] = self._rewrite(context)
        return self.builder.finish("FullyConvolutional")

    def _rewrite(self, context: Context) -> CanonicalValue:
        """What a node becomes."""
        node = context.node
        if node.target is aten.sym_size.int:
            return self._size(context)
        inputs = [context.values[n] for n in node.all_input_nodes]
        if node.target is operator.getitem and isinstance(inputs[0], Outputs):
            item = inputs[0].items[int(node.args[1])]  # type: ignore[arg-type]
            return self._refuse(context, Refusal("asks for the indices of a pool")) if item is None else item
        if not any(isinstance(v, (Mapped, Standardised, Raw, Outputs)) for v in inputs):
            return self._without_image(context, inputs)
        raws = [v for v in inputs if isinstance(v, Raw)]
        if raws and all(v.fixed for v in raws):
            if any(isinstance(v, (Mapped, Standardised, Outputs)) for v in inputs):
                reason = "joins values that do not come from the image (a class token, say)"
                return self._refuse(context, Refusal(reason))
            return Raw(self._copy(context, node).node, fixed=True)
        if raws:
            return self._copy(context, node)
        if any(isinstance(v, Standardised) for v in inputs):
            found = standardised.rewrite(context, bind(node), self.rules)
            return self._copy(context, node) if isinstance(found, Refusal) else found
        rule = self.rules(node.target)
        if rule is None:
            reason = "is in no list of operators that act window by window or cell by cell"
            return self._refuse(context, Refusal(reason))
        result = rule(context, bind(node))
        if isinstance(result, Refusal) and not self.builder.may_slide:
            result = standardised.begin(context) or result
        return self._refuse(context, result) if isinstance(result, Refusal) else result

    def _size(self, context: Context) -> CanonicalValue:
        size = context.result
        if size != PROBE_BATCH or int(context.node.args[1]) != 0:  # type: ignore[arg-type]
            return int(size)
        image = next(n for n in self.builder.graph.nodes if n.op == "placeholder")
        return Scalar(context.emit(aten.sym_size.int, [image, 0], kind="scalar"))

    def _without_image(self, context: Context, inputs: Sequence[CanonicalValue]) -> CanonicalValue:
        """A node that does not depend on the image."""
        found, raw = context.result, self._copy(context, context.node)
        if isinstance(found, torch.Tensor) and any(isinstance(v, Scalar) for v in inputs):
            return Raw(raw.node, fixed=True)
        several = isinstance(found, (tuple, list))
        is_const = several or isinstance(found, torch.Tensor)
        raw.node.meta["kind"] = "const" if is_const else "scalar"
        if not is_const:
            return Scalar(raw.node)
        return Const(raw.node, () if several else tuple(found.shape))

    def _refuse(self, context: Context, refusal: Refusal) -> Raw:
        node = context.node
        self.refused.append(Refused(node.meta.get("path", node.name), op_name(node), refusal.reason))
        return self._copy(context, node, refusal.reason, in_order=refusal.in_order)

    def _copy(self, context: Context, node: Node, reason: str = "", *, in_order: bool = False) -> Raw:
        """A node as it is, on inputs in their original shape."""

        def new_arg(n: Node) -> Any:
            restored = self._restore(context, n, reason)
            if not in_order or not isinstance(restored, Node):
                return restored
            ordered = context.emit(aten.clone.default, [restored], kind="whole", reason=reason)
            ordered.kwargs = {"memory_format": torch.contiguous_format}
            return ordered

        # The strides are no longer the original's, and a view depends on those.
        target = aten.reshape.default if node.target in _STRIDED_VIEWS else node.target
        args, kwargs = map_arg((node.args, node.kwargs), new_arg)
        copy = self.builder.graph.create_node(node.op, target, args, kwargs, name=node.name)
        given = self.builder.tensors[node]  # two dimensions of windows: each window of a batch with each
        joins = isinstance(given, torch.Tensor) and len(window_dims(given)) > 1
        self.builder.describe(copy, node, "whole", reason=reason, joins=joins)
        return Raw(copy)

    def _restore(self, context: Context, node: Node, reason: str = "") -> Any:
        """The original tensor behind a value: canonical form undone where it differs."""
        value = context.values[node]
        if isinstance(value, int):
            return value
        if isinstance(value, Standardised):
            return self._per_window(replace(context, node=node), value)
        if isinstance(value, Outputs) or (isinstance(value, Mapped) and value.replayed):
            return self._copy(context, node, reason).node
        if not isinstance(value, Mapped):
            return value.node
        return self._in_shape(context, value, reason)

    def _per_window(self, context: Context, value: Standardised) -> Node:
        """The original tensor behind a map that is scaled by numbers of each window, computed for each once."""
        if context.node not in self.scaled:
            if value.replayed or not standardised.is_scaled_cheaper(context, value):
                self.scaled[context.node] = self._refuse(context, Refusal(value.reason)).node
            else:
                result = standardised.computed(context, value, "whole")
                reason = result.node.meta["reason"]
                self.refused.append(Refused(context.node.meta["path"], op_name(context.node), reason))
                self.scaled[context.node] = self._in_shape(context, result, reason)
        return self.scaled[context.node]

    def _in_shape(self, context: Context, value: Mapped, reason: str) -> Node:
        """The original tensor behind a canonical one."""
        if value.layout.is_plain:
            return value.node
        layout = value.layout
        rank = len(layout.channels)
        place = {"n": 0, "y": rank + 1, "x": rank + 2}
        channel = iter(range(1, rank + 1))
        order = [place[s] if s in place else next(channel) for dim in layout.dims for s in dim]
        order += [i for i in range(rank + 3) if i not in order]
        permuted = context.emit(aten.permute.default, [value, order], kind="whole", reason=reason)
        shape = [-1, *layout.shape(PROBE_BATCH)[1:]]
        return context.emit(aten.reshape.default, [permuted, shape], kind="whole", reason=reason)

    def _finish(self, context: Context, scores: Any) -> None:
        """The output, put back in shape where it is no map of one cell."""
        value = context.values[scores]
        assert isinstance(value, (Mapped, Standardised, Raw))
        result = self._restore(context, scores) if isinstance(value, Standardised) else value.node
        if isinstance(value, Mapped) and not (value.layout.single and len(value.layout.channels) == 1):
            self.refused.append(Refused("output", "flatten", "the scores are cells of a map, not one vector a window"))
            result = self._restore(context, scores, self.refused[-1].reason)
        node = self.builder.graph.output(result)
        node.meta = {"path": "scores", "op": "output", "kind": "output"}
