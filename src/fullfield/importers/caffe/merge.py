"""Caffe's layers that join, split, crop and reshape values, and softmax."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from fullfield.importers.caffe.layer import CaffeLayer, LayerBuilder
from fullfield.importers.limits import LayerRefused


class CaffeConcat(nn.Module):
    """Concatenates values along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *values: Tensor) -> Tensor:
        """The concatenated value."""
        return torch.cat(values, self.axis)


def concat(layer: CaffeLayer) -> nn.Module:
    """``Concat``."""
    p = layer.message.concat_param
    return CaffeConcat(layer.axis(p.concat_dim if p.HasField("concat_dim") else p.axis))


class Eltwise(nn.Module):
    """The product, weighted sum or maximum of values of one shape."""

    def __init__(self, operation: int, coefficients: list[float]) -> None:
        super().__init__()
        self.operation, self.coefficients = operation, coefficients

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        """The combined value."""
        if self.operation == 1 and self.coefficients and self.coefficients[0] != 1:
            first = first * self.coefficients[0]
        for position, value in enumerate(others, 1):
            if self.operation == 0:
                first = first * value
            elif self.operation == 2:
                first = torch.maximum(first, value)
            else:
                factor = self.coefficients[position] if self.coefficients else 1.0
                first = first + (value if factor == 1 else value * factor)
        return first


def eltwise(layer: CaffeLayer) -> nn.Module:
    """``Eltwise``: bottoms of one shape."""
    p = layer.message.eltwise_param
    if len(layer.shapes) < 2 or len(set(layer.shapes)) > 1:
        raise LayerRefused(f"bottoms of shapes {', '.join(str(shape[1:]) for shape in layer.shapes)}")
    if p.coeff and (p.operation != 1 or len(p.coeff) != len(layer.shapes)):
        raise LayerRefused(f"{len(p.coeff)} coefficients for {len(layer.shapes)} bottoms")
    return Eltwise(p.operation, list(p.coeff))


class Split(nn.Module):
    """The same value several times."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The copies."""
        return (x,) * self.count


class Slice(nn.Module):
    """Splits a value along an axis."""

    def __init__(self, axis: int, sizes: list[int]) -> None:
        super().__init__()
        self.axis, self.sizes = axis, sizes

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The pieces, in order."""
        pieces, start = [], 0
        for size in self.sizes:
            pieces.append(x.narrow(self.axis, start, size))
            start += size
        return tuple(pieces)


def slices(layer: CaffeLayer) -> nn.Module:
    """``Slice`` at given points, or into equal pieces."""
    p = layer.message.slice_param
    axis = layer.axis(p.slice_dim if p.HasField("slice_dim") else p.axis)
    size, count = layer.bottom()[axis], len(layer.message.top)
    points = list(p.slice_point)
    if not points and (not count or size % count):
        raise LayerRefused(f"{size} channels in {count} equal pieces")
    cuts = [0, *(points or range(size // count, size, size // count)), size]
    sizes = [b - a for a, b in itertools.pairwise(cuts)]
    if len(sizes) != count or min(sizes) < 1:
        raise LayerRefused(f"cut at {points} for {count} tops of {size} channels")
    return Slice(axis, sizes)


def flatten(layer: CaffeLayer) -> nn.Module:
    """``Flatten``."""
    p = layer.message.flatten_param
    layer.bottom()
    first, last = layer.axis(p.axis), layer.axis(p.end_axis)
    if last < first:
        raise LayerRefused(f"axes {p.axis} to {p.end_axis}")
    return nn.Flatten(first, last)


class Reshape(nn.Module):
    """Reshapes the value of each window."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """The reshaped value."""
        return x.flatten(1) if len(self.shape) == 1 else x.reshape(x.shape[0], *self.shape)


def reshape(layer: CaffeLayer) -> nn.Module:
    """``Reshape``: 0 copies a dimension, -1 is computed from the others; the batch is not changed."""
    p = layer.message.reshape_param
    shape = layer.bottom()
    first = p.axis + len(shape) + 1 if p.axis < 0 else p.axis
    last = len(shape) if p.num_axes == -1 else first + p.num_axes
    if not 0 <= first <= last <= len(shape) or p.num_axes < -1:
        raise LayerRefused(f"{p.num_axes} axes from axis {p.axis} of {len(shape)} dimensions")
    dims = list(p.shape.dim)
    if any(d < -1 for d in dims) or dims.count(-1) > 1:
        raise LayerRefused(f"to {dims}")
    if any(d == 0 and first + i >= len(shape) for i, d in enumerate(dims)):
        raise LayerRefused(f"copies a dimension that {shape[1:]} lacks")
    dims = [shape[first + i] if d == 0 and first + i > 0 else d for i, d in enumerate(dims)]
    whole = [*shape[:first], *dims, *shape[last:]]
    return Reshape(_window(layer, whole, shape, copied=first > 0))


def _window(layer: CaffeLayer, whole: list[int], shape: tuple[int, ...], *, copied: bool) -> list[int]:
    """The new shape of one window; the first entry of ``whole`` is the batch (0: copied)."""
    numbers = math.prod(shape[1:])
    batch, rest = (whole[0], whole[1:]) if whole else (1, [])
    known = math.prod(d for d in rest if d != -1)
    if not copied and batch not in (-1, 0, layer.batch) and known != numbers:
        raise LayerRefused(f"to {whole}: the batch would change")
    if -1 in rest and known and numbers % known == 0:
        rest = [numbers // known if d == -1 else d for d in rest]
    if math.prod(rest) != numbers or -1 in rest:
        raise LayerRefused(f"{shape[1:]} to {whole}: the batch would change")
    return rest


class Crop(nn.Module):
    """The part of the first value from ``offsets`` on, as large as the second value."""

    def __init__(self, axis: int, offsets: list[int]) -> None:
        super().__init__()
        self.axis, self.offsets = axis, offsets

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """The cropped value."""
        for position, offset in enumerate(self.offsets):
            dim = self.axis + position
            x = x.narrow(dim, offset, int(like.shape[dim]))
        return x


def crop(layer: CaffeLayer) -> nn.Module:
    """``Crop`` to the second bottom's size."""
    p = layer.message.crop_param
    shape = layer.bottom(2)
    axis = layer.axis(p.axis)
    count = len(shape) - axis
    given = list(p.offset)
    offsets = [given[0] if given else 0] * count if len(given) < 2 else given
    if len(offsets) != count or len(layer.shapes[1]) != len(shape):
        raise LayerRefused(f"{len(given)} offsets for {count} axes")
    for offset, size, like in zip(offsets, shape[axis:], layer.shapes[1][axis:], strict=True):
        if offset + like > size:
            raise LayerRefused(f"{like} cells from cell {offset} of {size}")
    return Crop(axis, offsets)


LAYERS: dict[str, LayerBuilder] = {
    "Concat": concat,
    "Crop": crop,
    "Eltwise": eltwise,
    "Flatten": flatten,
    "Reshape": reshape,
    "Slice": slices,
    "Softmax": lambda layer: nn.Softmax(layer.axis(layer.message.softmax_param.axis)),
    "Split": lambda layer: Split(len(layer.message.top)),
}
