"""Three ways to run steps that the network's stride does not divide, and large kernels by Fourier transforms."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield import Compute
from fullfield.engine.run import run_tiles
from fullfield.lower.program import lower
from fullfield.planning import Method
from tests.requests import job_of


@pytest.fixture(scope="module")
def net() -> fullfield.Model:
    torch.manual_seed(0)
    layers = [
        *[nn.Conv2d(3, 8, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3, padding=1, groups=2)],
        *[nn.Conv2d(8, 8, 3, 2, 1), nn.AvgPool2d(3, 2, 1), nn.Conv2d(8, 6, 2), nn.AdaptiveAvgPool2d(1)],
    ]
    return fullfield.load(nn.Sequential(*layers, nn.Flatten(), nn.Linear(6, 5)).double().eval(), window=65)


@pytest.mark.parametrize("mode", ["exact", "context"])
@pytest.mark.parametrize("step", [16, (8, 4), (5, 7), (1, 13)])
def test_the_three_methods_give_the_same_scores(net: fullfield.Model, mode: str, step: int | tuple[int, int]) -> None:
    image = torch.rand(3, 131, 120, dtype=torch.float64)
    maps = {
        m: fullfield.scan(net, image, step=step, mode=mode, compute=Compute(method=m)).array for m in get_args(Method)
    }
    span = np.ptp(maps["atrous"])
    for name, found in maps.items():
        assert np.abs(found - maps["atrous"]).max() <= 1e-12 * span, name


def test_each_method_is_exact(net: fullfield.Model) -> None:
    image = torch.rand(3, 131, 120, dtype=torch.float64)
    for method in get_args(Method):
        certificate = fullfield.scan(net, image, step=(5, 7), compute=Compute(method=method), verify=1000).certificate
        assert certificate is not None
        assert certificate.relative <= 1e-9, method


def test_auto_says_how_the_methods_compare(net: fullfield.Model) -> None:
    image = torch.rand(3, 131, 120, dtype=torch.float64)
    fine, even = (job_of(net, image, step=step).plan for step in (4, 16))
    assert all(name in fine.why for name in ("atrous", "fragments", "shifted"))
    assert "every layer's stride divides the step" in even.why
    assert len(job_of(net, image, step=4, method="shifted").plan.all_passes) == 16


def test_an_unknown_method_is_refused(net: fullfield.Model) -> None:
    with pytest.raises(fullfield.GeometryError, match="not known"):
        fullfield.scan(net, torch.rand(3, 131, 120, dtype=torch.float64), compute=Compute(method="magic"))  # type: ignore[arg-type]


def test_a_large_kernel_runs_by_transforms_and_the_scores_stay_exact() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 21), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    net = fullfield.load(nn.Sequential(*layers, nn.Linear(64, 5)).eval(), window=64)
    work = job_of(net, torch.rand(3, 256, 256), step=8)
    tile = next(work.plan.tiles())
    programs = [
        lower(work.prepared.canonical, work.plan.network, work.plan.layout(tile), batch=work.plan.batch, fft=fft)
        for fft in (False, True)
    ]
    direct, transformed = ([str(n.target) for n in p.shared.graph.nodes] for p in programs)
    assert "fullfield.fft_conv2d" in transformed
    assert "fullfield.fft_conv2d" not in direct
    pixels = torch.from_numpy(work.source.read(0, 256, 0, 256))[None]
    with torch.no_grad():
        region = work.plan.layout(tile).pixels(work.plan.network.nodes[0].name)
        crop = pixels[:, :, region[0] : region[1], region[2] : region[3]]
        a, b = (p(crop) for p in programs)
    assert (a - b).abs().max() <= 1e-5 * (a.max() - a.min())
    (scores,) = run_tiles(work.plan, work.engine, work.source, [tile])
    assert np.abs(scores - a.permute(2, 0, 1).numpy()).max() <= 1e-5 * float(a.max() - a.min())


@pytest.mark.parametrize("engine", ["torch", "openvino", "onnxruntime"])
@pytest.mark.parametrize("mode", ["context", 1])
def test_passes_of_a_small_map_run_as_one_in_every_engine(net: fullfield.Model, engine: str, mode: str | int) -> None:
    if engine != "torch":
        pytest.importorskip(engine)
    image = torch.rand(3, 79, 75, dtype=torch.float64)
    options = {"step": 5, "mode": mode}
    wanted = fullfield.scan(net, image, compute=Compute(method="atrous", engine="torch"), **options).array
    compute = Compute(method="shifted", engine=engine, precision="float32")  # type: ignore[arg-type]
    plan = fullfield.plan(net, image, compute=compute, **options)
    assert (plan.shape, plan.tile, plan.passes) == ((3, 3), (3, 3), ())
    assert plan.shifts == (16, 16)
    found = fullfield.scan(net, image, compute=compute, **options).array
    assert np.abs(found - wanted).max() <= 1e-5 * np.ptp(wanted)
