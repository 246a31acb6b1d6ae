"""Linearises layers that are not linear: the Jacobian at an input, and the bias that makes both agree there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from fullfield.arguments import parse_pair
from fullfield.errors import GeometryError, UnsupportedError
from fullfield.layers import FeatureL2Pool, L2Pool2d, LocalResponseNorm2d
from fullfield.text import size_text
from fullfield.workbench.lenet_layers import RadialBasis
from fullfield.workbench.matrices.index_tables import Array, Reach, adaptive_taps, window_taps
from fullfield.workbench.matrices.linear_map import (
    LinearMap,
    as_map,
    axis_ops_of,
    numbers,
    reach_of,
    tap_tables,
)
from fullfield.workbench.volume import Volume

JacobianMaker = Callable[[str, Any, Volume, torch.Tensor], LinearMap]
SumTerms = Callable[[Any], tuple[Array | None, Array, Array]]


def jacobian_of(layer: nn.Module) -> JacobianMaker | None:
    """The function that makes a layer's Jacobian at an input; ``None`` for an unknown layer."""
    if isinstance(layer, _POINTWISE):
        return _pointwise
    return next((maker for kind, maker in _MAKERS.items() if isinstance(layer, kind)), None)


def _pointwise(name: str, layer: nn.Module, volume: Volume, x: torch.Tensor) -> LinearMap:
    """The slopes as a diagonal matrix."""
    point = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = layer(point[None].clone())[0]  # the layer may work in place
        (slope,) = torch.autograd.grad(value.sum(), point)
    rest = numbers(value - slope * point).reshape(-1)

    def make() -> tuple[Any, Array]:
        from fullfield.workbench.matrices import sparse

        return sparse.diagonal(numbers(slope).reshape(-1)), rest

    return LinearMap(name, volume, math.prod(volume), make)


def _max_pool(name: str, layer: nn.MaxPool2d, volume: Volume, x: torch.Tensor) -> LinearMap:
    """Every output copies the input that was the largest."""
    c, h, w = as_map(name, volume)
    pooled, chosen = F.max_pool2d(
        x[None], layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode, return_indices=True
    )
    ops, counts = axis_ops_of(name, layer, volume, ceil=layer.ceil_mode)
    y, x_ = tap_tables(ops, (h, w), counts)
    return _router(name, pooled[0], chosen[0], volume, reach_of(y, x_, volume, c, c))


def _adaptive_max_pool(name: str, layer: nn.AdaptiveMaxPool2d, volume: Volume, x: torch.Tensor) -> LinearMap:
    c, h, w = as_map(name, volume)
    size: Any = layer.output_size
    pooled, chosen = F.adaptive_max_pool2d(x[None], size, return_indices=True)
    y, x_ = (adaptive_taps(n, m) for n, m in zip((h, w), pooled.shape[2:], strict=True))
    return _router(name, pooled[0], chosen[0], volume, reach_of(y, x_, volume, c, c))


def _router(name: str, pooled: torch.Tensor, chosen: torch.Tensor, volume: Volume, reach: Reach) -> LinearMap:
    c, cells = volume[0], volume[1] * volume[2]
    index = (chosen + torch.arange(c, device=chosen.device)[:, None, None] * cells).flatten()

    def make() -> tuple[Any, Array]:
        from fullfield.workbench.matrices import sparse

        rest = np.zeros(pooled.numel(), numbers(pooled).dtype)
        return sparse.router(numbers(index), c * cells, rest.dtype), rest

    return LinearMap(name, tuple(pooled.shape), pooled.numel(), make, reach)


def _sums(name: str, value: torch.Tensor, x: torch.Tensor, reach: Reach, terms: SumTerms) -> LinearMap:
    """A layer that depends on sums over ``reach``: ``J = diag(own) + diag(left) @ sums @ diag(right)``.

    Args:
        value: the layer's output at ``x``.
        terms: computes own (or ``None``), left and right from the matrix of sums.
    """

    def make() -> tuple[Any, Array]:
        from fullfield.workbench.matrices import sparse

        point, result = numbers(x).reshape(-1), numbers(value).reshape(-1)
        matrix = sparse.ones(reach.channels, reach.y, reach.x, point.dtype)
        own, left, right = terms(matrix)
        matrix = sparse.scaled(matrix, left, right)
        if own is not None:
            matrix = matrix + sparse.diagonal(own)
        return matrix, result - matrix @ point

    return LinearMap(name, tuple(value.shape), reach.entries, make, reach)


def _root(value: torch.Tensor, x: torch.Tensor, divisor: int) -> SumTerms:
    """The terms of ``y = sqrt(sum of x**2 / divisor)``: ``x / (divisor * y)``, zero where ``y`` is zero."""
    result = numbers(value).reshape(-1)
    left = np.divide(1 / divisor, result, out=np.zeros_like(result), where=result != 0)
    return lambda matrix: (None, left, numbers(x).reshape(-1))


