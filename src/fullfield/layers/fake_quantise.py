"""The operator ``fake_quantise``: rounds to the numbers that integers of a scale and a zero point represent."""

from __future__ import annotations

import torch
from torch import Tensor

from fullfield.layers.registry import register


def along(numbers: Tensor, rank: int, axis: int) -> Tensor:
    """Numbers in the shape that meets those of a tensor along an axis; one number in that of a number.

    Examples:
        >>> along(torch.ones(3), 4, 1).shape
        torch.Size([1, 3, 1, 1])
    """
    shape = [1] * rank if numbers.numel() > 1 else []
    if shape:
        shape[axis] = -1
    return numbers.reshape(shape)


def _rounded(x: Tensor, scale: Tensor, zero: Tensor, enabled: Tensor, low: int, high: int, axis: int) -> Tensor:
    """``(clamp(round(x / scale) + zero, low, high) - zero) * scale``, by a product with 1 / scale, as torch does it."""
    if not enabled.all():
        return x.clone()
    scale, zero = (along(each.float(), x.dim(), axis) for each in (scale, zero.round()))
    whole = torch.round(x * scale.reciprocal()) + zero
    return ((whole.clamp(low, high) - zero) * scale).to(x.dtype)


def _like(x: Tensor, scale: Tensor, zero: Tensor, enabled: Tensor, low: int, high: int, axis: int) -> Tensor:
    return torch.empty_like(x)


fake_quantise = register(
    "fake_quantise",
    "(Tensor x, Tensor scale, Tensor zero, Tensor enabled, int low, int high, int axis) -> Tensor",
    _rounded,
    fake=_like,
)
