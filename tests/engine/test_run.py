"""The engine: plans run tile by tile, doing exactly the arithmetic that was planned."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import fullfield
from fullfield import Compute
from fullfield.engine import threads
from fullfield.engine.progress import Progress
from fullfield.engine.run import run
from fullfield.jobs.in_memory import compute_scores
from fullfield.planning import Method, Plan
from fullfield.planning.cost import tile_cost
from fullfield.planning.shards import Shards
from fullfield.store.memory import MemorySink
from tests.api import networks
from tests.api.networks import Attention, Branches, Positions, made, picture
from tests.requests import job_of

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
    work = job_of(made(make), picture(40, 45), step=step, mode=mode, tile=tile)
    predicted = sum(
        tile_cost(part.network, part.layout(t), batch=part.batch, itemsize=8).macs
        for part in work.plan.all_passes
        for t in part.tiles()
    )
    counter = FlopCounterMode(display=False)
    with counter:
        compute_scores(work)
    assert predicted > 0
    assert counter.get_total_flops() == 2 * predicted


@pytest.mark.parametrize("tile", [None, (2, 2)])
def test_progress_goes_up_to_the_end(tile: tuple[int, int] | None) -> None:
    seen: list[Progress] = []
    scores = fullfield.scan(made(networks.padded), picture(), step=3, compute=Compute(tile=tile), progress=seen.append)
    before = [now.stage for now in seen if now.stage != "scanning"]
    assert before == ["preparing the model", "reading the image", "planning", "computing the first tile"]
    del seen[: len(before)]
    windows = scores.array[0].size
    for numbers in ([now.done for now in seen], [now.pixels for now in seen], [now.blocks for now in seen]):
        assert numbers == sorted(numbers)
    assert {(now.total, now.unit, now.stage) for now in seen} == {(windows, "windows", "scanning")}
    assert (seen[-1].done, seen[-1].fraction, seen[-1].blocks) == (windows, 1.0, seen[-1].blocks_total)
    assert seen[-1].pixels == pytest.approx(50 * 61)
    assert len(seen) > 5 or tile is None


def test_an_interrupted_scan_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def stop(now: Progress) -> None:
        if now.stage == "scanning":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fullfield.scan(made(networks.padded), picture(), step=4, compute=Compute(tile=(2, 2)), progress=stop)
    assert list(tmp_path.iterdir()) == []


class Watcher(MemorySink):
    """A sink that counts how often it is given each cell, and when blocks are finished."""

    def __init__(self, classes: int, plan: Plan) -> None:
        super().__init__(classes, plan, "float64")
        self.times = np.zeros(plan.shape, int)
        self.order: list[int] = []

    def put(self, block: int, cells: tuple[slice, slice], scores: np.ndarray, mask: np.ndarray | None) -> None:
        super().put(block, cells, scores, mask)
        self.times[cells] += 1

    def finish(self, block: int) -> None:
        super().finish(block)
        self.order.append(block)


@pytest.mark.parametrize("method", ["atrous", "shifted"])
@pytest.mark.parametrize("tile", [None, (1, 1), (2, 3)])
def test_every_cell_is_written_once(tile: tuple[int, int] | None, method: Method) -> None:
    work = job_of(made(networks.padded), picture(), step=2, tile=tile, method=method)
    sink = Watcher(5, work.plan)
    blocks = list(sink.todo)
    run(work.plan, work.engine, work.source, sink)
    assert (sink.times == 1).all()
    assert sink.order == blocks
    assert sink.todo == []
    np.testing.assert_array_equal(sink.array, compute_scores(work).array)


@pytest.mark.parametrize("mode", ["exact", "context"])
@pytest.mark.parametrize("method", ["atrous", "shifted"])
def test_windows_that_two_tiles_compute_have_the_scores_of_one_whole_tile(method: Method, mode: str) -> None:
    """Each is stored by one tile, in whatever blocks the map is cut."""
    asked = {"step": 2, "method": method, "mode": mode}
    work = job_of(made(networks.padded), picture(47, 61), tile=(3, 4), **asked)
    last = [part.computed(list(part.tiles())[-1]) for part in work.plan.all_passes]
    assert any(tile.rows == 3 and tile.row % 3 for tile in last)
    found = compute_scores(work).array
    whole = compute_scores(job_of(made(networks.padded), picture(47, 61), tile=(99, 99), **asked)).array
    assert np.abs(found - whole).max() <= 1e-9 * np.ptp(whole)
    blocks = Watcher(5, work.plan)
    blocks._shards = Shards(work.plan, (3 * work.plan.all_passes[0].cell_stride[0], work.plan.shape[1]))
    assert len(blocks.todo) > 2
    run(work.plan, work.engine, work.source, blocks)
    np.testing.assert_array_equal(blocks.array, found)


@pytest.mark.parametrize("method", ["atrous", "shifted"])
@pytest.mark.parametrize("stop_at", [1, 3])
def test_an_interrupted_map_in_memory_is_completed_by_the_next_run(stop_at: int, method: Method) -> None:
    """And no block that was complete is computed again."""
    work = job_of(made(networks.padded), picture(), step=2, tile=(2, 3), method=method)
    sink = Watcher(5, work.plan)

    def stop(now: Progress) -> None:
        if now.blocks == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(work.plan, work.engine, work.source, sink, progress=stop)
    assert len(sink.order) == stop_at < len(sink.todo) + stop_at
    rest = run(work.plan, work.engine, work.source, sink)
    assert sink.order == sorted(set(sink.order))
    assert rest.blocks == rest.blocks_total == len(sink.order) - stop_at
    np.testing.assert_array_equal(sink.array, compute_scores(work).array)


def test_small_scans_in_memory_start_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """To start one takes longer than a window of a small network."""
    monkeypatch.setattr(threads, "_SHORT_S", 1e9)
    started: list[str] = []
    start = threading.Thread.start

    def noting(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noting)
    work = job_of(made(networks.padded), picture(), step=4)
    compute_scores(work)
    assert started == []


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_scores_do_not_depend_on_reading_ahead(ahead: int) -> None:
    work = job_of(made(networks.padded), picture(), step=2, tile=(2, 3))
    sink = MemorySink(5, work.plan, "float64")
    run(work.plan, work.engine, work.source, sink, ahead=ahead)
    np.testing.assert_array_equal(sink.array, compute_scores(work).array)


def test_only_pixels_of_the_image_are_read() -> None:
    work = job_of(made(networks.padded), picture(), step=4, mode="context", tile=(2, 2))
    regions: list[tuple[int, int, int, int]] = []

    class Spy:
        shape = work.source.shape

        def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
            regions.append((top, bottom, left, right))
            return work.source.read(top, bottom, left, right)

    run(work.plan, work.engine, Spy(), MemorySink(5, work.plan, "float64"))
    seen = np.zeros((50, 61), int)
    for top, bottom, left, right in regions:
        assert 0 <= top < bottom <= 50
        assert 0 <= left < right <= 61
        seen[top:bottom, left:right] += 1
    assert len(regions) == len(list(itertools.product(range(0, 8, 2), range(0, 10, 2))))
    assert seen.max() > 1
