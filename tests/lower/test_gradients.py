"""The lowered program is differentiable: scan losses and crop losses have the same gradients."""

from __future__ import annotations

import pytest
import torch

from tests.architectures import build
from tests.oracle import Scan, captured, crops, difference


@pytest.mark.parametrize("name", ["resnet18", "efficientnet", "convnext", "convnextv2", "tresnet", "hrnet", "unet"])
def test_gradients_of_a_scans_loss_are_those_of_the_crops(name: str) -> None:
    module, window = build(name)
    net = captured(module, window)
    scan, step = Scan(net, batch=4), (8, 5)
    image = torch.randn(1, 3, window + 2 * 8, window + 2 * 5 + 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(3, 3, 5, dtype=torch.float64)
    # a linear layer's weight is a convolution's in the program: another parameter on the same memory
    originals = {p.data_ptr(): p for p in net.graph.parameters()}
    weights = list(scan.canonical.graph.parameters())

    def gradients(scores: torch.Tensor, of: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad((scores - target).square().sum(), [image, *of])

    found = gradients(scan(image, step, (2, 3)), [*weights])
    wanted = gradients(crops(net, image, step), [originals[p.data_ptr()] for p in weights])
    assert len(wanted) == len(originals) + 1
    for f, w in zip(found, wanted, strict=True):
        assert difference(f.reshape(w.shape), w) <= 1e-9
