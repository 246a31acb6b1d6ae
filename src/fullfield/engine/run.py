"""Runs a plan: reads tiles from a source, runs each tile's program, writes scores to a sink."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from fullfield.convert.canonical import Canonical
from fullfield.engine.heap import give_back
from fullfield.engine.protocols import Sink, Source
from fullfield.geometry.tile import TileLayout
from fullfield.lower.program import lower
from fullfield.plan import Plan, Tile

Progress = Callable[[int, int, int], None]
_KEPT = 16  # programs kept for tiles like theirs


def run(plan: Plan, net: Canonical, source: Source, sink: Sink, *, progress: Progress | None = None) -> None:
    """Writes the scores of every window of ``source`` to ``sink``, tile by tile.

    Args:
        plan: for this image and network.
        net: the network in canonical form, in the type and on the device to compute with.
        progress: told after every tile: windows done, windows in all, pixels of the image done.
    """
    programs = _Programs(net)
    rows, columns = plan.image
    done = 0
    for part in plan.runs:
        first = part.offset[0] // plan.step[0], part.offset[1] // plan.step[1]
        target = sink if part is plan else sink.part(first, part.every)
        for tile in part.tiles():
            target.write(tile.row, tile.column, _run_tile(part, programs, tile, source))
            give_back()
            done += tile.rows * tile.columns
            if progress is not None:
                progress(done, plan.windows, rows * columns * done // plan.windows)


def run_tiles(plan: Plan, net: Canonical, source: Source, tiles: Iterable[Tile]) -> Iterator[NDArray[np.floating]]:
    """The scores of some tiles of a plan in a single pass, as a scan of the whole image would give them.

    Shape: ``(k, y, x)`` for each tile, in their order
    """
    programs = _Programs(net)
    return (_run_tile(plan, programs, tile, source) for tile in tiles)


def _run_tile(plan: Plan, programs: _Programs, tile: Tile, source: Source) -> NDArray[np.floating]:
    """Scores of one tile. Shape: ``(k, y, x)``"""
    program, region = programs.find(plan, tile)
    pixels = torch.from_numpy(source.read(*region)).to(programs.device, programs.dtype).unsqueeze(0)
    if programs.channels_last:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        scores = program(pixels)
    return _numpy_ready(scores.permute(2, 0, 1).cpu()).numpy()


def _numpy_ready(scores: torch.Tensor) -> torch.Tensor:
    """The scores in a type that NumPy has: bfloat16 becomes float32."""
    return scores.float() if scores.dtype == torch.bfloat16 else scores


class _Programs:
    """One lowered program for each kind of tile, on the network's device and in its type."""

    def __init__(self, net: Canonical) -> None:
        self.net = net
        weights = (t for t in net.graph.state_dict().values() if t.is_floating_point())
        first = next(weights, torch.empty(0))
        self.dtype, self.device = first.dtype, first.device
        self.channels_last = self.dtype != torch.float64
        self.fft = self.dtype == torch.float32 and self.device.type == "cpu"
        self.ready: list[tuple[TileLayout, torch.fx.GraphModule]] = []

    def find(self, plan: Plan, tile: Tile) -> tuple[torch.fx.GraphModule, tuple[int, int, int, int]]:
        """The tile's program and the region of the image that it reads, px."""
        layout = plan.layout(tile)
        top, bottom, left, right = layout.pixels(plan.network.nodes[0].name)
        y, x = (o + n * s for o, n, s in zip(plan.offset, (tile.row, tile.column), plan.step, strict=True))
        region = (y + top, y + bottom, x + left, x + right)
        for known, program in self.ready:
            if known == layout:
                return program, region
        fast = {"channels_last": self.channels_last, "fft": self.fft}
        program = lower(self.net, plan.network, layout, batch=plan.batch, **fast)
        self.ready = [*self.ready[1 - _KEPT :], (layout, program)]
        return program, region
