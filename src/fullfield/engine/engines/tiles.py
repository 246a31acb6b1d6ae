"""Tiles' programs as chains of an engine's programs: what all engines but torch have in common."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import GraphModule

from fullfield.canonical.form import Canonical
from fullfield.engine.engines.cache import ProgramCache, of_network
from fullfield.engine.engines.chain import EnginePart, Run, UncompiledPart, chained
from fullfield.engine.engines.input_form import InputForm
from fullfield.engine.engines.torch import use_threads
from fullfield.engine.protocols import Program
from fullfield.errors import UnsupportedError
from fullfield.geometry.tile import TileLayout
from fullfield.lower.program import TileProgram, lower
from fullfield.planning import Plan

# Of torch, for moves: more would wait for each other actively, on the cores that the engine's own threads compute with
# (two threads on two cores: MobileNetV2 1.5 ms a window in OpenVINO and 1.9 in ONNX Runtime, else 2.2 and 2.7).
_MOVING_THREADS = 1
_FORM = InputForm(torch.float32, channels_last=True)


class ChainedTiles:
    """The programs of a network's tiles.

    Args:
        net: the network in canonical form, in float32 on a CPU.
        engine: its name, for errors.
        key: equal for engines that can use each other's programs.
        compile_part: makes an engine's program of a part.

    Raises:
        UnsupportedError: a network of another type, or on another device.
    """

    def __init__(
        self,
        net: Canonical,
        engine: str,
        *,
        key: Hashable,
        compile_part: Callable[[UncompiledPart], Run],
    ) -> None:
        self.net, self.compile_part = net, compile_part
        self.cache: ProgramCache[TileProgram] = of_network(net, (engine, key), ProgramCache)
        if not self.cache.items:
            _check(net, engine)

    def layout(self, kind: Hashable, make: Callable[[], TileLayout]) -> TileLayout:
        """The layout of a kind of tile: that of its program, if there is one; else what ``make`` returns."""
        return self.cache.layout(kind, make)

    def compile(self, plan: Plan, layout: TileLayout) -> Program:
        """The program of tiles with this layout."""
        return partial(_run, self.module(plan, layout))

    def compile_graph(self, graph: GraphModule, shape: tuple[int, ...]) -> GraphModule:
        """A graph of canonical operators as one chain, for an input of a shape."""
        return chained(graph, [torch.empty(shape, device="meta")], self.compile_part)[0]

    def module(self, plan: Plan, layout: TileLayout) -> TileProgram:
        """The program as a module; those used last are cached."""

        def make() -> TileProgram:
            program = lower(self.net, plan.network, layout, batch=plan.batch, inference=True)
            return self._chained(program, pixels_of(self.net, plan, layout))

        return self.cache.get(layout, plan.batch, make, plan.programs)

    def _chained(self, program: TileProgram, pixels: Tensor) -> TileProgram:
        """A lowered program, its parts as chains; changed in place."""
        assert isinstance(program.shared, GraphModule)
        program.shared, tables = chained(program.shared, [pixels], self.compile_part)
        for count, module in list(program.windows.items()):
            assert isinstance(module, GraphModule)
            cells = window_cells(program, int(count), tables)
            program.windows[count], _ = chained(module, cells, self.compile_part)
        parts = [part for part in program.modules() if isinstance(part, EnginePart)]
        weakref.finalize(program, _release, parts).atexit = False
        return program


def _release(parts: Iterable[EnginePart]) -> None:
    """Frees an engine's programs with their tile's: graphs refer to themselves, and would keep them for long."""
    for part in parts:
        part.release()


def pixels_of(net: Canonical, plan: Plan, layout: TileLayout) -> Tensor:
    """The pixels that a tile's program reads, as a tensor without data. Shape: ``(1, c, y, x)``"""
    top, bottom, left, right = layout.pixels(plan.network.nodes[0].name)
    return torch.empty(1, net.channels, bottom - top, right - left, device="meta")


def window_cells(program: TileProgram, count: int, tables: list[Tensor]) -> list[Tensor]:
    """What a batch of windows reads of each frontier input, as tensors without data, in the type of their tables."""
    return [t.new_empty(count, *i.cells, t.shape[1]) for i, t in zip(program.inputs, tables, strict=True)]


def _check(net: Canonical, engine: str) -> None:
    """Raises unless the network is one of float32 on a CPU."""
    for tensor in net.graph.state_dict().values():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            found = str(tensor.dtype).removeprefix("torch.")
            fix = 'use engine="torch" (--engine torch), or a float32 model'
            raise UnsupportedError(engine, f"runs networks in float32, and this one is in {found}", fix=fix)
        if tensor.device.type != "cpu":
            fix = 'use engine="torch" (--engine torch), or device="cpu"'
            raise UnsupportedError(engine, f"runs on CPUs, and the network lies on {tensor.device}", fix=fix)


def _run(module: TileProgram, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
    """Scores ``(k, y, x)`` of a tile from the pixels ``(c, y, x)`` of its region."""
    tensor = _FORM.tensor(pixels, torch.device("cpu"))
    with torch.inference_mode(), use_threads(_MOVING_THREADS):
        scores = module(tensor).permute(2, 0, 1)
    found: NDArray[np.floating] = scores.numpy()
    return found
