"""Scans in float32 round hardly worse than crops do: sums over windows are added in pairs."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import fullfield
from fullfield.jobs.source import open_source
from fullfield.verification.crops import run_crops


class Function(nn.Module):
    """A function of the image; the convolution gives the network its type."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.conv.weight.data = torch.eye(3)[:, :, None, None].clone()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x)).flatten(1)


def standardised(x: Tensor) -> Tensor:
    y = x - x.mean((1, 2, 3), keepdim=True)
    return (y / y.std((1, 2, 3), keepdim=True, unbiased=False))[:, :, 5, 5]


def whitened(x: Tensor) -> Tensor:
    mean, square = x.mean((2, 3), keepdim=True), (x * x).mean((2, 3), keepdim=True)
    return ((x - mean) / (square - mean * mean + 1e-3).sqrt())[:, :, 5, 5]


def bright(side: int) -> NDArray[np.uint8]:
    """Little contrast on a bright ground: what remains after a mean has few digits."""
    y, x = np.mgrid[:side, :side]
    waves = 200 + 8 * np.sin(x / 9) + 4 * np.cos(y / 5) + np.random.default_rng(0).normal(0, 2, (side, side))
    return np.clip(waves, 0, 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)


def errors(module: nn.Module, window: int, step: int, image: NDArray[np.uint8] | None = None) -> tuple[float, float]:
    """The largest errors of scan and crops, by the crops in float64, over the range of the scores."""
    image = bright(window + 96) if image is None else image
    single = fullfield.load(module, window=window, channels=3, preprocessing="unit")
    double = fullfield.load(copy.deepcopy(module).double(), window=window, channels=3, preprocessing="unit")
    scan = fullfield.scan(single, image, step=step).array
    cells = [(i, j) for i in range(scan.shape[1]) for j in range(scan.shape[2])][::7]
    crops, exact = (run_crops(net, open_source(net, image), cells, (step, step)) for net in (single, double))
    span = float(np.ptp(exact))
    found = np.stack([scan[:, i, j] for i, j in cells])
    return float(np.abs(found - exact).max()) / span, float(np.abs(crops - exact).max()) / span


@pytest.mark.parametrize(
    ("function", "window", "step"),
    [
        (standardised, 32, 8),
        (standardised, 100, 5),
        (whitened, 8, 5),
        (lambda x: x.mean((2, 3)), 224, 8),
        (lambda x: x.mean(2).amax(2), 224, 8),
        (lambda x: F.adaptive_avg_pool2d(x, 1), 224, 5),
        (lambda x: F.group_norm(x, 3)[:, :, 3, 3], 32, 8),
        (lambda x: torch.linalg.vector_norm(x, 2, (2, 3)), 100, 8),
    ],
)
def test_sums_over_windows_round_as_those_of_the_crops(
    function: Callable[[Tensor], Tensor], window: int, step: int
) -> None:
    scan, crops = errors(Function(function).eval(), window, step)
    assert scan <= 4 * crops + 1e-6


def test_a_head_of_many_taps_rounds_as_the_linear_layer_of_the_crops() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 8, 1), nn.Flatten(), nn.Linear(8 * 48 * 48, 3)).eval()
    scan, crops = errors(module, 96, 2)
    assert scan <= 4 * crops + 1e-6


class Standardised(nn.Module):
    """A small network behind the window's own mean and deviation."""

    def __init__(self, kernel: int, padding: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 8, kernel, padding=padding), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = x - x.mean((1, 2, 3), keepdim=True)
        scores: Tensor = self.layers(y / (x.std((1, 2, 3), keepdim=True) + 1e-5)).flatten(1)
        return scores


@pytest.mark.parametrize(("kernel", "padding"), [(3, 0), (7, 3), (11, 0)])
def test_a_convolution_shared_before_the_mean_is_taken_off_rounds_as_those_of_the_crops(
    kernel: int, padding: int
) -> None:
    torch.manual_seed(0)
    scan, crops = errors(Standardised(kernel, padding).eval(), 40, 4)
    assert scan <= 4 * crops + 1e-6


def test_windows_of_little_contrast_are_computed_by_the_network_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """White but for one number, which is smaller by one: the mean is 5,000 deviations."""
    image = bright(100)
    image[:60] = 255
    image[20, 20, 0] = image[40, 70, 2] = 254
    torch.manual_seed(0)
    module = Standardised(5, 0).eval()
    scan, crops = errors(module, 32, 4, image)
    assert scan <= 4 * crops + 1e-6
    monkeypatch.setattr("fullfield.lower.program.low_contrast", lambda *args: None)
    assert errors(module, 32, 4, image)[0] > 4 * crops + 1e-6
