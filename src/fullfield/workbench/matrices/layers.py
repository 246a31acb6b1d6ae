"""Makes a ``LinearMap`` of each type of layer. An unknown layer is refused, never guessed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fullfield.errors import GeometryError, UnsupportedError
from fullfield.geometry.axis import Op
from fullfield.layers import LocallyConnected2d
from fullfield.text import size_text
from fullfield.workbench.lenet_layers import Subsample2d, TableConv2d
from fullfield.workbench.matrices.index_tables import Array, Ints, Reach, adaptive_taps
from fullfield.workbench.matrices.jacobians import jacobian_of
from fullfield.workbench.matrices.linear_map import LinearMap, as_map, axis_ops_of, numbers, reach_of, tap_tables
from fullfield.workbench.volume import Volume


def linear_map(name: str, layer: nn.Module, volume: Volume, x: torch.Tensor | None) -> LinearMap | None:
    """The layer as a linear map; ``None`` if it changes nothing, or the shape only.

    Args:
        volume: of the input.
        x: the input at which the Jacobian of a layer that is not linear is computed.

    Raises:
        UnsupportedError: the layer is not linear and ``x`` is missing, or its type is unknown.
        GeometryError: the layer does not take this volume.
    """
    for kind, maker in _MAKERS.items():
        if isinstance(layer, kind):
            return maker(name, layer, volume)
    if isinstance(layer, _SAME):
        return None
    jacobian = jacobian_of(layer)
    if jacobian is None:
        raise UnsupportedError(name, f"{layer} has no matrix here", fix="unroll the layers before it")
    if x is None:
        raise UnsupportedError(
            name, f"{layer} is not linear: it has a Jacobian at an input, and no matrix", fix="pass that input: at=x"
        )
    return jacobian(name, layer, volume, x)


def shape_after(layer: nn.Module, volume: Volume) -> Volume:
    """The volume after a layer that has no linear map."""
    if isinstance(layer, nn.Flatten) and len(volume) == 3:
        return (volume[0] * volume[1] * volume[2],)
    return volume


def _conv(name: str, layer: Any, volume: Volume) -> LinearMap:
    """A convolution or a locally connected layer."""
    c, h, w = as_map(name, volume, layer.in_channels)
    local = isinstance(layer, LocallyConnected2d)
    if local and layer.input_size != (h, w):
        raise GeometryError(name, f"was built for {layer.input_size} cells, not {(h, w)}", fix="give its input_size")
    ops, counts = axis_ops_of(name, layer, volume)
    y, x = tap_tables(ops, (h, w), counts, getattr(layer, "padding_mode", "zeros"))
    kernels = layer.out_channels

    def make() -> tuple[Any, Array]:
        from fullfield.workbench.matrices import sparse

        weights = numbers(layer.weight.permute(2, 0, 1, 3, 4, 5) if local else layer.weight)
        matrix = sparse.windows(y, x, (c, h, w), weights, groups=layer.groups)
        size = kernels * counts[0] * counts[1]
        if layer.bias is None:
            return matrix, np.zeros(size, weights.dtype)
        bias = numbers(layer.bias)
        return matrix, bias.reshape(-1) if local else np.repeat(bias, counts[0] * counts[1])

    reach = reach_of(y, x, volume, kernels, layer.groups)
    return LinearMap(name, (kernels, *counts), reach.entries, make, reach)


def _as_conv(name: str, layer: Any, volume: Volume) -> LinearMap:
    """A layer with a ``to_conv`` method."""
    return _conv(name, layer.to_conv(), volume)


def _average_pool(name: str, layer: nn.AvgPool2d, volume: Volume) -> LinearMap:
    c, h, w = as_map(name, volume)
    ops, counts = axis_ops_of(name, layer, volume, ceil=layer.ceil_mode)
    y, x = tap_tables(ops, (h, w), counts)
    if layer.divisor_override is not None:
        shares = np.full(counts, 1 / layer.divisor_override)
    else:
        inside = [
            _members(table, op, n, layer.count_include_pad) for table, op, n in zip((y, x), ops, (h, w), strict=True)
        ]
        shares = 1 / np.outer(*inside)
    return _mean(name, (y, x), (c, h, w), shares)


def _members(table: Ints, op: Op, cells: int, padded: bool) -> Ints:
    """The divisor of each mean: the cells that it reads, and padding if that counts, but nothing beyond it."""
    if not padded:
        return np.asarray((table >= 0).sum(1))
    starts = np.arange(len(table)) * op.stride
    return np.minimum(starts + op.kernel, cells + op.low + op.high) - starts


def _adaptive_pool(name: str, layer: nn.AdaptiveAvgPool2d, volume: Volume) -> LinearMap:
    c, h, w = as_map(name, volume)
    size: Any = layer.output_size
    wanted = size if isinstance(size, tuple) else (size, size)
    y, x = (adaptive_taps(n, n if m is None else m) for n, m in zip((h, w), wanted, strict=True))
    return _mean(name, (y, x), (c, h, w), 1 / np.outer((y >= 0).sum(1), (x >= 0).sum(1)))


def _mean(name: str, tables: tuple[Ints, Ints], volume: tuple[int, int, int], shares: Array) -> LinearMap:
    """A pool over each channel that weights the cells of every position by its share."""
    y, x = tables
    c = volume[0]

    def make() -> tuple[Any, Array]:
        from fullfield.workbench.matrices import sparse

        weights = np.broadcast_to(shares[None, :, :, None, None, None], (1, *shares.shape, 1, y.shape[1], x.shape[1]))
        weights = np.repeat(weights, c, axis=0)
        return sparse.windows(y, x, volume, weights, groups=c), np.zeros(c * shares.size)

    reach = reach_of(y, x, volume, c, c)
    return LinearMap(name, (c, len(y), len(x)), reach.entries, make, reach)


def _batch_norm(name: str, layer: _BatchNorm, volume: Volume) -> LinearMap:
    """In evaluation mode, by the running statistics."""
    if volume[0] != layer.num_features:
        raise GeometryError(name, f"takes {layer.num_features} channels, not {volume[0]}", fix="correct the input size")
    mean, var = layer.running_mean, layer.running_var
    if mean is None or var is None:
        raise UnsupportedError(
            name, "has no running statistics, so that its result depends on the batch", fix="train it with them"
        )
    kernel = 1 / np.sqrt(numbers(var) + layer.eps)
    scale = kernel if layer.weight is None else kernel * numbers(layer.weight)
    shift = -numbers(mean) * scale + (0 if layer.bias is None else numbers(layer.bias))
    positions = math.prod(volume[1:])

    def make() -> tuple[Any, Array]:
        from fullfield.workbench.matrices import sparse

        return sparse.diagonal(np.repeat(scale, positions)), np.repeat(shift, positions)

    return LinearMap(name, volume, math.prod(volume), make)


def _linear(name: str, layer: nn.Linear, volume: Volume) -> LinearMap:
    if volume != (layer.in_features,):
        found = size_text(volume)
        raise GeometryError(name, f"takes {layer.in_features} numbers, not {found}", fix="put nn.Flatten() before it")

    def make() -> tuple[Any, Array]:
        from fullfield.workbench.matrices import sparse

        weight = numbers(layer.weight)
        bias = np.zeros(len(weight), weight.dtype) if layer.bias is None else numbers(layer.bias)
        return sparse.dense(weight), bias

    sides, one = (layer.out_features, layer.in_features), np.ones((1, 1), bool)
    reach = Reach(np.broadcast_to(np.True_, sides), one, one)
    return LinearMap(name, sides[:1], math.prod(sides), make, reach, dense=True)


_SAME = (nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout2d, nn.AlphaDropout)
_MAKERS: dict[type[nn.Module], Callable[[str, Any, Volume], LinearMap]] = {
    nn.Conv2d: _conv,
    LocallyConnected2d: _conv,
    TableConv2d: _as_conv,
    Subsample2d: _as_conv,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _adaptive_pool,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Linear: _linear,
}
