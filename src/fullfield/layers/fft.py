"""Convolution by overlap-save: tiles of the map and the kernels are transformed and multiplied channel by channel.

Each input channel is transformed once and each kernel once; at every frequency the sum over input channels is one
complex matrix product. Both gradients are computed in the frequency domain too.

Source: Mathieu, Henaff & LeCun 2014 (arXiv 1312.5851); overlap-save: Oppenheim & Schafer, section 8.7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fullfield.arguments import parse_pair
from fullfield.geometry.region import Pair
from fullfield.layers.fft_cost import ConvShape, best_tile
from fullfield.layers.registry import register
from fullfield.layers.sizes import Size, axis_ops, output_cells
from fullfield.layers.spectrum_cache import SpectrumCache, current

KERNEL_BYTES = 2**25
"""The most bytes of kernel spectra at a time, one output channel at least: few enough for the caches of a core."""
TILE_BYTES = 2**28
"""The most bytes of tile spectra at a time, one row of tiles at least: enough that few tiles are transformed twice."""


def fft_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    tile: Size | None = None,
    spectra: SpectrumCache | None = None,
) -> Tensor:
    """``conv2d`` of stride 1, computed in the frequency domain; differentiable once.

    A dilation splits the map into its phases, each convolved with the kernel as it is.

    Shape: ``(n, c, y, x)`` -> ``(n, k, y + 2P - d(F - 1), x + 2P - d(F - 1))``
    Args:
        x, weight: float32 or float64.
        tile: cells of a tile along y and x, at least the kernel; chosen by the cost model if not given.
        spectra: cache of the kernels' spectra, used where no gradient is needed. Clear it when the weights change.

    Raises:
        GeometryError: a kernel larger than the padded map, or than the tile.
    Source: Mathieu, Henaff & LeCun 2014 (arXiv 1312.5851)
    Examples:
        >>> fft_conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2), tile=4).round().flatten().tolist()
        [4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    """
    (top, left), (dy, dx) = parse_pair("padding", padding, least=0), parse_pair("dilation", dilation)
    kernel = (int(weight.shape[2]), int(weight.shape[3]))
    ops = axis_ops(kernel, (1, 1), (top, left), (dy, dx))
    height, width = output_cells(ops, x.shape[2:], "fft_conv2d")
    below, right = -(x.shape[2] + 2 * top) % dy, -(x.shape[3] + 2 * left) % dx
    padded = F.pad(x, (left, left + right, top, top + below))
    phases = _phases(padded, dy, dx)
    shape = ConvShape(phases.shape[0], x.shape[1], weight.shape[0], groups, (phases.shape[2], phases.shape[3]), kernel)
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    chosen = best_tile(shape, cached=spectra is not None and not learns) if tile is None else parse_pair("tile", tile)
    output_cells(axis_ops(kernel, (1, 1), (0, 0)), chosen, "fft_conv2d tile")
    if learns:
        result: Tensor = _Valid.apply(phases, weight, groups, chosen)  # type: ignore[no-untyped-call]
    else:
        result = _correlate(phases, weight, groups, chosen, spectra)
    result = _interleaved(result, dy, dx)[:, :, :height, :width]
    return result if bias is None else result + bias[:, None, None]


def _phases(x: Tensor, dy: int, dx: int) -> Tensor:
    """Every ``dy``-th row and ``dx``-th column as a separate map of the batch."""
    if dy == dx == 1:
        return x
    n, c, height, width = x.shape
    split = x.reshape(n, c, height // dy, dy, width // dx, dx).permute(0, 3, 5, 1, 2, 4)
    return split.reshape(n * dy * dx, c, height // dy, width // dx)


def _interleaved(x: Tensor, dy: int, dx: int) -> Tensor:
    """The inverse of ``_phases``."""
    if dy == dx == 1:
        return x
    n, c, height, width = x.shape
    split = x.reshape(n // (dy * dx), dy, dx, c, height, width).permute(0, 3, 4, 1, 5, 2)
    return split.reshape(n // (dy * dx), c, height * dy, width * dx)


@dataclass(frozen=True)
class _Tiling:
    """Tiles of ``tile`` cells that overlap by the kernel less one, so that each computes ``step`` output cells."""

    tile: Pair
    kernel: Pair
    out: Pair
    groups: int

    @property
    def step(self) -> Pair:
        return self.tile[0] - self.kernel[0] + 1, self.tile[1] - self.kernel[1] + 1

    @property
    def count(self) -> Pair:
        return -(-self.out[0] // self.step[0]), -(-self.out[1] // self.step[1])

    @property
    def frequencies(self) -> int:
        return self.tile[0] * (self.tile[1] // 2 + 1)

    def read(self, x: Tensor) -> Tensor:
        """The input of each tile, as a view. Shape: ``(n, c, rows, columns, tile y, tile x)``"""
        (rows, columns), (sy, sx), (ty, tx) = self.count, self.step, self.tile
        more = (rows - 1) * sy + ty - x.shape[2], (columns - 1) * sx + tx - x.shape[3]
        return F.pad(x, (0, more[1], 0, more[0])).unfold(2, ty, sy).unfold(3, tx, sx)

    def own(self, x: Tensor) -> Tensor:
        """The output cells of each tile, from an output-sized map, as a view."""
        (rows, columns), (sy, sx) = self.count, self.step
        more = rows * sy - x.shape[2], columns * sx - x.shape[3]
        return F.pad(x, (0, more[1], 0, more[0])).unfold(2, sy, sy).unfold(3, sx, sx)

    def spectra(self, tiles: Tensor) -> Tensor:
        """Shape: ``(n, c, rows, columns, y, x)`` -> ``(groups * frequencies, n * rows * columns, c / groups)``"""
        found: Tensor = torch.fft.rfft2(tiles, s=self.tile)
        n, c, rows, columns = found.shape[:4]
        split = found.reshape(n, self.groups, c // self.groups, rows * columns, self.frequencies)
        return split.permute(1, 4, 0, 3, 2).reshape(self.groups * self.frequencies, n * rows * columns, -1)

    def maps(self, spectra: Tensor, n: int, rows: int) -> Tensor:
        """The inverse of ``spectra``, the output cells of all tiles joined. Shape: ``(n, groups, c, y, x)``"""
        (ty, tx), (sy, sx), columns = self.tile, self.step, self.count[1]
        split = spectra.reshape(self.groups, ty, tx // 2 + 1, n, rows, columns, -1).permute(3, 0, 6, 4, 5, 1, 2)
        cells: Tensor = torch.fft.irfft2(split, s=self.tile)[..., :sy, :sx]
        return cells.permute(0, 1, 2, 3, 5, 4, 6).reshape(n, self.groups, split.shape[2], rows * sy, columns * sx)

    def kernels(self, weight: Tensor) -> Tensor:
        """Conjugate spectra. Shape: ``(groups, k, c, kH, kW)`` -> ``(groups * frequencies, c, k)``

        Kernels are many and much smaller than their tiles: two matrix products, which skip the zeros around them and
        give the order of dimensions that the sums over channels need, are several times faster than transforms.
        """
        g, k, c, tall, wide = weight.shape
        along_y, along_x = (_waves(t, n, weight) for t, n in zip(self.tile, (tall, wide), strict=True))
        half = along_x[: self.tile[1] // 2 + 1]
        columns = weight.permute(0, 3, 4, 2, 1).reshape(g * tall, wide, c * k)
        parts = [torch.matmul(p, columns) for p in (half.real.contiguous(), half.imag.contiguous())]
        rows = torch.complex(*parts).reshape(g, tall, -1)
        return torch.matmul(along_y, rows).reshape(g * self.frequencies, c, k)

    def taps(self, spectra: Tensor) -> Tensor:
        """Kernels from their spectra. Shape: ``(groups * frequencies, c, k)`` -> ``(groups, k, c, kH, kW)``"""
        (ty, tx), (tall, wide) = self.tile, self.kernel
        c, k = spectra.shape[1:]
        along_y, along_x = (_waves(t, n, spectra) for t, n in zip(self.tile, (tall, wide), strict=True))
        rows = torch.matmul(along_y.T, spectra.reshape(self.groups, ty, -1)).reshape(-1, tx // 2 + 1, c * k)
        half = along_x[: tx // 2 + 1].T / (ty * tx)
        half[:, 1 : (tx + 1) // 2] *= 2  # frequencies that occur twice in a real signal
        even = torch.matmul(half.real.contiguous(), rows.real.contiguous())
        found = even - torch.matmul(half.imag.contiguous(), rows.imag.contiguous())
        return found.reshape(self.groups, tall, wide, c, k).permute(0, 4, 3, 1, 2)

    def outputs(self, inputs: int, outputs: int, itemsize: int) -> Iterator[slice]:
        """Ranges of output channels whose kernels fit ``KERNEL_BYTES``; both counts are those of a group."""
        one = 2 * itemsize * self.groups * self.frequencies * inputs
        step = max(1, KERNEL_BYTES // one)
        for first in range(0, outputs, step):
            yield slice(first, min(outputs, first + step))

    def bands(self, batch: int, channels: int, itemsize: int) -> list[tuple[slice, slice]]:
        """Ranges of maps and of rows of tiles whose spectra fit ``TILE_BYTES``; ``channels`` in and out."""
        one = 2 * itemsize * self.frequencies * self.count[1] * channels
        maps = min(batch, max(1, TILE_BYTES // one))
        rows = max(1, TILE_BYTES // (one * maps)) if maps == batch else 1
        return [
            (slice(n, min(batch, n + maps)), slice(r, min(self.count[0], r + rows)))
            for n in range(0, batch, maps)
            for r in range(0, self.count[0], rows)
        ]


def _waves(length: int, taps: int, like: Tensor) -> Tensor:
    """``exp(2 pi i f a / length)`` of every frequency f and tap a, exact to the last digit of ``like``'s type."""
    steps = torch.outer(torch.arange(length), torch.arange(taps)) % length
    angles = steps.to(torch.float64) * (2 * math.pi / length)
    kind = torch.complex128 if like.dtype in (torch.float64, torch.complex128) else torch.complex64
    return torch.polar(torch.ones_like(angles), angles).to(kind).to(like.device)


def _tiling(x: Tensor, kernel: Pair, groups: int, tile: Pair) -> _Tiling:
    return _Tiling(tile, kernel, (x.shape[2] - kernel[0] + 1, x.shape[3] - kernel[1] + 1), groups)


def _correlate(x: Tensor, weight: Tensor, groups: int, tile: Pair, cache: SpectrumCache | None = None) -> Tensor:
    """Correlation without padding."""
    tiling = _tiling(x, (weight.shape[2], weight.shape[3]), groups, tile)
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    each = kernels.shape[1]
    (height, width), sy = tiling.out, tiling.step[0]
    result = x.new_empty(x.shape[0], groups, each, height, width)
    tiles = tiling.read(x)
    bands = tiling.bands(x.shape[0], x.shape[1] + weight.shape[0], x.element_size())
    whole = tiling.spectra(tiles) if len(bands) == 1 else None
    for outputs in tiling.outputs(kernels.shape[2], each, x.element_size()):
        make = partial(tiling.kernels, kernels[:, outputs])
        factors = make() if cache is None else cache.get(weight, (tile, groups, outputs.start, outputs.stop), make)
        for maps, rows in bands:
            spectra = tiling.spectra(tiles[maps, :, rows]) if whole is None else whole
            product = torch.bmm(spectra, factors)
            found = tiling.maps(product, maps.stop - maps.start, rows.stop - rows.start)
            top, bottom = rows.start * sy, min(rows.stop * sy, height)
            result[maps, :, outputs, top:bottom] = found[..., : bottom - top, :width]
    return result.flatten(1, 2)


def _correlate_with(x: Tensor, grad: Tensor, kernel: Pair, groups: int, tile: Pair) -> Tensor:
    """The gradient of the kernels: maps correlated with the output's gradient, one lag for each tap."""
    tiling = _tiling(x, kernel, groups, tile)
    split = grad.reshape(grad.shape[0], groups, -1, *grad.shape[2:])
    each, inputs = split.shape[2], x.shape[1] // groups
    tiles = tiling.read(x)
    result = x.new_empty(groups, each, inputs, *kernel)
    bands = tiling.bands(x.shape[0], x.shape[1] + grad.shape[1], x.element_size())
    for outputs in tiling.outputs(inputs, each, x.element_size()):
        own = tiling.own(split[:, :, outputs].flatten(1, 2))
        total: Any = 0
        for maps, rows in bands:
            left = tiling.spectra(tiles[maps, :, rows]).transpose(1, 2)
            total = total + torch.bmm(left, tiling.spectra(own[maps, :, rows]).conj_physical_())
        result[:, outputs] = tiling.taps(total)
    return result.flatten(0, 1)


class _Valid(torch.autograd.Function):
    """Correlation without padding and its two gradients, all by transforms."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, groups: int, tile: Pair) -> Tensor:
        """Shape: ``(n, c, y, x)``, ``(k, c / groups, kH, kW)`` -> ``(n, k, y - kH + 1, x - kW + 1)``"""
        ctx.save_for_backward(x, weight)
        ctx.groups, ctx.tile = groups, tile
        return _correlate(x, weight, groups, tile)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the map, by the flipped kernels with their channels exchanged, and of the kernels."""
        x, weight = ctx.saved_tensors
        kernel = (weight.shape[2], weight.shape[3])
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            flipped = weight.flip(2, 3).unflatten(0, (ctx.groups, -1)).transpose(1, 2).flatten(0, 1)
            y, z = kernel[0] - 1, kernel[1] - 1
            grad_x = _correlate(F.pad(grad, (z, z, y, y)), flipped, ctx.groups, ctx.tile)
        if ctx.needs_input_grad[1]:
            grad_weight = _correlate_with(x, grad, kernel, ctx.groups, ctx.tile)
        return grad_x, grad_weight, None, None


def _macs(x: Any, weight: Any, padding: Pair, dilation: Pair) -> int:
    ops = axis_ops((weight[2], weight[3]), (1, 1), padding, dilation)
    return int(x[0]) * math.prod(int(n) for n in weight) * math.prod(output_cells(ops, x[2:], "fft_conv2d"))


def _shape(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Pair, dilation: Pair, groups: int) -> Tensor:
    kernel = (weight.shape[2], weight.shape[3])
    size = output_cells(
        axis_ops(kernel, (1, 1), (padding[0], padding[1]), (dilation[0], dilation[1])), x.shape[2:], "fft"
    )
    return x.new_empty(x.shape[0], weight.shape[0], *size)


fft_conv2d_operator = register(
    "fft_conv2d",
    "(Tensor x, Tensor weight, Tensor? bias, int[2] padding, int[2] dilation, int groups) -> Tensor",
    lambda x, weight, bias, padding, dilation, groups: fft_conv2d(
        x, weight, bias, padding, dilation, groups, spectra=current()
    ),
    fake=_shape,
    flops=lambda x, weight, bias, padding, dilation, *_, **__: 2 * _macs(x, weight, padding, dilation),
)
"""``fft_conv2d`` as one node, for programs without gradients; its flops are counted as the direct convolution's."""
