"""Runs a plan: reads tiles from a source, runs each tile's program, writes scores to a sink."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fullfield.convert.canonical import Canonical
from fullfield.engine.protocols import Sink, Source
from fullfield.geometry.tile import TileLayout
from fullfield.lower.program import lower
from fullfield.plan import Plan, Tile

Progress = Callable[[int, int, int], None]


def run(plan: Plan, net: Canonical, source: Source, sink: Sink, *, progress: Progress | None = None) -> None:
    """Writes the scores of every window of ``source`` to ``sink``, tile by tile.

    Args:
        plan: for this image and network.
        net: the network in canonical form, in the type and on the device to compute with.
        progress: told after every tile: windows done, windows in all, pixels of the image done.
    """
    programs = _Programs(plan, net)
    parameter = next(iter(net.graph.state_dict().values()))
    rows, columns = plan.image
    done = 0
    for tile in plan.tiles():
        program, region = programs.find(tile)
        pixels = torch.from_numpy(source.read(*region)).to(parameter.device, programs.dtype)
        with torch.inference_mode():
            scores = program(pixels.unsqueeze(0))
        block = scores.permute(2, 0, 1).cpu()
        sink.write(tile.row, tile.column, _numpy_ready(block).numpy())
        done += tile.rows * tile.columns
        if progress is not None:
            progress(done, plan.windows, rows * columns * done // plan.windows)


def _numpy_ready(scores: torch.Tensor) -> torch.Tensor:
    """The scores in a type that NumPy has: bfloat16 becomes float32."""
    return scores.float() if scores.dtype == torch.bfloat16 else scores


class _Programs:
    """One lowered program for each kind of tile."""

    def __init__(self, plan: Plan, net: Canonical) -> None:
        self.plan = plan
        self.net = net
        self.dtype = next(t.dtype for t in net.graph.state_dict().values() if t.is_floating_point())
        self.image = plan.network.nodes[0].name
        self.ready: list[tuple[TileLayout, torch.fx.GraphModule]] = []

    def find(self, tile: Tile) -> tuple[torch.fx.GraphModule, tuple[int, int, int, int]]:
        """The tile's program and the region of the image that it reads, px."""
        layout = self.plan.layout(tile)
        top, bottom, left, right = layout.pixels(self.image)
        y, x = tile.row * self.plan.step[0], tile.column * self.plan.step[1]
        region = (y + top, y + bottom, x + left, x + right)
        for known, program in self.ready:
            if known == layout:
                return program, region
        program = lower(self.net, self.plan.network, layout, batch=self.plan.batch)
        self.ready.append((layout, program))
        return program, region
