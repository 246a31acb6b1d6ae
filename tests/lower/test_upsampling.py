"""Upsampled maps: shared where windows are whole cells apart, else per window or by shifted passes."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fullfield
from fullfield.errors import GeometryError
from fullfield.jobs.in_memory import compute_scores
from fullfield.jobs.prepare import prepare
from fullfield.planning import Method
from tests.oracle import Scan, captured, crops, difference, whole
from tests.requests import job_of


class Fused(nn.Module):
    """Two resolutions that exchange what they have (HRNet), the coarser upsampled by repeats or from channels."""

    def __init__(self, *, shuffled: bool, padding: int = 1, mode: str = "nearest") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, padding)
        self.fine, self.coarse = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 16 if shuffled else 4, 3, 2, 1)
        self.last, self.head = nn.Conv2d(4, 4, 3, 2, 1), nn.Linear(4, 3)
        self.shuffled, self.mode = shuffled, mode

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x))
        coarse = torch.tanh(self.coarse(x))
        up = F.pixel_shuffle(coarse, 2) if self.shuffled else F.interpolate(coarse, scale_factor=2, mode=self.mode)
        x = torch.tanh(self.fine(x) + up)
        scores: Tensor = self.head(torch.tanh(self.last(x)).mean((2, 3)))
        return scores


def network(*, shuffled: bool) -> fullfield.Model:
    torch.manual_seed(2)
    return captured(Fused(shuffled=shuffled), 32)


@pytest.mark.parametrize("shuffled", [False, True], ids=["nearest", "pixel shuffle"])
@pytest.mark.parametrize("step", [(8, 4), (4, 12), (2, 8), (5, 3)], ids=str)
@torch.no_grad()
def test_a_scan_is_exact_and_shares_upsampled_maps_where_cells_coincide(step: tuple[int, int], shuffled: bool) -> None:
    scan = Scan(network(shuffled=shuffled))
    image = torch.randn(1, 3, 57, 49, dtype=torch.float64)
    wanted = crops(scan.net, image, step)
    for tile in (None, (2, 3)):
        assert difference(scan(image, step, tile), wanted) <= 1e-9
    assert scan.executed == scan.predicted
    places = scan.network.places(step=step)
    up = next(n.name for n in scan.network if n.ops[0].up > 1)
    assert places[up].shared == (step[0] % 4 == step[1] % 4 == 0)
    assert places[up].shared or "puts elsewhere in each window" in places[up].reason


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("step", [(8, 4), (2, 8)], ids=str)
@torch.no_grad()
def test_cells_that_are_mixed_are_shared_where_they_coincide(step: tuple[int, int], mode: str) -> None:
    torch.manual_seed(2)
    scan = Scan(captured(Fused(shuffled=False, mode=mode), 32))
    image = torch.randn(1, 3, 57, 49, dtype=torch.float64)
    assert difference(scan(image, step, (2, 3)), crops(scan.net, image, step)) <= 1e-9
    assert scan.executed == scan.predicted
    places = scan.network.places(step=step)
    up = next(n.name for n in scan.network if n.ops[0].up > 1)
    assert places[up].shared == (step[0] % 4 == step[1] % 4 == 0)


class Thinned(nn.Module):
    """A map made coarser by a kernel that is wider than its blocks: (y, x) by 2 and 4."""

    def __init__(self, factors: tuple[int, int]) -> None:
        super().__init__()
        self.stem, self.last, self.head = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Linear(4, 3)
        self.factors = factors

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x))
        x = F.interpolate(x, (x.shape[2] // self.factors[0], x.shape[3] // self.factors[1]), mode="bicubic")
        scores: Tensor = self.head(torch.tanh(self.last(x)).mean((2, 3)))
        return scores


@pytest.mark.parametrize("factors", [(2, 2), (2, 4), (4, 1)], ids=str)
@torch.no_grad()
def test_a_map_made_coarser_by_cubes_is_shared(factors: tuple[int, int]) -> None:
    torch.manual_seed(2)
    scan = Scan(captured(Thinned(factors), 32))
    image = torch.randn(1, 3, 57, 49, dtype=torch.float64)
    for step in ((8, 4), (3, 5)):
        assert difference(scan(image, step, (2, 3)), crops(scan.net, image, step)) <= 1e-9
        assert scan.executed == scan.predicted
        places = scan.network.places(step=step)
        assert all(places[n.name].shared for n in scan.network if n.op == "conv2d")
    even = image[:, :, :56, :48]
    found = scores(scan.net, even[0], step=4, mode="context")
    wanted = whole(prepare(scan.net, sliding=True).canonical, even)
    assert difference(found, wanted[:: 4 // factors[0], :: 4 // factors[1]]) <= 1e-9


def scores(net: fullfield.Model, image: Any, **settings: Any) -> Tensor:
    work = job_of(net, image, **settings)
    return torch.from_numpy(compute_scores(work).array).permute(1, 2, 0)


@pytest.mark.parametrize("method", get_args(Method))
@torch.no_grad()
def test_every_method_is_exact(method: Method) -> None:
    net = network(shuffled=False)
    image = torch.randn(3, 50, 46, dtype=torch.float64)
    found = scores(net, image, step=(3, 4), method=method, tile=(4, 4))
    assert difference(found, crops(net, image[None], (3, 4))) <= 1e-9


@pytest.mark.parametrize("shuffled", [False, True], ids=["nearest", "pixel shuffle"])
@torch.no_grad()
def test_in_context_it_is_the_convolutional_network_on_the_image_from_each_windows_phase(shuffled: bool) -> None:
    """At a step of 3 the network of stride 4 has four phases; compared where no phase's missing edge is seen."""
    net = network(shuffled=shuffled)
    image = torch.randn(3, 24 * 4 + 7, 32 + 32, dtype=torch.float64)
    found = scores(net, image, step=3, mode="context", tile=(4, 4))
    form = prepare(net, sliding=True).canonical
    for i in range(10, found.shape[0] - 8):
        # rows from the phase on, a whole number of the coarsest cells, as the branches' sums need
        rows = image[:, i * 3 % 4 :][:, : (image.shape[1] - i * 3 % 4) // 4 * 4]
        wanted = whole(form, rows[None])
        assert torch.allclose(found[i, 0], wanted[i * 3 // 4, 0], rtol=0, atol=1e-9)


def test_a_method_that_would_change_the_scores_in_context_is_refused() -> None:
    image = torch.randn(3, 50, 46, dtype=torch.float64)
    with pytest.raises(GeometryError, match="puts elsewhere in each window"):
        job_of(network(shuffled=False), image, step=3, mode="context", method="atrous")
    plan = job_of(network(shuffled=False), image, step=3, mode="context").plan
    assert plan.method == "shifted"
