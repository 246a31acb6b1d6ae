"""Variances of the cells under a kernel that slides over a map."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fullfield.layers.registry import register_composite

_SCHEMA = "(Tensor x, SymInt[2] kernel_size, SymInt[2] stride, SymInt[2] dilation) -> Tensor"


def _variance_pool(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """The variance of the cells under a kernel, divided by their number, along y and then along x.

    The variance of equal parts is the mean of their variances and the variance of their means. Along an axis it is
    taken of the differences from the first tap: equal numbers have none, whatever they are.

    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    Source: Chan, Golub & LeVeque 1983 (doi 10.1080/00031305.1983.10483115)
    """
    within = None
    for dim, *axis in zip((-2, -1), kernel, stride, dilation, strict=True):
        for along in _in_blocks(*axis):
            between, mean = _along(x, dim, *along)
            if within is not None:
                parts = list(_taps(within, dim, *along))
                between = between + sum(parts[1:], parts[0]) / len(parts)
            x, within = mean, between
    assert within is not None
    return within


def _in_blocks(kernel: int, stride: int, dilation: int) -> list[tuple[int, int, int]]:
    """Kernels along one axis, to be taken one after the other: blocks that neighbours share, then these."""
    size = math.gcd(kernel, stride) if dilation == 1 else 1
    if not 1 < size < kernel:
        return [(kernel, stride, dilation)]
    return [(size, size, 1), (kernel // size, stride // size, 1)]


def _along(x: Tensor, dim: int, kernel: int, stride: int, dilation: int) -> tuple[Tensor, Tensor]:
    """Variance and mean of so many neighbours along one axis."""
    first, *others = _taps(x, dim, kernel, stride, dilation)
    total = squares = first - first  # zeros, but for infinities and what is no number
    for tap in others:
        off = tap - first
        total, squares = total + off, torch.addcmul(squares, off, off)
    shift = total / kernel
    return (squares / kernel - shift * shift).clamp_min(0), first + shift


def _taps(x: Tensor, dim: int, kernel: int, stride: int, dilation: int) -> Iterator[Tensor]:
    """The cells that each tap of a kernel reads."""
    span = x.shape[dim] - dilation * (kernel - 1)
    for tap in range(kernel):
        index: list[slice] = [slice(None)] * x.dim()
        index[dim] = slice(tap * dilation, tap * dilation + span, stride)
        yield x[tuple(index)]


variance_pool = register_composite("variance_pool", _SCHEMA, _variance_pool)
