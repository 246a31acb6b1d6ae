"""Runs tiles' programs in torch, on the network's device and in its type."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from fullfield.canonical.form import Canonical
from fullfield.engine.engines.cache import ProgramCache, of_network
from fullfield.engine.engines.channels_last import keep_channels_last
from fullfield.engine.engines.cuda.memory import clear_memory_errors
from fullfield.engine.engines.cuda.tiles import cuda_tiles
from fullfield.engine.engines.fusion import Fuser, can_fuse
from fullfield.engine.engines.input_form import InputForm
from fullfield.engine.engines.max_pools import pool_by_axes
from fullfield.engine.engines.narrow_maps import scale_rows
from fullfield.engine.protocols import Program
from fullfield.geometry.tile import TileLayout
from fullfield.graph.code import make_program_code
from fullfield.layers.spectrum_cache import SpectrumCache, use_spectra
from fullfield.lower.inplace import overwriting
from fullfield.lower.program import TileProgram, lower
from fullfield.model.forks import compute_after_forks
from fullfield.planning import Plan

_SPECTRA_BYTES = 2**28  # of kernels that run as Fourier transforms, cached from tile to tile if the budget has room


@contextmanager
def use_threads(threads: int | None) -> Iterator[None]:
    """Lets torch compute with a number of threads meanwhile; with as many as before if none is given."""
    before = torch.get_num_threads()
    if threads is None or threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class TorchEngine:
    """Runs the programs of a network's tiles in torch.

    Args:
        net: the network in canonical form, in the type and on the device to compute with.
        threads: to compute with; as many as torch uses by default.
        tf32: whether GPUs compute products of float32 in TF32.
    """

    name = "torch"
    version = torch.__version__

    def __init__(self, net: Canonical, *, threads: int | None = None, tf32: bool = False) -> None:
        compute_after_forks()
        self.net, self.threads = net, threads
        weights = itertools.chain(net.graph.parameters(), net.graph.buffers())
        first = next((t for t in weights if t.is_floating_point()), torch.empty(0))
        self.dtype, self.device = first.dtype, first.device
        self.channels_last = self.dtype != torch.float64
        self.fft = self.dtype == torch.float32 and self.device.type == "cpu"
        self.fuses = can_fuse(self.dtype, self.device)
        self.lowered: ProgramCache[TileProgram] = of_network(net, self.name, ProgramCache)
        self.fuser = of_network(net, self.name, Fuser)
        self.spectra = SpectrumCache(0)
        self.form = InputForm(self.dtype, self.channels_last)
        self.on_gpu = cuda_tiles(net, self.device, self.form, tf32=tf32) if self.device.type == "cuda" else None

    def layout(self, kind: Hashable, make: Callable[[], TileLayout]) -> TileLayout:
        """The layout of a kind of tile: that of its program, if there is one; else what ``make`` returns."""
        return self.lowered.layout(kind, make)

    def compile(self, plan: Plan, layout: TileLayout) -> Program:
        """The program of tiles with this layout."""
        if self.on_gpu is not None:
            with clear_memory_errors(plan, self.device):
                return self.on_gpu.program(self.module(plan, layout), plan)
        return partial(self.run, self.module(plan, layout), min(_SPECTRA_BYTES, plan.spare_bytes // 2))

    def module(self, plan: Plan, layout: TileLayout) -> TileProgram:
        """The program as a module; those used last are cached."""

        def make() -> TileProgram:
            return lower(
                self.net,
                plan.network,
                layout,
                batch=plan.batch,
                fft=self.fft,
                inference=True,
                finish=self._finish,
            )

        return self.lowered.get(layout, plan.batch, make, plan.programs)

    def compile_graph(self, graph: torch.fx.GraphModule, shape: tuple[int, ...]) -> torch.fx.GraphModule:
        """A graph of canonical operators as its programs run it, for an input of a shape; ``graph`` is changed."""
        return self._finish(graph)

    def _finish(self, module: torch.fx.GraphModule) -> torch.fx.GraphModule:
        """A part of a program with merged operators, and such as write in place; maps stay channels-last."""
        if self.channels_last:
            module = keep_channels_last(module)
            if self.device.type == "cpu":
                module = scale_rows(pool_by_axes(module))
        if self.fuses:
            module = self.fuser.fuse(module)
        elif self.on_gpu is not None and self.channels_last:
            module = self.fuser.reorder(module)
        module = overwriting(module)
        make_program_code(module)
        return module

    def run(self, module: TileProgram, spectra_bytes: int, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Scores ``(k, y, x)`` of a tile from the pixels ``(c, y, x)`` of its region; bfloat16 as float32."""
        self.spectra.limit_bytes = spectra_bytes
        with torch.inference_mode(), use_spectra(self.spectra), use_threads(self.threads):
            scores = module(self.form.tensor(pixels, self.device)).permute(2, 0, 1).cpu()
        result: NDArray[np.floating] = (scores.float() if scores.dtype == torch.bfloat16 else scores).numpy()
        return result
