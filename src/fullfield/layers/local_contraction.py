"""The arithmetic of a locally connected layer: one matrix for each position, some rows of positions at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fullfield.layers.registry import register

CAP_BYTES = 2**22
"""The most bytes of gathered neighbourhoods at a time, one row of positions at least."""

_SCHEMA = "int[2] stride, int[2] padding, int[2] dilation, int groups"
Numbers = Sequence[int]


def _padded(x: Tensor, padding: Numbers) -> Tensor:
    """The padded map with the batch last in memory, so that gathering copies runs of the batch."""
    y, z = padding
    padded = F.pad(x, (z, z, y, y)) if y or z else x
    return padded.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


def _neighbourhoods(x: Tensor, weight: Tensor, stride: Numbers, dilation: Numbers) -> Tensor:
    """The input of every position, as a view. Shape: padded x -> ``(oH, oW, c, kH, kW, n)``"""
    rows, columns, _, _, tall, wide = weight.shape
    n, c, y, z = x.stride()
    steps = (y * stride[0], z * stride[1], c, y * dilation[0], z * dilation[1], n)
    return x.as_strided((rows, columns, x.shape[1], tall, wide, x.shape[0]), steps, x.storage_offset())


def _bands(weight: Tensor, batch: int, groups: int) -> Iterator[slice]:
    """Rows of positions whose neighbourhoods together fit ``CAP_BYTES``."""
    rows, columns, _, inputs, tall, wide = weight.shape
    row_bytes = columns * groups * inputs * tall * wide * max(1, batch) * weight.element_size()
    step = max(1, CAP_BYTES // max(1, row_bytes))
    for first in range(0, rows, step):
        yield slice(first, min(rows, first + step))


def _matrices(weight: Tensor, band: slice, groups: int) -> Tensor:
    """Weights of a band as a view. Shape: ``(positions * groups, out / groups, in / groups * kH * kW)``"""
    rows, columns, out = weight[band].shape[:3]
    return weight[band].reshape(rows * columns * groups, out // groups, -1)


def _columns(view: Tensor, band: slice, groups: int) -> Tensor:
    """Neighbourhoods of a band, gathered. Shape: ``(positions * groups, in / groups * kH * kW, n)``"""
    rows, columns, c, tall, wide, n = view[band].shape
    return view[band].reshape(rows * columns * groups, c // groups * tall * wide, n)


def _by_position(grad: Tensor, band: slice, groups: int) -> Tensor:
    """A band of a gradient. Shape: ``(n, out, oH, oW)`` -> ``(positions * groups, out / groups, n)``"""
    rows = grad[:, :, band].permute(2, 3, 1, 0)
    return rows.reshape(rows.shape[0] * rows.shape[1] * groups, -1, rows.shape[3])


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Numbers, padding: Numbers, dilation: Numbers, groups: int
) -> Tensor:
    weight = weight.contiguous()
    view = _neighbourhoods(_padded(x, padding), weight, stride, dilation)
    rows, columns, out = weight.shape[:3]
    result = x.new_empty(x.shape[0], out, rows, columns)
    for band in _bands(weight, x.shape[0], groups):
        product = torch.bmm(_matrices(weight, band, groups), _columns(view, band, groups))
        result[:, :, band] = product.reshape(-1, columns, out, x.shape[0]).permute(3, 2, 0, 1)
    return result if bias is None else result.add_(bias)


def _shape(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[2], weight.shape[0], weight.shape[1])


def _input_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: Numbers, padding: Numbers, dilation: Numbers, groups: int
) -> Tensor:
    """The sum, at every cell, of the gradients from all positions that read it."""
    weight = weight.contiguous()
    spread = torch.zeros_like(_padded(x, padding))
    _, columns, _, _, tall, wide = weight.shape
    n, c = x.shape[:2]
    for band in _bands(weight, n, groups):
        share = torch.bmm(_matrices(weight, band, groups).transpose(1, 2), _by_position(grad, band, groups))
        maps = share.reshape(-1, columns, c, tall, wide, n).permute(5, 2, 0, 1, 3, 4)
        for i in range(tall):
            top = band.start * stride[0] + i * dilation[0]
            bottom = top + (band.stop - band.start - 1) * stride[0] + 1
            for j in range(wide):
                left = j * dilation[1]
                right = left + (columns - 1) * stride[1] + 1
                spread[:, :, top : bottom : stride[0], left : right : stride[1]] += maps[..., i, j]
    y, z = padding
    return spread[:, :, y : y + x.shape[2], z : z + x.shape[3]].contiguous()


def _weight_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: Numbers, padding: Numbers, dilation: Numbers, groups: int
) -> Tensor:
    """The gradient of every position times its input, written in place."""
    result = torch.empty_like(weight, memory_format=torch.contiguous_format)
    view = _neighbourhoods(_padded(x, padding), weight, stride, dilation)
    for band in _bands(weight, x.shape[0], groups):
        target = _matrices(result, band, groups)
        left, right = _by_position(grad, band, groups), _columns(view, band, groups).transpose(1, 2)
        # for a single map it is an outer product, which bmm would compute as dot products of length one
        (torch.mul if x.shape[0] == 1 else torch.bmm)(left, right, out=target)
    return result


def _macs(x: Any, weight: Any) -> int:
    return int(x[0]) * math.prod(int(n) for n in weight)


input_gradient = register(
    "locally_connected2d_input_gradient", f"(Tensor grad, Tensor x, Tensor weight, {_SCHEMA}) -> Tensor",
    _input_gradient,
    fake=lambda grad, x, *_: x.new_empty(x.shape),
    flops=lambda grad, x, weight, *_, **__: 2 * _macs(x, weight),
)  # fmt: skip
weight_gradient = register(
    "locally_connected2d_weight_gradient", f"(Tensor grad, Tensor x, Tensor weight, {_SCHEMA}) -> Tensor",
    _weight_gradient,
    fake=lambda grad, x, weight, *_: weight.new_empty(weight.shape),
    flops=lambda grad, x, weight, *_, **__: 2 * _macs(x, weight),
)  # fmt: skip


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, *ctx.numbers = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    return (
        input_gradient(grad, x, weight, *ctx.numbers) if wanted[0] else None,
        weight_gradient(grad, x, weight, *ctx.numbers) if wanted[1] else None,
        grad.sum(0) if wanted[2] else None,
        *[None] * 4,
    )


locally_connected2d = register(
    "locally_connected2d", f"(Tensor x, Tensor weight, Tensor? bias, {_SCHEMA}) -> Tensor", _forward,
    fake=_shape, save=_save, backward=_backward,
    flops=lambda x, weight, *_, **__: 2 * _macs(x, weight),
)  # fmt: skip
