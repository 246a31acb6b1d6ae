"""The records of operators agree with torch, with each other and with what planning and lowering rely on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fullfield.canonical.pipeline import run_passes
from fullfield.canonical.rules import REGISTRY, UNCHANGED, find
from fullfield.geometry.axis import Op
from fullfield.geometry.network import NodeSpec, Scratch
from fullfield.operators import registry
from fullfield.operators.record import Operator, kernel_geometry
from tests.oracle import captured

aten = torch.ops.aten
RECORDS = [record for family in registry.FAMILIES for record in family.RECORDS]


def test_no_operator_has_two_records() -> None:
    targets = [target for record in RECORDS for target in record.targets]
    assert len(targets) == len(set(targets))


def test_an_overload_of_its_own_comes_before_the_operator_with_all_its_overloads() -> None:
    one, every = registry.find(aten.where.ScalarOther), registry.find(aten.where.self)
    assert one is not None
    assert every is not None
    assert [one.kind, every.kind] == ["pointwise", None]
    assert registry.find(aten.erf.default) is None
    assert registry.named("where") is every


def test_a_kind_is_stated_only_where_canonical_form_has_no_rule() -> None:
    for record in RECORDS:
        ruled = [target for target in REGISTRY if registry.find(target) is record]
        assert record.kind is None or not ruled, record.targets
        assert record.kind is None or record.kind in UNCHANGED


def test_operators_without_rule_or_kind_are_left_alone() -> None:
    assert find(aten.roll.default) is None
    assert find(aten.erf.default) is UNCHANGED["pointwise"]  # by torch's tag


def spec(name: str, *layers: nn.Module) -> NodeSpec:
    """The first node of an operator that ends in ``name``, in a network of integers."""
    head = [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    _, network = run_passes(captured(nn.Sequential(nn.Conv2d(3, 4, 3), *layers, *head), 12))
    return next(node for node in network if node.op == name)


def test_the_planner_learns_what_memory_an_operator_needs() -> None:
    assert spec("conv2d").scratch == Scratch(weights=2, taps=True)
    assert spec("linear").scratch == Scratch(weights=2, taps=True)
    assert spec("max_pool2d", nn.MaxPool2d(2)).scratch == Scratch(index_bytes=8)
    assert spec("adaptive_max_pool2d").scratch == Scratch()  # one cell a window: few indices
    assert spec("avg_pool2d", nn.AvgPool2d(2)).scratch == Scratch()


def test_a_sliding_pool_holds_a_partial_sum_for_each_power_of_two_in_its_kernel() -> None:
    record = registry.find(torch.ops.fullfield.sliding_pool.default)
    assert record is not None
    assert record.windowed is not None
    ops = record.windowed.geometry({"kernel_size": [15, 16]}, {})
    assert ops == (Op(15, low=7, high=7, edge="inside"), Op(16, low=8, high=7, edge="inside"))
    assert record.windowed.scratch(ops, 0) == Scratch(results=5)


def test_the_planner_learns_what_is_overwritten() -> None:
    relu, norm = spec("relu", nn.ReLU()), spec("batch_norm", nn.ReLU(), nn.BatchNorm2d(4))
    assert (relu.overwrites, relu.new_memory) == (1, True)
    assert (norm.overwrites, norm.new_memory) == (0, True)
    assert (spec("erf", Erf()).overwrites, spec("erf", Erf()).new_memory) == (0, False)


class Erf(nn.Module):
    """A pointwise operator without a record."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.erf(x)


@pytest.mark.parametrize(
    ("padding", "low", "high"),
    [(1, (1, 1), (1, 1)), ([1, 2], (1, 2), (1, 2)), ("valid", (0, 0), (0, 0)), ("same", (1, 3), (2, 3))],
)
def test_a_kernels_geometry_is_read_from_arguments_of_every_form(
    padding: object, low: tuple[int, int], high: tuple[int, int]
) -> None:
    args = {"weight": None, "stride": [1], "padding": padding, "dilation": [1, 2]}
    y, x = kernel_geometry(args, {"weight": (5, 2, 4, 4)})
    assert (y, x) == (Op(4, 1, low[0], high[0]), Op(4, 1, low[1], high[1], 2))


def test_a_pool_without_stride_has_that_of_its_kernel() -> None:
    args = {"kernel_size": 3, "stride": [], "padding": 0, "ceil_mode": True}
    assert kernel_geometry(args, {}) == (Op(3, 3, ceil=True),) * 2


def test_a_record_can_be_replaced() -> None:
    target = object()
    first, second = Operator((target,)), Operator((target,), title="second")
    registry.register(first)
    registry.register(second)
    assert registry.find(target) is second
