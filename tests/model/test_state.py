"""What a network writes to its buffers: a state that is only counted is left out, one that scores depend on refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fullfield.errors import CaptureError
from fullfield.model.torch_export import capture_module
from tests.model.networks import Small


def count(m: nn.Module, y: Tensor) -> Tensor:
    m.count += 1
    return y


def count_anew(m: nn.Module, y: Tensor) -> Tensor:
    m.count = m.count + 1
    return y


def mean(m: nn.Module, y: Tensor) -> Tensor:
    m.seen.mul_(0.9).add_(y.mean(0), alpha=0.1)
    return y


def scratch(m: nn.Module, y: Tensor) -> Tensor:
    m.seen.copy_(torch.arange(6.0))
    return y * m.seen


def nothing_new(m: nn.Module, y: Tensor) -> Tensor:
    return y * m.seen.add_(0.0)


@pytest.mark.parametrize("change", [count, count_anew, mean, scratch, nothing_new])
def test_a_state_that_no_score_depends_on_is_captured_without_its_writes(change: Callable[..., Tensor]) -> None:
    module = Small(change, state=True).eval()
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    net = capture_module(module, window=9)
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
    windows = torch.randn(2, 3, 9, 9)
    first = net(windows)
    assert torch.equal(net(windows), first)
    assert not any("_." in str(node.target) for node in net.graph.graph.nodes if node.op == "call_function")
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
    assert torch.equal(module(windows), first)


def count_and_use(m: nn.Module, y: Tensor) -> Tensor:
    m.count += 1
    return y * m.count


def subtract_mean_so_far(m: nn.Module, y: Tensor) -> Tensor:
    before = m.seen.clone()
    m.seen.mul_(0.9).add_(y[:1].mean(0), alpha=0.1)
    return y - before


def drift(m: nn.Module, y: Tensor) -> Tensor:
    m.seen.add_(1e-9)
    return y + m.seen


@pytest.mark.parametrize(
    ("change", "state"), [(count_and_use, "count"), (subtract_mean_so_far, "seen"), (drift, "seen")]
)
def test_scores_that_depend_on_earlier_calls_are_refused(change: Callable[..., Tensor], state: str) -> None:
    module = Small(change, state=True).eval()
    before = getattr(module, state).clone()
    with pytest.raises(CaptureError, match=f"keeps a state between calls: the scores depend on {state}, which"):
        capture_module(module, window=9)
    assert torch.equal(getattr(module, state), before)
