"""Recomputes windows of little contrast by the network itself, where its standardisation is shared.

What windows share is computed before their mean is taken off. Its rounding is that of the mean, which is much beside a
deviation thousands of times smaller. The crop takes the mean off first and keeps all digits that pixels have.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from fullfield.canonical.form import Canonical
from fullfield.geometry.network import Network
from fullfield.geometry.tile import TileLayout

_ERROR = 1e-4  # of a standardised number, that rounding may make
_EQUAL = 1e-13  # of the mean square, that rounding leaves of a variance of equal numbers; one of 8 bits has 1e-10


class LowContrast(nn.Module):
    """The windows of a tile whose numbers differ little from each other, beside their size.

    Args:
        network: the original: windows ``(n, c, h, w)`` -> ``(n, k)``.
        first: row and column of the first window's corner on the pixels that the tile reads.
        window: height and width, px.
        step: px between windows.
        batch: windows at a time.
    """

    def __init__(
        self, network: nn.Module, first: tuple[int, int], window: tuple[int, int], step: tuple[int, int], batch: int
    ) -> None:
        super().__init__()
        self.network, self.first, self.window, self.step, self.batch = [network], first, window, step, batch

    def forward(self, pixels: Tensor, scores: Tensor) -> Tensor:
        """The scores of all windows, those of little contrast by the network itself.

        Shape: pixels ``(1, c, y, x)``, scores ``(rows, columns, k)`` -> ``(rows, columns, k)``
        """
        if pixels.is_cuda and torch.cuda.is_current_stream_capturing():
            return scores  # graphs cannot depend on numbers
        (top, left), (h, w), (sy, sx) = self.first, self.window, self.step
        rows, columns = scores.shape[:2]
        pixels = pixels[:, :, top : top + (rows - 1) * sy + h, left : left + (columns - 1) * sx + w]
        low = self._low(pixels)[:rows, :columns].nonzero()
        if not len(low):
            return scores
        windows = pixels[0].unfold(1, h, sy).unfold(2, w, sx)
        scores = scores.clone()
        for some in torch.split(low, self.batch):
            i, j = some.unbind(1)
            cut = windows[:, i, j].transpose(0, 1).contiguous()
            scores[i, j] = self.network[0](cut).to(scores.dtype)
        return scores

    def _low(self, pixels: Tensor) -> Tensor:
        """Whether a window's numbers are not all equal, and their deviation is small beside them.

        By differences of squares: what rounding leaves of equal numbers is 1e-15 of these, and counts as nothing.
        """
        planes = [plane.double() for plane in pixels.unbind(1)]
        mean = self._means(functools.reduce(torch.add, planes)) / len(planes)
        squares = functools.reduce(
            lambda total, plane: torch.addcmul(total, plane, plane), planes, torch.zeros_like(planes[0])
        )
        square = self._means(squares) / len(planes)
        variance = square - mean * mean
        limit = _ERROR / torch.finfo(pixels.dtype).eps
        low: Tensor = (variance > _EQUAL * square) & (variance * limit**2 < square)
        return low

    def _means(self, numbers: Tensor) -> Tensor:
        """The mean of the numbers of each window. Shape: ``(1, y, x)`` -> ``(rows, columns)``"""
        (h, w), (sy, sx) = self.window, self.step
        return numbers[0].unfold(0, h, sy).sum(-1).unfold(1, w, sx).sum(-1) / (h * w)


def low_contrast(net: Canonical, network: Network, layout: TileLayout, batch: int) -> LowContrast | None:
    """What recomputes a tile's windows of little contrast; ``None`` where no network of float32 standardises them."""
    if net.standardised is None or next(net.standardised.parameters(), torch.empty(0)).dtype != torch.float32:
        return None
    top, _, left, _ = layout.pixels(network.nodes[0].name)
    return LowContrast(net.standardised, (-top, -left), net.window, layout.step, batch)
