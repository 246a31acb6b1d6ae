"""The engine: plans run tile by tile, doing exactly the arithmetic that was planned."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import fullfield
from fullfield.api.scan import run_plan
from fullfield.engine.run import run
from fullfield.jobs.prepare import Settings, set_up
from fullfield.planning.cost import tile_cost
from fullfield.store.memory import ArraySink
from tests.api import networks
from tests.api.networks import Attention, Branches, Positions, made, picture

Make = Callable[[], nn.Module]
ALL: list[Make] = [
    *(networks.unpadded, networks.padded, Branches),
    *(networks.gated, networks.normed, Attention, Positions),
]


@pytest.mark.parametrize(
    ("step", "mode", "tile"),
    [((4, 4), "exact", (2, 3)), ((3, 5), "exact", (9, 9)), ((3, 5), "exact", None), ((5, 3), "context", (3, 4))],
)
@pytest.mark.parametrize("make", ALL)
def test_macs_predicted_are_macs_executed(
    make: Make, step: tuple[int, int], mode: str, tile: tuple[int, int] | None
) -> None:
    """Summed over all tiles, with and without a part per window, shared as far as can be and as the plan likes."""
    if mode == "context" and make in (Attention, Positions):
        return
    work = set_up(made(make), picture(40, 45), Settings(step=step, mode=mode, tile=tile))
    predicted = sum(
        tile_cost(part.network, part.layout(t), batch=part.batch, itemsize=8).macs
        for part in work.plan.runs
        for t in part.tiles()
    )
    counter = FlopCounterMode(display=False)
    with counter:
        run_plan(work.prepared, work.plan, work.source)
    assert predicted > 0
    assert counter.get_total_flops() == 2 * predicted


@pytest.mark.parametrize("tile", [None, (2, 2)])
def test_progress_goes_up_to_the_end(tile: tuple[int, int] | None) -> None:
    seen: list[tuple[int, int, int]] = []
    scores = fullfield.scan(
        made(networks.padded), picture(), step=3, tile=tile, progress=lambda *counts: seen.append(counts)
    )
    windows = scores.array[0].size
    done, total, pixels = zip(*seen, strict=True)
    assert list(done) == sorted(set(done))
    assert list(pixels) == sorted(pixels)
    assert set(total) == {windows}
    assert (done[-1], pixels[-1]) == (windows, 50 * 61)
    assert len(seen) > 5 or tile is None


def test_an_interrupted_scan_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def stop(done: int, total: int, pixels: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fullfield.scan(made(networks.padded), picture(), step=4, tile=(2, 2), progress=stop)
    assert list(tmp_path.iterdir()) == []


class Watcher:
    """A sink that remembers which cells it was given, and how often."""

    def __init__(self, classes: int, shape: tuple[int, int]) -> None:
        self.inner = ArraySink(classes, shape, "float64")
        self.times = np.zeros(shape, int)

    def write(self, row: int, column: int, scores: np.ndarray) -> None:
        self.inner.write(row, column, scores)
        self.times[row : row + scores.shape[1], column : column + scores.shape[2]] += 1


@pytest.mark.parametrize("tile", [None, (1, 1), (2, 3)])
def test_every_cell_is_written_once(tile: tuple[int, int] | None) -> None:
    work = set_up(made(networks.padded), picture(), Settings(step=4, tile=tile))
    sink = Watcher(5, work.plan.shape)
    run(work.plan, work.prepared.canonical, work.source, sink)
    assert (sink.times == 1).all()
    np.testing.assert_array_equal(sink.inner.array, run_plan(work.prepared, work.plan, work.source))


def test_only_pixels_of_the_image_are_read() -> None:
    work = set_up(made(networks.padded), picture(), Settings(step=4, mode="context", tile=(2, 2)))
    regions: list[tuple[int, int, int, int]] = []

    class Spy:
        shape = work.source.shape

        def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
            regions.append((top, bottom, left, right))
            return work.source.read(top, bottom, left, right)

    run(work.plan, work.prepared.canonical, Spy(), ArraySink(5, work.plan.shape, "float64"))
    seen = np.zeros((50, 61), int)
    for top, bottom, left, right in regions:
        assert 0 <= top < bottom <= 50
        assert 0 <= left < right <= 61
        seen[top:bottom, left:right] += 1
    assert len(regions) == len(list(itertools.product(range(0, 8, 2), range(0, 10, 2))))
    assert seen.max() > 1
