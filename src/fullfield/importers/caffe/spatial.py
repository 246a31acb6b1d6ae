"""Caffe's convolutions, transposed convolutions, pools and fully connected layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fullfield.geometry.region import Pair
from fullfield.importers.caffe.layer import CaffeLayer, LayerBuilder, filler
from fullfield.importers.caffe.schema import Message
from fullfield.importers.limits import LayerRefused, check_elements


def _numbers(parameters: Message, name: str, default: int | None, *, key: str | None = None) -> Pair:
    """A setting along y and x: ``<key>_h`` and ``<key>_w``, or the repeated or single ``name``."""
    key = key or name
    if parameters.HasField(f"{key}_h") or parameters.HasField(f"{key}_w"):
        return getattr(parameters, f"{key}_h"), getattr(parameters, f"{key}_w")
    given = getattr(parameters, name)
    values = [given] if isinstance(given, int) else list(given)
    if isinstance(given, int) and default is None and not parameters.HasField(name):
        values = []
    if not values and default is not None:
        values = [default]
    if len(values) not in (1, 2):
        raise LayerRefused(f"{len(values)} values of {name} for two axes")
    return values[0], values[-1]


def _checked(kernel: Pair, stride: Pair, dilation: Pair = (1, 1), pad: Pair = (0, 0)) -> None:
    for name, pair, least in (("kernel", kernel, 1), ("stride", stride, 1), ("dilation", dilation, 1), ("pad", pad, 0)):
        if not all(least <= n < 2**20 for n in pair):
            raise LayerRefused(f"{name} {pair[0]}x{pair[1]}")


def _geometry(p: Message) -> tuple[Pair, Pair, Pair, Pair]:
    """Kernel, stride, pad and dilation of a convolution."""
    dilation = [*p.dilation] or [1]
    if len(dilation) > 2:
        raise LayerRefused(f"{len(dilation)} values of dilation for two axes")
    kernel, stride = _numbers(p, "kernel_size", None, key="kernel"), _numbers(p, "stride", 1)
    pad = _numbers(p, "pad", 0)
    spread = (dilation[0], dilation[-1])
    _checked(kernel, stride, spread, pad)
    return kernel, stride, pad, spread


def convolution(layer: CaffeLayer) -> nn.Module:
    """``Convolution``, with groups, padding, dilation and different numbers along y and x."""
    p = layer.message.convolution_param
    maps = layer.bottom(dims=4)[1]
    if p.axis not in (1, -3):
        raise LayerRefused(f"convolves along axes after {p.axis}, not after the channels")
    kernel, stride, pad, dilation = _geometry(p)
    if not p.num_output or not p.group or maps % p.group or p.num_output % p.group:
        raise LayerRefused(f"{maps} -> {p.num_output} channels in {p.group} groups")
    shape = (p.num_output, maps // p.group, *kernel)
    check_elements(shape)
    conv = nn.Conv2d(maps, p.num_output, kernel, stride, pad, dilation, p.group, p.bias_term, device="meta")
    conv.weight = layer.parameter(0, shape, filler(p, "weight_filler"))
    if p.bias_term:
        conv.bias = layer.parameter(1, (p.num_output,), filler(p, "bias_filler"))
    return conv


def deconvolution(layer: CaffeLayer) -> nn.Module:
    """``Deconvolution``: a transposed convolution."""
    p = layer.message.convolution_param
    maps = layer.bottom(dims=4)[1]
    kernel, stride, pad, dilation = _geometry(p)
    if not p.num_output or not p.group or maps % p.group or p.num_output % p.group:
        raise LayerRefused(f"{maps} -> {p.num_output} channels in {p.group} groups")
    shape = (maps, p.num_output // p.group, *kernel)
    check_elements(shape)
    conv = nn.ConvTranspose2d(
        maps, p.num_output, kernel, stride, pad, 0, p.group, p.bias_term, dilation, device="meta"
    )  # fmt: skip
    conv.weight = layer.parameter(0, shape, filler(p, "weight_filler"))
    if p.bias_term:
        conv.bias = layer.parameter(1, (p.num_output,), filler(p, "bias_filler"))
    return conv


class InnerProduct(nn.Linear):
    """A fully connected layer over all dimensions from the channels on, read in the order c, y, x."""

    def forward(self, input: Tensor) -> Tensor:
        """The scores."""
        return F.linear(input.flatten(1), self.weight, self.bias)


def inner_product(layer: CaffeLayer) -> nn.Module:
    """``InnerProduct``, whose weights may be stored transposed."""
    p = layer.message.inner_product_param
    shape = layer.bottom()
    if layer.axis(p.axis) != 1:
        raise LayerRefused(f"reads the dimensions from axis {p.axis} on, not all of a window")
    inputs = 1
    for size in shape[1:]:
        inputs *= size
    if not p.num_output:
        raise LayerRefused("no num_output")
    check_elements((p.num_output, inputs))
    linear = InnerProduct(inputs, p.num_output, p.bias_term, device="meta")
    stored = (inputs, p.num_output) if p.transpose else (p.num_output, inputs)
    linear.weight = layer.parameter(0, stored, filler(p, "weight_filler"), transposed=p.transpose)
    if p.bias_term:
        linear.bias = layer.parameter(1, (p.num_output,), filler(p, "bias_filler"))
    return linear


class Pool(nn.Module):
    """Caffe's pool. It rounds up or down, and clips the last window at the end of the padded map.

    The mean's divisor is the window's area inside the *padded* map. Padding of more than half of the kernel, which
    torch does not support, is added to the map first.

    BlobShape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    Source: Caffe ``pooling_layer.cpp``.
    """

    def __init__(self, kernel: Pair, stride: Pair, pad: Pair, *, average: bool, ceil: bool) -> None:
        super().__init__()
        self.kernel, self.stride, self.pad = kernel, stride, pad
        self.average, self.ceil = average, ceil

    def forward(self, x: Tensor) -> Tensor:
        """The pooled map."""
        if all(2 * p <= k for p, k in zip(self.pad, self.kernel, strict=True)):
            if self.average:
                return F.avg_pool2d(x, self.kernel, self.stride, self.pad, self.ceil, True)
            return F.max_pool2d(x, self.kernel, self.stride, self.pad, 1, self.ceil)
        after = [self._after(n, axis) for axis, n in enumerate(x.shape[2:])]
        pads = [self.pad[1], after[1], self.pad[0], after[0]]
        if not self.average:
            return F.max_pool2d(F.pad(x, pads, value=-torch.inf), self.kernel, self.stride)
        total = F.avg_pool2d(F.pad(x, pads), self.kernel, self.stride, divisor_override=1)
        padded = [n + 2 * p for n, p in zip(x.shape[2:], self.pad, strict=True)]
        inside = torch.ones(1, 1, *padded, dtype=x.dtype, device=x.device)
        ends = [0, after[1] - self.pad[1], 0, after[0] - self.pad[0]]
        return total / F.avg_pool2d(F.pad(inside, ends), self.kernel, self.stride, divisor_override=1)

    def cells(self, size: int, axis: int) -> int:
        """Cells of the result along an axis."""
        kernel, stride, pad = self.kernel[axis], self.stride[axis], self.pad[axis]
        span = size + 2 * pad - kernel
        count = (-(-span // stride) if self.ceil else span // stride) + 1
        return count - 1 if pad and (count - 1) * stride >= size + pad else count

    def _after(self, size: int, axis: int) -> int:
        """Padding after the map up to the end of the last window; negative to cut cells that no window reads."""
        read = (self.cells(size, axis) - 1) * self.stride[axis] + self.kernel[axis]
        return read - size - self.pad[axis]

    def extra_repr(self) -> str:
        """The pool's numbers."""
        kind = "mean" if self.average else "max"
        return f"{kind}, kernel={self.kernel}, stride={self.stride}, pad={self.pad}, ceil={self.ceil}"


