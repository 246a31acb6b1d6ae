"""The oracle, and a scan built from the lowered program alone.

``crops`` runs the original network on every window; ``whole`` runs the converted one over a whole image at once.
``scan_by_tiles`` puts the pieces together by hand, without the engine: layout, lowering, one program a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fullfield.canonical.form import Canonical
from fullfield.canonical.integers import network
from fullfield.canonical.pipeline import canonical
from fullfield.geometry.network import Network, Place
from fullfield.geometry.region import Pair
from fullfield.geometry.tile import AxisTile, TileLayout, lay_out
from fullfield.importers.load import load
from fullfield.lower.inplace import overwriting
from fullfield.lower.program import lower
from fullfield.model.model import Model


def captured(module: nn.Module, window: int | Pair, channels: int = 3) -> Model:
    """``module`` in float64 and evaluation mode, its batch statistics and scales drawn at random."""
    return load(shaken(module), window=window, channels=channels)


def shaken(module: nn.Module) -> nn.Module:
    """``module`` in float64, evaluation mode, nothing left at a neutral start (norms, zero biases, PReLU slopes)."""
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() < 2:
                parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.3 * torch.randn_like(buffer))
            if name.endswith("running_var"):
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return module


def score_grid(image: torch.Tensor, window: Pair, step: Pair) -> Pair:
    """Rows and columns of windows that fit in ``image``."""
    (h, w), (sy, sx) = window, step
    return (image.shape[-2] - h) // sy + 1, (image.shape[-1] - w) // sx + 1


def crops(net: Model, image: torch.Tensor, step: Pair, *, batch: int = 64) -> torch.Tensor:
    """The original network on every window, cut out one by one. Shape: ``(1, c, y, x)`` -> ``(rows, columns, k)``"""
    (h, w), (sy, sx) = net.window, step
    rows, columns = score_grid(image, net.window, step)
    cut = [
        image[:, :, i * sy : i * sy + h, j * sx : j * sx + w].contiguous() for i in range(rows) for j in range(columns)
    ]
    scores = [net(torch.cat(cut[k : k + batch])) for k in range(0, len(cut), batch)]
    return torch.cat(scores).reshape(rows, columns, -1)


def difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference over the range of what is wanted; zero for equal constants."""
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    spread = float((wanted.max() - wanted.min()).detach()) or 1.0
    return float((found - wanted).abs().max().detach()) / spread


@dataclass(frozen=True)
class Scan:
    """One network ready to be scanned by tiles; ``cap``, ``small`` and ``stop`` as ``Network.places`` takes them."""

    net: Model
    cap: int | None = None
    stop: int | None = None
    batch: int = 8
    fragments: bool = False
    sliding: bool = False
    small: int = 0
    shifts: Pair = (1, 1)
    offset: Pair = (0, 0)
    executed: list[int] = field(default_factory=list)
    predicted: list[int] = field(default_factory=list)

    @cached_property
    def canonical(self) -> Canonical:
        return canonical(self.net, sliding=self.sliding)

    @cached_property
    def network(self) -> Network:
        return network(self.canonical, self.net.dtype)

    @cached_property
    def places(self) -> dict[str, Place]:
        return self.network.places(cap=self.cap, small=self.small, stop=self.stop)

    def tiles(
        self, image: torch.Tensor, step: Pair, tile: Pair | None
    ) -> Iterator[tuple[int, TileLayout, torch.Tensor]]:
        """First row, layout and pixels of every tile, in row-major order."""
        rows, columns = score_grid(image[:, :, self.offset[0] :, self.offset[1] :], self.net.window, step)
        ty, tx = tile or (rows, columns)
        height, width = image.shape[-2:]
        apart = step[0] * self.shifts[0], step[1] * self.shifts[1]
        places = self.network.places(cap=self.cap, small=self.small, stop=self.stop, step=apart)
        for i in range(0, rows, ty):
            for j in range(0, columns, tx):
                y = AxisTile(step[0], min(ty, rows - i), i, height, self.offset[0], self.shifts[0])
                x = AxisTile(step[1], min(tx, columns - j), j, width, self.offset[1], self.shifts[1])
                layout = lay_out(self.network, places, y, x, fragments=self.fragments)
                top, bottom, left, right = layout.pixels(self.network.nodes[0].name)
                top, bottom = top + y.start, bottom + y.start
                left, right = left + x.start, right + x.start
                assert 0 <= top < bottom <= height
                assert 0 <= left < right <= width
                yield i, layout, image[:, :, top:bottom, left:right]

    def __call__(self, image: torch.Tensor, step: Pair, tile: Pair | None = None) -> torch.Tensor:
        """Scores ``(rows, columns, k)`` of every window, tile by tile."""
        bands: dict[int, list[torch.Tensor]] = {}
        for row, layout, pixels in self.tiles(image, step, tile):
            alone = not torch.is_grad_enabled()  # as the engine runs it
            finish = overwriting if alone else None
            program = lower(self.canonical, self.network, layout, batch=self.batch, inference=alone, finish=finish)
            counter = FlopCounterMode(display=False)
            with counter:
                bands.setdefault(row, []).append(program(pixels))
            self.executed.append(int(counter.get_total_flops()) // 2)
            self.predicted.append(self.macs(layout))
        return torch.cat([torch.cat(band, 1) for band in bands.values()], 0)

    def macs(self, layout: TileLayout) -> int:
        """Multiply-adds that the layout predicts for one tile's program."""
        windows = layout.windows[0] * layout.windows[1]
        shared = sum(layout.cells(n.name) * n.macs for n in self.network if n.name in layout.y)
        return shared + windows * sum(n.window_macs for n in self.network if n.name not in layout.y)


def whole(net: Canonical, image: torch.Tensor) -> torch.Tensor:
    """The converted network over all of ``image`` at once. Shape: ``(1, c, y, x)`` -> ``(rows, columns, k)``"""
    scores: torch.Tensor = net.graph(image)[0].permute(1, 2, 0)
    return scores
