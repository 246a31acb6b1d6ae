"""The programs of a network's tiles on a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from fullfield.canonical.form import Canonical
from fullfield.engine.engines.cuda.device import CudaDevice, Device
from fullfield.engine.engines.cuda.graph import TileGraph
from fullfield.engine.engines.cuda.memory import clear_memory_errors
from fullfield.engine.engines.cuda.transfers import Pending, Transfers
from fullfield.engine.engines.input_form import InputForm
from fullfield.lower.program import TileProgram
from fullfield.model.cuda_arithmetic import cuda_arithmetic
from fullfield.planning import Plan


class CudaTiles:
    """Runs the programs of one network on a GPU; all scans with it share its streams, memory and graphs.

    Args:
        device: the GPU.
        form: of the programs' input.
        tf32: whether products of float32 are computed in TF32; graphs record which.
    """

    def __init__(self, device: Device, form: InputForm, *, tf32: bool = False) -> None:
        self.device, self.form, self.tf32 = device, form, tf32
        self.transfers = Transfers(device)
        self.graphs: WeakKeyDictionary[TileProgram, TileGraph] = WeakKeyDictionary()

    def program(self, module: TileProgram, plan: Plan) -> CudaProgram:
        """The program of one kind of tile; its graph is kept as long as the module."""
        graph = self.graphs.setdefault(module, TileGraph(self.device, self.form))
        return CudaProgram(self, module, graph, plan)


@dataclass(frozen=True, eq=False)
class CudaProgram:
    """The program of one kind of tile on a GPU.

    Args:
        tiles: of its network.
        module: the program.
        graph: which runs it.
        plan: says what it takes.
    """

    tiles: CudaTiles
    module: TileProgram
    graph: TileGraph
    plan: Plan

    def __call__(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Scores ``(k, y, x)`` of a tile from the pixels ``(c, y, x)`` of its region; bfloat16 as float32."""
        return self.begin(pixels)()

    def begin(self, pixels: NDArray[np.floating]) -> Pending:
        """Sends a tile; what it returns waits for the scores.

        Raises:
            BudgetError: the device is out of memory.
        """
        tiles, place, plan = self.tiles, self.tiles.device.place, self.plan
        dtype = torch.float32 if tiles.form.dtype == torch.bfloat16 else tiles.form.dtype  # as NumPy has them
        shape = *self.module.shape, plan.network.output.window_elements
        work = partial(self.graph.run, self.module, plan.memory.tile_bytes)
        with (
            clear_memory_errors(plan, place),
            cuda_arithmetic(place, tf32=tiles.tf32),
            torch.inference_mode(),
        ):
            return tiles.transfers.begin(pixels, shape, dtype, work)


_TILES: WeakKeyDictionary[Canonical, dict[bool, CudaTiles]] = WeakKeyDictionary()


def cuda_tiles(net: Canonical, place: torch.device, form: InputForm, *, tf32: bool) -> CudaTiles:
    """What runs a network's tiles on a GPU; made once for each network and kind of arithmetic, and freed with it."""
    known = _TILES.setdefault(net, {})
    if tf32 not in known:
        known[tf32] = CudaTiles(CudaDevice(place), form, tf32=tf32)
    return known[tf32]
