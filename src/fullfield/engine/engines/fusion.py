"""Merges convolutions with what follows them, and keeps their weights in the memory order of the maps.

Activations and sums on their own read and write the whole map once more. The operators used here are those that
``torch.compile`` emits for CPUs. It also packs weights for oneDNN beforehand. That saves what every call takes to pack
them, a tenth of a deep layer on 8 windows; but oneDNN wants another order for maps of another size, and brings one such
order to another by a loop that takes longer than the convolution, so that each size would need weights of its own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from fullfield.graph.calls import bind, held_tensor, op_name, pair
from fullfield.lower.inplace import NEW_MEMORY, SAME_SHAPE

aten = torch.ops.aten


@dataclass(frozen=True)
class MergedActivation:
    """An activation as oneDNN takes it: its name, its numbers, the variant of its formula; no name if there is none."""

    name: str = ""
    numbers: tuple[float, ...] = ()
    formula: str = ""


def can_fuse(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this build of torch has the operators, for numbers of this type on this device."""
    return device.type == "cpu" and dtype in (torch.float32, torch.bfloat16) and _has_operators(dtype)


@functools.cache
def _has_operators(dtype: torch.dtype) -> bool:
    """Whether torch was built with oneDNN, whose operators run on this processor as they do in ``torch.compile``."""
    if not torch._C._has_mkldnn:
        return False
    one = torch.ones(1, 1, 1, 1, dtype=dtype)
    try:
        layer = [None, [0, 0], [1, 1], [1, 1], 1]
        relu = torch.ops.mkldnn._convolution_pointwise.default(-one, one, *layer, "relu", [], "")
        total = torch.ops.mkldnn._convolution_pointwise.binary(-one, -one, one, *layer, "add", 1.0, "relu", [], "")
        line = torch.ops.mkldnn._linear_pointwise.default(-one[0, 0], one[0, 0], None, "relu", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return [each.item() for each in (relu, total, line)] == [0.0, 0.0, 0.0]


class Fuser:
    """Merges the convolutions of a network's programs; all programs share the weights in their new order."""

    def __init__(self) -> None:
        self._weights: dict[tuple[object, ...], Tensor] = {}

    @torch.no_grad()
    def fuse(self, module: GraphModule) -> GraphModule:
        """The module with its convolutions merged with the sums and activations after them; changed in place.

        Linear layers are merged with activations, and run in oneDNN too.
        """
        for node in list(module.graph.nodes):
            if node.target is aten.conv2d.default and _arguments(node)[1].op == "get_attr" and not node.kwargs:
                self._merge(module, node)
            elif node.target is aten.linear.default and _arguments(node)[1].op == "get_attr" and not node.kwargs:
                _merge_linear(module, node)
        module.recompile()
        return module

    @torch.no_grad()
    def reorder(self, module: GraphModule) -> GraphModule:
        """The module with the weights of its convolutions in the memory order of the maps, nothing merged; in place.

        Otherwise a convolution of maps whose channels lie side by side brings its weights to that order every time.
        """
        for node in module.graph.find_nodes(op="call_function", target=aten.conv2d.default):
            weight = _arguments(node)[1] if len(node.args) > 1 else None
            if isinstance(weight, Node) and weight.op == "get_attr":
                with module.graph.inserting_before(node):
                    node.update_arg(1, module.graph.get_attr(self._ordered(module, str(weight.target))))
                if not weight.users:
                    module.graph.erase_node(weight)
        module.recompile()
        return module

    def _merge(self, module: GraphModule, node: Node) -> None:
        value, weight, bias, stride, padding, dilation, groups = bind(node).values()
        layer = bias, pair(padding), pair(stride), pair(dilation), groups
        other = _summand(node)
        merged = [node] if other is None else [node, *node.users]
        activation = _activation(merged[-1])
        if activation is not None and (other is None or activation.name == "relu"):  # no other is taken after a sum
            merged.extend(merged[-1].users)
        else:
            activation = MergedActivation()
        how: tuple[Any, ...] = list(activation.numbers), activation.formula
        with module.graph.inserting_before(merged[-1]):
            held = module.graph.get_attr(self._ordered(module, str(weight.target)))
            if other is None:
                args = (value, held, *layer, activation.name or "none", *how)
                result = module.graph.call_function(torch.ops.mkldnn._convolution_pointwise.default, args)
            else:
                args = (held, *layer, "add", 1.0, activation.name or None, *how)
                if _may_overwrite(other):
                    target, args = torch.ops.mkldnn._convolution_pointwise_.binary, (other, value, *args)
                else:
                    target, args = torch.ops.mkldnn._convolution_pointwise.binary, (value, other, *args)
                result = module.graph.call_function(target, args)
        _replace(module, merged, result)

    def _ordered(self, module: GraphModule, name: str) -> str:
        """The name under which ``module`` holds the weights in the memory order of the maps."""
        weight = held_tensor(module, name)
        key = weight.data_ptr(), tuple(weight.shape), weight.stride()
        if key not in self._weights:
            self._weights[key] = weight.detach().contiguous(memory_format=torch.channels_last)
        held = f"_ordered_{list(self._weights).index(key)}"
        if not hasattr(module, held):
            module.register_buffer(held, self._weights[key], persistent=False)
        return held


def _merge_linear(module: GraphModule, node: Node) -> None:
    value, weight, bias = bind(node).values()
    activation = _activation(node)
    merged = [node] if activation is None else [node, *node.users]
    activation = activation or MergedActivation("none")
    args = value, weight, bias, activation.name, list(activation.numbers), activation.formula
    with module.graph.inserting_before(merged[-1]):
        result = module.graph.call_function(torch.ops.mkldnn._linear_pointwise.default, args)
    _replace(module, merged, result)


def _replace(module: GraphModule, merged: list[Node], result: Node) -> None:
    """Lets a node stand in the place of several, of which each reads the one before it."""
    result.meta = {**merged[-1].meta, NEW_MEMORY: True}
    merged[-1].replace_all_uses_with(result)
    for old in reversed(merged):
        module.graph.erase_node(old)


def _arguments(node: Node) -> tuple[Any, ...]:
    return tuple(node.args)


def _summand(node: Node) -> Node | None:
    """What is added to a convolution, if its only reader is a sum of two maps of its shape."""
    if len(node.users) != 1:
        return None
    (reader,) = node.users
    if reader.target is not aten.add.Tensor or reader.kwargs or not reader.meta.get(SAME_SHAPE):
        return None
    others = [a for a in _arguments(reader) if a is not node]
    return others[0] if len(others) == 1 and isinstance(others[0], Node) else None


def _may_overwrite(summand: Node) -> bool:
    """Whether a sum may be written over one of its terms: gathered for this sum alone."""
    while len(summand.users) == 1 and summand.target in (aten.permute.default, aten.reshape.default):
        (summand,) = summand.all_input_nodes
    return len(summand.users) == 1 and summand.target is aten.index_select.default


def _activation(node: Node) -> MergedActivation | None:
    """The activation that is a node's only reader, if it is one of oneDNN's."""
    if len(node.users) != 1:
        return None
    (reader,) = node.users
    if reader.kwargs or not reader.args or reader.args[0] is not node:
        return None
    numbers = _arguments(reader)[1:]
    match op_name(reader):
        case "relu" | "sigmoid" | "tanh" | "hardswish" as name:
            return MergedActivation(name)
        case "silu":
            return MergedActivation("swish")
        case "gelu":
            return MergedActivation("gelu", (), str(numbers[0]) if numbers else "none")
        case "relu6":
            return MergedActivation("hardtanh", (0.0, 6.0))
        case "leaky_relu":
            return MergedActivation("leaky_relu", (float(numbers[0]) if numbers else 0.01,))
        case "hardtanh":
            given = [float(n) for n in numbers]
            return MergedActivation("hardtanh", (*given, *(-1.0, 1.0)[len(given) :]))
        case "clamp" | "clamp_min":
            return _clamp(*numbers)
    return None


def _clamp(low: object = None, high: object = None) -> MergedActivation | None:
    """A clamp between two numbers, or at zero from below, as oneDNN defines it; ``None`` for any other."""
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        return MergedActivation("hardtanh", (float(low), float(high)))
    return MergedActivation("relu") if low == 0 and high is None else None
