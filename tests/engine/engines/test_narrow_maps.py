"""Maps of few channels scaled by numbers of each window: whole rows at once, and the same bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fullfield
from fullfield.engine.engines.channels_last import keep_channels_last
from fullfield.engine.engines.narrow_maps import scale_rows
from fullfield.lower.program import TileProgram, lower
from tests.requests import job_of

aten = torch.ops.aten


class Standardised(nn.Module):
    """Each channel of a window by its own mean and deviation, or numbers and maps the other way round."""

    def __init__(self, channels: int, *, number_first: bool) -> None:
        super().__init__()
        self.number_first = number_first
        self.layers = nn.Sequential(nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 42, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, factor = x.mean((2, 3), keepdim=True), 1 / x.std((2, 3), keepdim=True)
        x = (mean - x) * factor if self.number_first else factor * (x + mean) / (1 + mean)
        scores: torch.Tensor = self.layers(x)
        return scores


def programs(channels: int, *, number_first: bool = False) -> tuple[TileProgram, TileProgram, torch.Tensor]:
    """The same tile without and with rows that are scaled at once, and its pixels."""
    torch.manual_seed(0)
    module = Standardised(channels, number_first=number_first)
    model = fullfield.load(module, window=(9, 8), channels=channels, preprocessing="none")
    image = torch.rand(channels, 30, 31)
    job = job_of(model, image, step=3)
    layout = job.plan.layout(next(job.plan.tiles()))
    top, bottom, left, right = layout.pixels(job.plan.network.nodes[0].name)
    pixels = image[None, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)
    plain, rows = (
        lower(job.prepared.canonical, job.plan.network, layout, batch=job.plan.batch, finish=finish)
        for finish in (keep_channels_last, lambda module: scale_rows(keep_channels_last(module)))
    )
    return plain, rows, pixels


def operators(program: TileProgram) -> list[tuple[object, object]]:
    """Sums and products of windows, each with what makes its first argument."""
    scaling = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
    nodes = [n for part in program.windows.values() for n in part.graph.nodes if n.target in scaling]
    return [(n.target, n.args[0].target) for n in nodes if isinstance(n.args[1], torch.fx.Node)]


@pytest.mark.parametrize("number_first", [False, True])
def test_scores_have_the_same_bits(number_first: bool) -> None:
    plain, rows, pixels = programs(3, number_first=number_first)
    with torch.no_grad():
        assert torch.equal(rows(pixels), plain(pixels))
    on_rows = [target for target, source in operators(rows) if source is aten.reshape.default]
    assert len(on_rows) >= 2
    assert aten.reshape.default not in [source for _, source in operators(plain)]


@pytest.mark.parametrize("channels", [1, 16])
def test_maps_of_one_channel_or_of_many_are_left_alone(channels: int) -> None:
    plain, rows, _ = programs(channels)
    assert operators(rows) == operators(plain)
