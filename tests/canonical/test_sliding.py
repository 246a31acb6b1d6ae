"""Pools over the window's map, spread over it again: when they slide, each cell has its own neighbourhood."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fullfield.canonical.integers import network
from fullfield.canonical.pipeline import canonical
from fullfield.geometry.region import Pair
from fullfield.importers.load import load
from tests.canonical.test_rules import WINDOW, Body, Network
from tests.oracle import Scan, captured, crops, difference


def around(x: Tensor, taken: Callable[[Tensor], Tensor], cells: Pair = (10, 8)) -> Tensor:
    """What is taken of so many rows and columns round every cell, near an edge of the last ones inside."""
    (height, width), (h, w) = x.shape[2:], cells
    rows = [min(max(i - h // 2, 0), height - h) for i in range(height)]
    columns = [min(max(j - w // 2, 0), width - w) for j in range(width)]
    found = [[taken(x[:, :, i : i + h, j : j + w]) for j in columns] for i in rows]
    return torch.stack([torch.stack(row, -1) for row in found], -2)


def chosen(x: Tensor, gates: Tensor) -> Tensor:
    """Two halves of the channels, weighed by gates that are one half each."""
    a, b = gates.chunk(2, 1)
    return x[:, :4] * a + x[:, 4:] * b


def test_gates_that_are_parts_of_a_vector_slide() -> None:
    torch.manual_seed(5)
    module = Network(lambda n, x: chosen(x, x.mean((2, 3), keepdim=True)).mean((2, 3)), flat=False)
    form = canonical(captured(module, WINDOW), sliding=True)
    assert form.refused == ()
    image = torch.randn(1, 3, 17, 19, dtype=torch.float64)
    with torch.no_grad():
        x = torch.tanh(module.stem(image))
        wanted = F.avg_pool2d(chosen(x, around(x, lambda a: a.mean((2, 3)))), (10, 8), 1)
        assert difference(form.graph(image), wanted) <= 1e-12


@pytest.mark.parametrize("kernel", [10, 1280, (64, 8)], ids=str)
def test_a_pool_that_may_reach_beyond_the_map_spans_a_window_of_a_larger_one(kernel: int | Pair) -> None:
    """As transformers' EfficientNet pools: a kernel of 1280 cells, rounded up."""
    module = Network(lambda n, x: F.avg_pool2d(x, kernel, ceil_mode=True), flat=False)
    form = canonical(captured(module, WINDOW), sliding=True)
    assert form.refused == ()
    image = torch.randn(1, 3, 17, 19, dtype=torch.float64)
    with torch.no_grad():
        wanted = F.avg_pool2d(torch.tanh(module.stem(image)), (10, 8), 1)
        assert difference(form.graph(image), wanted) <= 1e-12


def evo(n: Network, x: Tensor) -> Tensor:
    """Liu et al. 2020, EvoNorm-S0 as timm defines it: the deviation of a group, computed in float32 and expanded."""
    grouped = x.reshape(x.shape[0], 2, 4, *x.shape[2:])
    std = grouped.float().var(dim=(2, 3, 4), unbiased=False, keepdim=True).add(1e-5).sqrt().to(x.dtype)
    return x * torch.sigmoid(x) / std.expand(grouped.shape).reshape(x.shape)


def evo_flat(n: Network, x: Tensor) -> Tensor:
    grouped = x.reshape(x.shape[0], 2, -1)
    std = grouped.var(2, keepdim=True).add(1e-5).sqrt()
    return x / std.expand(grouped.shape).reshape(x.shape)


def of_groups(x: Tensor, taken: Callable[[Tensor], Tensor]) -> Tensor:
    """A statistic of each of two groups of channels, for all of a group."""
    return taken(x.unflatten(1, (2, 4)).flatten(2)).repeat_interleave(4, 1)


def standardised_map(n: Network, x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, (2, 3), keepdim=True)
    return (x - mean) / (variance + 0.1).sqrt()


def response(n: Network, x: Tensor) -> Tensor:
    """Singh & Krishnan 2020, filter response normalisation: the mean of squares over the map."""
    return x * x.square().mean((2, 3), keepdim=True).add(1e-5).rsqrt().expand(x.shape)


