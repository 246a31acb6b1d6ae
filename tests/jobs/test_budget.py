"""How a scan to disk shares its budget between the computation and everything beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield import BudgetError
from fullfield.jobs.job import ScanJob
from tests.requests import job_of


def job(budget: int | None, **options: object) -> ScanJob:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 5, stride=4, padding=2), nn.ReLU()]
    layers += [nn.Conv2d(16, 16, 5, padding=2, dilation=1) for _ in range(4)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)]
    net = fullfield.load(nn.Sequential(*layers, *head).eval(), window=64)
    image = np.zeros((3000, 3500, 3), np.uint8)
    return job_of(net, image, on_disk=True, step=32, mode="context", budget=budget, **options)


@pytest.mark.parametrize("megabytes", [60, 75, 90, 110, 150, 200, 270])
def test_the_computation_takes_what_the_rest_of_the_budget_leaves_it(megabytes: int) -> None:
    """All but a quarter: tiles of one size that are one fewer along an axis take half as much again, or twice."""
    found = job(megabytes * 10**6)
    assert 0.75 * megabytes * 10**6 <= found.plan.memory.total_bytes <= megabytes * 10**6


def test_where_no_budget_is_set_one_window_may_take_more_than_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(10**9, tile=(1, 1)).plan.memory.total_bytes
    monkeypatch.setattr("fullfield.planning.choose.DEFAULT_BUDGET_BYTES", 10**6)
    found = job(None)
    assert one < found.plan.memory.total_bytes <= 2 * one  # in context, where single windows read nearly all of a tile
    with pytest.raises(BudgetError, match="a scan window by window takes"):
        job(10**6)
    with pytest.raises(BudgetError, match="a scan in tiles of 40x40 windows takes"):
        job(None, tile=(40, 40))


def test_an_image_continued_beyond_its_edges_is_predicted_to_take_more() -> None:
    plain, beyond = (job(10**9, tile=(4, 4), edge=edge) for edge in ("valid", "reflect"))
    assert plain.plan.tile == beyond.plan.tile
    assert plain.plan.memory.total_bytes < beyond.plan.memory.total_bytes
