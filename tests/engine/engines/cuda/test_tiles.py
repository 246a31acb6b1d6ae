"""Whole scans through the path of GPUs, on a device whose streams run in any order."""

from __future__ import annotations

import gc
import random

import numpy as np
import pytest
import torch

from fullfield.engine.engines import choose
from fullfield.engine.engines.cuda import memory
from fullfield.engine.engines.cuda.memory import check_device_memory
from fullfield.engine.engines.cuda.tiles import CudaProgram, CudaTiles
from fullfield.engine.engines.fusion import Fuser
from fullfield.engine.engines.input_form import InputForm
from fullfield.engine.engines.torch import TorchEngine
from fullfield.engine.layouts import region_of
from fullfield.engine.run import run, run_tiles
from fullfield.errors import BudgetError
from fullfield.jobs.in_memory import compute_scores
from fullfield.jobs.job import ScanJob
from fullfield.lower.program import lower
from fullfield.store.memory import MemorySink
from tests.api.networks import made, padded, picture
from tests.engine.engines.cuda.fake_device import FakeDevice
from tests.requests import job_of


def on_fake(job: ScanJob, device: FakeDevice) -> TorchEngine:
    """The engine of a scan, computing on a device."""
    engine = TorchEngine(job.prepared.canonical)
    engine.on_gpu = CudaTiles(device, InputForm(engine.dtype, engine.channels_last))
    return engine


@pytest.mark.parametrize("mode", ["exact", "context", 1])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_scores_are_those_of_the_same_programs_without_it(mode: str | int, seed: int | None) -> None:
    job = job_of(made(padded), picture(47, 61), step=2, tile=(3, 4), mode=mode)
    device = FakeDevice(None if seed is None else random.Random(seed))
    sink = MemorySink(5, job.plan, "float64")
    run(job.plan, on_fake(job, device), job.source, sink)
    np.testing.assert_array_equal(sink.array, compute_scores(job).array)
    assert device.replayed > device.captured > 0


@pytest.mark.skipif(not choose._cpu_has_bfloat16(), reason="this CPU does not convolve in bfloat16")
def test_bfloat16_comes_as_float32() -> None:
    model = made(padded).to(torch.bfloat16)
    job = job_of(model, picture(30, 30).astype(np.float32), step=2, tile=(3, 4))
    sink = MemorySink(5, job.plan, "float32")
    run(job.plan, on_fake(job, FakeDevice()), job.source, sink)
    np.testing.assert_array_equal(sink.array, compute_scores(job).array)


def test_single_tiles_run_too() -> None:
    job = job_of(made(padded), picture(), step=2, tile=(3, 4))
    tiles = list(job.plan.tiles())[:5]
    found = run_tiles(job.plan, on_fake(job, FakeDevice()), job.source, tiles)
    for one, other in zip(found, run_tiles(job.plan, job.engine, job.source, tiles), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_graph_is_kept_as_long_as_its_program() -> None:
    job = job_of(made(padded), picture(), step=2, tile=(3, 4))
    engine, tile = on_fake(job, FakeDevice()), next(iter(job.plan.tiles()))
    assert engine.on_gpu is not None
    first, again = (engine.compile(job.plan, job.plan.layout(tile)) for _ in range(2))
    assert isinstance(first, CudaProgram)
    assert isinstance(again, CudaProgram)
    assert first.graph is again.graph
    del first, again
    engine.lowered.items.clear()
    gc.collect()
    assert len(engine.on_gpu.graphs) == 0


def test_a_device_out_of_memory_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    job = job_of(made(padded), picture(), step=2, tile=(3, 4))
    monkeypatch.setattr("fullfield.lower.program.TileProgram.forward", full)
    with pytest.raises(BudgetError) as error:
        run(job.plan, on_fake(job, FakeDevice(eager=True)), job.source, MemorySink(5, job.plan, "float64"))
    assert "out of memory: a tile of 3x4 windows is predicted to take" in error.value.what
    assert "--budget" in error.value.fix
    assert "--tile" in error.value.fix


def test_memory_that_runs_out_while_a_program_is_made_is_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    job = job_of(made(padded), picture(), step=7, tile=(1, 2))
    monkeypatch.setattr("fullfield.engine.engines.torch.lower", full)
    with pytest.raises(BudgetError, match="out of memory"):
        run(job.plan, on_fake(job, FakeDevice()), job.source, MemorySink(5, job.plan, "float64"))


@pytest.mark.parametrize("short", [0, 1])
def test_a_tile_that_does_not_fit_the_device_is_refused_before_the_scan(
    short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = job_of(made(padded), picture(), step=2, tile=(3, 4)).plan
    monkeypatch.setattr(memory, "memory_of", lambda device: (plan.memory.tile_bytes - short, 1 << 34))
    check_device_memory(plan, torch.device("cpu"))
    if not short:
        check_device_memory(plan, torch.device("cuda:0"))
        return
    with pytest.raises(
        BudgetError, match=r"cuda:0: a tile of 3x4 windows is predicted to take .* MB are free"
    ) as error:
        check_device_memory(plan, torch.device("cuda:0"))
    assert "--budget" in error.value.fix


def test_convolutions_read_weights_in_the_memory_order_of_their_maps() -> None:
    """They would bring them to that order for every tile otherwise; all programs share one copy."""
    engine = TorchEngine(job_of(made(padded), picture(), step=2).prepared.canonical)
    fuser, modules = Fuser(), []
    for tile in ((2, 2), (3, 3)):
        job = job_of(made(padded), picture(), step=2, tile=tile)
        layout = job.plan.layout(next(iter(job.plan.tiles())))
        plain = lower(engine.net, job.plan.network, layout, batch=4, inference=True).shared
        pixels = job.source.read(*region_of(job.plan, next(iter(job.plan.tiles())), layout))
        given = torch.from_numpy(pixels).unsqueeze(0)
        expected = plain(given)
        modules.append(fuser.reorder(plain))
        for one, other in zip(modules[-1](given), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    for module in modules:
        read = [n.args[1] for n in module.graph.find_nodes(op="call_function", target=torch.ops.aten.conv2d.default)]
        weights = [module.get_buffer(str(node.target)) for node in read]
        assert weights
        assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    held = [{t.data_ptr() for name, t in m.named_buffers() if name.startswith("_ordered")} for m in modules]
    assert held[0] == held[1]
