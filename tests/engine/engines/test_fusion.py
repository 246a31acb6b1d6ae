"""Convolutions merged with what follows them: the same scores, fewer operators, and never across a value read twice."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx import GraphModule

import fullfield
from fullfield.engine.engines.fusion import Fuser, can_fuse
from fullfield.engine.engines.torch import TorchEngine
from fullfield.lower.inplace import overwriting
from fullfield.lower.program import lower
from tests.oracle import difference
from tests.requests import job_of

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not can_fuse(torch.float32, CPU), reason="this torch has no oneDNN")


class Clamp(nn.Module):
    """ReLU6 as ONNX files have it, and its relatives."""

    def __init__(self, low: float, high: float | None) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Between two numbers."""
        return torch.clamp(x, self.low, self.high)


ACTIVATIONS = {
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(-0.3, 0.4),
    "leaky": nn.LeakyReLU(0.2),
    "gelu": nn.GELU(),
    "gelu tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(),
    "hardswish": nn.Hardswish(),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "clamp": Clamp(-0.2, 0.7),
    "clamp at zero": Clamp(0.0, None),
    "clamp from below": Clamp(0.1, None),  # not among oneDNN's
    "elu": nn.ELU(),  # not among oneDNN's
}


class Residual(nn.Module):
    """Sums before and after activations, and a map with two readers."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.stem, self.wide = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 1)
        self.deep, self.thin = nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 8, 1, bias=False)
        self.last, self.head = nn.Conv2d(8, 8, (3, 5), padding=(1, 2)), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activation(self.stem(x))
        y = self.thin(self.activation(self.deep(self.activation(self.wide(x))))) + x
        z = self.last(y)
        z = self.activation(z + y) + z  # z is read twice
        result: torch.Tensor = self.head(self.activation(z + x).mean((2, 3)))
        return result


@pytest.mark.parametrize("mode", ["exact", "context"])
@pytest.mark.parametrize("name", ACTIVATIONS)
@torch.inference_mode()
def test_merged_programs_give_the_scores_of_plain_ones(name: str, mode: str) -> None:
    torch.manual_seed(0)
    net = fullfield.load(Residual(ACTIVATIONS[name]).eval(), window=24)
    image = torch.rand(3, 44, 36)
    work = job_of(net, image, step=(4, 4), mode=mode, tile=(6, 4))
    double = job_of(net.to(torch.float64), image.double(), step=(4, 4), mode=mode, tile=(6, 4))
    scores = []
    for job in (work, double):
        tile = next(job.plan.tiles())
        layout = job.plan.layout(tile)
        top, bottom, left, right = layout.pixels(job.plan.network.nodes[0].name)
        pixels = image[None, :, top:bottom, left:right].to(job.prepared.model.dtype)
        plain = lower(job.prepared.canonical, job.plan.network, layout, batch=job.plan.batch, inference=True)
        scores += [plain(pixels), TorchEngine(job.prepared.canonical).module(job.plan, layout)(pixels)]
    plain32, merged32, plain64, merged64 = scores
    assert torch.equal(plain64, merged64)
    assert difference(plain32, plain64) <= 1e-5
    assert difference(merged32, plain64) <= 4 * difference(plain32, plain64) + 1e-6


def test_what_is_read_twice_is_not_merged() -> None:
    module = Residual(nn.ReLU()).eval()
    graph = torch.export.export(module, (torch.rand(2, 3, 24, 24),)).module()
    fused = Fuser().fuse(GraphModule(graph, graph.graph))
    left = [str(n.target).split(".")[-2] for n in fused.graph.nodes if n.op == "call_function"]
    assert left.count("_convolution_pointwise") == 5
    assert left.count("relu") == 2  # of the two sums that follow no convolution directly
    x = torch.rand(2, 3, 24, 24)
    with torch.inference_mode():
        assert difference(fused(x), module(x)) <= 1e-5


@pytest.mark.parametrize("activation", [nn.ReLU6(), Clamp(0.0, 6.0), Clamp(0.0, None)])
def test_clamps_are_merged(activation: nn.Module) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), activation).eval()
    graph = torch.export.export(module, (torch.rand(2, 3, 24, 24),)).module()
    fused = Fuser().fuse(GraphModule(graph, graph.graph))
    called = [n for n in fused.graph.nodes if n.op == "call_function"]
    assert [n.target for n in called] == [torch.ops.mkldnn._convolution_pointwise.default]


@pytest.mark.parametrize("activation", [nn.GELU(), nn.ReLU(), nn.ELU()])
def test_linear_layers_are_merged_with_activations(activation: nn.Module) -> None:
    module = nn.Sequential(nn.Linear(12, 20), activation, nn.Linear(20, 5, bias=False)).eval()
    x = torch.rand(3, 7, 12)
    graph = torch.export.export(module, (x,)).module()
    fused = Fuser().fuse(GraphModule(graph, graph.graph))
    called = [str(n.target).split(".")[1] for n in fused.graph.nodes if n.op == "call_function"]
    between = ["elu"] if isinstance(activation, nn.ELU) else []  # not among oneDNN's
    assert called == ["_linear_pointwise", *between, "_linear_pointwise"]
    with torch.inference_mode():
        assert difference(fused(x), module(x)) <= 1e-6


def test_what_follows_merged_operators_may_write_over_their_results() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ELU(), nn.Flatten(), nn.Linear(16, 5), nn.ELU()).eval()
    x = torch.rand(2, 3, 4, 4)
    graph = torch.export.export(module, (x,)).module()
    fused = overwriting(Fuser().fuse(GraphModule(graph, graph.graph)))
    called = [str(n.target).split(".")[1] for n in fused.graph.nodes if n.op == "call_function"]
    assert called.count("elu_") == 2
    with torch.inference_mode():
        assert difference(fused(x), module(x)) <= 1e-6
