"""Measures in about a second what an engine takes on this machine for what plans count."""

from __future__ import annotations

import gc
import math
import mmap
import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.fx import Graph, GraphModule

from fullfield.canonical.form import Canonical
from fullfield.engine.engines.choose import EngineChoice
from fullfield.engine.engines.torch import use_threads
from fullfield.engine.protocols import Program
from fullfield.engine.run import run
from fullfield.geometry.axis import Op
from fullfield.geometry.network import Network, NodeSpec
from fullfield.geometry.region import Pair
from fullfield.geometry.tile import TileLayout
from fullfield.planning import Plan, make_plan
from fullfield.planning.calibration import MachineCosts

aten = torch.ops.aten
_ROUNDS_S = 0.4  # in which everything is measured again and again
_LEAST_ROUNDS, _MOST_ROUNDS = 4, 12
_CALLS = 16
_TILES = 16
_BYTES = 16 << 20  # of a value that no core's own caches hold
_FRESH_BYTES = 8 << 20
_HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # environment variable of torch: memory in pages of 2 MB
_LEAST_SHARE = 0.1  # of a measured time that is left when calls are taken off
_Conv = tuple[tuple[int, int, int, int], int, int, int, int]  # input, channels, kernel, dilation, groups
_CONVOLUTIONS: dict[str, _Conv] = {
    "dense": ((1, 64, 58, 58), 64, 3, 1, 1),
    "pointwise": ((1, 256, 28, 28), 256, 1, 1, 1),
    "depthwise": ((1, 256, 58, 58), 256, 3, 1, 256),
    "dilated": ((1, 64, 64, 64), 64, 3, 4, 1),
}
_LINEAR = (64, 1024)


