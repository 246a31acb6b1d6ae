"""Layouts cached by kind of tile equal the layout computed for each tile."""

from __future__ import annotations

from typing import Any, get_args

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

import fullfield
from fullfield.engine.engines.torch import TorchEngine
from fullfield.engine.layouts import Layouts, region_of
from fullfield.errors import FullfieldError
from fullfield.geometry.tile import AxisTile, TileLayout, lay_out
from fullfield.planning import Method, Plan
from fullfield.planning.cost import tile_cost
from tests.architectures import build
from tests.lower.drawn import CHANNELS, networks
from tests.requests import job_of


def check(plan: Plan, layouts: Layouts) -> None:
    """Every tile of every pass has its own layout, reads inside the image, and costs what was planned in exact mode."""
    assert isinstance(layouts.engine, TorchEngine)
    itemsize = layouts.engine.dtype.itemsize
    for part in plan.all_passes:
        for tile in part.tiles():
            wanted = part.layout(tile)
            assert wanted.windows[0] >= tile.rows
            assert wanted.windows[1] >= tile.columns
            assert layouts.layout(part, tile) == wanted, (tile, part.offset)
            if plan.borders.cells is None and not plan.network.upsamples and wanted.windows == part.tile:
                assert tile_cost(plan.network, wanted, batch=part.batch, itemsize=itemsize) == part.cost
            top, bottom, left, right = region_of(part, tile, layouts.layout(part, tile))
            assert 0 <= top < bottom <= plan.image[0]
            assert 0 <= left < right <= plan.image[1]
            pixels = wanted.pixels(plan.network.nodes[0].name)
            assert (bottom - top, right - left) == (pixels[1] - pixels[0], pixels[3] - pixels[2])


def planned(net: Any, image: torch.Tensor, **given: Any) -> tuple[Plan, Layouts] | None:
    """A plan and its layouts; none where the network cannot be scanned so."""
    try:
        work = job_of(net, image, **given)
    except FullfieldError:
        return None
    return work.plan, Layouts(TorchEngine(work.prepared.canonical))


@given(net=networks(), data=st.data())
@settings(max_examples=40)
def test_every_tile_of_a_drawn_network_has_its_own_layout(net: fullfield.Model, data: Any) -> None:
    """Paddings wider than kernels, crops, pools that round up, upsamplings: near every edge of the image."""
    held = []  # the layouts of the first image, which the second one's may be
    step = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    tile = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    for _ in range(2):
        size = [w + data.draw(st.integers(0, 45)) for w in net.window]
        found = planned(
            net,
            torch.zeros(CHANNELS, *size, dtype=torch.float64),
            step=step,
            tile=tile,
            mode=data.draw(st.sampled_from(["exact", "context", 0, 1, 2, (1, 5)])),
            method=data.draw(st.sampled_from(get_args(Method))),
        )
        if found is not None:
            check(*found)
            held.append(found)


@pytest.mark.parametrize("name", ["alexnet", "convnext", "googlenet", "resnet18"])
def test_every_tile_of_an_architecture_has_its_own_layout(name: str) -> None:
    module, window = build(name)
    net = fullfield.load(module, window=window)
    image = torch.zeros(3, window + 90, window + 75)
    for mode, step, tile in (("context", (5, 16), (3, 1)), ("exact", 8, (2, 3))):
        found = planned(net, image, step=step, tile=tile, mode=mode)
        assert found is not None
        check(*found)


def test_padding_far_wider_than_kernels_reaches_beyond_the_window() -> None:
    layers = [nn.Conv2d(3, 4, 1, padding=9), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 2), nn.AdaptiveAvgPool2d(1)]
    net = fullfield.load(nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 2)).eval(), window=12)
    found = planned(net, torch.zeros(3, 80, 80), step=2, tile=(2, 2), mode="context")
    assert found is not None
    check(*found)


def test_layouts_of_like_tiles_are_one_object() -> None:
    module, window = build("lenet5")
    net = fullfield.load(module, window=window)
    for tile, kinds in (((5, 5), 1), ((5, 40), 2), ((40, 40), 4)):  # 43 windows a side: 45 are few more, 80 are not
        found = planned(net, torch.zeros(3, 200, 200), step=4, tile=tile)
        assert found is not None
        plan, layouts = found
        assert len({id(layouts.layout(plan, each)) for each in plan.tiles()}) == kinds


@pytest.mark.parametrize("mode", ["exact", "context"])
def test_a_later_scan_lays_out_no_tile_whose_program_is_kept(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    laid_out: list[AxisTile] = []

    def counted(*given: Any, **named: Any) -> TileLayout:
        laid_out.append(given[2])
        return lay_out(*given, **named)

    monkeypatch.setattr("fullfield.planning.plan.lay_out", counted)
    module, window = build("lenet5")
    net, compute = fullfield.load(module, window=window), fullfield.Compute(tile=(3, 3))
    counts = []
    for side in (60, 60, 80, 60):
        fullfield.scan(net, torch.zeros(3, side, side), step=4, mode=mode, compute=compute)  # type: ignore[call-overload]
        counts.append(len(laid_out))
        laid_out.clear()
    assert counts[0] > 0
    assert counts[1::2] == [0, 0]
