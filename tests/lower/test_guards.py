"""The comparison with crops can fail: a wrong border, a wrong gather and a dropped family are each caught."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fullfield.geometry.axis import Axis, Op
from fullfield.geometry.strip import Strip
from fullfield.lower.assemble import Assembler
from fullfield.lower.rows import Table
from tests.oracle import Scan, captured, crops, difference


def padded() -> nn.Module:
    torch.manual_seed(3)
    body = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 5, stride=2, padding=2), nn.Sigmoid()]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(4 * 10 * 10, 3))


@torch.no_grad()
def error() -> float:
    net = captured(padded(), 20)
    image = torch.randn(1, 3, 29, 31, dtype=torch.float64)
    return difference(Scan(net)(image, (3, 5)), crops(net, image, (3, 5)))


def test_nothing_broken_nothing_found() -> None:
    assert error() <= 1e-12


@pytest.mark.parametrize("side", ["low", "high"])
def test_a_border_one_cell_too_narrow_is_caught(monkeypatch: pytest.MonkeyPatch, side: str) -> None:
    through = Axis.through

    def narrow(self: Axis, op: Op, *, cap: int | None = None) -> Axis:
        axis = through(self, op, cap=cap)
        fields = {**vars(axis), side: max(0, getattr(axis, side) - 1)}
        return Axis(**fields)

    monkeypatch.setattr(Axis, "through", narrow)
    assert error() > 1e-3


def test_a_gather_that_starts_one_cell_off_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    index = Table.index
    monkeypatch.setattr(Table, "index", lambda *args: np.roll(index(*args), 1, axis=-1))
    assert error() > 1e-3


@pytest.mark.parametrize("family", ["low", "high"])
def test_a_family_left_out_is_caught(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    strip = Assembler.strip

    def zeroed(self: Assembler, name: str, out: Any, strips: tuple[Strip, Strip], fill: float) -> Any:
        value = strip(self, name, out, strips, fill)
        return self.call(torch.ops.aten.zeros_like.default, value) if family in out else value

    monkeypatch.setattr(Assembler, "strip", zeroed)
    assert error() > 1e-3
