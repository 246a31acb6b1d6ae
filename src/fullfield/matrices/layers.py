"""Each kind of layer -> its part in a chain of matrices. One registry; a layer in no list is refused, never guessed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fullfield.errors import GeometryError, UnsupportedError
from fullfield.geometry.axis import Op
from fullfield.matrices.taps import Ints, Reach, adaptive_taps, reads, window_taps
from fullfield.nn import LocallyConnected2d, Subsample2d, TableConv2d

Volume = tuple[int, ...]
Array = NDArray[Any]


@dataclass(frozen=True)
class Link:
    """One layer as a matrix to be: its size, what it reads, and how to make matrix and bias.

    ``make`` is only called once the size is known to be allowed; it returns a CSR array and a vector.

    Args:
        outputs: the volume that comes out.
        entries: of the matrix; the most there can be where that depends on the input.
        reach: which inputs every output reads; ``None`` where that is the number in its own place.
        dense: whether every output reads all inputs.
    """

    name: str
    outputs: Volume
    entries: int
    make: Callable[[], tuple[Any, Array]]
    reach: Reach | None = None
    dense: bool = False

    def after(self, earlier: Reach | None) -> Reach | None:
        """What this layer's outputs read of the input that all layers before it read so."""
        if self.reach is None or earlier is None:
            return self.reach or earlier
        return earlier.gathered(self.outputs[0]) if self.dense else self.reach.after(earlier)


def link(name: str, layer: nn.Module, volume: Volume, x: torch.Tensor | None) -> Link | None:
    """The layer as a link; ``None`` if it changes nothing but the shape at most.

    Args:
        volume: what goes in: channels, cells along y and x; or the length of a vector.
        x: the input at which the Jacobian of a layer that is not linear is taken.

    Raises:
        UnsupportedError: the layer is not linear and ``x`` is missing, or is none that this knows.
        GeometryError: the volume is not what it takes.
    """
    for kind, maker in _LINKS.items():
        if isinstance(layer, kind):
            return maker(name, layer, volume)
    if isinstance(layer, _SAME):
        return None
    if not isinstance(layer, (nn.MaxPool2d, *_POINTWISE)):
        raise UnsupportedError(name, f"{layer} has no matrix here", fix="unroll the layers before it")
    if x is None:
        raise UnsupportedError(
            name, f"{layer} is not linear: it has a Jacobian at an input, and no matrix", fix="pass that input: at=x"
        )
    return _max_pool(name, layer, volume, x) if isinstance(layer, nn.MaxPool2d) else _pointwise(name, layer, volume, x)


def shape_after(layer: nn.Module, volume: Volume) -> Volume:
    """The volume after a layer that has no link."""
    if isinstance(layer, nn.Flatten) and len(volume) == 3:
        return (volume[0] * volume[1] * volume[2],)
    return volume


def numbers(tensor: torch.Tensor) -> Array:
    """A tensor as NumPy has it; types that it lacks in float32."""
    t = tensor.detach().cpu()
    return t.float().numpy() if t.dtype in (torch.bfloat16, torch.float16) else t.numpy()


