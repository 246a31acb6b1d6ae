"""Means that slide are taken after a 1x1 convolution that makes channels fewer, and only there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fullfield.canonical.pipeline import PASSES, canonical, run_passes
from fullfield.canonical.specification import check_pools
from fullfield.errors import InternalError
from fullfield.layers import custom_operators as operators
from tests.oracle import captured, difference

CHANNELS = 12


class Gate(nn.Module):
    """A map times numbers that its means, and its maxima, give."""

    def __init__(self, gate: Callable[[Gate, Tensor], Tensor], narrow: int, groups: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(CHANNELS, narrow, 1, groups=groups)
        self.excite, self.other = nn.Conv2d(narrow, CHANNELS, 1), nn.Conv2d(CHANNELS, narrow, 1)
        self.line, self.gate = nn.Linear(CHANNELS, narrow), gate

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.excite(self.gate(self, x)))


def mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def largest(x: Tensor) -> Tensor:
    return x.amax((2, 3), keepdim=True)


GATES: dict[str, tuple[Callable[[Gate, Tensor], Tensor], int, int, list[int]]] = {
    "squeeze and excite": (lambda g, x: torch.relu(g.squeeze(mean(x))), 3, 1, [3]),
    "in groups": (lambda g, x: torch.relu(g.squeeze(mean(x))), 6, 3, [6]),
    "linear layers": (lambda g, x: torch.relu(g.line(mean(x).flatten(1)))[:, :, None, None], 3, 1, [3]),
    "means and maxima (CBAM)": (lambda g, x: g.squeeze(mean(x)) + g.squeeze(largest(x)), 3, 1, [CHANNELS, 3]),
    "two readers": (lambda g, x: g.squeeze(mean(x)) * g.other(mean(x)), 3, 1, [3, 3]),
    "as many channels": (lambda g, x: g.squeeze(mean(x)), CHANNELS, 1, [CHANNELS]),
    "a function of the means": (lambda g, x: g.squeeze(torch.tanh(mean(x))), 3, 1, [CHANNELS]),
}


def network(name: str) -> nn.Module:
    gate, narrow, groups, _ = GATES[name]
    layers = [nn.Conv2d(3, CHANNELS, 3), nn.Tanh(), Gate(gate, narrow, groups), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS, 2))


@pytest.mark.parametrize("name", list(GATES))
@torch.no_grad()
def test_means_slide_where_channels_are_fewest(name: str) -> None:
    torch.manual_seed(0)
    net = captured(network(name), (8, 9))
    form, integers = run_passes(net, sliding=True)
    pools = [n.name for n in form.graph.graph.nodes if n.target is operators.sliding_pool.default]
    assert sorted(integers[pool].elements for pool in pools) == sorted(GATES[name][3])
    image = torch.randn(1, 3, 15, 14, dtype=torch.float64)
    assert difference(form.graph(image), canonical(net, sliding=True).graph(image)) <= 1e-12


def test_a_mean_that_could_be_narrower_is_named() -> None:
    form = canonical(captured(network("squeeze and excite"), (8, 9)), sliding=True)
    with pytest.raises(InternalError, match=r"after: sliding_pool.*more channels") as error:
        check_pools(form, "after")
    assert "narrow pools" in [one.name for one in PASSES]
    assert "report it" in str(error.value)
