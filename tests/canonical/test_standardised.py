"""Windows standardised each by itself: the scan equals the crops, and what is linear after that is shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, note, settings
from torch import Tensor, nn

import fullfield
from tests.lower import drawn
from tests.lower.test_random_networks import images, random_networks, tiles
from tests.oracle import Scan, captured, crops, difference

WINDOW = (14, 13)
ALL = (1, 2, 3)
ONES = torch.ones(3, *WINDOW, dtype=torch.float64)
Form = Callable[[Tensor], Tensor]


def image_standardisation(x: Tensor) -> Tensor:
    """``tf.image.per_image_standardization``."""
    centred = x - x.mean(ALL, keepdim=True)
    deviation = (centred * centred).mean(ALL, keepdim=True).sqrt()
    return centred / torch.maximum(deviation, torch.tensor(x[0].numel() ** -0.5, dtype=x.dtype))


def stretched(x: Tensor) -> Tensor:
    x = x - x.amin(ALL, keepdim=True)
    return x / x.amax(ALL, keepdim=True)


def flattened(x: Tensor) -> Tensor:
    flat = x.flatten(1)
    return (x - flat.mean(1).view(-1, 1, 1, 1)) / (flat.std(1) + 1e-3)[:, None, None, None]


def deviating(x: Tensor) -> Tensor:
    x = x - x.mean(ALL, keepdim=True)
    return 0.5 * x / x.std(ALL, unbiased=False, keepdim=True).clamp(min=0.1) + 0.25


WHOLE: dict[str, Form] = {
    "mean and deviation": lambda x: (x - x.mean(ALL, keepdim=True)) / (x.std(ALL, keepdim=True) + 1e-5),
    "mean alone": lambda x: x - x.mean(ALL, keepdim=True),
    "deviation of the shifted": deviating,
    "variance": lambda x: (x - x.mean(ALL, keepdim=True)) * (x.var(ALL, keepdim=True) + 0.01).rsqrt(),
    "least and largest": lambda x: (
        (x - x.amin(ALL, keepdim=True)) / (x.amax(ALL, keepdim=True) - x.amin(ALL, keepdim=True) + 1e-5)
    ),
    "largest of the shifted": stretched,
    "length": lambda x: x / torch.linalg.vector_norm(x, 2, ALL, keepdim=True),
    "layer norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "group norm": lambda x: F.group_norm(x, 1),
    "layer norm as exported": lambda x: F.layer_norm(x, x.shape[1:], ONES, 0 * ONES),
    "rms norm": lambda x: F.rms_norm(x, x.shape[1:], eps=0.01),
    "mean of squares": image_standardisation,
    "flattened": flattened,
}
CHANNELS: dict[str, Form] = {
    "channels": lambda x: (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 1e-5),
    "channels stretched": lambda x: x / x.amax((2, 3), keepdim=True),
    "instance norm": F.instance_norm,
    "rows": lambda x: x - x.mean(3, keepdim=True),
    "opposite": lambda x: x.mean(ALL, keepdim=True) - x,
    "squared": lambda x: (x - x.mean(ALL, keepdim=True)) ** 2,
    "rows of channels": lambda x: F.layer_norm(x, x.shape[2:]),
}


class Patches(nn.Module):
    """A small network of patches behind a standardisation."""

    def __init__(self, form: Form, *, kernel: int = 3, padding: int = 0, head: int = 5 * 4 * 3) -> None:
        super().__init__()
        self.form = form
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 4, kernel, padding=padding), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(4, 5, 3, padding=min(1, padding)), nn.Tanh(), nn.Flatten(), nn.Linear(head, 3)),
        )

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layers(self.form(x))
        return scores


def scanned(module: nn.Module, image: Tensor | None = None) -> tuple[Scan, float]:
    """The scan, and its difference from the crops."""
    scan = Scan(captured(module, WINDOW))
    image = torch.rand(1, 3, 23, 25, dtype=torch.float64) if image is None else image
    with torch.no_grad():
        return scan, difference(scan(image, (2, 3)), crops(scan.net, image, (2, 3)))


def shared(scan: Scan) -> set[str]:
    return {node.op for node in scan.network if scan.places[node.name].shared}


@pytest.mark.parametrize("name", list(WHOLE))
def test_the_first_convolution_and_pool_behind_it_are_shared(name: str) -> None:
    torch.manual_seed(0)
    scan, error = scanned(Patches(WHOLE[name]))
    assert error <= 1e-9
    assert {"conv2d", "max_pool2d"} <= shared(scan)


@pytest.mark.parametrize("name", list(WHOLE))
def test_borders_that_pad_are_those_of_the_standardised_window(name: str) -> None:
    torch.manual_seed(0)
    scan, error = scanned(Patches(WHOLE[name], kernel=7, padding=3, head=5 * 7 * 6))
    assert error <= 1e-9
    assert "conv2d" in shared(scan)


@pytest.mark.parametrize("name", ["mean and deviation", "layer norm"])
def test_a_convolution_that_takes_less_than_scaling_its_result_runs_per_window(name: str) -> None:
    torch.manual_seed(0)
    scan, error = scanned(Patches(WHOLE[name], padding=1, head=5 * 7 * 6))
    assert error <= 1e-9
    assert "conv2d" not in shared(scan)
    assert scan.canonical.standardised is None  # nothing is scaled after it was shared


@pytest.mark.parametrize("name", list(CHANNELS))
def test_other_forms_run_per_window(name: str) -> None:
    torch.manual_seed(0)
    scan, error = scanned(Patches(CHANNELS[name]))
    assert error <= 1e-9
    assert "conv2d" not in shared(scan)


@pytest.mark.parametrize("form", [WHOLE["mean and deviation"], WHOLE["least and largest"]])
def test_a_linear_classifier_of_standardised_windows_is_shared_to_its_end(form: Form) -> None:
    class Templates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3 * 14 * 13, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.last(torch.tanh(self.first(form(x).flatten(1))))
            return scores

    torch.manual_seed(0)
    scan, error = scanned(Templates())
    assert error <= 1e-9
    assert all(place.shared for place in scan.places.values())


@pytest.mark.parametrize("by", ["product", "sum"])
def test_a_map_of_one_channel_may_meet_numbers_of_several(by: str) -> None:
    """As tf2onnx writes a layer norm over channels."""
    numbers = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64).reshape(1, 3, 1, 1)

    def spread(x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        return x + (mean * numbers if by == "product" else mean + numbers)

    torch.manual_seed(0)
    _, error = scanned(Patches(spread))
    assert error <= 1e-9


class Signal(nn.Module):
    """A network of signals behind a standardisation over all samples, or those of each channel."""

    def __init__(self, form: Form, *, padding: int, mean: bool) -> None:
        super().__init__()
        self.form = form
        pool = nn.AvgPool1d(2) if mean else nn.MaxPool1d(3, 2)
        first = [nn.Conv1d(4, 4, 15, stride=2, padding=padding, dilation=2), nn.BatchNorm1d(4), nn.ReLU()]
        first = first[:2] if mean else first
        self.layers = nn.Sequential(*first, pool, nn.Conv1d(4, 5, 3), nn.Tanh(), nn.AdaptiveAvgPool1d(1), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layers(self.form(x))
        return scores


SIGNALS: dict[str, Form] = {
    "mean and deviation": lambda x: (x - x.mean((1, 2), keepdim=True)) / (x.std((1, 2), keepdim=True) + 1e-5),
    "least and largest": lambda x: (
        (x - x.amin((1, 2), keepdim=True)) / (x.amax((1, 2), keepdim=True) - x.amin((1, 2), keepdim=True) + 1e-5)
    ),
    "layer norm": lambda x: F.layer_norm(x, x.shape[1:]),
}


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("name", list(SIGNALS))
def test_signals_share_what_images_do(name: str, padding: int, mean: bool) -> None:
    torch.manual_seed(0)
    scan = Scan(captured(Signal(SIGNALS[name], padding=padding, mean=mean), (1, 41), 4))
    signal = torch.rand(1, 4, 1, 90, dtype=torch.float64)
    signal[..., :45] = 0.7843137
    with torch.no_grad():
        assert difference(scan(signal, (1, 3)), crops(scan.net, signal, (1, 3))) <= 1e-9
    pool = "avg_pool1d" if mean else "max_pool1d"
    assert {"conv1d", *([pool] if mean or not padding else [])} <= shared(scan)


def test_a_largest_cell_is_not_taken_before_a_factor_that_may_be_below_zero() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 23, 25, dtype=torch.float64)
    scan, error = scanned(Patches(lambda x: x * x.mean(ALL, keepdim=True)), image)
    assert error <= 1e-9
    assert "conv2d" in shared(scan)
    assert "max_pool2d" not in shared(scan)


@pytest.mark.parametrize("slope", [0.25, -0.25])
def test_an_activation_that_falls_ends_the_sharing(slope: float) -> None:
    torch.manual_seed(0)
    module = Patches(WHOLE["mean and deviation"])
    module.layers[2] = nn.LeakyReLU(slope)
    scan, error = scanned(module)
    assert error <= 1e-9
    assert ("max_pool2d" in shared(scan)) == (slope > 0)


def test_windows_without_contrast_have_the_numbers_of_the_crops_or_none() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 30, 40, dtype=torch.float64)
    image[..., :22] = 0.7843137
    forms = [WHOLE["mean and deviation"], WHOLE["mean of squares"], WHOLE["largest of the shifted"]]
    for form in (*forms, lambda x: (x - x.amin(ALL, keepdim=True)) / x.std(ALL, keepdim=True)):
        scan = Scan(captured(Patches(form), WINDOW))
        with torch.no_grad():
            found, wanted = scan(image, (2, 3)), crops(scan.net, image, (2, 3))
        assert torch.equal(found.isnan(), wanted.isnan())
        assert difference(found.nan_to_num(), wanted.nan_to_num()) <= 1e-9


@pytest.mark.parametrize("name", ["mean and deviation", "least and largest", "layer norm"])
def test_equal_numbers_leave_nothing_in_single_precision_either(name: str) -> None:
    torch.manual_seed(0)
    module = Patches(WHOLE[name]).eval()
    model = fullfield.load(module, window=WINDOW, preprocessing="unit")
    pixels = np.full((40, 40, 3), 255, np.uint8)
    pixels[28:] = np.random.default_rng(0).integers(0, 255, (12, 40, 3))
    scores = fullfield.scan(model, pixels, step=3).array
    with torch.no_grad():
        wanted = module.layers(torch.zeros(1, 3, *WINDOW)).numpy()[0]
    assert np.abs(scores[:, :5] - wanted[:, None, None]).max() <= 1e-6


def test_a_statistic_that_is_written_twice_is_taken_once() -> None:
    scan = Scan(captured(Patches(WHOLE["least and largest"]), WINDOW))
    assert [node.target for node in scan.canonical.graph.graph.nodes].count(torch.ops.aten.max_pool2d.default) == 3


def test_only_what_follows_the_first_pool_is_multiplied_per_window() -> None:
    """A convolution of 5x5 with 6 kernels, one with 16, linear layers of 120, 84 and 10 numbers."""
    layers = [nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*layers, *head)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.layers(WHOLE["mean and deviation"](x))
            return scores

    model = fullfield.load(Network(), window=32, channels=3)
    plan = fullfield.plan(model, torch.rand(3, 152, 152), step=4)
    windows = plan.tile[0] * plan.tile[1]
    assert plan.cost.window_macs == windows * (150 * 16 * 100 + 400 * 120 + 120 * 84 + 84 * 10)
    assert plan.cost.shared_macs <= 0.1 * windows * 75 * 6 * 28 * 28


@settings(random_networks, max_examples=25)
@given(st.data())
def test_any_network_behind_a_standardisation_equals_its_crops(data: Any) -> None:
    net = data.draw(drawn.networks(layers=drawn.EVERY_LAYER, depth=4, first=drawn.standardised))
    image, step = data.draw(images(net))
    note(f"{net.window} {step} {tuple(image.shape)} {net.graph.code}")
    scan = Scan(net, stop=data.draw(st.one_of(st.none(), st.integers(1, 14))), batch=data.draw(st.integers(1, 9)))
    with torch.no_grad():
        assert difference(scan(image, step, data.draw(tiles)), crops(net, image, step)) <= 1e-9
    assert scan.executed == scan.predicted
