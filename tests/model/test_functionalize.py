"""In-place operators become functional ones with the same results; torch does it where memory may be shared."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fullfield.canonical.form import Canonical
from fullfield.canonical.pipeline import canonical
from fullfield.model import module_graph as torch_module
from fullfield.model.functionalize import functionalise
from fullfield.model.torch_export import capture_module
from tests.architectures import build


class Around(nn.Module):
    """A convolution, what is tested, a linear layer over the means."""

    def __init__(self, body: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.head, self.body = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5), body
        self.register_buffer("seen", torch.ones(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self, x).mean((2, 3)))


def exported(module: nn.Module) -> torch.fx.GraphModule:
    """The module as torch exports it, with a free batch."""
    with torch.no_grad():
        program = torch.export.export(
            module.eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
        )
    graph = program.module(check_guards=False)
    assert isinstance(graph, torch.fx.GraphModule)
    torch_module._drop_checks(graph.graph)
    return graph


def mutable(graph: torch.fx.Graph) -> list[str]:
    """The operators that write to their inputs."""
    return [str(n.target) for n in graph.nodes if n.op == "call_function" and _writes(n.target)]


def _writes(target: object) -> bool:
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


SAFE: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "after a convolution": lambda m, x: m.conv(x).relu_(),
    "a chain": lambda m, x: m.conv(x).relu_().mul_(2.0).add_(1.0),
    "by its first name": lambda m, x: _relu_then(m.conv(x), lambda y, _: y + 1),
    "by both names": lambda m, x: _relu_then(m.conv(x), lambda y, z: y * 3 - z),
    "read before and after": lambda m, x: _both(m.conv(x), lambda y: y.relu_()),
    "twice by its first name": lambda m, x: _relu_then(
        _relu_then(m.conv(x), lambda y, _: y), lambda y, _: y.neg_() + y
    ),
    "a sum": lambda m, x: m.conv(x).add_(m.conv(x.flip(3)), alpha=2),
    "onto a shortcut read before": lambda m, x: _residual(m.conv(x), m.conv),
    "with itself": lambda m, x: _relu_then(m.conv(x), lambda y, _: y.mul_(y)),
    "its view alone is read": lambda m, x: m.conv(x).flatten(2).relu_().reshape(-1, 4, 8, 8),
    "dropout": lambda m, x: F.dropout(m.conv(x), 0.5, training=False, inplace=True),
    "hardswish": lambda m, x: F.hardswish(m.conv(x), inplace=True),
    "bounded": lambda m, x: F.relu6(m.conv(x), inplace=True).clamp_(max=0.5),
    "a view of it is read later": lambda m, x: _view_of(m.conv(x), lambda y: y.relu_()),
    "it is a view of what is read later": lambda m, x: _view_of(m.conv(x), lambda y: y, lambda v: v.relu_()),
    "its own sibling is read later": lambda m, x: _siblings(m.conv(x)),
    "what it may be a copy of is read later": lambda m, x: _maybe_copy(m.conv(x)),
    "a slice is written": lambda m, x: _slice_written(m.conv(x)),
    "a slice of every second column": lambda m, x: _assigned(m.conv(x), (..., slice(1, None, 2)), 2.0),
    "a row counted from the end": lambda m, x: _assigned(
        m.conv(x), (slice(None), slice(None), -1), x.amax((1, 2, 3), True)[..., 0]
    ),
    "whole slices": lambda m, x: _assigned(m.conv(x), (slice(None), slice(None)), m.conv(-x)),
    "a mask": lambda m, x: _masked(m.conv(x)),
    "positions": lambda m, x: _assigned(m.conv(x), (slice(None), torch.tensor([0, 2])), m.conv(-x)[:, :2]),
    "one type into another": lambda m, x: _assigned(m.conv(x), (slice(None), 0), x[:, 0] > 0),
    "zeros": lambda m, x: _relu_then(m.conv(x), lambda y, z: y[:, 1].zero_().sum() + z),
    "a diagonal": lambda m, x: _relu_then(
        m.conv(x), lambda y, z: y.diagonal(0, 2, 3).add_(1.0).amax((1, 2)).reshape(-1, 1, 1, 1) + z
    ),
    "a view of a view, read through a third": lambda m, x: _views_of_views(m.conv(x)),
    "an attention's terms of rows and columns": lambda m, x: _attention(m.conv(x)),
}


def _relu_then(y: Tensor, after: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    z = y.relu_()
    return after(y, z)


def _both(y: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    before = y * 2
    return before + change(y) + y


def _residual(y: Tensor, conv: nn.Module) -> Tensor:
    z = conv(y[:, :3])
    z += y
    return F.relu_(z)


UNSAFE: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], str]] = {
    "the input is written": (lambda m, x: m.conv(x.mul_(1.0)), "something else may read"),
    "a weight is written": (lambda m, x: m.conv(x) * m.seen.add_(0.0), "something else may read"),
    "the type would change": (lambda m, x: m.conv(x) * m.conv(x).gt_(0.0), "keeps a type that"),
    "numbers are drawn": (
        lambda m, x: m.conv(x) + 0 * F.dropout(m.conv(x), 0.5, training=True),
        "draws random numbers",
    ),
    "an operator is decomposed": (lambda m, x: m.conv(x).relu_().movedim(2, 3), "is decomposed"),
}


def _view_of(y: Tensor, change: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor] = torch.abs) -> Tensor:
    view = y.permute(0, 1, 3, 2)
    changed, seen = change(y), other(view)
    return changed + seen + y


def _siblings(y: Tensor) -> Tensor:
    a, b = y.chunk(2, 1)
    return torch.cat([a.sigmoid_(), b], 1)


def _maybe_copy(y: Tensor) -> Tensor:
    z = y.transpose(2, 3).reshape(-1, 4, 64)
    return y.relu_() - 2 * z.reshape(-1, 4, 8, 8)


def _assigned(y: Tensor, where: Any, value: Any) -> Tensor:
    y[where] = value
    return y


def _masked(y: Tensor) -> Tensor:
    z = y.masked_fill_(y > 0.5, -1.0)
    y[y < -0.5] = 0.25
    return z + y


def _views_of_views(y: Tensor) -> Tensor:
    rows = y.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
    first, second = y.flatten(2)[:, 1:].split([1, 2], 1)
    second.mul_(3.0)
    first += second[:, 1:]
    y.unsqueeze(2)[:, 0].squeeze(1).sub_(1.0)
    return y + rows.reshape(-1, 4, 8, 8) + second.sum(1).reshape(-1, 1, 8, 8) + first.mean((1, 2)).reshape(-1, 1, 1, 1)


def _attention(y: Tensor) -> Tensor:
    """As MViTv2 adds its relative positions: to a part of the product, and in place."""
    product = y.flatten(2) @ y.flatten(2).transpose(1, 2)
    product[:, 1:, 1:] = product[:, 1:, 1:].view(-1, 3, 3, 1).sum(3) + product[:, :1, 1:]
    return (product @ y.flatten(2)).view(-1, 4, 8, 8)


def _slice_written(y: Tensor) -> Tensor:
    y[:, :2] = y[:, 2:] * 2
    return y


@pytest.mark.parametrize("body", SAFE.values(), ids=SAFE)
def test_operators_in_place_become_functional_ones(body: Callable[[nn.Module, Tensor], Tensor]) -> None:
    graph = exported(Around(body))
    assert mutable(graph.graph)
    assert functionalise(graph.graph) == ""
    assert not mutable(graph.graph)
    graph.graph.lint()
    graph.recompile()
    module, x = Around(body).eval(), torch.randn(3, 3, 8, 8)
    module.load_state_dict(graph.state_dict())
    with torch.no_grad():
        assert torch.equal(graph(x.clone()), module(x.clone()))


@pytest.mark.parametrize(("body", "why"), UNSAFE.values(), ids=UNSAFE)
def test_what_cannot_be_replaced_is_named(body: Callable[[nn.Module, Tensor], Tensor], why: str) -> None:
    assert why in functionalise(exported(Around(body)).graph)


@pytest.mark.parametrize("body", [*SAFE.values(), *(b for k, (b, _) in UNSAFE.items() if "numbers" not in k)])
def test_a_captured_network_gives_the_modules_numbers(body: Callable[[nn.Module, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    module = Around(body).eval().double()
    net = capture_module(module, window=8)
    assert set(mutable(net.graph.graph)) <= {"aten.copy_.default"}  # for inputs and weights that it writes to
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(net(x.clone()), module(x.clone()))


def test_a_view_that_is_read_later_would_give_other_numbers() -> None:
    """The guard is needed: twins alone give wrong results there."""
    torch.manual_seed(0)
    module = Around(SAFE["a view of it is read later"]).eval()
    graph = exported(module)
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.relu_.default:
            node.target = torch.ops.aten.relu.default
    graph.recompile()
    x = torch.randn(2, 3, 8, 8)
    assert not torch.allclose(graph(x), module(x))


def test_channels_that_are_written_stay_shared_between_windows() -> None:
    form = canonical(capture_module(Around(SAFE["a slice is written"]), window=8), sliding=True)
    assert not form.refused
    assert torch.ops.aten.slice_scatter.default in {node.target for node in form.graph.graph.nodes}


@pytest.mark.parametrize("name", ["shufflenet", "efficientnet", "vit"])
def test_canonical_form_is_the_same_as_by_torchs_own_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, window = build(name)
    ours = capture_module(module, window=window)
    asked: list[torch.fx.Graph] = []
    monkeypatch.setattr(torch_module, "functionalise", lambda graph: asked.append(graph) or "asked")  # type: ignore[func-returns-value]
    theirs = capture_module(module, window=window)
    assert asked
    assert described(canonical(ours, sliding=True)) == described(canonical(theirs, sliding=True))


def described(form: Canonical) -> list[tuple[str, str, str]]:
    """The nodes of a graph, by position; a dropout is a copy."""
    place = {node: f"%{k}" for k, node in enumerate(form.graph.graph.nodes)}
    copies = (torch.ops.aten.clone.default, torch.ops.aten.dropout.default)
    return [
        (n.op, "copy", place[n.all_input_nodes[0]])
        if n.target in copies
        else (n.op, str(n.target), str(torch.fx.node.map_arg((n.args, n.kwargs), place.__getitem__)))
        for n in form.graph.graph.nodes
    ]


def test_unused_parts_of_a_result_are_dropped() -> None:
    class Largest(nn.Module):
        """The maximum over channels, without its index."""

        def forward(self, x: Tensor) -> Tensor:
            return x.max(1).values.flatten(1)

    net = capture_module(Largest(), window=4)
    parts = [node for node in net.graph.graph.nodes if node.target is operator.getitem]
    assert [node.args[1] for node in parts] == [0]
