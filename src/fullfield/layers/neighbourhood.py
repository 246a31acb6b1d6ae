"""Copies every cell's neighbourhood into channels, as space-to-depth, block views and ``nn.Unfold`` do."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from fullfield.layers.registry import register_composite

_SCHEMA = "(Tensor x, SymInt[2] kernel_size, SymInt[2] stride, SymInt[2] padding, SymInt[2] dilation) -> Tensor"


def _neighbourhood(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """The cells that each kernel covers, zeros in the padding; copied without arithmetic.

    Shape: ``(n, *channels, y, x)`` -> ``(n, *channels, ky, kx, y', x')``
    """
    if any(padding):
        x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    for k, s, d in zip(kernel, stride, dilation, strict=True):
        x = x.unfold(-2, d * (k - 1) + 1, s)[..., ::d]  # y, x -> y', x, ky -> y', x', ky, kx
    return x.movedim((-2, -1), (-4, -3)).contiguous()


neighbourhood = register_composite("neighbourhood", _SCHEMA, _neighbourhood)
