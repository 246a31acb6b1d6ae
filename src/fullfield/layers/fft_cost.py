"""Predicts the time of a convolution, direct and by Fourier transforms, from measured constants.

    direct = a * macs + b * numbers in and out + c
    fft    = d * points of transformed tiles + e * numbers of kernel spectra + f * multiply-adds for these
             + g * products of spectra + h * frequencies + i

``benchmarks/fft.py --fit`` measures a grid of layers and prints the constants; those here are from one AVX-512 core of
a busy machine, torch 2.13 with oneDNN and MKL, float32. Both scale alike with cores, so that the choice
between them holds on more machines than the seconds do. On devices other than the CPU the direct convolution is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from fullfield.geometry.region import Pair
from fullfield.layers.spectrum_cache import LAYER_BYTES

TILES = (8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128)
"""Sizes of tiles for which transforms are fast."""


@dataclass(frozen=True)
class Constants:
    """Seconds a unit of each term, in the formulas' order."""

    direct_mac: float
    direct_number: float
    direct_call: float
    fft_point: float
    fft_number: float
    fft_mac: float
    fft_product: float
    fft_frequency: float
    fft_call: float


MEASURED = Constants(
    direct_mac=1.5e-11,
    direct_number=2.1e-9,
    direct_call=1.7e-4,
    fft_point=9.5e-9,
    fft_number=3.1e-9,
    fft_mac=1.2e-10,
    fft_product=1.7e-10,
    fft_frequency=1.4e-7,
    fft_call=7.4e-4,
)


@dataclass(frozen=True)
class ConvShape:
    """The sizes of a convolution of stride 1, as the cost model needs them.

    Args:
        batch: maps; a dilation splits each into several.
        inputs, outputs, groups: channels.
        size: cells of the padded map along y and x.
        kernel: taps along y and x, without dilation.
    """

    batch: int
    inputs: int
    outputs: int
    groups: int
    size: Pair
    kernel: Pair

    @classmethod
    def of(cls, batch: int, channels: Pair, groups: int, size: Pair, kernel: Pair, dilation: Pair) -> ConvShape:
        """The sizes with a dilation turned into batch: each of the ``d * d`` phases of a map is one map."""
        phases = dilation[0] * dilation[1]
        split = (-(-size[0] // dilation[0]), -(-size[1] // dilation[1]))
        return cls(batch * phases, *channels, groups, split, kernel)

    @property
    def cells(self) -> Pair:
        """Output cells along y and x."""
        return self.size[0] - self.kernel[0] + 1, self.size[1] - self.kernel[1] + 1

    @property
    def macs(self) -> int:
        """Multiply-adds of the direct convolution."""
        return self.batch * math.prod(self.cells) * self.outputs * self.inputs // self.groups * math.prod(self.kernel)

    @property
    def numbers(self) -> int:
        """Numbers in, out and in the kernels."""
        maps = self.inputs * math.prod(self.size) + self.outputs * math.prod(self.cells)
        return self.batch * maps + self.outputs * self.inputs // self.groups * math.prod(self.kernel)


def direct_terms(shape: ConvShape) -> tuple[float, float, float]:
    """The factors of the constants of the direct convolution."""
    return float(shape.macs), float(shape.numbers), 1.0


def fft_terms(shape: ConvShape, tile: Pair, *, cached: bool = False) -> tuple[float, ...]:
    """The factors of the constants of the transforms.

    Args:
        cached: whether the kernels' spectra are cached, where they fit ``LAYER_BYTES``.
    """
    tiles = [-(-c // (t - k + 1)) for c, t, k in zip(shape.cells, tile, shape.kernel, strict=True)]
    count = shape.batch * tiles[0] * tiles[1]
    kernels = shape.outputs * shape.inputs // shape.groups
    frequencies = tile[0] * (tile[1] // 2 + 1)
    points = count * (shape.inputs + shape.outputs) * math.prod(tile)
    numbers = frequencies * kernels
    products = numbers * count
    weights = kernels * math.prod(shape.kernel)
    made: tuple[float, float] = (numbers, numbers * shape.kernel[0])
    if cached and 8 * numbers + 4 * weights <= LAYER_BYTES:
        made = (numbers / 3, 0)  # read once; otherwise they are also written and rearranged
    terms = (points, *made, products, frequencies * shape.groups, 1)
    return tuple(float(t) for t in terms)


def direct_s(shape: ConvShape, constants: Constants = MEASURED) -> float:
    """Predicted seconds of the direct convolution."""
    c = constants
    return _dot(direct_terms(shape), (c.direct_mac, c.direct_number, c.direct_call))


def fft_s(shape: ConvShape, tile: Pair, constants: Constants = MEASURED, *, cached: bool = False) -> float:
    """Predicted seconds by transforms of one size of tile."""
    return _dot(fft_terms(shape, tile, cached=cached), _of_fft(constants))


@lru_cache(maxsize=4096)
def best_tile(shape: ConvShape, *, cached: bool = False) -> Pair:
    """The cheapest size of tile, with cached spectra of the kernels or without; none much larger than the map.

    Examples:
        >>> best_tile(ConvShape(1, 64, 64, 1, (8, 8), (7, 7)))
        (8, 8)
    """
    choices = [_lengths(n, k) for n, k in zip(shape.size, shape.kernel, strict=True)]
    return min(((y, x) for y in choices[0] for x in choices[1]), key=lambda tile: fft_s(shape, tile, cached=cached))


@lru_cache(maxsize=4096)
def fft_is_faster(shape: ConvShape, *, cached: bool = False) -> bool:
    """Whether transforms are predicted to be faster than the direct convolution; ``cached`` for calls after the first.

    Examples:
        >>> [fft_is_faster(ConvShape(1, 64, 64, 1, (128, 128), (k, k))) for k in (1, 31)]
        [False, True]
    """
    return fft_s(shape, best_tile(shape, cached=cached), cached=cached) < direct_s(shape)


def _lengths(size: int, kernel: int) -> list[int]:
    """Sizes of tiles that hold a kernel, up to the first that holds the map."""
    fit = [t for t in TILES if t >= kernel] or [1 << (kernel - 1).bit_length()]
    while fit[-1] < 2 * kernel:
        fit.append(fit[-1] * 2)
    first = next((t for t in fit if t >= size), fit[-1])
    return [t for t in fit if t <= first]


def _of_fft(c: Constants) -> tuple[float, ...]:
    return c.fft_point, c.fft_number, c.fft_mac, c.fft_product, c.fft_frequency, c.fft_call


def _dot(terms: tuple[float, ...], constants: tuple[float, ...]) -> float:
    return sum(t * c for t, c in zip(terms, constants, strict=True))
