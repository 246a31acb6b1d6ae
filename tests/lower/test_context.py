"""Borders of no cells: the tiled scan is the converted network run over the whole image, zeros at its border only."""

from __future__ import annotations

import itertools
import math
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, note, settings
from torch import nn

from fullfield.geometry.region import Pair
from tests.lower import drawn
from tests.lower.test_random_networks import random_networks, tiles
from tests.oracle import Scan, captured, crops, difference, score_grid, whole

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


CROPPING = (
    drawn.crop,
    drawn.pad,
    drawn.edges,
    drawn.blocks,
    drawn.upsample,
    drawn.mixed_upsample,
    drawn.resampled,
    drawn.transposed,
    drawn.picked,
)


def strides(scan: Scan) -> Pair:
    """Parts of a pixel between neighbouring scores of the converted network."""
    axes = scan.places[scan.network.output.name].axes
    assert axes is not None
    return axes[0].jump, axes[1].jump


def coarsest(scan: Scan) -> Pair:
    """Px that the jump of every map divides: that of an upsampled map is less than that of the map before."""
    axes = [p.axes for p in scan.places.values() if p.axes is not None]
    y, x = (math.lcm(unit, *(a[k].jump for a in axes)) // unit for k, unit in enumerate(scan.network.units))
    return y, x


def image_for(data: Any, scan: Scan, step: Pair) -> torch.Tensor:
    counts = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    rest = data.draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    size = [w + (n - 1) * s + r for w, n, s, r in zip(scan.net.window, counts, step, rest, strict=True)]
    return torch.randn(1, scan.net.channels, *size, dtype=torch.float64)


def check_with_crops(data: Any, scan: Scan) -> None:
    """The scores of an image that is drawn are those of its crops."""
    step = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    image = image_for(data, scan, step)
    note(f"{scan.net.window} {step} {tuple(image.shape)} {scan.net.graph.code}")
    with torch.no_grad():
        wanted = crops(scan.net, image, step)
        assert difference(scan(image, step, data.draw(tiles)), wanted) <= 1e-9


def drawn_scan(data: Any, layers: Any = drawn.SHARED_LAYERS) -> Scan:
    scan = Scan(data.draw(drawn.networks(layers=layers)), cap=0, fragments=data.draw(st.booleans()), sliding=True)
    assume(scan.places[scan.network.output.name].shared)
    note(f"{scan.net.window} {scan.net.graph.code}")
    return scan


@settings(random_networks, max_examples=60)
@given(st.data())
def test_at_multiples_of_the_stride_it_is_one_pass_over_the_image(data: Any) -> None:
    scan = drawn_scan(data, drawn.ALL_LAYERS)
    (ty, tx), (jy, jx) = coarsest(scan), strides(scan)
    every = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    step = (ty * every[0], tx * every[1])
    image = image_for(data, scan, step)
    with torch.no_grad():
        rows, columns = score_grid(image, scan.net.window, step)
        uy, ux = scan.network.units
        wanted = whole(scan.canonical, image)[:: step[0] * uy // jy, :: step[1] * ux // jx][:rows, :columns]
        assert difference(scan(image, step), wanted) <= 1e-9
        assert difference(scan(image, step, data.draw(tiles)), wanted) <= 1e-9


@settings(random_networks, max_examples=60)
@given(st.data())
def test_at_any_step_it_is_shifted_passes_stitched_together(data: Any) -> None:
    """Compared where the shifted pass reads no zero in place of a pixel that the shift cut off.

    Without layers that crop: of those, what a cell reads does not tell where the map before them ends.
    """
    scan = drawn_scan(data, [layer for layer in drawn.SHARED_LAYERS if layer not in CROPPING])
    stride = strides(scan)
    step = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    image = image_for(data, scan, step)
    note(f"{step} {stride} {tuple(image.shape)}")
    axes = scan.places[scan.network.output.name].axes
    assert axes is not None
    passes: dict[Pair, torch.Tensor] = {}
    with torch.no_grad():
        found = scan(image, step, data.draw(tiles))
        for i, j in itertools.product(range(found.shape[0]), range(found.shape[1])):
            y, x = ((n * s) % t for n, s, t in zip((i, j), step, stride, strict=True))
            if (y and i * step[0] + axes[0].start < y) or (x and j * step[1] + axes[1].start < x):
                continue
            if (y, x) not in passes:
                passes[y, x] = whole(scan.canonical, image[:, :, y:, x:])
            wanted = passes[y, x][i * step[0] // stride[0], j * step[1] // stride[1]]
            assert float((found[i, j] - wanted).abs().max()) <= 1e-9 * float(passes[y, x].abs().max() + 1)


@settings(random_networks, max_examples=40)
@given(st.data())
def test_with_borders_as_large_as_the_maps_it_is_the_crops(data: Any) -> None:
    """Gates and norms of a window's border are the window's own."""
    layers = [*drawn.GATES, *drawn.GATES, *drawn.SHARED_LAYERS]
    check_with_crops(data, Scan(data.draw(drawn.networks(layers=layers, depth=3)), cap=99, sliding=True))


class Met(nn.Module):
    """A padded branch that meets one that has read the whole of a map of one cell."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Tanh())
        self.long, self.short = nn.Conv2d(4, 4, 3, 2, 1, bias=False), nn.Conv2d(4, 4, 1, 2, bias=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        scores: torch.Tensor = self.head(torch.tanh(self.long(x) + self.short(x)).flatten(1))
        return scores


@pytest.mark.parametrize("step", [(8, 8), (4, 12), (6, 3), (5, 9)], ids=str)
@torch.no_grad()
def test_a_head_meets_a_branch_that_has_more_cells(step: Pair) -> None:
    torch.manual_seed(3)
    net = captured(Met(), 7)  # one cell of 4 px, three of them left over
    image = torch.randn(1, 3, 49, 45, dtype=torch.float64)
    assert difference(Scan(net)(image, step, (3, 2)), crops(net, image, step)) <= 1e-9
    scan = Scan(net, cap=0, sliding=True)
    found = scan(image, step)
    assert difference(scan(image, step, (3, 2)), found) <= 1e-9
    for i, j in itertools.product(range(1, found.shape[0]), range(1, found.shape[1])):
        wanted = whole(scan.canonical, image[:, :, i * step[0] % 8 :, j * step[1] % 8 :])
        row, column = i * step[0] // 8, j * step[1] // 8
        if row and column:
            assert difference(found[i, j], wanted[row, column]) <= 1e-9


class Row(nn.Module):
    """A map of one row, or column, that is padded along it by its own cells."""

    def __init__(self, mode: str, *, tall: bool) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, 2, dtype=torch.float64), nn.Linear(4, 3, dtype=torch.float64)
        self.mode, self.tall = mode, tall

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        x = x[:, :, :, 1:2] if self.tall else x[:, :, 1:2]
        x = nn.functional.pad(x, (0, 0, 2, 1) if self.tall else (2, 1, 0, 0), mode=self.mode)
        scores: torch.Tensor = self.head(nn.functional.max_pool2d(x, 2, 1, 1).amax((2, 3)))
        return scores


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize("tall", [False, True], ids=["row", "column"])
@torch.no_grad()
def test_a_row_alone_is_padded_by_its_own_cells(mode: str, tall: bool) -> None:
    net = captured(Row(mode, tall=tall), 11)
    image = torch.randn(1, 3, 31, 35, dtype=torch.float64)
    for step in ((4, 6), (3, 5)):
        assert difference(Scan(net)(image, step, (3, 2)), crops(net, image, step)) <= 1e-9
    scan = Scan(net, cap=0, sliding=True)
    found = scan(image, (4, 6), (3, 2))
    assert difference(found, whole(scan.canonical, image)[::2, ::3][: found.shape[0], : found.shape[1]]) <= 1e-9


class Gated(nn.Module):
    """A gate of padded cells, and a norm over the map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.InstanceNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.stem(x))
        x = torch.relu(self.norm(x * torch.sigmoid(x.mean((2, 3), keepdim=True)))) + x
        scores: torch.Tensor = self.head(x.mean((2, 3)))
        return scores


@torch.no_grad()
def test_the_wider_the_border_the_nearer_gates_come_to_the_crops() -> None:
    torch.manual_seed(3)
    net = captured(Gated(), 24)
    image = torch.randn(1, 3, 65, 61, dtype=torch.float64).cumsum(3)  # gates differ from place to place
    wanted = crops(net, image, (4, 5))
    errors = [
        float((Scan(net, cap=cap, sliding=True)(image, (4, 5)) - wanted).abs().mean()) for cap in (0, 1, 2, 3, 4, 5)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[3] < 0.75 * errors[0]
    whole_maps = Scan(net, cap=0, small=12, sliding=True)
    assert difference(whole_maps(image, (4, 5)), wanted) <= 1e-9
