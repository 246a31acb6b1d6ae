"""Merges the operators that files write for one activation: ``x * sigmoid(x)`` is ``silu(x)``.

Each operator on its own reads and writes the whole map, and only a single one is merged with the convolution before it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import GraphModule, Node

aten = torch.ops.aten
_PRODUCTS = (aten.mul.Tensor, aten.div.Tensor)


@dataclass
class Product:
    """A product of maps and of one number, written as multiplications and divisions that nothing else reads.

    Args:
        number: the product of all numbers.
        maps: the factors that are maps.
    """

    number: float = 1.0
    maps: list[Node] = field(default_factory=list)


def merge_activations(module: GraphModule) -> GraphModule:
    """A canonical graph with one operator for each activation that was written as several.

    ``silu``, ``hardswish``, ``mish``, ``gelu`` by the error function. A graph without any is returned as it is.

    Exact: yes, other rounding
    """
    if not any(_merged(module, node) for node in module.graph.nodes):
        return module
    new = GraphModule(module, copy.deepcopy(module.graph), type(module).__name__)
    for node in list(new.graph.nodes):
        found = _merged(new, node)
        if found is None:
            continue
        target, x = found
        with new.graph.inserting_before(node):
            result = new.graph.call_function(target, (x,))
        result.meta = {**node.meta, "op": str(target).split(".")[1]}
        node.replace_all_uses_with(result)
    new.graph.eliminate_dead_code()
    new.recompile()
    return new


def unmerged(module: GraphModule) -> Iterator[Node]:
    """The nodes that could be merged."""
    return (node for node in module.graph.nodes if _merged(module, node) is not None)


def _merged(module: GraphModule, node: Node) -> tuple[Callable[..., Any], Node] | None:
    """The activation that a product is, and what it reads."""
    if node.target not in _PRODUCTS or node.kwargs:
        return None
    product = _factors(module, node)
    if len(product.maps) != 2:
        return None
    for x, gate in (product.maps, product.maps[::-1]):
        target = _activation(module, x, gate, product.number)
        if target is not None and all(n.meta["kind"] == node.meta["kind"] for n in (gate, node)):
            return target, x
    return None


def _activation(module: GraphModule, x: Node, gate: Node, number: float) -> Callable[..., Any] | None:
    """The activation ``number * x * gate``, if ``gate`` is a function of ``x`` that makes it one."""
    if gate.target == aten.sigmoid.default and gate.args[0] is x and number == 1:
        return aten.silu.default
    if gate.target == aten.hardsigmoid.default and gate.args[0] is x and number == 1:
        return aten.hardswish.default
    if _is_close(module, 6 * number, 1) and _is_clamped(gate) and _is_sum(module, _read(gate), x, 3):
        return aten.hardswish.default
    if gate.target == aten.tanh.default and number == 1 and _is_softplus(_read(gate), x):
        return aten.mish.default
    inner = next((n for n in gate.all_input_nodes if n.target == aten.erf.default), None)
    if inner is not None and number == 0.5 and _is_sum(module, gate, inner, 1):
        scaled = _factors(module, _read(inner))
        if scaled.maps == [x] and _is_close(module, scaled.number, math.sqrt(0.5)):
            return aten.gelu.default
    return None


def _factors(module: GraphModule, node: Node) -> Product:
    """What a node is the product of; itself alone if it is none."""
    found = Product()
    for k, arg in enumerate(node.args if node.target in _PRODUCTS and not node.kwargs else (node,)):
        divides = node.target == aten.div.Tensor and k == 1
        number = _number(module, arg)
        if number is not None and not (divides and number == 0):
            found.number = found.number / number if divides else found.number * number
        elif (
            isinstance(arg, Node)
            and arg is not node
            and arg.target in _PRODUCTS
            and len(arg.users) == 1
            and not divides
        ):
            inner = _factors(module, arg)
            found.number *= inner.number
            found.maps += inner.maps
        elif isinstance(arg, Node) and not divides:
            found.maps.append(arg)
        else:
            return Product(1.0, [node])
    return found


def _number(module: GraphModule, value: Any) -> float | None:
    """A number, also one in a tensor of its own."""
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, Node) and value.op == "get_attr":
        holder, _, leaf = str(value.target).rpartition(".")
        tensor = getattr(module.get_submodule(holder), leaf)
        return float(tensor.detach()) if tensor.numel() == 1 and tensor.is_floating_point() else None
    return None


def _is_sum(module: GraphModule, node: Node | None, x: Node, number: float) -> bool:
    """Whether a node is ``x + number``."""
    if node is None or node.target != aten.add.Tensor or node.kwargs or x not in node.args:
        return False
    return [_number(module, arg) for arg in node.args if arg is not x] == [number]


def _is_clamped(node: Node) -> bool:
    """Whether a node is what it reads, clamped to 0..6."""
    if node.target == aten.relu6.default:
        return True
    return node.target in (aten.clamp.default, aten.hardtanh.default) and list(node.args[1:]) == [0, 6]


def _is_softplus(node: Node | None, x: Node) -> bool:
    return (
        node is not None
        and node.target == aten.softplus.default
        and list(node.args[1:]) in ([], [1])
        and node.args[0] is x
    )


def _read(node: Node) -> Any:
    """The first argument."""
    return node.args[0]


def _is_close(module: GraphModule, value: float, exact: float) -> bool:
    """Whether two numbers are equal up to the rounding of the network's type."""
    floats = (p.dtype for p in module.state_dict().values() if p.is_floating_point())
    return abs(value - exact) <= torch.finfo(next(floats, torch.float64)).eps * abs(exact)