SLIDING: dict[str, tuple[Body, Body]] = {
    "deviation of groups (EvoNorm)": (
        evo,
        lambda n, x: (
            x * torch.sigmoid(x) / (around(x, lambda a: of_groups(a, lambda g: g.var(2, False))) + 1e-5).sqrt()
        ),
    ),
    "deviation of flattened groups": (
        evo_flat,
        lambda n, x: x / (around(x, lambda a: of_groups(a, lambda g: g.var(2))) + 1e-5).sqrt(),
    ),
    "filter response norm": (
        response,
        lambda n, x: x * (around(x, lambda a: a.square().mean((2, 3))) + 1e-5).rsqrt(),
    ),
    "variance and mean": (
        standardised_map,
        lambda n, x: (x - around(x, lambda a: a.mean((2, 3)))) / (around(x, lambda a: a.var((2, 3))) + 0.1).sqrt(),
    ),
    "deviation of everything": (
        lambda n, x: x / x.std((1, 2, 3), keepdim=True),
        lambda n, x: x / around(x, lambda a: a.std((1, 2, 3), keepdim=True)[:, :, 0, 0]),
    ),
    "mean of everything": (
        lambda n, x: x - x.mean((1, 2, 3), keepdim=True),
        lambda n, x: x - around(x, lambda a: a.mean((1, 2, 3), keepdim=True)[:, :, 0, 0]),
    ),
    "largest cell": (
        lambda n, x: x * x.amax((2, 3), keepdim=True),
        lambda n, x: x * around(x, lambda a: a.amax((2, 3))),
    ),
    "norm of the map": (
        lambda n, x: F.layer_norm(x, [10, 8]),
        lambda n, x: (
            (x - around(x, lambda a: a.mean((2, 3)))) / (around(x, lambda a: a.var((2, 3), False)) + 1e-5).sqrt()
        ),
    ),
    "rms norm of the map": (
        lambda n, x: F.rms_norm(x, [10, 8], eps=0.1),
        lambda n, x: x * (around(x, lambda a: a.square().mean((2, 3))) + 0.1).rsqrt(),
    ),
    "rms norm of everything": (
        lambda n, x: F.rms_norm(x, [8, 10, 8]),
        lambda n, x: x * around(x, lambda a: a.square().mean((1, 2, 3), keepdim=True)[:, :, 0, 0]).rsqrt(),
    ),
    "group norm": (
        lambda n, x: F.group_norm(x, 2, n.matrix[0], n.matrix[1]),
        lambda n, x: (
            n.matrix[1][:, None, None]
            + n.matrix[0][:, None, None]
            * (
                (x - around(x, lambda a: of_groups(a, lambda g: g.mean(2))))
                / (around(x, lambda a: of_groups(a, lambda g: g.var(2, False))) + 1e-5).sqrt()
            )
        ),
    ),
    "upsampled gate": (
        lambda n, x: x * F.interpolate(F.adaptive_avg_pool2d(x, 1), x.shape[2:], mode="bilinear"),
        lambda n, x: x * around(x, lambda a: a.mean((2, 3))),
    ),
    "tokens' mean": (
        lambda n, x: (x.flatten(2).mT * x.flatten(2).mT.mean(1, keepdim=True)).mT.reshape(x.shape),
        lambda n, x: x * around(x, lambda a: a.mean((2, 3))),
    ),
}


@pytest.mark.parametrize("name", list(SLIDING))
@torch.no_grad()
def test_what_is_taken_over_the_map_slides_cell_by_cell_and_is_the_crop_s_on_one_window(name: str) -> None:
    body, wanted = SLIDING[name]
    torch.manual_seed(5)
    module = Network(body)
    module(torch.zeros(2, 3, *WINDOW))
    net = captured(module, WINDOW)
    form = canonical(net, sliding=True)
    assert form.refused == ()
    image = torch.randn(1, 3, 17, 19, dtype=torch.float64)
    x = wanted(module, torch.tanh(module.stem(image)))
    heads = [[module.head(x[:, :, i : i + 10, j : j + 8].flatten(1)) for j in range(10)] for i in range(6)]
    scores = torch.stack([torch.stack(row, -1) for row in heads], -2)
    assert difference(form.graph(image), scores) <= (1e-6 if name == "deviation of groups (EvoNorm)" else 1e-9)
    crop = image[:, :, 3:15, 4:14]
    assert difference(form.graph(crop)[:, :, 0, 0], net(crop)) <= 1e-9


