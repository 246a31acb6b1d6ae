"""Merges the operators that files write for one activation: ``x * sigmoid(x)`` is ``silu(x)``.

Each operator on its own reads and writes the whole map, and only a single one is merged with the convolution before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.fx import GraphModule, Node

from fullfield.graph.calls import held_tensor, op_name
from fullfield.graph.rewriting import with_own_graph

aten = torch.ops.aten
_PRODUCTS = (aten.mul.Tensor, aten.div.Tensor)


class ActivationMatch(NamedTuple):
    """An activation that a product is: its operator, and what it reads."""

    operator: Callable[..., Any]
    x: Node


class Product(NamedTuple):
    """A product of maps and of one number, written as multiplications and divisions that nothing else reads."""

    number: float
    maps: tuple[Node, ...]


def merge_activations(module: GraphModule) -> GraphModule:
    """A canonical graph with one operator for each activation that was written as several.

    ``silu``, ``hardswish``, ``mish``, ``gelu`` by the error function. A graph without any is returned as it is.

    Exact: yes, other rounding
    """
    if not any(unmerged(module)):
        return module
    new = with_own_graph(module)
    for node, activation in list(unmerged(new)):
        with new.graph.inserting_before(node):
            result = new.graph.call_function(activation.operator, (activation.x,))
        result.meta = {**node.meta, "op": op_name(result)}
        node.replace_all_uses_with(result)
    new.graph.eliminate_dead_code()
    new.recompile()
    return new


def unmerged(module: GraphModule) -> Iterator[tuple[Node, ActivationMatch]]:
    """The products that are activations, and which."""
    floats = (p.dtype for p in module.state_dict().values() if p.is_floating_point())
    rounding = torch.finfo(next(floats, torch.float64)).eps
    for node in module.graph.nodes:
        if node.target in _PRODUCTS and not node.kwargs:
            found = _activation_of(module, node, rounding)
            if found is not None:
                yield node, found


def _activation_of(module: GraphModule, node: Node, rounding: float) -> ActivationMatch | None:
    """The activation that a product of two maps is.

    Args:
        module: the graph's.
        node: the product.
        rounding: relative error of numbers of the network's type.
    """
    product = _factors(module, node)
    if len(product.maps) != 2:
        return None
    for x, gate in (product.maps, product.maps[::-1]):
        operator = _operator(module, x, gate, product.number, rounding)
        if operator is not None and gate.meta["kind"] == node.meta["kind"]:
            return ActivationMatch(operator, x)
    return None


def _operator(module: GraphModule, x: Node, gate: Node, number: float, rounding: float) -> Callable[..., Any] | None:
    """The activation ``number * x * gate``, if ``gate`` is a function of ``x`` that makes it one."""
    read = gate.args[0] if gate.args else None
    if gate.target == aten.sigmoid.default and read is x and number == 1:
        return aten.silu.default
    if gate.target == aten.hardsigmoid.default and read is x and number == 1:
        return aten.hardswish.default
    if _is_clamped(gate) and _is_sum(module, read, x, 3) and _is_close(6 * number, 1, rounding):
        return aten.hardswish.default
    if gate.target == aten.tanh.default and _is_softplus(read, x) and number == 1:
        return aten.mish.default
    inner = next((n for n in gate.all_input_nodes if n.target == aten.erf.default), None)
    if inner is not None and _is_sum(module, gate, inner, 1) and number == 0.5:
        scaled = _factors(module, inner.all_input_nodes[0])
        if scaled.maps == (x,) and _is_close(scaled.number, math.sqrt(0.5), rounding):
            return aten.gelu.default
    return None


def _factors(module: GraphModule, value: Any, *, inner: bool = False) -> Product:
    """What a node or a number is the product of.

    Args:
        module: the graph's.
        value: that is taken apart.
        inner: whether it is a factor itself, which is left whole where something else reads it too.
    """
    number = _number(module, value)
    if number is not None:
        return Product(number, ())
    whole = Product(1.0, (value,))
    if value.target not in _PRODUCTS or value.kwargs or (inner and len(value.users) > 1):
        return whole
    first, second = (_factors(module, arg, inner=True) for arg in value.args)
    if value.target == aten.mul.Tensor:
        return Product(first.number * second.number, first.maps + second.maps)
    return whole if second.maps or second.number == 0 else Product(first.number / second.number, first.maps)


def _number(module: GraphModule, value: Any) -> float | None:
    """A number, also one in a tensor of its own."""
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, Node) and value.op == "get_attr":
        tensor = held_tensor(module, value.target).detach()
        return float(tensor) if tensor.numel() == 1 and tensor.is_floating_point() else None
    return None


def _is_sum(module: GraphModule, node: Any, x: Node, number: float) -> bool:
    """Whether a node is ``x + number``."""
    if not isinstance(node, Node) or node.target != aten.add.Tensor or node.kwargs or x not in node.args:
        return False
    return [_number(module, arg) for arg in node.args if arg is not x] == [number]


def _is_clamped(node: Node) -> bool:
    """Whether a node is what it reads, clamped to 0..6."""
    if node.target == aten.relu6.default:
        return True
    return node.target in (aten.clamp.default, aten.hardtanh.default) and list(node.args[1:]) == [0, 6]


def _is_softplus(node: Any, x: Node) -> bool:
    """Whether a node is ``log(1 + exp(x))``."""
    if not isinstance(node, Node) or node.target != aten.softplus.default:
        return False
    return node.args[0] is x and list(node.args[1:]) in ([], [1])


def _is_close(value: float, exact: float, rounding: float) -> bool:
    return abs(value - exact) <= rounding * abs(exact)
