"""Lowers a network and a tile's layout to static tensor programs: a tile of the image in, its scores out.

The programs are made of ATen operators, and of gathers that move cells. In order, a tile
  1. computes every shared node, one family of cells after the other or all at once (``lower.shared``),
  2. takes each window's cells from the shared tables, in batches, and runs the rest per window (``lower.windows``),
  3. arranges the scores as ``(rows, columns, k)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from fullfield.canonical.form import Canonical
from fullfield.geometry.network import Network
from fullfield.geometry.strip import Strip
from fullfield.geometry.tile import TileLayout
from fullfield.lower.contrast import LowContrast, low_contrast
from fullfield.lower.rows import Table, WindowBox
from fullfield.lower.shared import lower_shared
from fullfield.lower.windows import WindowInput, lower_windows


class TileProgram(nn.Module):
    """The program of one tile.

    Shape: ``(1, c, y, x)``, the pixels that its layout reads -> ``(rows, columns, k)``

    Args:
        shared: pixels -> a table of cells ``(cells, channels)`` for each frontier input, or the scores if all layers
            are shared.
        windows: by the number of windows in a batch, what runs per window: cells -> scores ``(windows, k)``.
        inputs: what is taken of each frontier input; empty if all layers are shared.
        boxes: the batches.
        shape: rows and columns of windows.
        low_contrast: recomputes windows whose standardisation is not exact enough.
    """

    def __init__(
        self,
        shared: GraphModule,
        windows: dict[int, GraphModule],
        inputs: list[WindowInput],
        boxes: list[WindowBox],
        shape: tuple[int, int],
        low_contrast: LowContrast | None = None,
    ) -> None:
        super().__init__()
        self.low_contrast = low_contrast
        self.shared = shared
        self.windows = nn.ModuleDict({str(count): module for count, module in windows.items()})
        self.inputs, self.boxes, self.shape = inputs, boxes, shape
        for k, taken in enumerate(inputs):
            index = torch.from_numpy(taken.index) if taken.strides is None else None
            self.register_buffer(f"index_{k}", index, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores ``(rows, columns, k)``."""
        scores = self._scores(pixels)
        if self.low_contrast is not None:
            scores = self.low_contrast(pixels, scores)
        return scores

    def _scores(self, pixels: Tensor) -> Tensor:
        """Those of the shared program, and of windows in batches."""
        tables = self.shared(pixels)
        if not self.inputs:
            scores: Tensor = tables
            return scores
        parts = [self.windows[str(box.count)](*self.cells(tables, box)) for box in self.boxes]
        flat = parts[0] if len(parts) == 1 else torch.cat(parts)
        return flat.reshape(*self.shape, -1)

    def cells(self, tables: tuple[Tensor, ...], box: WindowBox) -> list[Tensor]:
        """The cells of a batch of windows of each frontier input. Shape: ``(windows, y, x, channels)``"""
        found = []
        for k, (taken, table) in enumerate(zip(self.inputs, tables, strict=True)):
            if taken.strides is None:
                index = self.get_buffer(f"index_{k}")[box.top : box.bottom, box.left : box.right].reshape(-1)
                cells = torch.index_select(table, 0, index)
            else:
                row, column = table.stride()
                first = table.storage_offset() + int(taken.index[box.top, box.left, 0, 0]) * row
                size = (box.bottom - box.top, box.right - box.left, *taken.cells, table.shape[1])
                cells = table.as_strided(size, (*(row * n for n in taken.strides), column), first)
            found.append(cells.reshape(box.count, *taken.cells, -1))
        return found

    @property
    def code(self) -> str:
        """All parts as Python."""
        return "\n".join([self.shared.code, *(str(module.code) for module in self.windows.values())])


def lower(
    net: Canonical,
    network: Network,
    layout: TileLayout,
    *,
    batch: int,
    fft: bool = False,
    inference: bool = False,
    finish: Callable[[GraphModule], GraphModule] | None = None,
) -> TileProgram:
    """The program for one tile.

    Args:
        net: the network in canonical form; the program shares its parameters.
        network: the same as integers.
        layout: the tile's cells.
        batch: windows at a time where the network runs per window.
        fft: run large kernels by Fourier transforms where these are faster; for inference in float32 on a CPU.
        inference: move cells in a way that is faster but cannot be differentiated.
        finish: what an engine makes of each part; by default it stays as it is.
    """
    finish = finish or (lambda module: module)
    shared = finish(lower_shared(net, network, layout, fft=fft, inference=inference))
    low = low_contrast(net, network, layout, batch)
    if network.output.name in layout.y:
        return TileProgram(shared, {}, [], [], layout.windows, low)
    boxes = list(_boxes(layout.windows, batch))
    counts = sorted({box.count for box in boxes})
    windows = {n: finish(lower_windows(net, network, layout, n, fft=fft)) for n in counts}
    inputs = [_input(layout, name) for name in layout.frontier_inputs]
    device = next(net.graph.parameters(), torch.empty(0)).device
    return TileProgram(shared, windows, inputs, boxes, layout.windows, low).to(device)


def _input(layout: TileLayout, name: str) -> WindowInput:
    """Every window's own cells of a shared node."""
    strips: tuple[Strip, Strip] = layout.y[name].whole(), layout.x[name].whole()
    every = WindowBox(0, layout.windows[0], 0, layout.windows[1])
    return WindowInput(Table(layout, name).index(("window", "window"), strips, every))


def _boxes(shape: tuple[int, int], batch: int) -> Iterator[WindowBox]:
    """Batches of windows in row-major order: several full rows, or a part of one row."""
    rows, columns = shape
    if columns > batch:
        for i in range(rows):
            for j in range(0, columns, batch):
                yield WindowBox(i, i + 1, j, min(j + batch, columns))
    else:
        step = max(1, batch // columns)
        for i in range(0, rows, step):
            yield WindowBox(i, min(i + step, rows), 0, columns)
