"""The code of programs computes what torch's own does, frees values as early, and takes all that graphs may hold."""

from __future__ import annotations

import operator
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, symbolic_trace

from fullfield.graph.code import make_program_code
from fullfield.graph.rewriting import uncompiled

aten = torch.ops.aten


class Held(nn.Module):
    """A tensor under a name that is no identifier."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.Module()
        inner.register_buffer("numbers", torch.tensor([1.0, 2.0, 3.0]))
        self.add_module("0", inner)


def module_of(graph: Graph) -> GraphModule:
    module = uncompiled(Held(), graph, "Program")
    make_program_code(module)
    return module


def test_all_kinds_of_arguments_are_written() -> None:
    graph = Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y")
    held = graph.get_attr("0.numbers")
    table = graph.call_function(dict, ({"sum": x, "held": held},))
    total = graph.call_function(operator.getitem, (table, "sum"))
    part = graph.call_function(operator.getitem, (total, (slice(None, 2, 1), 0)))
    wide = graph.call_function(aten._to_copy.default, (part,), {"dtype": torch.float64})
    both = graph.call_function(aten.cat.default, ([wide, held, y],))
    most = graph.call_function(aten.clamp.default, (both, -float("inf"), 2.5))
    graph.output((most, [part]))
    images = torch.arange(6.0).reshape(3, 2), torch.tensor([9.0])
    module = module_of(graph)
    found, (first,) = module(*images)
    assert torch.equal(found, torch.tensor([0.0, 2.0, 1.0, 2.0, 2.5, 2.5], dtype=torch.float64))
    assert torch.equal(first, torch.tensor([0.0, 2.0]))
    assert "getattr(self, '0').numbers" in module.code
    expected, _ = GraphModule(Held(), graph)(*images)
    assert torch.equal(found, expected)


def test_values_are_freed_after_their_last_reader() -> None:
    seen: list[weakref.ref[Tensor]] = []

    def watched(value: Tensor) -> Tensor:
        seen.append(weakref.ref(value))
        return value + 1

    def alive(value: Tensor) -> Tensor:
        assert [value() is not None for value in seen] == [False, True]
        return value + 1

    graph = Graph()
    first = graph.call_function(aten.relu.default, (graph.placeholder("x"),))
    second = graph.call_function(watched, (first,))
    third = graph.call_function(aten.relu.default, (second,))
    graph.call_function(watched, (third,))  # that nothing reads
    graph.output(graph.call_function(alive, (third,)))
    assert module_of(graph)(torch.tensor([-1.0])).tolist() == [2.0]


def test_names_of_nodes_and_of_functions_do_not_meet() -> None:
    def relu(x: Tensor) -> Tensor:
        return x + 1

    graph = Graph()
    x: Any = graph.placeholder("x")
    for name in ("_relu_0", "__relu_1"):
        x = graph.create_node("call_function", relu, (x,), name=name)
    graph.output(x)
    assert module_of(graph)(torch.tensor(1.0)).item() == 3


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.Sequential(nn.ReLU(), nn.ReLU())])
def test_modules_of_modules_are_left_to_torch(layer: nn.Module) -> None:
    module = symbolic_trace(nn.Sequential(layer))
    make_program_code(module)
    assert module(torch.tensor([-1.0, 1.0])).tolist() == [0.0, 1.0]
