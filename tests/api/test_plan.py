"""``plan`` on real networks: what a scan would do, without doing it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import fullfield
from fullfield import BudgetError, Compute, FullfieldError, UnsupportedError, Where
from fullfield.api.plan import plan
from fullfield.api.scan import scan
from fullfield.jobs.prepare import prepare
from fullfield.planning.cost_cache import CostCache, TileGrid
from fullfield.planning.plan import EXACT
from tests.api import networks
from tests.api.networks import Attention, Branches, made, picture
from tests.requests import grouped


@pytest.mark.parametrize("make", [networks.unpadded, networks.padded, networks.gated, Branches, Attention])
def test_a_scan_is_never_planned_dearer_than_its_crops(make: object) -> None:
    net = made(make)  # type: ignore[arg-type]
    for step in ((1, 1), (4, 4), (3, 7), (30, 40)):
        found = plan(net, picture(90, 100), step=step)
        assert found.mac_ratio > 0.8  # on networks as small as these, calls and memory traffic outweigh arithmetic


def test_a_plan_answers_to_the_arguments_of_a_scan() -> None:
    net = made(networks.padded)
    found = plan(
        net,
        picture(100, 120),
        step=4,
        scale=0.5,
        where=Where(edge="reflect"),
        compute=Compute(budget="64MB"),
        mode="context",
    )
    assert found.shape == (13, 15)
    assert found.step == (4, 4)
    assert found.mode == "context"
    assert found.budget_bytes == 64_000_000
    assert json.loads(json.dumps(found.to_dict()))["map"] == [13, 15]


@pytest.mark.parametrize("settings", [{}, {"mode": "context"}, {"mode": 1}, {"method": "shifted"}], ids=str)
def test_the_table_of_a_plan_has_the_multiply_adds_that_the_scan_runs(settings: dict[str, Any]) -> None:
    net = made(networks.padded)
    table = plan(net, picture(), step=(3, 5), **grouped(settings | {"tile": (4, 4)})).table
    with FlopCounterMode(display=False) as counter:
        scan(net, picture(), step=(3, 5), **grouped(settings | {"tile": (4, 4)}))
    assert 2 * table.scan.total == counter.get_total_flops()
    assert table.crops == table.windows * table.to_dict()["crop_macs"]


class Joined(nn.Module):
    """Multiplies the windows of a batch by each other, to no effect: the weights of each sum to one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).relu().mean((2, 3))
        return self.head(x * (x @ x.transpose(0, 1)).softmax(-1).sum(-1, keepdim=True))


@pytest.mark.parametrize("tile", [None, (3, 2)])
def test_windows_that_a_network_multiplies_by_each_other_run_one_at_a_time(tile: tuple[int, int] | None) -> None:
    net = fullfield.load(Joined().double().eval(), window=16)
    found = plan(net, picture(40, 40), step=4, compute=Compute(tile=tile))
    assert (found.tile, found.batch) == (tile or (1, 1), 1)
    with FlopCounterMode(display=False) as counter:
        scan(net, picture(40, 40), step=4, compute=Compute(tile=tile))
    assert 2 * found.table.scan.total == counter.get_total_flops()


def test_what_cannot_be_shared_is_named() -> None:
    told = plan(made(networks.gated), picture(), step=4, compute=Compute(tile=(3, 3))).to_dict()
    assert told["frontier"]["layer"]
    assert told["frontier"]["reason"]
    assert plan(made(networks.unpadded), picture(), step=4).to_dict()["frontier"] is None


def test_less_memory_means_smaller_tiles() -> None:
    net = made(networks.padded)
    image = picture(300, 300)
    budgets = [2 * 10**6, 3 * 10**6, 10**7, 10**9]
    found = [plan(net, image, step=4, compute=Compute(budget=b)) for b in budgets]
    assert all(p.memory.total_bytes <= b for p, b in zip(found, budgets, strict=True))
    sizes = [p.tile[0] * p.tile[1] for p in found]
    assert all(a <= b for a, b in itertools.pairwise(sizes))
    assert sizes[0] < sizes[-1]


def test_errors_are_those_of_a_scan() -> None:
    with pytest.raises(BudgetError, match="window by window"):
        plan(made(networks.padded), picture(), step=4, compute=Compute(budget=1000))
    with pytest.raises(UnsupportedError):
        plan(made(Attention), picture(), mode="context")
    with pytest.raises(FullfieldError):
        plan(made(networks.padded), picture(), mode="quick")


def test_steps_are_compared_by_windows_and_time() -> None:
    net = made(networks.padded)
    own = plan(net, picture(90, 100)).step
    costs = fullfield.compare_steps(net, picture(90, 100))
    assert costs[0].step == own
    for step, wanted in (((8, 6), [(8, 6), (4, 3), (2, 1)]), ((2, 2), [(2, 2), (1, 1)]), ((1, 1), [(1, 1)])):
        costs = fullfield.compare_steps(net, picture(90, 100), step=step)
        assert [cost.step for cost in costs] == wanted
        assert [cost.windows for cost in costs] == [plan(net, picture(90, 100), step=each).windows for each in wanted]
        assert all(0 < cost.seconds < 2 * cost.crop_seconds for cost in costs)
        assert costs[0].to_dict()["step"] == list(step)


def test_steps_that_do_not_fit_the_budget_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from fullfield.api import plan as module

    real = module.prepare_job

    def limited(request: Any) -> Any:
        if request.step == (4, 4):
            raise BudgetError("budget", "too small", fix="allow more")
        return real(request)

    monkeypatch.setattr("fullfield.api.plan.prepare_job", limited)
    costs = fullfield.compare_steps(made(networks.padded), picture(90, 100), step=8)
    assert [cost.step for cost in costs] == [(8, 8), (2, 2)]


def test_convolutions_per_window_move_their_weights_once_a_batch() -> None:
    """Behind a norm over the window, which leaves nothing to share: read, written in another order, read."""
    layers = [nn.InstanceNorm2d(3), nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU()]
    net = fullfield.load(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), window=16, channels=3)
    costs = CostCache(prepare(net, sliding=False).network, 4)
    grid = TileGrid((112, 112), (8, 8), EXACT)
    one, four = (costs.cost(grid, (4, 4), (0, 0), batch=batch).weight_bytes for batch in (16, 4))
    assert four - one == 3 * 4 * (8 * 3 * 9 + 16 * 8 * 9)
