"""Lowered programs, one for each kind of tile."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from fullfield.canonical.pipeline import Canonical
from fullfield.geometry.tile import TileLayout
from fullfield.layers.spectrum_cache import KernelSpectra, use_spectra
from fullfield.lower.program import lower
from fullfield.planning import Plan, Tile

_KEPT = 16  # programs of a network kept for tiles like theirs, in the next scan too
_SPECTRA_BYTES = 2**28  # of kernels that run by transforms, kept from tile to tile where the budget leaves room
_LAYOUTS = 4096  # layouts known by where their tiles lie; each is one of a few objects
Region = tuple[int, int, int, int]


class _Lowered:
    """Programs of one network, those used last; threads that scan with it share them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.items: list[tuple[TileLayout, int, torch.fx.GraphModule]] = []

    def known(self, layout: TileLayout) -> TileLayout:
        """An equal layout that has a program, if any: the same object compares faster."""
        with self.lock:
            return next((known for known, _, _ in self.items if known == layout), layout)

    def get(self, layout: TileLayout, batch: int, make: Callable[[], torch.fx.GraphModule]) -> torch.fx.GraphModule:
        """The program of a layout for so many windows at a time."""
        with self.lock:
            found = next(
                (k for k, (known, size, _) in enumerate(self.items) if known is layout and size == batch), None
            )
            if found is None:
                equal = (k for k, (known, size, _) in enumerate(self.items) if size == batch and known == layout)
                found = next(equal, None)
            self.items.append((layout, batch, make()) if found is None else self.items.pop(found))
            del self.items[:-_KEPT]
            return self.items[-1][2]


_LOWERED: WeakKeyDictionary[Canonical, _Lowered] = WeakKeyDictionary()


class Programs:
    """The programs of a scan, on the network's device and in its type."""

    def __init__(self, net: Canonical) -> None:
        self.net = net
        weights = (t for t in net.graph.state_dict().values() if t.is_floating_point())
        first = next(weights, torch.empty(0))
        self.dtype, self.device = first.dtype, first.device
        self.channels_last = self.dtype != torch.float64
        self.fft = self.dtype == torch.float32 and self.device.type == "cpu"
        self.lowered = _LOWERED.setdefault(net, _Lowered())
        self.spectra = KernelSpectra(0)
        self.layouts: OrderedDict[Hashable, TileLayout] = OrderedDict()

    def region(self, plan: Plan, tile: Tile) -> Region:
        """What of the image a tile reads: top, bottom, left, right, px."""
        top, bottom, left, right = self.layout(plan, tile).pixels(plan.network.nodes[0].name)
        y, x = (o + n * s for o, n, s in zip(plan.offset, (tile.row, tile.column), plan.step, strict=True))
        return y + top, y + bottom, x + left, x + right

    def layout(self, plan: Plan, tile: Tile) -> TileLayout:
        """The cells of a tile; the same object for tiles that lie alike."""
        key = _kind(plan, tile)
        found = self.layouts.get(key)
        if found is None:
            found = self.lowered.known(plan.layout(tile))
            self.layouts[key] = found
            if len(self.layouts) > _LAYOUTS:
                self.layouts.popitem(last=False)
        return found

    def program(self, plan: Plan, tile: Tile) -> torch.fx.GraphModule:
        """The program of a tile; those used last are kept."""
        layout = self.layout(plan, tile)
        fast = {"channels_last": self.channels_last, "fft": self.fft, "in_place": True}
        return self.lowered.get(
            layout, plan.batch, lambda: lower(self.net, plan.network, layout, batch=plan.batch, **fast)
        )

    def pixels(self, block: NDArray[np.floating]) -> torch.Tensor:
        """Preprocessed pixels ``(c, y, x)`` as a program takes them. Shape: ``(1, c, y, x)``"""
        form = torch.channels_last if self.channels_last else torch.contiguous_format
        # torch's own memory starts where vector instructions want it; NumPy's may not, at half the speed.
        pixels = torch.empty((1, *block.shape), dtype=self.dtype, device=self.device, memory_format=form)
        return pixels.copy_(torch.from_numpy(block).unsqueeze(0))

    def run(self, plan: Plan, tile: Tile, block: NDArray[np.floating]) -> NDArray[np.floating]:
        """Scores ``(k, y, x)`` of a tile from the pixels of its region; bfloat16 as float32."""
        program = self.program(plan, tile)
        self.spectra.limit_bytes = min(_SPECTRA_BYTES, (plan.budget_bytes - plan.cost.peak_bytes) // 2)
        with torch.inference_mode(), use_spectra(self.spectra):
            scores = program(self.pixels(block)).permute(2, 0, 1).cpu()
        result: NDArray[np.floating] = (scores.float() if scores.dtype == torch.bfloat16 else scores).numpy()
        return result


def _kind(plan: Plan, tile: Tile) -> Hashable:
    """What a tile's layout depends on: its size and, where layers see beyond the window, the image's edges near it.

    In exact mode nothing outside of its windows is read, so that it matters little where a tile lies. Elsewhere edges
    further away than ``_reach`` change nothing.
    """
    sides = zip(plan.offset, plan.step, (tile.row, tile.column), (tile.rows, tile.columns), plan.image, strict=True)
    if plan.borders.cells is None:
        return plan.method, plan.step, plan.tile, tile.rows, tile.columns
    near = []
    for k, (offset, step, first, count, length) in enumerate(sides):
        start, far = offset + first * step, _reach(plan, k)
        rest = length - (start + (count - 1) * step + plan.network.window[k])
        near.append((count, min(start, far), min(rest, far)))
    return plan.method, plan.step, plan.tile, *near


def _reach(plan: Plan, k: int) -> int:
    """Px beyond its windows within which the image's edges can change what a tile reads, along one axis.

    Cells that a layer wants of an earlier one lie, before the tile's first window, at most as far out as the paddings
    between the two, which is the difference of their starts; behind its last window, at most as far as the later one's
    last cell hangs over the window, and the earlier one's start and size. An image's first and last cells at a layer
    lie within its start, size and jump of the image's edges.
    """
    axes = [p.axes[k] for p in plan.places.values() if p.axes is not None]
    window = plan.network.window[k]
    over = max(a.start + (a.count - 1) * a.jump + a.size - window for a in axes)
    return 2 * (max(abs(a.start) for a in axes) + max(a.size + a.jump for a in axes)) + max(0, over)
