"""Merges convolutions with what follows them, and keeps their weights in the memory order of the maps.

Activations and sums on their own read and write the whole map once more. The operators used here are those that
``torch.compile`` emits for CPUs. It also reorders weights for oneDNN beforehand; but oneDNN wants another order for
maps of another size, and brings one such order to another by a loop that takes longer than the convolution.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from fullfield.lower.inplace import SAME_SHAPE

aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """An activation as oneDNN takes it: its name, its numbers, the variant of its formula."""

    name: str = ""
    numbers: tuple[float, ...] = ()
    formula: str = ""


def can_fuse(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this build of torch has the operators, for numbers of this type on this device."""
    return device.type == "cpu" and dtype in (torch.float32, torch.bfloat16) and _has_operators()


@functools.cache
def _has_operators() -> bool:
    """Whether torch was built with oneDNN and its operators work as they do in ``torch.compile``."""
    if not torch.backends.mkldnn.is_available():
        return False
    one = torch.ones(1, 1, 1, 1)
    try:
        layer = [None, [0, 0], [1, 1], [1, 1], 1]
        relu = torch.ops.mkldnn._convolution_pointwise.default(-one, one, *layer, "relu", [], "")
        total = torch.ops.mkldnn._convolution_pointwise.binary(
            -one, -one, one, *layer, "add", 1.0, "relu", [], ""
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool(relu.item() == 0.0 and total.item() == 0.0)


class Fuser:
    """Merges the convolutions of a network's programs; all programs share the weights in their new order."""

    def __init__(self) -> None:
        self._weights: dict[tuple[object, ...], Tensor] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the weights in their new order, where that is not the old one."""
        return sum(w.numel() * w.element_size() for w in self._weights.values())

    @torch.no_grad()
    def fuse(self, module: GraphModule) -> GraphModule:
        """The module with its convolutions merged with the sums and activations after them; changed in place."""
        position = {node: k for k, node in enumerate(module.graph.nodes)}
        for node in list(module.graph.nodes):
            if node.target is aten.conv2d.default and node.args[1].op == "get_attr":
                self._merge(module, node, position)
        module.graph.eliminate_dead_code()
        return module

    def _merge(self, module: GraphModule, node: Node, position: Mapping[Node, int]) -> None:
        value, weight, bias, stride, padding, dilation, groups = node.args
        held = self._ordered(module, str(weight.target))
        layer = [bias, padding, stride, dilation, groups]
        last, other = node, _summand(node, position)
        if other is not None:
            last = next(iter(node.users))
        activation = Activation()
        found = _activation(last)
        if found is not None and (other is None or found.name == "relu"):  # no other is taken after a sum
            (last,) = last.users
            activation = found
        how = [activation.name or None, list(activation.numbers), activation.formula]
        with module.graph.inserting_before(last):
            packed = module.graph.get_attr(held)
            if other is None:
                how[0] = activation.name or "none"
                target, args = torch.ops.mkldnn._convolution_pointwise.default, [value, packed, *layer, *how]
            else:
                target = torch.ops.mkldnn._convolution_pointwise.binary
                args = [value, other, packed, *layer, "add", 1.0, *how]
            merged = module.graph.call_function(target, tuple(args))
        merged.meta = dict(last.meta)
        last.replace_all_uses_with(merged)
        while last is not node:
            before = next(a for a in last.args if isinstance(a, Node) and a is not other)
            module.graph.erase_node(last)
            last = before
        module.graph.erase_node(node)

    def _ordered(self, module: GraphModule, name: str) -> str:
        """The name under which ``module`` holds the weights in the memory order of the maps."""
        weight = _attribute(module, name)
        key = weight.data_ptr(), tuple(weight.shape), weight.stride()
        if key not in self._weights:
            self._weights[key] = weight.detach().contiguous(memory_format=torch.channels_last)
        held = f"_ordered_{list(self._weights).index(key)}"
        if not hasattr(module, held):
            module.register_buffer(held, self._weights[key], persistent=False)
        return held


def _attribute(module: GraphModule, name: str) -> Tensor:
    holder, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(module.get_submodule(holder), leaf)
    return tensor


def _summand(node: Node, position: Mapping[Node, int]) -> Node | None:
    """What is added to a convolution, if its only reader is a sum of two maps of its shape, ready before it."""
    if len(node.users) != 1:
        return None
    (reader,) = node.users
    if reader.target not in (aten.add.Tensor, aten.add_.Tensor) or reader.kwargs or len(reader.args) != 2:
        return None
    others = [a for a in reader.args if a is not node]
    if len(others) != 1 or not isinstance(others[0], Node) or not reader.meta.get(SAME_SHAPE):
        return None
    return others[0] if position.get(others[0], len(position)) < position[reader] else None


def _activation(node: Node) -> Activation | None:
    """The activation that is a node's only reader, if oneDNN has it."""
    if len(node.users) != 1:
        return None
    (reader,) = node.users
    if reader.kwargs or not reader.args or reader.args[0] is not node:
        return None
    name = getattr(getattr(reader.target, "_overloadpacket", None), "__name__", "").removesuffix("_")
    if name in ("relu", "sigmoid", "tanh", "hardswish", "hardsigmoid"):
        return Activation(name)
    if name == "silu":
        return Activation("swish")
    numbers = reader.args[1:]
    if name == "gelu":
        formula = str(numbers[0]) if numbers else "none"
        return Activation("gelu", (), formula)
    if name == "relu6":
        return Activation("hardtanh", (0.0, 6.0))
    if name == "leaky_relu":
        return Activation("leaky_relu", (float(numbers[0]) if numbers else 0.01,))
    if name == "hardtanh":
        low, high = (*numbers, *(-1.0, 1.0)[len(numbers) :])
        return Activation("hardtanh", (float(low), float(high)))
    return None
