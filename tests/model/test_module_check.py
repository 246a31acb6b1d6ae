"""Python code that torch.export cannot follow: a graph that gives other scores than its module is refused."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fullfield.errors import CaptureError
from fullfield.model.module_check import check_against_module
from fullfield.model.module_graph import example_of
from fullfield.model.torch_export import capture_module
from tests.model.networks import Small

CALLS = [0]


def multiply_by_calls(m: nn.Module, y: Tensor) -> Tensor:
    m.calls += 1
    return y * m.calls


def multiply_by_all_calls(m: nn.Module, y: Tensor) -> Tensor:
    CALLS[0] += 1
    return y * CALLS[0]


@pytest.mark.parametrize(
    "change",
    [
        multiply_by_calls,
        multiply_by_all_calls,
        lambda m, y: y * random.random(),
        lambda m, y: y * float(np.random.default_rng().random()),
        lambda m, y: y + torch.tensor(np.random.default_rng().random(6)).float(),
    ],
)
def test_states_and_chance_in_python_are_refused(change: Callable[..., Tensor]) -> None:
    with pytest.raises(CaptureError, match="gives the same window other scores each time: it keeps a state"):
        capture_module(Small(change, state=True).eval(), window=9)


def count(m: nn.Module, y: Tensor) -> Tensor:
    m.calls += 1
    CALLS[0] += 1
    return y


def test_calls_that_are_only_counted_are_no_state() -> None:
    module = Small(count, state=True)
    assert capture_module(module, window=9).classes == 6
    assert module.calls == 0


class Remembering(nn.Module):
    """Keeps what it computes of its weights in collections, as LeViT does with its biases."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.by_device: dict[str, Tensor] = {}
        self.calls: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).mean((2, 3))
        self.calls.append(y)
        if str(x.device) not in self.by_device:
            self.by_device[str(x.device)] = self.conv.bias.flip(0)
        return y + self.by_device[str(x.device)]


def test_what_a_module_collects_during_export_is_put_back() -> None:
    module = Remembering().eval()
    kept = module.by_device
    model = capture_module(module, window=9)
    assert module.by_device is kept
    assert not kept
    assert not module.calls
    x = torch.rand(2, 3, 9, 9)
    assert torch.allclose(model(x), module(x), rtol=0, atol=1e-6)


def test_python_code_that_depends_on_the_number_of_windows_is_refused() -> None:
    with pytest.raises(CaptureError, match="gives a window other scores in a batch of two than alone") as caught:
        capture_module(Small(lambda y: 2 * y if y.shape[0] == 1 else y).eval(), window=9)
    assert "Python" in caught.value.fix


def test_a_graph_of_another_module_is_refused() -> None:
    graph, other = capture_module(Small().eval(), window=9).graph, Small().eval()
    with pytest.raises(CaptureError, match=r"Small: gives other scores than the graph that torch\.export makes"):
        check_against_module(other, graph, example_of(other, (3, 9, 9)), "Small")


def test_a_module_that_runs_on_batches_only_is_captured() -> None:
    def scored(y: Tensor) -> Tensor:
        a, b = y[:, :, None, None].squeeze(), y.squeeze()
        return torch.cat([a[:, :3], b[:, 3:]], 1)

    module = Small(scored).eval()
    net = capture_module(module, window=9)
    windows = torch.randn(2, 3, 9, 9)
    assert torch.allclose(torch.cat([net(windows[:1]), net(windows[1:])]), module(windows))