def _l2_pool(name: str, layer: Any, volume: Volume, x: torch.Tensor) -> LinearMap:
    """``L2Pool2d``, and torch's ``LPPool2d`` where its power is 2 and it does not round up."""
    c, h, w = as_map(name, volume)
    kernel, stride = (
        parse_pair("kernel_size", layer.kernel_size),
        parse_pair("stride", layer.stride or layer.kernel_size),
    )
    mean, padding = getattr(layer, "mean", False), getattr(layer, "padding", 0)
    if getattr(layer, "norm_type", 2) != 2 or getattr(layer, "ceil_mode", False):
        raise UnsupportedError(name, f"{layer} has no matrix here", fix="use fullfield.layers.L2Pool2d")
    plain = L2Pool2d(kernel, stride, padding=padding, mean=mean, must_fit=False)
    ops, counts = axis_ops_of(name, plain, volume)
    y, x_ = tap_tables(ops, (h, w), counts)
    value = plain(x[None])[0]
    terms = _root(value, x, kernel[0] * kernel[1] if mean else 1)
    return _sums(name, value, x, reach_of(y, x_, volume, c, c), terms)


def _feature_pool(name: str, layer: FeatureL2Pool, volume: Volume, x: torch.Tensor) -> LinearMap:
    c, h, w = as_map(name, volume)
    value = layer(x[None])[0]
    each, pooled = c // layer.groups, value.shape[0] // layer.groups
    width = layer.width or each
    starts = np.arange(pooled) * (layer.stride or width)
    near = (np.arange(each) >= starts[:, None]) & (np.arange(each) < starts[:, None] + width)
    band = np.kron(np.eye(layer.groups, dtype=bool), near)
    return _sums(name, value, x, Reach(band, np.eye(h, dtype=bool), np.eye(w, dtype=bool)), _root(value, x, 1))


def _response_norm(name: str, layer: Any, volume: Volume, x: torch.Tensor) -> LinearMap:
    """The terms of ``y = x / s**beta``, ``s = k + alpha/n sum of x**2``: ``s**-beta``, less the part of the sums."""
    c, h, w = as_map(name, volume)
    size, alpha, beta, k = layer.size, float(layer.alpha), float(layer.beta), float(layer.k)
    if getattr(layer, "region", "across") == "within":
        reach, count = _square(volume, size), size**2
    else:
        near = np.arange(c) - np.arange(c)[:, None] + size // 2
        reach, count = Reach((near >= 0) & (near < size), np.eye(h, dtype=bool), np.eye(w, dtype=bool)), size
    point = numbers(x).reshape(-1)

    def terms(matrix: Any) -> tuple[Array, Array, Array]:
        scale = k + alpha / count * (matrix @ point**2)
        left = -2 * alpha / count * beta * point * scale ** (-beta - 1)
        return scale**-beta, left, point

    return _sums(name, layer(x[None])[0], x, reach, terms)


def _square(volume: Volume, size: int) -> Reach:
    """The reach of a window of ``size`` by ``size`` around every cell, in the same map."""
    low, high = size // 2, size - 1 - size // 2
    y, x = (window_taps(n, size, 1, low, high, 1, count=n) for n in volume[1:])
    return reach_of(y, x, volume, volume[0], volume[0])


def _softmax(name: str, layer: Any, volume: Volume, x: torch.Tensor) -> LinearMap:
    """``diag(y) - y y'`` over one dimension; for the logarithm ``1 - exp(y)'``."""
    dims = len(volume) + 1
    if layer.dim is None or layer.dim % dims == 0 or len(volume) == 2:
        raise GeometryError(name, f"{layer} over the dimension {layer.dim} of {dims}", fix="use Softmax(1)")
    sizes = (*volume, 1, 1)[:3]
    joined = [np.eye(n, dtype=bool) for n in sizes]
    joined[layer.dim % dims - 1] = np.ones_like(joined[layer.dim % dims - 1])
    value = layer(x[None])[0]
    share = numbers(value).reshape(-1)

    def terms(matrix: Any) -> tuple[Array, Array, Array]:
        if isinstance(layer, nn.LogSoftmax):
            return np.ones_like(share), -np.ones_like(share), np.exp(share)
        return share, -share, share

    return _sums(name, value, x, Reach(joined[0], joined[1], joined[2]), terms)


def _distances(name: str, layer: RadialBasis, volume: Volume, x: torch.Tensor) -> LinearMap:
    """``2 * (code - x)``, a full matrix."""
    if volume != (layer.in_features,):
        found = size_text(volume)
        raise GeometryError(name, f"takes {layer.in_features} numbers, not {found}", fix="put nn.Flatten() before it")
    value = numbers(layer(x[None])[0])

    def make() -> tuple[Any, Array]:
        from fullfield.workbench.matrices import sparse

        slopes = numbers(2 * (layer.codes - x))
        return sparse.dense(slopes), value - slopes @ numbers(x)

    sides, one = (layer.out_features, layer.in_features), np.ones((1, 1), bool)
    return LinearMap(name, sides[:1], math.prod(sides), make, Reach(np.ones(sides, bool), one, one), dense=True)


_POINTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
    *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Softsign, nn.Threshold),
    *(nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.RReLU),
)
_MAKERS: dict[type[nn.Module], JacobianMaker] = {
    nn.MaxPool2d: _max_pool,
    nn.AdaptiveMaxPool2d: _adaptive_max_pool,
    L2Pool2d: _l2_pool,
    nn.LPPool2d: _l2_pool,
    FeatureL2Pool: _feature_pool,
    LocalResponseNorm2d: _response_norm,
    nn.LocalResponseNorm: _response_norm,
    nn.Softmax: _softmax,
    nn.LogSoftmax: _softmax,
    RadialBasis: _distances,
}
