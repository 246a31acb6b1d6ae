"""Programs of tiles, launched one by one at first and as graphs then."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fullfield.engine.engines.cuda.graph import TileGraph
from fullfield.engine.engines.input_form import InputForm
from tests.engine.engines.cuda.fake_device import FakeDevice

FORM = InputForm(torch.float32, True)


def module(pixels: Tensor) -> Tensor:
    """Scores ``(y, x, 2)``: the sum and the product of the channels."""
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    return torch.stack([pixels.sum(1), pixels.prod(1)], -1)[0]


def scores(graph: TileGraph, number: int, needed: int = 0) -> tuple[Tensor, Tensor]:
    """What the graph writes for a tile, and what it should."""
    pixels = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(number))
    found = torch.full((4, 5, 2), float("nan"))
    graph.run(module, needed, pixels, found)
    return found, module(pixels.unsqueeze(0).contiguous(memory_format=torch.channels_last))


def test_a_graph_is_recorded_for_the_second_tile_and_runs_from_then_on() -> None:
    device = FakeDevice()
    graph = TileGraph(device, FORM)
    counts = []
    for number in range(4):
        found, expected = scores(graph, number)
        assert torch.equal(found, expected)
        counts.append((device.captured, device.replayed))
    assert counts == [(0, 0), (1, 1), (1, 2), (1, 3)]
    assert graph.is_captured


@pytest.mark.parametrize(
    "error", [RuntimeError("operation not permitted\nwhen capturing"), torch.OutOfMemoryError("full")]
)
def test_what_cannot_be_recorded_is_launched_one_by_one(error: Exception) -> None:
    device = FakeDevice(fails=error)
    graph = TileGraph(device, FORM)
    for number in range(4):
        found, expected = scores(graph, number)
        assert torch.equal(found, expected)
    assert not graph.is_captured
    assert graph.refused == str(error).splitlines()[0]


def test_nothing_is_recorded_where_memory_is_short() -> None:
    device = FakeDevice(free=99)
    graph = TileGraph(device, FORM)
    for number in range(3):
        found, expected = scores(graph, number, needed=100)
        assert torch.equal(found, expected)
    assert device.captured == 0
    assert graph.refused.startswith("memory is short")
    enough = TileGraph(device, FORM)
    for number in range(2):
        scores(enough, number, needed=99)
    assert enough.is_captured


def test_a_program_that_fails_says_so_and_is_tried_again() -> None:
    def full(pixels: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("full")

    graph = TileGraph(FakeDevice(), FORM)
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            graph.run(full, 0, torch.zeros(3, 4, 5), torch.zeros(4, 5, 2))
    found, expected = scores(graph, 0)
    assert torch.equal(found, expected)


def test_the_input_has_the_type_of_the_network() -> None:
    seen = []

    def look(pixels: Tensor) -> Tensor:
        seen.append((pixels.dtype, pixels.shape))
        return pixels.float().sum(1)[0].unsqueeze(-1)

    graph = TileGraph(FakeDevice(), InputForm(torch.bfloat16, True))
    for _ in range(2):
        graph.run(look, 0, torch.zeros(3, 4, 5), torch.zeros(4, 5, 1))
    assert set(seen) == {(torch.bfloat16, torch.Size([1, 3, 4, 5]))}