def _map(name: str, volume: Volume, channels: int | None = None) -> tuple[int, int, int]:
    """The volume, if it is a map of so many channels."""
    if len(volume) != 3 or (channels is not None and volume[0] != channels):
        wanted = "a map" if channels is None else f"a map of {channels} channels"
        raise GeometryError(name, f"takes {wanted}, not {'x'.join(map(str, volume))}", fix="correct the input size")
    return volume[0], volume[1], volume[2]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _ops(name: str, layer: Any, volume: Volume, *, ceil: bool = False) -> tuple[list[Op], tuple[int, int]]:
    """The layer's windows along y and x, and how many there are."""
    kernel, stride = _pair(layer.kernel_size), _pair(layer.stride)
    dilation = _pair(getattr(layer, "dilation", 1))
    if isinstance(layer.padding, str):
        total = [d * (k - 1) if layer.padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        pads = [(p, p) for p in _pair(layer.padding)]
    ops = [Op(kernel[a], stride[a], *pads[a], dilation[a], ceil) for a in (0, 1)]
    found = [op.cells(n) for op, n in zip(ops, volume[1:], strict=True)]
    if min(found) < 1:
        size = "x".join(map(str, volume[1:]))
        raise GeometryError(name, f"kernel {kernel} does not fit {size} cells once", fix="use a larger input")
    return ops, (found[0], found[1])


def _tables(ops: list[Op], cells: tuple[int, ...], counts: tuple[int, int], mode: str = "zeros") -> tuple[Ints, Ints]:
    y, x = (
        window_taps(n, op.kernel, op.stride, op.low, op.high, op.dilation, mode=mode, count=m)
        for op, n, m in zip(ops, cells, counts, strict=True)
    )
    return y, x


def _reach(y: Ints, x: Ints, volume: Volume, kernels: int, groups: int) -> Reach:
    """Kernels of a group read all of its channels."""
    group = np.repeat(np.arange(groups), kernels // groups)[:, None]
    return Reach(group == np.repeat(np.arange(groups), volume[0] // groups), reads(y, volume[1]), reads(x, volume[2]))


def _conv(name: str, layer: Any, volume: Volume) -> Link:
    """Shared and unshared weights alike."""
    c, h, w = _map(name, volume, layer.in_channels)
    local = isinstance(layer, LocallyConnected2d)
    if local and layer.input_size != (h, w):
        raise GeometryError(name, f"was built for {layer.input_size} cells, not {(h, w)}", fix="give its input_size")
    ops, counts = _ops(name, layer, volume)
    y, x = _tables(ops, (h, w), counts, getattr(layer, "padding_mode", "zeros"))
    kernels = layer.out_channels

    def make() -> tuple[Any, Array]:
        from fullfield.matrices import sparse

        weights = numbers(layer.weight.permute(2, 0, 1, 3, 4, 5) if local else layer.weight)
        matrix = sparse.windows(y, x, (c, h, w), weights, groups=layer.groups)
        size = kernels * counts[0] * counts[1]
        if layer.bias is None:
            return matrix, np.zeros(size, weights.dtype)
        bias = numbers(layer.bias)
        return matrix, bias.reshape(-1) if local else np.repeat(bias, counts[0] * counts[1])

    reach = _reach(y, x, volume, kernels, layer.groups)
    return Link(name, (kernels, *counts), reach.entries, make, reach)


def _as_conv(name: str, layer: Any, volume: Volume) -> Link:
    """A layer that can write itself as a convolution."""
    return _conv(name, layer.to_conv(), volume)


def _average_pool(name: str, layer: nn.AvgPool2d, volume: Volume) -> Link:
    c, h, w = _map(name, volume)
    ops, counts = _ops(name, layer, volume, ceil=layer.ceil_mode)
    y, x = _tables(ops, (h, w), counts)
    if layer.divisor_override is not None:
        shares = np.full(counts, 1 / layer.divisor_override)
    else:
        inside = [
            _members(table, op, n, layer.count_include_pad) for table, op, n in zip((y, x), ops, (h, w), strict=True)
        ]
        shares = 1 / np.outer(*inside)
    return _mean(name, (y, x), (c, h, w), shares)


def _members(table: Ints, op: Op, cells: int, padded: bool) -> Ints:
    """Cells that each mean divides by: those it reads, and padding if that counts, but none beyond it."""
    if not padded:
        return np.asarray((table >= 0).sum(1))
    starts = np.arange(len(table)) * op.stride
    return np.minimum(starts + op.kernel, cells + op.low + op.high) - starts


def _adaptive_pool(name: str, layer: nn.AdaptiveAvgPool2d, volume: Volume) -> Link:
    c, h, w = _map(name, volume)
    size: Any = layer.output_size
    wanted = size if isinstance(size, tuple) else (size, size)
    y, x = (adaptive_taps(n, n if m is None else m) for n, m in zip((h, w), wanted, strict=True))
    return _mean(name, (y, x), (c, h, w), 1 / np.outer((y >= 0).sum(1), (x >= 0).sum(1)))


def _mean(name: str, tables: tuple[Ints, Ints], volume: tuple[int, int, int], shares: Array) -> Link:
    """Channel by channel, each position with its own share of what it reads."""
    y, x = tables
    c = volume[0]

    def make() -> tuple[Any, Array]:
        from fullfield.matrices import sparse

        weights = np.broadcast_to(shares[None, :, :, None, None, None], (1, *shares.shape, 1, y.shape[1], x.shape[1]))
        weights = np.repeat(weights, c, axis=0)
        return sparse.windows(y, x, volume, weights, groups=c), np.zeros(c * shares.size)

    reach = _reach(y, x, volume, c, c)
    return Link(name, (c, len(y), len(x)), reach.entries, make, reach)


def _batch_norm(name: str, layer: _BatchNorm, volume: Volume) -> Link:
    """As in evaluation mode: by the running statistics."""
    if volume[0] != layer.num_features:
        raise GeometryError(name, f"takes {layer.num_features} channels, not {volume[0]}", fix="correct the input size")
    mean, var = layer.running_mean, layer.running_var
    if mean is None or var is None:
        raise UnsupportedError(name, "has no running statistics, so that its batch decides", fix="train it with them")
    kernel = 1 / np.sqrt(numbers(var) + layer.eps)
    scale = kernel if layer.weight is None else kernel * numbers(layer.weight)
    shift = -numbers(mean) * scale + (0 if layer.bias is None else numbers(layer.bias))
    positions = math.prod(volume[1:])

    def make() -> tuple[Any, Array]:
        from fullfield.matrices import sparse

        return sparse.diagonal(np.repeat(scale, positions)), np.repeat(shift, positions)

    return Link(name, volume, math.prod(volume), make)


def _linear(name: str, layer: nn.Linear, volume: Volume) -> Link:
    if volume != (layer.in_features,):
        found = "x".join(map(str, volume))
        raise GeometryError(name, f"takes {layer.in_features} numbers, not {found}", fix="put nn.Flatten() before it")

    def make() -> tuple[Any, Array]:
        from fullfield.matrices import sparse

        weight = numbers(layer.weight)
        bias = np.zeros(len(weight), weight.dtype) if layer.bias is None else numbers(layer.bias)
        return sparse.dense(weight), bias

    sides, one = (layer.out_features, layer.in_features), np.ones((1, 1), bool)
    reach = Reach(np.broadcast_to(np.True_, sides), one, one)
    return Link(name, sides[:1], math.prod(sides), make, reach, dense=True)


def _max_pool(name: str, layer: nn.MaxPool2d, volume: Volume, x: torch.Tensor) -> Link:
    """The router: every output takes the input that was the largest."""
    c, h, w = _map(name, volume)
    pooled, chosen = nn.functional.max_pool2d(
        x[None], layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode, return_indices=True
    )
    outputs = tuple(pooled.shape[1:])
    index = (chosen[0] + torch.arange(c, device=x.device)[:, None, None] * h * w).flatten()

    def make() -> tuple[Any, Array]:
        from fullfield.matrices import sparse

        size = np.zeros(pooled.numel(), numbers(x).dtype)
        return sparse.router(numbers(index), c * h * w, size.dtype), size

    ops, counts = _ops(name, layer, volume, ceil=layer.ceil_mode)
    y, x_ = _tables(ops, (h, w), counts)
    return Link(name, outputs, math.prod(outputs), make, _reach(y, x_, volume, c, c))


def _pointwise(name: str, layer: nn.Module, volume: Volume, x: torch.Tensor) -> Link:
    """The tangent at ``x``: slopes on the diagonal, and the bias that makes it touch."""
    point = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = layer(point[None].clone())[0]  # a layer that works in place
        (slope,) = torch.autograd.grad(value.sum(), point)
    rest = numbers(value - slope * point).reshape(-1)

    def make() -> tuple[Any, Array]:
        from fullfield.matrices import sparse

        return sparse.diagonal(numbers(slope).reshape(-1)), rest

    return Link(name, volume, math.prod(volume), make)


_SAME = (nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout2d, nn.AlphaDropout)
_POINTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
    *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Softsign, nn.Threshold),
)
_LINKS: dict[type[nn.Module], Callable[[str, Any, Volume], Link]] = {
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
