"""Programs in torch: compiled once for each kind of tile, shared by scans and threads, freed with their network."""

from __future__ import annotations

import gc
import linecache
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.fx import GraphModule

import fullfield
from fullfield import Compute
from fullfield.engine.engines.cache import CACHES
from fullfield.engine.engines.torch import TorchEngine
from fullfield.engine.layouts import Layouts
from tests.architectures import build
from tests.requests import job_of


def test_the_programs_used_last_are_cached() -> None:
    """A program in steady use is not lowered again, however many others the image's edges take."""
    module, window = build("resnet18")
    net = fullfield.load(module, window=window)
    work = job_of(net, torch.zeros(3, 240, 240), step=4, tile=(3, 3), mode="context")
    plan, engine = work.plan, TorchEngine(work.prepared.canonical)
    layouts = Layouts(engine)
    tiles = list(plan.tiles())
    middle = tiles[len(tiles) // 2]
    first = engine.module(plan, layouts.layout(plan, middle))
    seen = []
    for tile in tiles[:60]:
        seen.append(id(engine.module(plan, layouts.layout(plan, tile))))
        assert engine.module(plan, layouts.layout(plan, middle)) is first
    assert len(set(seen)) > 16


def small() -> fullfield.Model:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 2))
    return fullfield.load(module.double().eval(), window=8)


def test_a_second_scan_lowers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net, image = small(), torch.rand(3, 40, 36, dtype=torch.float64)
    first = fullfield.scan(net, image, step=2, compute=Compute(tile=(5, 5)))
    monkeypatch.setattr("fullfield.engine.engines.torch.lower", None)
    again = fullfield.scan(net, image, step=2, compute=Compute(tile=(5, 5)))
    assert (first.array == again.array).all()
    with pytest.raises(TypeError):
        fullfield.scan(net, image, step=4, compute=Compute(tile=(5, 5)))


def test_batches_of_another_size_are_lowered_anew() -> None:
    net, image = small(), torch.rand(3, 40, 36, dtype=torch.float64)
    work = job_of(net, image, step=2, tile=(5, 5), mode="exact")
    engine, tile = TorchEngine(work.prepared.canonical), next(iter(work.plan.tiles()))
    layout = work.plan.layout(tile)
    one, two = (engine.module(replace(work.plan, batch=n), layout) for n in (1, 25))
    assert one is not two
    assert engine.module(replace(work.plan, batch=1), layout) is one


def test_programs_end_with_their_network() -> None:
    net = small()
    fullfield.scan(net, torch.rand(3, 40, 36, dtype=torch.float64), step=2)
    before = len(CACHES)
    del net
    gc.collect()
    assert len(CACHES) < before


@pytest.mark.usefixtures("threads_switch_often")
def test_threads_share_the_programs_of_a_network() -> None:
    net, image = small(), torch.rand(3, 60, 50, dtype=torch.float64)
    alone = fullfield.scan(small(), image, step=1, compute=Compute(tile=(7, 7))).array
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(
            lambda _: fullfield.scan(net, image, step=1, compute=Compute(tile=(7, 7))).array, range(8)
        ):
            assert (found == alone).all()


def test_programs_are_complete_before_threads_share_them() -> None:
    """Two threads that made the code of one graph, each at its first call, would read each other's names."""
    net = small()
    work = job_of(net, torch.zeros(3, 40, 40, dtype=torch.float64), step=4)
    engine = TorchEngine(work.prepared.canonical)
    module = engine.module(work.plan, work.plan.layout(next(iter(work.plan.tiles()))))
    graphs = [part for part in module.modules() if isinstance(part, GraphModule)]
    assert graphs
    assert {type(part).forward.__name__ for part in graphs} == {"forward"}
    assert all(linecache.getlines(type(part).forward.__code__.co_filename) == [] for part in graphs)