def measure_costs(choice: EngineChoice) -> MachineCosts:
    """What an engine takes on this machine, in its precision and with its threads.

    Each is the least of several times, which other processes do little to.

    Raises:
        UnsupportedError: the engine is not installed, or lacks the precision.
    """
    value, result = torch.ones(2, _BYTES // choice.network_dtype.itemsize, dtype=choice.network_dtype)
    filled = torch.empty(_FRESH_BYTES, dtype=torch.uint8)
    work: dict[str, Callable[[], object]] = {
        name: _compiled(choice, _convolutions([conv], relu=False), conv[0]) for name, conv in _CONVOLUTIONS.items()
    }
    small: _Conv = (1, 16, 4, 4), 16, 1, 1, 1
    work["linear"] = _compiled(choice, _linear(_LINEAR[1]), _LINEAR)
    work["calls"] = _compiled(choice, _convolutions([small] * _CALLS, relu=True), small[0])
    work["bytes"] = partial(torch.clamp_min, value, 0, out=result)
    work["fresh"] = _fill_fresh
    work["filled"] = partial(filled.fill_, 1)
    work["tiles"] = _idle_scan()
    with torch.inference_mode(), use_threads(choice.threads):
        seconds = _least_seconds(work)
    work.clear()
    gc.collect()  # graphs refer to themselves, and would keep engines' programs for long
    return _costs(seconds)


def _costs(seconds: dict[str, float]) -> MachineCosts:
    """The costs by the seconds of each piece of work."""
    call = seconds["calls"] / _CALLS

    def mac_s(name: str, macs: int) -> float:
        return max(seconds[name] - call, _LEAST_SHARE * seconds[name]) / macs

    kinds = {name: mac_s(name, _macs(conv)) for name, conv in _CONVOLUTIONS.items()}
    fresh = max(seconds["fresh"] - seconds["filled"], _LEAST_SHARE * seconds["filled"])
    return MachineCosts(
        mac_s=kinds["dense"],
        pointwise_s=kinds["pointwise"],
        depthwise_s=kinds["depthwise"],
        dilated_s=kinds["dilated"],
        linear_s=mac_s("linear", _LINEAR[0] * _LINEAR[1] ** 2),
        byte_s=seconds["bytes"] / _BYTES,
        fresh_byte_s=fresh / _FRESH_BYTES,
        call_s=call,
        tile_s=seconds["tiles"] / _TILES,
    )


def _least_seconds(work: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The least time of each piece of work, measured round by round; the first time also sets the engine up."""
    for run_once in work.values():
        run_once()
    least = dict.fromkeys(work, math.inf)
    began = time.perf_counter()
    for number in range(_MOST_ROUNDS):
        for name, run_once in work.items():
            least[name] = min(least[name], _seconds(run_once))
        if number + 1 >= _LEAST_ROUNDS and time.perf_counter() - began > _ROUNDS_S:
            break
    return least


def _seconds(run_once: Callable[[], object]) -> float:
    """Seconds of the clock, or of the processor where these are fewer: other processes may hold it meanwhile."""
    wall, cpu = time.perf_counter(), time.process_time()
    run_once()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return min(wall, cpu) if cpu > 0 else wall


def _macs(conv: _Conv) -> int:
    """Multiply-adds of a convolution."""
    (_, channels, height, width), out, kernel, dilation, groups = conv
    cells = (height - dilation * (kernel - 1)) * (width - dilation * (kernel - 1))
    return cells * out * channels // groups * kernel**2


def _compiled(choice: EngineChoice, graph: GraphModule, shape: tuple[int, ...]) -> Callable[[], object]:
    """Runs a graph in an engine, on ones."""
    module = graph.to(choice.network_dtype)
    window = shape[-2:] if len(shape) == 4 else (1, 1)
    engine = choice.make(Canonical(module, (window[0], window[1]), shape[1], ()))
    pixels = torch.ones(shape, dtype=choice.network_dtype)
    if len(shape) == 4:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    return partial(engine.compile_graph(module, shape), pixels)


def _convolutions(layers: Sequence[_Conv], *, relu: bool) -> GraphModule:
    """Convolutions one after the other."""
    root, graph = nn.Module(), Graph()
    value = graph.placeholder("pixels")
    for k, ((_, channels, _, _), out, kernel, dilation, groups) in enumerate(layers):
        root.register_buffer(f"weight_{k}", torch.full((out, channels // groups, kernel, kernel), 1e-3))
        args = (value, graph.get_attr(f"weight_{k}"), None, [1, 1], [0, 0], [dilation, dilation], groups)
        value = graph.call_function(aten.conv2d.default, args)
        if relu:
            value = graph.call_function(aten.relu.default, (value,))
    graph.output(value)
    return GraphModule(root, graph)


def _linear(features: int) -> GraphModule:
    root, graph = nn.Module(), Graph()
    root.register_buffer("weight", torch.full((features, features), 1e-3))
    rows = graph.placeholder("rows")
    graph.output(graph.call_function(aten.linear.default, (rows, graph.get_attr("weight"), None)))
    return GraphModule(root, graph)


def has_huge_pages() -> bool:
    """Whether torch was told to get its memory in pages of 2 MB."""
    return os.environ.get(_HUGE_PAGES) == "1"


def _fill_fresh() -> None:
    """Writes to memory that the system has just given, in pages as torch asks for them."""
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    memory = mmap.mmap(-1, _FRESH_BYTES, **private)
    if has_huge_pages() and hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    torch.frombuffer(memory, dtype=torch.uint8).fill_(1)


def _idle_scan() -> Callable[[], object]:
    """Runs a scan of small tiles that computes nothing."""
    side = 8
    nodes = (
        NodeSpec("pixels", "pixels", "input", "input", (), shape=(1, side, side)),
        NodeSpec("scores", "scores", "conv2d", "windowed", ("pixels",), (Op(side), Op(side)), (1, 1, 1), side**2),
    )
    plan = make_plan(Network(nodes, (side, side)), image=(side, side * _TILES), step=(side, side), tile=(1, 1))
    return partial(run, plan, _IdleEngine(), _Blank((1, *plan.image)), _Ignoring(plan.shape))


class _IdleEngine:
    """Gives zeros."""

    name, version = "idle", ""

    def layout(self, kind: Hashable, make: Callable[[], TileLayout]) -> TileLayout:
        return make()

    def compile(self, plan: Plan, layout: TileLayout) -> Program:
        return lambda pixels: np.zeros((1, *layout.windows), np.float32)


class _Blank:
    """An image of zeros."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.floating]:
        return np.zeros((self.shape[0], bottom - top, right - left), np.float32)


class _Ignoring:
    """A sink of one block that keeps nothing."""

    todo = (0,)
    writes = False

    def __init__(self, block: Pair) -> None:
        self.block = block

    def put(
        self, block: int, cells: tuple[slice, slice], scores: NDArray[np.floating], mask: NDArray[np.bool_] | None
    ) -> None:
        pass

    def finish(self, block: int) -> None:
        pass