def response_of_channels(n: Network, x: Tensor) -> Tensor:
    """Woo et al. 2023, global response normalisation: the norm of each channel over that of all."""
    norms = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
    return x + x * norms / (norms.mean(1, keepdim=True) + 1e-6)


@pytest.mark.parametrize(
    ("body", "channels"),
    [
        (lambda n, x: F.group_norm(x, 2), [2, 2]),  # of the mean and of the mean square
        (lambda n, x: x - x.mean((1, 2, 3), keepdim=True), [1]),
        (lambda n, x: x - x.amax((1, 2, 3), keepdim=True), [1]),
        (response_of_channels, [8]),
    ],
    ids=["groups", "mean of everything", "largest of everything", "read twice"],
)
def test_pools_slide_once_and_over_the_fewest_channels(body: Body, channels: list[int]) -> None:
    module = Network(body)
    module(torch.zeros(2, 3, *WINDOW))
    integers = network(canonical(captured(module, WINDOW), sliding=True), torch.float64)
    assert [node.elements for node in integers if any(op.edge == "inside" for op in node.ops)] == channels


NOT_SLIDING: dict[str, tuple[Body, str]] = {
    "laid over another map": (
        lambda n, x: F.max_pool2d(x, 2) * x.mean((2, 3), keepdim=True).expand(-1, -1, 5, 4),
        "other cells than those it was taken from",
    ),
    "variance of one value": (
        lambda n, x: x * F.adaptive_avg_pool2d(x, (1, 2)).var((2, 3), correction=2, keepdim=True),
        "variance of 2 values by 2",
    ),
}


@pytest.mark.filterwarnings("ignore:var")
@pytest.mark.parametrize("name", list(NOT_SLIDING))
def test_what_does_not_slide_says_why(name: str) -> None:
    body, reason = NOT_SLIDING[name]
    module = Network(body)
    module(torch.zeros(2, 3, *WINDOW))
    (refused, *_) = canonical(captured(module, WINDOW), sliding=True).refused
    assert reason in refused.reason


def test_instance_norm_with_stored_statistics_is_a_batch_norm() -> None:
    class Stored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.head(torch.tanh(self.norm(self.stem(x))).mean((2, 3)))
            return scores

    torch.manual_seed(5)
    scan = Scan(captured(Stored(), WINDOW))
    assert scan.canonical.refused == ()
    image = torch.randn(1, 3, 17, 19, dtype=torch.float64)
    with torch.no_grad():
        assert difference(scan(image, (2, 3)), crops(scan.net, image, (2, 3))) <= 1e-9


@pytest.mark.parametrize("mean", [0.0, 1e3])
@torch.no_grad()
def test_a_sliding_variance_is_sound_in_single_precision(mean: float) -> None:
    torch.manual_seed(5)
    module = nn.Sequential(nn.InstanceNorm2d(3), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    form = canonical(load(module.eval(), window=WINDOW, channels=3), sliding=True)
    image = torch.randn(1, 3, 17, 19) + mean
    x = image.double()

    def mean_of(a: Tensor) -> Tensor:
        return around(a, lambda part: part.mean((2, 3)), WINDOW)

    variance = around(x, lambda a: a.var((2, 3), correction=0), WINDOW)
    wanted = F.max_pool2d((x - mean_of(x)) / (variance + 1e-5).sqrt(), WINDOW, 1)
    single = (mean_of(image.square()) - mean_of(image).square()).double()
    assert (difference(single, variance) <= 1e-4) == (mean == 0)
    assert difference(form.graph(image).double(), wanted) <= 1e-4


def test_moments_are_planned_as_numbers_of_twice_the_bytes() -> None:
    module = nn.Sequential(nn.InstanceNorm2d(3), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    form = canonical(load(module.eval(), window=WINDOW, channels=3), sliding=True)
    assert {node.itemsize_factor for node in network(form, torch.float32) if node.op == "instance_norm"} == {1, 2}
    assert {node.itemsize_factor for node in network(form, torch.float32) if node.op != "instance_norm"} == {1}
