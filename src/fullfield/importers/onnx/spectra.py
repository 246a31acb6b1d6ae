"""Maps discrete Fourier transforms: of frames as a convolution, of an axis as a product with a constant matrix."""

from __future__ import annotations

import math

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import Known, OnnxValue, listed

aten = torch.ops.aten


@operator("STFT")
def short_time_transform(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The spectra ``(n, frames, bins, 2)`` of the frames of a signal ``(n, samples)`` or ``(n, samples, 1)``.

    Exact: yes, other summation order
    """
    x = call.input(0)
    rank, shape = len(x.shapes[0]), x.shapes[0]
    if rank not in (2, 3) or (rank == 3 and shape[2] != 1):
        raise LayerRefused(f"transforms a signal of shape {list(shape)}; only real numbers work")
    step, window = _number(call, 1), call.constant(2)
    if call.optional(2) is not None and window is None:
        raise LayerRefused("its window is computed")
    length = window.shapes[0][0] if window is not None else _number(call, 3)
    if (call.optional(3) is not None and _number(call, 3) != length) or not 0 < length <= shape[1] or step < 1:
        raise LayerRefused(f"has frames of {length} samples, {step} apart, of a signal of {shape[1]}")
    bins = length // 2 + 1 if call.integer("onesided", 1) else length
    kernel = torch.cat(_waves(length, length, bins)).double()
    if window is not None:
        kernel = kernel * window.tensors[0].double()
    b.allowance.fold((2 * bins, length), torch.float64)
    weight = Known.constant(kernel[:, None].to(x.dtype))
    signal = b.call(aten.unsqueeze.default, x if rank == 2 else b.call(aten.squeeze.dims, x, [2]), 1)
    y = b.call(aten.conv1d.default, signal, weight, None, [step])
    low, high = ([size[0], 2, bins, size[2]] for size in y.shapes)
    return b.call(aten.permute.default, b.reshape(y, (low, high)), [0, 3, 2, 1])


@operator("DFT")
def transform(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The spectrum along an axis of real ``(..., 1)`` or complex numbers ``(..., 2)``.

    Exact: yes, other summation order
    """
    x = call.input(0)
    rank, parts = len(x.shapes[0]), x.shapes[0][-1]
    axis = call.integer("axis", 1) if call.opset < 20 else (-2 if call.optional(2) is None else _number(call, 2))
    axis %= rank
    size = x.shapes[0][axis]
    inverse, onesided = bool(call.integer("inverse", 0)), bool(call.integer("onesided", 0))
    length = size if call.optional(1) is None else _number(call, 1)
    if parts not in (1, 2) or axis in (0, rank - 1) or (inverse and onesided) or length < 1:
        raise LayerRefused(f"transforms axis {axis} of {list(x.shapes[0])}, {length} long, onesided {onesided}")
    if length < size:
        x = b.call(aten.slice.Tensor, x, axis, 0, length)
    bins = length // 2 + 1 if onesided else length
    b.allowance.fold((2 * bins, length), torch.float64)
    cosine, sine = _waves(min(size, length), length, bins)
    if inverse:
        cosine, sine = cosine / length, -sine / length
    # real and imaginary numbers side by side, times [[cos, sin], [-sin, cos]]
    whole = (
        torch.cat([cosine, sine])
        if parts == 1
        else torch.cat([torch.cat([cosine, -sine], 1), torch.cat([sine, cosine], 1)])
    )
    order = [i for i in range(rank) if i not in (axis, rank - 1)]
    turned = b.call(aten.permute.default, x, [*order, rank - 1, axis])
    low, high = ([*shape[:-2], shape[-2] * shape[-1]] for shape in turned.shapes)
    product = b.call(aten.linear.default, b.reshape(turned, (low, high)), Known.constant(whole.to(x.dtype)))
    low, high = ([*shape[:-1], 2, bins] for shape in product.shapes)
    y, made = b.reshape(product, (low, high)), [*order, rank - 1, axis]
    return b.call(aten.permute.default, y, [made.index(i) for i in range(rank)])


def _waves(samples: int, length: int, bins: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``cos`` and ``-sin`` of ``2 pi k t / length`` ``(bins, samples)``."""
    turns = torch.arange(bins)[:, None] * torch.arange(samples) % length
    angle = turns.double() * (2 * math.pi / length)
    return angle.cos(), -angle.sin()


def _number(call: OnnxCall, index: int) -> int:
    """A constant input of one number."""
    given = call.known(index)
    found = listed(given.tensors[0])
    if not given.fixed or len(found) != 1:
        raise LayerRefused(f"input {index} is no constant number")
    return found[0]
