"""The operators behind the pools: root, L2 pool over cells, L2 pool over maps. Their gradients are zero at zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fullfield.layers.registry import register
from fullfield.layers.sizes import axis_ops, output_cells


def _root(x: Tensor) -> Tensor:
    return torch.sqrt(x)


def _root_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output)


def _root_backward(ctx: Any, grad: Tensor) -> Tensor:
    (result,) = ctx.saved_tensors
    flat = result == 0
    return grad * torch.where(flat, 0, 0.5 / torch.where(flat, 1, result))


root = register(
    "root", "(Tensor x) -> Tensor", _root,
    fake=torch.empty_like, save=_root_save, backward=_root_backward, tags=(torch.Tag.pointwise,),
)  # fmt: skip


def _l2_pool(x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], mean: bool) -> Tensor:
    divisor = kernel[0] * kernel[1] if mean else 1
    return F.avg_pool2d(x * x, kernel, stride, padding, divisor_override=divisor).sqrt_()  # type: ignore[arg-type]


def _l2_pool_shape(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], mean: bool
) -> Tensor:
    ops = axis_ops((kernel[0], kernel[1]), (stride[0], stride[1]), (padding[0], padding[1]))
    return x.new_empty(*x.shape[:2], *output_cells(ops, x.shape[2:], "l2_pool2d"))


def _l2_pool_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], output)
    ctx.numbers = inputs[1:]


def _l2_pool_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """``x * sum of grad / result`` over the windows that contain a cell; zero where the result is zero."""
    x, result = ctx.saved_tensors
    kernel, stride, padding, mean = ctx.numbers
    if mean:
        grad = grad / (kernel[0] * kernel[1])
    share = _over(grad, result)
    maps = x.shape[1]
    ones = x.new_ones(maps, 1, *kernel)
    ends = [
        n + 2 * p - k - (o - 1) * s
        for n, p, k, o, s in zip(x.shape[2:], padding, kernel, grad.shape[2:], stride, strict=True)
    ]
    spread = F.conv_transpose2d(share, ones, None, stride, 0, 0, maps)
    spread = F.pad(spread, (-padding[1], ends[1] - padding[1], -padding[0], ends[0] - padding[0]))
    return x * spread, None, None, None, None


def _over(grad: Tensor, result: Tensor) -> Tensor:
    flat = result == 0
    return torch.where(flat, 0, grad / torch.where(flat, 1, result))


l2_pool2d = register(
    "l2_pool2d", "(Tensor x, int[2] kernel_size, int[2] stride, int[2] padding, bool mean) -> Tensor", _l2_pool,
    fake=_l2_pool_shape, save=_l2_pool_save, backward=_l2_pool_backward,
)  # fmt: skip


def _grouped(x: Tensor, groups: int) -> Tensor:
    return x.reshape(x.shape[0], groups, -1, *x.shape[2:])


def _feature_pool(x: Tensor, width: int, stride: int, groups: int) -> Tensor:
    grouped = _grouped(x * x, groups)
    summed = F.avg_pool3d(grouped, (width, 1, 1), (stride, 1, 1), divisor_override=1)
    return summed.flatten(1, 2).sqrt_()


def _feature_pool_shape(x: Tensor, width: int, stride: int, groups: int) -> Tensor:
    maps = x.shape[1] // groups
    return x.new_empty(x.shape[0], groups * ((maps - width) // stride + 1), *x.shape[2:])


def _feature_pool_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, result = ctx.saved_tensors
    width, stride, groups = ctx.numbers
    share = _grouped(_over(grad, result), groups)
    pooled = share.shape[2]
    spread = _grouped(torch.zeros_like(x), groups)
    for tap in range(width):
        spread[:, :, tap : tap + (pooled - 1) * stride + 1 : stride] += share
    return x * spread.flatten(1, 2), None, None, None


feature_l2_pool = register(
    "feature_l2_pool", "(Tensor x, int width, int stride, int groups) -> Tensor", _feature_pool,
    fake=_feature_pool_shape, save=_l2_pool_save, backward=_feature_pool_backward,
)  # fmt: skip
