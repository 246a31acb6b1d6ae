"""Windows and maps resized by p/q: shared at steps at which their blocks coincide, else by shifted passes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fullfield
from fullfield import Compute
from fullfield.api.plan import plan
from fullfield.api.scan import scan as scan_image
from fullfield.importers.checkpoints.packages import timm_package
from fullfield.importers.load import load
from fullfield.jobs.in_memory import compute_scores
from fullfield.jobs.prepare import prepare
from fullfield.model.save import save
from tests.oracle import Scan, captured, crops, difference, shaken, whole
from tests.requests import job_of

PERIOD = (16, 5)  # px along y and x: 48 px become 21, 40 become 24
HOW: list[dict[str, Any]] = [
    *({"interpolation": name, "antialias": each} for name in ("bilinear", "bicubic") for each in (True, False)),
    *({"interpolation": name} for name in ("area", "lanczos", "nearest")),
]
kernels = pytest.mark.parametrize("how", HOW, ids=lambda how: "-".join(map(str, how.values())))


def layers() -> nn.Module:
    torch.manual_seed(3)
    features = nn.Conv2d(3, 4, 3, 2, 1), nn.Tanh(), nn.Conv2d(4, 4, 3, 1, 1), nn.Tanh()
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


@cache
def network(size: tuple[int, int]) -> fullfield.Model:
    return load(shaken(layers()), window=size, preprocessing="none")


def resized(window: Any = (48, 40), size: Any = (21, 24), **how: Any) -> fullfield.Model:
    return load(network(size), window=window, resize=size, **how)


def image_of(*size: int) -> Tensor:
    return torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def scores(net: fullfield.Model, image: Tensor, **settings: Any) -> Tensor:
    return torch.from_numpy(compute_scores(job_of(net, image[0], **settings)).array).permute(1, 2, 0)


@kernels
@torch.no_grad()
def test_resized_windows_are_shared_at_multiples_of_the_period(how: dict[str, Any]) -> None:
    scan = Scan(resized(**how))
    image = image_of(48 + 36, 40 + 23)
    for step in (PERIOD, (8, 5), (6, 7)):
        assert difference(scan(image, step, (2, 3)), crops(scan.net, image, step)) <= 1e-9
        assert scan.executed == scan.predicted
        places = scan.network.places(step=step)
        ups = [[places[n.name] for n in scan.network if n.ops[k].up > 1] for k in (0, 1)]
        along = step[0] % 16 == 0, step[1] % 5 == 0
        assert all(place.shared == all(along) for place in ups[0] if along[1])
        assert any(place.shared for place in [*ups[0], *ups[1]]) or not all(along)


@pytest.mark.parametrize(
    ("window", "size"),
    [((28, 28), (12, 12)), ((20, 30), (14, 21)), ((18, 27), (24, 18)), ((24, 20), (24, 40)), ((9, 13), (12, 13))],
    ids=str,
)
@pytest.mark.parametrize("how", [HOW[0], HOW[3], HOW[5]], ids=["antialiased", "cubes", "lanczos"])
@torch.no_grad()
def test_windows_of_any_shape_become_smaller_and_larger(window: Any, size: Any, how: dict[str, Any]) -> None:
    scan = Scan(resized(window, size, **how))
    image = image_of(window[0] + 15, window[1] + 14)
    for step in ((7, 5), (6, 9)):
        assert difference(scan(image, step), crops(scan.net, image, step)) <= 1e-9


@kernels
@torch.no_grad()
def test_two_blocks_are_shared_too_and_borders_are_as_few_cells_as_read_the_edge(how: dict[str, Any]) -> None:
    scan = Scan(resized((32, 50), (14, 28), **how))
    image = image_of(32 + 34, 50 + 25)
    assert difference(scan(image, (16, 25), (2, 2)), crops(scan.net, image, (16, 25))) <= 1e-9
    assert scan.executed == scan.predicted
    last = [n for n in scan.network if n.path == "resize"][-1]
    axes = scan.network.places(step=(16, 25))[last.name].axes
    reach = {"bilinear": 1, "bicubic": 2, "lanczos": 3}.get(how["interpolation"], 0) - (how.get("antialias") is False)
    assert axes is not None
    assert [(axis.low, axis.high) for axis in axes] == [(reach, reach)] * 2


@pytest.mark.parametrize("method", ["auto", "atrous", "fragments", "shifted"])
@torch.no_grad()
def test_every_method_is_exact_at_steps_between(method: str) -> None:
    net = resized()
    image = image_of(48 + 33, 40 + 12)
    found = scores(net, image, step=(8, 3), method=method)
    assert difference(found, crops(net, image, (8, 3))) <= 1e-9


@pytest.mark.parametrize("window", [((48, 40), (21, 24)), ((32, 10), (14, 6))], ids=["blocks", "two blocks"])
@pytest.mark.parametrize("how", [HOW[0], HOW[3], HOW[4]], ids=["antialiased", "cubes", "area"])
@torch.no_grad()
def test_in_context_it_is_the_convolutional_network_on_the_resized_image(how: dict[str, Any], window: Any) -> None:
    net = resized(*window, **how)
    image = image_of(48 + 96, 40 + 50)
    found = scores(net, image, step=(32, 10), mode="context", tile=(2, 2))
    wanted = whole(prepare(net, sliding=True).canonical, image)  # strides of 2 cells of 16/7 and 5/3 px
    assert difference(found, wanted[::7, ::3][: found.shape[0], : found.shape[1]]) <= 1e-9
    assert difference(scores(net, image, step=(32, 10), mode=99), crops(net, image, (32, 10))) <= 1e-9


@torch.no_grad()
def test_between_context_and_exact_more_border_cells_are_nearer_to_the_crops() -> None:
    net = resized()
    image = image_of(48 + 64, 40 + 40)
    wanted = crops(net, image, PERIOD)
    errors = [difference(scores(net, image, step=PERIOD, mode=mode), wanted) for mode in ("context", 2, 8)]
    assert errors[0] > errors[1] >= errors[2]


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
@torch.no_grad()
def test_every_engine_shares_resized_windows(engine: Any) -> None:
    module = shaken(layers())
    image = image_of(48 + 64, 40 + 40)
    wanted = crops(load(module, window=(48, 40), resize=(21, 24)), image, PERIOD)
    net = load(module.float(), window=(48, 40), resize=(21, 24), preprocessing="none")
    settings = {"step": PERIOD, "compute": Compute(engine=engine, tile=(5, 9))}
    found = scan_image(net, image[0].permute(1, 2, 0).float().numpy(), **settings)
    assert difference(torch.from_numpy(np.asarray(found.array[:])).permute(1, 2, 0), wanted) <= 1e-4


class Pyramid(nn.Module):
    """A coarse map brought to the size of a finer one, which its own sizes do not divide."""

    def __init__(self, mode: str, *, antialias: bool = False) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 4, 3, 3, 1)
        self.last, self.head = nn.Conv2d(4, 4, 3, 1, 1), nn.Linear(4, 3)
        self.how: dict[str, Any] = {"mode": mode} | ({"antialias": True} if antialias else {})

    def forward(self, x: Tensor) -> Tensor:
        fine, coarse = torch.tanh(self.fine(x)), torch.tanh(self.coarse(x))
        x = fine + F.interpolate(coarse, fine.shape[2:], **self.how)
        result: Tensor = self.head(torch.tanh(self.last(x)).mean((2, 3)))
        return result


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@torch.no_grad()
def test_maps_inside_a_network_are_shared_too(mode: str) -> None:
    scan = Scan(captured(Pyramid(mode, antialias=mode == "bicubic"), (36, 48)))
    image = image_of(36 + 27, 48 + 26)
    for step in ((6, 12), (4, 9)):
        assert difference(scan(image, step, (2, 2)), crops(scan.net, image, step)) <= 1e-9
        places = scan.network.places(step=step)
        last = [n for n in scan.network if n.op == "conv2d" and n.kind == "windowed"][-1]
        assert places[last.name].shared == (step == (6, 12))


@pytest.mark.parametrize("how", [HOW[0], HOW[5]], ids=["antialiased", "lanczos"])
def test_a_saved_resizing_is_shared_again(how: dict[str, Any], tmp_path: Any) -> None:
    net = load(layers().float().eval(), window=(48, 40), resize=(21, 24), preprocessing="none", **how)
    again = load(save(net, tmp_path / "resized.onnx"))
    pixels = image_of(48 + 64, 40 + 40)[0].permute(1, 2, 0).numpy()
    planned = [plan(each, pixels, step=PERIOD, compute=Compute(tile=(5, 9))).table for each in (net, again)]
    assert planned[0].scan.windows == planned[1].scan.windows
    assert any(layer.shared and layer.name == "resize" for layer in planned[1].layers)


def test_a_resnet50_behind_512_to_224_costs_what_it_does_on_the_resized_image() -> None:
    whole_network = load(timm_package("test").create_model("resnet50").eval(), window=224, preprocessing="imagenet")
    resized_image, image = (np.zeros((side, side, 3), np.uint8) for side in (448, 1024))
    alone = plan(whole_network, resized_image, step=28).table
    behind = plan(load(whole_network, window=512, resize=224), image, step=64).table
    assert behind.scan.total <= 1.3 * alone.scan.total
    assert behind.scan.interior > 0
