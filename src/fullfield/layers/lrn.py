"""Local response normalisation: across neighbouring maps, and within one map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fullfield.arguments import check_choice
from fullfield.errors import GeometryError, UnsupportedError
from fullfield.layers.registry import register
from fullfield.layers.sizes import positive

_SCHEMA = "(Tensor x, int size, float alpha, float beta, float k"


def _over_maps(x: Tensor, size: int, below: int) -> Tensor:
    """Mean of ``size`` neighbouring maps, the first of them ``below`` maps down, zeros beyond the ends."""
    padded = F.pad(x.unsqueeze(1), (0, 0, 0, 0, below, size - 1 - below))
    return F.avg_pool3d(padded, (size, 1, 1), stride=1).squeeze(1)


def _over_cells(x: Tensor, size: int, before: int) -> Tensor:
    """Mean of ``size`` x ``size`` neighbouring cells, zeros beyond the edge; the divisor is always ``size**2``."""
    after = size - 1 - before
    if before == after:
        return F.avg_pool2d(x, size, 1, before)
    return F.avg_pool2d(F.pad(x, (before, after, before, after)), size, 1)


def _across(x: Tensor, size: int, alpha: float, beta: float, k: float, below: int) -> Tensor:
    result: Tensor = x / (_over_maps(x * x, size, below) * alpha + k).pow(beta)
    return result


def _within(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    result: Tensor = x / (_over_cells(x * x, size, size // 2) * alpha + k).pow(beta)
    return result


def _shape(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.numbers = inputs[1:]


def _across_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    size, alpha, beta, k, below = ctx.numbers
    x = ctx.saved_tensors[0]
    scale = _over_maps(x * x, size, below) * alpha + k
    spread = _over_maps(grad * x * scale.pow(-beta - 1), size, size - 1 - below)
    return grad * scale.pow(-beta) - (2 * alpha * beta) * x * spread, None, None, None, None, None


def _within_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    size, alpha, beta, k = ctx.numbers
    x = ctx.saved_tensors[0]
    scale = _over_cells(x * x, size, size // 2) * alpha + k
    spread = _over_cells(grad * x * scale.pow(-beta - 1), size, size - 1 - size // 2)
    return grad * scale.pow(-beta) - (2 * alpha * beta) * x * spread, None, None, None, None


across = register(
    "local_response_norm", f"{_SCHEMA}, int below) -> Tensor", _across,
    fake=_shape, save=_save, backward=_across_backward,
)  # fmt: skip
within = register(
    "local_response_norm_within", f"{_SCHEMA}) -> Tensor", _within,
    fake=_shape, save=_save, backward=_within_backward,
)  # fmt: skip


class LocalResponseNorm2d(nn.Module):
    """Divides every activation by the energy of its neighbours: in neighbouring maps, or in the same map.

        across:  y[c] = x[c] / (k + alpha / size * sum of x[c']**2 over the size maps around c) ** beta
        within:  y    = x    / (k + alpha / size**2 * sum of x**2 over the size x size cells around it) ** beta

    Both sums read zeros beyond the ends, and their divisors stay ``size`` and ``size**2`` there. torch's
    ``LocalResponseNorm``, ONNX's ``LRN`` and Caffe's ``ACROSS_CHANNELS`` are ``across``; cuda-convnet's "same map" and
    Caffe's ``WITHIN_CHANNEL`` (its average pool counts its padding; its ``k`` is always 1) are ``within``. If
    ``size`` is even, the neighbourhood has one more map, row and column before the activation than after it.

    It is one node in every graph; ``across`` is one ``LRN`` node in ONNX.

    Shape: ``(n, c, y, x)`` -> the same
    Args:
        size: maps, or cells along each axis.
        alpha, beta, k: of the formula; AlexNet uses size 5, ``alpha`` 5e-4 in this form (1e-4 for each map), k 2.
        region: ``across`` or ``within``.

    Raises:
        UnsupportedError: another region.
        GeometryError: a size below 1, or a ``k`` that is not positive.
    Source: Krizhevsky, Sutskever & Hinton 2012, section 3.3; Caffe ``lrn_layer.cpp``.
    Examples:
        >>> LocalResponseNorm2d(1, alpha=1.0, beta=0.5, k=3.0)(torch.ones(1, 2, 1, 1)).flatten().tolist()
        [0.5, 0.5]
    """

    def __init__(
        self, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, region: str = "across"
    ) -> None:
        super().__init__()
        check_choice("region", region, ("across", "within"), UnsupportedError)
        if k <= 0:
            raise GeometryError("k", f"{k} is not positive, so that the divisor can be zero", fix="use 1 or 2")
        self.size, self.alpha, self.beta, self.k = positive(size, "size"), float(alpha), float(beta), float(k)
        self.region = region

    def forward(self, x: Tensor) -> Tensor:
        """The normalised map."""
        numbers = (self.size, self.alpha, self.beta, self.k)
        result: Tensor = within(x, *numbers) if self.region == "within" else across(x, *numbers, self.size // 2)
        return result

    def extra_repr(self) -> str:
        """The formula's numbers."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, region={self.region!r}"
