"""Average pools run before the 1x1 convolutions in front of them, and only there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from fullfield.canonical.early_pools import early_pools
from fullfield.canonical.pipeline import PASSES, canonical, run_passes
from fullfield.canonical.specification import check_early_pools
from fullfield.errors import InternalError
from tests.oracle import Scan, captured, crops, difference

CASES: dict[str, tuple[Callable[[], list[nn.Module]], bool]] = {
    "a transition (DenseNet)": (lambda: [nn.Conv2d(8, 4, 1), nn.AvgPool2d(2)], True),
    "in groups": (lambda: [nn.Conv2d(8, 4, 1, groups=2), nn.AvgPool2d(3, 2)], True),
    "along one axis, rounded up": (lambda: [nn.Conv2d(8, 4, 1), nn.AvgPool2d((1, 3), (1, 2), ceil_mode=True)], True),
    "behind two convolutions": (lambda: [nn.Conv2d(8, 6, 1, bias=False), nn.Conv2d(6, 4, 1), nn.AvgPool2d(2)], True),
    "two pools": (lambda: [nn.Conv2d(8, 4, 1), nn.AvgPool2d(2), nn.AvgPool2d(2)], True),
    "padding counts": (lambda: [nn.Conv2d(8, 4, 1), nn.AvgPool2d(3, 2, 1)], False),
    "sums": (lambda: [nn.Conv2d(8, 4, 1), nn.AvgPool2d(2, divisor_override=1)], False),
    "as many cells": (lambda: [nn.Conv2d(8, 4, 1), nn.AvgPool2d(3, 1)], False),
    "a function between": (lambda: [nn.Conv2d(8, 4, 1), nn.Tanh(), nn.AvgPool2d(2)], False),
    "a larger kernel": (lambda: [nn.Conv2d(8, 4, 3), nn.AvgPool2d(2)], False),
    "maxima": (lambda: [nn.Conv2d(8, 4, 1), nn.MaxPool2d(2)], False),
}
WINDOW = (14, 12)


def network(name: str) -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), *CASES[name][0](), nn.Conv2d(4, 5, 3, padding=1), nn.Flatten()]
    module = nn.Sequential(*layers, nn.LazyLinear(3))
    module(torch.zeros(1, 3, *WINDOW))
    return module


@pytest.mark.parametrize("name", list(CASES))
@torch.no_grad()
def test_a_convolution_of_single_cells_reads_the_pool(name: str) -> None:
    net = captured(network(name), WINDOW)
    form, _ = run_passes(net)
    order = [str(n.target).split(".")[1] for n in form.graph.graph.nodes if n.op == "call_function"]
    first = "avg_pool2d" if CASES[name][1] else "conv2d"
    assert next(op for op in order[2:] if op != "tanh") == first
    image = torch.randn(1, 3, 33, 30, dtype=torch.float64)
    wanted = crops(net, image, (4, 3))
    assert difference(Scan(net)(image, (4, 3)), wanted) <= 1e-12


def test_a_pool_of_a_convolution_that_others_read_stays() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.Conv2d(3, 4, 1), nn.LazyLinear(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.cell(x)
            scores: torch.Tensor = self.head(
                torch.cat([nn.functional.avg_pool2d(x, 2), x[:, :, ::2, ::2]], 1).flatten(1)
            )
            return scores

    module = Two()
    module(torch.zeros(1, 3, 8, 8))
    form = canonical(captured(module, 8))
    assert early_pools(form.graph) is form.graph


def test_a_convolution_that_could_compute_fewer_cells_fails_the_pass() -> None:
    form = canonical(captured(network("a transition (DenseNet)"), WINDOW))
    with pytest.raises(InternalError, match="pools what a convolution of single cells computes"):
        check_early_pools(form, "early pools")
    assert "early pools" in [one.name for one in PASSES]
