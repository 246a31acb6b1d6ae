"""Batch norms folded into convolutions: the same function with fewer layers, and the original untouched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fullfield.canonical.fold import fold_batch_norm, fold_constants
from fullfield.canonical.form import Canonical
from fullfield.canonical.pipeline import canonical
from fullfield.importers.load import load
from tests.oracle import difference, shaken

aten = torch.ops.aten
PIXELS = torch.randn(3, 3, 18, 22, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def form(*layers: nn.Module) -> Canonical:
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(4)]
    module = nn.Sequential(*layers, *head).double()
    module(PIXELS)
    return canonical(load(shaken(module), window=(18, 22)))


def norms(graph: torch.fx.GraphModule) -> int:
    return sum(node.target is aten.batch_norm.default for node in graph.graph.nodes)


class Twice(nn.Module):
    """One convolution, read by its norm and by a shortcut past it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + self.norm(x)


class Shared(nn.Module):
    """One convolution's weights before two different norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(self.conv(x)) + self.two(self.conv(x + 1))


class Scaled(nn.Module):
    """Weights that the graph computes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight / self.conv.weight.norm()
        return self.norm(nn.functional.conv2d(x, weight, self.conv.bias))


FOLDS: dict[str, Callable[[], list[nn.Module]]] = {
    "with bias": lambda: [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()],
    "without bias": lambda: [nn.Conv2d(3, 6, 3, 2, bias=False), nn.BatchNorm2d(6), nn.ReLU()],
    "grouped": lambda: [nn.Conv2d(3, 9, 3, groups=3), nn.BatchNorm2d(9)],
    "depthwise": lambda: [nn.Conv2d(3, 3, 3, groups=3, dilation=2), nn.BatchNorm2d(3)],
    "without gain": lambda: [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, affine=False)],
    "large epsilon": lambda: [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, eps=0.5)],
}


@pytest.mark.parametrize("name", FOLDS)
def test_a_folded_network_is_the_same_function(name: str) -> None:
    net = form(*FOLDS[name]())
    wanted = net.graph(PIXELS)
    weights = {k: v.clone() for k, v in net.graph.state_dict().items()}
    code = str(net.graph.graph)
    folded, layers = fold_batch_norm(net.graph)
    assert layers == ("1",)
    assert norms(folded) == 0
    assert difference(folded(PIXELS), wanted) <= 1e-12
    assert str(net.graph.graph) == code
    assert difference(net.graph(PIXELS), wanted) == 0
    assert all(torch.equal(v, weights[k]) for k, v in net.graph.state_dict().items())


def test_several_norms_are_folded_each_into_its_convolution() -> None:
    net = form(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5)),
        *(nn.MaxPool2d(2), nn.Conv2d(5, 6, 3), nn.BatchNorm2d(6)),
    )
    folded, layers = fold_batch_norm(net.graph)
    assert layers == ("1", "4", "7")
    assert difference(folded(PIXELS), net.graph(PIXELS)) <= 1e-12
    assert fold_batch_norm(folded)[1] == ()


class TwoKernels(nn.Module):
    """Two convolutions whose weights belong to one module."""

    def __init__(self) -> None:
        super().__init__()
        self.one_kernel, self.other_kernel = (
            nn.Parameter(torch.randn(6, 3, 3, 3)),
            nn.Parameter(torch.randn(5, 6, 3, 3)),
        )
        self.one, self.other = nn.BatchNorm2d(6), nn.BatchNorm2d(5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(nn.functional.conv2d(x, self.one_kernel))
        return self.other(nn.functional.conv2d(x, self.other_kernel))


def test_every_convolution_of_a_module_gets_a_bias_of_its_own() -> None:
    net = form(TwoKernels())
    folded, layers = fold_batch_norm(net.graph)
    assert layers == ("0.one", "0.other")
    assert difference(folded(PIXELS), net.graph(PIXELS)) <= 1e-12


def test_a_norm_after_a_norm_is_folded_too() -> None:
    net = form(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.BatchNorm2d(6))
    folded, layers = fold_batch_norm(net.graph)
    assert layers == ("1", "2")
    assert difference(folded(PIXELS), net.graph(PIXELS)) <= 1e-12


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Twice()],
        lambda: [Shared()],
        lambda: [Scaled()],
        lambda: [nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)],
        lambda: [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)],
        lambda: [nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4)],
    ],
    ids=["read twice", "used twice", "computed", "before", "after relu", "after pool"],
)
def test_a_norm_stays_where_folding_would_change_the_function(layers: Callable[[], list[nn.Module]]) -> None:
    net = form(*layers())
    folded, names = fold_batch_norm(net.graph)
    assert names == ()
    assert norms(folded) == norms(net.graph) > 0
    assert difference(folded(PIXELS), net.graph(PIXELS)) == 0


def test_folded_weights_can_be_trained() -> None:
    folded, _ = fold_batch_norm(form(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU()).graph)
    folded(PIXELS).sum().backward()
    assert all(p.grad is not None for p in folded.parameters())
    assert any(name.endswith("folded_bias") for name, _ in folded.named_parameters())


def test_norms_behind_a_gate_are_folded_too() -> None:
    class Gated(nn.Module):
        """What the window as a whole decides, and a convolution after it."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x * x.mean((2, 3), keepdim=True).sigmoid()))

    whole = form(Gated())
    folded, names = fold_batch_norm(whole.graph)
    assert [norms(whole.graph), norms(folded), names] == [1, 0, ("0.norm",)]
    assert difference(folded(PIXELS), whole.graph(PIXELS)) <= 1e-12


def test_a_graph_without_norms_to_fold_stays_as_it_is() -> None:
    graph = form(nn.Conv2d(3, 6, 3), nn.ReLU()).graph
    assert fold_batch_norm(graph) == (graph, ())


def test_a_graph_without_constants_to_compute_stays_as_it_is() -> None:
    plain = form(nn.Conv2d(3, 6, 3)).graph
    assert fold_constants(plain) is plain


def test_values_computed_from_weights_alone_are_computed_once() -> None:
    class Standardised(nn.Module):
        """A kernel without its mean."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 3, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True))

    whole = form(Standardised()).graph
    folded = fold_constants(whole)
    computed = [[n.op for n in g.graph.nodes if n.meta["kind"] == "const"] for g in (whole, folded)]
    assert "call_function" in computed[0]
    assert "call_function" not in computed[1]
    assert difference(folded(PIXELS), whole(PIXELS)) == 0
