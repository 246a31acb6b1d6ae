"""The sink that keeps a map in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import fullfield
from fullfield.engine.protocols import Sink
from fullfield.planning import Method, Plan
from fullfield.planning.shards import Shards
from fullfield.store.memory import MemorySink
from tests.requests import job_of


def plan_of(method: Method = "atrous", tile: tuple[int, int] = (2, 3)) -> Plan:
    """Of a map of 7x5 cells."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 9, 2)).eval()
    net = fullfield.load(module, window=8)
    return job_of(net, torch.zeros(3, 8 + 6, 8 + 4), step=1, method=method, tile=tile).plan


@pytest.mark.parametrize("method", ["atrous", "shifted"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_tiles_of_every_pass_lie_where_they_belong(dtype: str, method: Method) -> None:
    plan = plan_of(method)
    whole = np.random.default_rng(0).standard_normal((3, *plan.shape)).astype(dtype)
    memory = MemorySink(3, plan, dtype)
    sink: Sink = memory
    shards = Shards(plan, sink.block)
    assert plan.shape == (7, 5)
    assert list(sink.todo) == list(range(len(shards)))
    for block in sink.todo:
        box = shards.box(block)
        for row in range(2):
            cells = slice(box.row + row, box.row + box.rows, 2), slice(box.column, box.column + box.columns, 1)
            sink.put(block, cells, whole[:, cells[0], cells[1]], None)
        sink.finish(block)
        assert block not in sink.todo
    np.testing.assert_array_equal(memory.array, whole)
    assert memory.array.dtype == dtype


def test_blocks_are_rows_of_tiles_at_most_sixteen() -> None:
    assert MemorySink(2, plan_of(), "float32").block == (2, 5)
    assert MemorySink(2, plan_of(tile=(100, 1)), "float32").block == (7, 5)
    assert MemorySink(2, plan_of("shifted"), "float32").block == (4, 5)
    for rows in (1, 2, 3):
        tall = replace(plan_of(tile=(rows, 3)), shape=(100, 5))
        sink = MemorySink(2, tall, "float32")
        assert sink.block[0] % rows == 0
        assert 8 <= len(sink.todo) <= 16


def test_cells_that_are_not_wanted_are_nan() -> None:
    memory = MemorySink(2, plan_of(), "float32")
    mask = np.array([[True, False], [False, True]])
    memory.put(0, (slice(0, 2), slice(1, 3)), np.ones((2, 2, 2), np.float32), mask)
    wanted = np.full((2, 7, 5), np.nan)
    wanted[:, 0, 1] = wanted[:, 1, 2] = 1
    np.testing.assert_array_equal(memory.array, wanted)


def test_a_tile_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        MemorySink(2, plan_of(), "float32").put(0, (slice(6, 8), slice(0, 4)), np.zeros((2, 2, 4), "float32"), None)