class GlobalPool(nn.Module):
    """The mean or maximum of every map of any size."""

    def __init__(self, *, average: bool) -> None:
        super().__init__()
        self.average = average

    def forward(self, x: Tensor) -> Tensor:
        """The map of one cell."""
        return F.adaptive_avg_pool2d(x, 1) if self.average else F.adaptive_max_pool2d(x, 1)


def pooling(layer: CaffeLayer) -> nn.Module:
    """``Pooling``: maximum or mean, global or not; rounds up by default."""
    p = layer.message.pooling_param
    shape = layer.bottom(dims=4)
    if p.pool == 2:
        raise LayerRefused("stochastic pooling")
    pad, stride = _numbers(p, "pad", 0), _numbers(p, "stride", 1)
    if p.global_pooling:
        if pad != (0, 0) or stride != (1, 1):
            raise LayerRefused("a global pool with padding or stride")
        return GlobalPool(average=p.pool == 1)
    kernel = _numbers(p, "kernel_size", None, key="kernel")
    _checked(kernel, stride, (1, 1), pad)
    if any(a >= k for a, k in zip(pad, kernel, strict=True)):
        raise LayerRefused(f"pad {pad[0]}x{pad[1]} is not smaller than the kernel {kernel[0]}x{kernel[1]}")
    ceil = p.round_mode == 0 and p.ceil_mode
    pool = Pool(kernel, stride, pad, average=p.pool == 1, ceil=ceil)
    for axis, size in enumerate(shape[2:]):
        count = pool.cells(size, axis)
        if count < 1 or (count - 1) * stride[axis] >= size + pad[axis]:
            numbers = f"kernel {kernel[axis]}, stride {stride[axis]}, pad {pad[axis]}"
            raise LayerRefused(f"{numbers} on {size} cells: a window would be empty")
    return pool


LAYERS: dict[str, LayerBuilder] = {
    "Convolution": convolution,
    "Deconvolution": deconvolution,
    "InnerProduct": inner_product,
    "Pooling": pooling,
}
