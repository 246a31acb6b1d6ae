"""ONNX Runtime: its settings, its memory, and what is said where it cannot run."""

from __future__ import annotations

import gc
import itertools
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import fullfield
from fullfield import Compute
from fullfield.canonical.form import Canonical
from fullfield.engine.engines.chain import EnginePart
from fullfield.engine.engines.onnxruntime import engine as module
from fullfield.engine.engines.onnxruntime.engine import OnnxRuntimeEngine
from fullfield.errors import FullfieldError, UnsupportedError
from fullfield.lower.program import TileProgram
from tests.engine.engines.scans import in_float32
from tests.oracle import Scan, captured

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def scan() -> Scan:
    layers = nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.Flatten(), nn.Linear(8 * 25, 4)
    return Scan(captured(nn.Sequential(*layers), 12))


@pytest.fixture
def net(scan: Scan) -> Canonical:
    return in_float32(scan.canonical)


def program_of(scan: Scan, engine: OnnxRuntimeEngine) -> tuple[Any, Any]:
    """The program of a tile, which has run once, and its pixels."""
    image = torch.randn(1, 3, 24, 24, dtype=torch.float64)
    ((_, layout, pixels),) = scan.tiles(image, (4, 4), None)
    plan: Any = SimpleNamespace(network=scan.network, batch=4, programs=16)
    program, read = engine.compile(plan, layout), pixels[0].float().numpy()
    program(read)
    return program, read


def sessions_of(program: Any) -> list[Any]:
    parts = [part for part in program.args[0].modules() if isinstance(part, EnginePart)]
    return [part.compiled.__self__ for part in parts]  # type: ignore[union-attr]


def test_sessions_keep_no_arena_and_have_the_threads_asked_for(scan: Scan, net: Canonical) -> None:
    program, pixels = program_of(scan, OnnxRuntimeEngine(net, threads=2))
    options = [session.session.get_session_options() for session in sessions_of(program)]
    assert len(options) >= 2
    assert not any(option.enable_cpu_mem_arena for option in options)
    assert {(option.intra_op_num_threads, option.inter_op_num_threads) for option in options} == {(2, 1)}
    assert torch.get_num_threads() == 1
    assert (program(pixels) == program(pixels)).all()


def test_moves_between_programs_take_one_thread_of_torch(
    scan: Scan, net: Canonical, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several would wait actively on the cores that the engine computes with."""
    found: list[int] = []
    forward = TileProgram.forward

    def recorded(self: TileProgram, pixels: torch.Tensor) -> torch.Tensor:
        found.append(torch.get_num_threads())
        return forward(self, pixels)

    monkeypatch.setattr(TileProgram, "forward", recorded)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        program_of(scan, OnnxRuntimeEngine(net, threads=2))
    finally:
        torch.set_num_threads(before)
    assert set(found) == {1}


def test_sessions_read_the_weights_where_they_lie(scan: Scan, net: Canonical) -> None:
    program, _ = program_of(scan, OnnxRuntimeEngine(net))
    held = {tensor.data_ptr() for session in sessions_of(program) for tensor in session.held}
    weights = {w.data_ptr() for w in net.graph.state_dict().values() if w.dim() > 1}
    assert len(weights) == 3
    assert weights <= held


class Residual(nn.Module):
    """A block whose input passes by its convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, 1, 1)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)
        self.third = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        return self.third((self.second(self.norm(x).relu()) + x).relu()).amax((2, 3))


@pytest.mark.parametrize("channels", [16, 12])
def test_norms_and_sums_run_in_the_memory_order_of_convolutions(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone each of them would read and write the map once more, and bring it into another memory order."""
    counter = itertools.count()
    options = module._options

    def kept(threads: int) -> Any:
        made = options(threads)
        made.optimized_model_filepath = str(tmp_path / f"{next(counter)}.onnx")
        return made

    monkeypatch.setattr(module, "_options", kept)
    torch.manual_seed(0)
    network = Residual(channels).eval()
    network.norm.running_mean.uniform_(-1, 1)
    network.norm.running_var.uniform_(0.5, 2)
    net, image = fullfield.load(network, window=16), torch.rand(3, 40, 40)
    found = fullfield.scan(net, image, step=4, compute=Compute(engine="onnxruntime")).array
    expected = fullfield.scan(net, image, step=4, compute=Compute(engine="torch")).array
    assert np.abs(found - expected).max() <= 1e-5 * np.ptp(expected)
    paths = list(tmp_path.iterdir())
    left = {n.op_type for path in paths for n in onnx.load(path, load_external_data=False).graph.node}
    assert "Conv" in left
    if channels == 16:
        assert not left & {"Add", "Mul", "BatchNormalization"}


def test_a_program_that_others_replace_is_freed_before_the_next_is_compiled(scan: Scan, net: Canonical) -> None:
    """Its graphs refer to themselves, so that it would wait for Python's garbage collector."""
    engine = OnnxRuntimeEngine(net, threads=1)
    plan: Any = SimpleNamespace(network=scan.network, batch=4, programs=1)
    image = torch.randn(1, 3, 24, 24, dtype=torch.float64)
    (_, one, pixels), (_, other, _) = list(scan.tiles(image, (4, 4), (3, 4)))
    program = engine.compile(plan, one)
    program(pixels[0].float().numpy())
    freed = [weakref.ref(session) for session in sessions_of(program)]
    gc.disable()
    try:
        del program
        engine.compile(plan, other)
        assert freed
        assert all(session() is None for session in freed)
    finally:
        gc.enable()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_is_refused(net: Canonical, precision: str) -> None:
    with pytest.raises(UnsupportedError, match=f"ONNX Runtime does not compute in {precision} on CPUs"):
        OnnxRuntimeEngine(net, precision=precision)


def test_out_of_memory_while_compiling_is_a_clear_error(
    scan: Scan, net: Canonical, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Failed to allocate memory for requested buffer of size 4096")

    monkeypatch.setattr(module.onnxruntime(), "InferenceSession", full)
    with pytest.raises(FullfieldError, match="Failed to allocate memory for requested buffer"):
        program_of(scan, OnnxRuntimeEngine(net))


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without ONNX Runtime."""
    module.onnxruntime.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    yield
    module.onnxruntime.cache_clear()


@pytest.mark.usefixtures("missing")
def test_without_the_package_the_error_names_the_extra(net: Canonical) -> None:
    with pytest.raises(UnsupportedError, match=r"pip install 'fullfield\[onnxruntime\]'"):
        OnnxRuntimeEngine(net)


def test_a_scan_by_name_gives_the_scores_of_torch() -> None:
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 2)
    model, image = fullfield.load(nn.Sequential(*layers).eval(), window=8), torch.rand(3, 40, 36)
    wanted = fullfield.scan(model, image, step=4, compute=Compute(engine="torch")).array
    found = fullfield.scan(model, image, step=4, compute=Compute(engine="onnxruntime")).array
    assert abs(found - wanted).max() <= 1e-5 * wanted.std()
