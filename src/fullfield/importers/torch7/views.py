"""Torch7's layers that reshape, transpose, reduce or slice values; the batch is not changed."""

from __future__ import annotations

import math

from torch import Tensor, nn

from fullfield.importers.limits import LayerRefused
from fullfield.importers.torch7.containers import dimension
from fullfield.importers.torch7.fields import Fields, entries
from fullfield.importers.torch7.spatial import ModuleBuilder
from fullfield.text import size_text


class View(nn.Module):
    """Reshapes the values of each window; -1 is computed from the other sizes.

    A leading -1 or 1 before sizes that cover a whole window is the batch, another notation of Torch7 files.
    """

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        if any(n < -1 or n == 0 for n in sizes) or sizes.count(-1) > 1 or not sizes:
            raise LayerRefused(f"sizes {sizes}")
        self.sizes = sizes

    def forward(self, x: Tensor) -> Tensor:
        """The reshaped value."""
        numbers = math.prod(int(n) for n in x.shape[1:])
        sizes = self.sizes
        known = math.prod(n for n in sizes if n != -1)
        if sizes[0] in (-1, 1) and len(sizes) > 1 and -1 not in sizes[1:] and known == numbers:
            sizes = sizes[1:]
        sizes = [numbers // known if n == -1 else n for n in sizes]
        if math.prod(sizes) != numbers:
            raise LayerRefused(f"{numbers} numbers per window in {size_text(self.sizes)}")
        return x.flatten(1) if len(sizes) == 1 else x.reshape(x.shape[0], *sizes)


def view(f: Fields) -> nn.Module:
    """``View`` and ``Reshape``."""
    return View(f.sizes("size"))


class Squeeze(nn.Module):
    """Removes one dimension of size 1, or all."""

    def __init__(self, dim: int | None, dims: int | None) -> None:
        super().__init__()
        self.dim, self.dims = dim, dims

    def forward(self, x: Tensor) -> Tensor:
        """The reshaped value."""
        if self.dim is not None:
            return x.squeeze(dimension(self.dim, x.dim(), self.dims))
        for index in range(x.dim() - 1, 0, -1):
            x = x.squeeze(index)
        return x


class Unsqueeze(nn.Module):
    """Inserts a dimension of size 1."""

    def __init__(self, position: int, dims: int | None) -> None:
        super().__init__()
        self.position, self.dims = position, dims

    def forward(self, x: Tensor) -> Tensor:
        """The reshaped value."""
        index = self.position - 1 + (x.dim() - self.dims if self.dims is not None else 0)
        if not 0 < index <= x.dim():
            raise LayerRefused(f"position {self.position} of {x.dim()} dimensions")
        return x.unsqueeze(index)


class Transpose(nn.Module):
    """Exchanges pairs of dimensions, one pair after the other."""

    def __init__(self, pairs: list[tuple[int, int]], dims: int | None) -> None:
        super().__init__()
        self.pairs, self.dims = pairs, dims

    def forward(self, x: Tensor) -> Tensor:
        """The transposed value."""
        for a, b in self.pairs:
            x = x.transpose(dimension(a, x.dim(), self.dims), dimension(b, x.dim(), self.dims))
        return x.contiguous()


class Reduce(nn.Module):
    """The sum, mean, maximum or minimum along a dimension, which is removed unless ``keep``."""

    def __init__(self, kind: str, dim: int, dims: int | None, *, keep: bool) -> None:
        super().__init__()
        self.kind, self.dim, self.dims, self.keep = kind, dim, dims, keep

    def forward(self, x: Tensor) -> Tensor:
        """The reduced value."""
        index = dimension(self.dim, x.dim(), self.dims)
        if self.kind == "Max":
            return x.amax(index, self.keep)
        if self.kind == "Min":
            return x.amin(index, self.keep)
        return x.mean(index, self.keep) if self.kind == "Mean" else x.sum(index, self.keep)


class Narrow(nn.Module):
    """One slice, or consecutive slices, along a dimension."""

    def __init__(self, dim: int, start: int, length: int | None) -> None:
        super().__init__()
        self.dim, self.start, self.length = dim, start, length

    def forward(self, x: Tensor) -> Tensor:
        """The slice or slices."""
        index = dimension(self.dim, x.dim())
        size = int(x.shape[index])
        start = self.start - 1 if self.start > 0 else size + self.start
        if self.length is None:
            return x.select(index, start)
        length = self.length if self.length > 0 else size - start + self.length + 1
        return x.narrow(index, start, length)


def _dims(f: Fields, name: str) -> int | None:
    return f.integer(name, least=1) if f.has(name) else None


def _transpose(f: Fields) -> nn.Module:
    pairs = [entries(pair) if isinstance(pair, dict) else [] for pair in f.table("permutations")]
    if any(len(p) != 2 or not all(isinstance(n, float) and n.is_integer() for n in p) for p in pairs):
        raise LayerRefused("permutations are not pairs of dimensions")
    return Transpose([(int(a), int(b)) for a, b in pairs], _dims(f, "numInputDims"))


def _reduce(f: Fields) -> nn.Module:
    kind = f.kind.partition(".")[2]
    mean = kind == "Mean" or (kind == "Sum" and f.flag("sizeAverage", False))
    keep = not f.flag("squeeze", True) if kind in ("Sum", "Mean") else False
    return Reduce("Mean" if mean else kind, f.integer("dimension", 1), _dims(f, "nInputDims"), keep=keep)


LAYERS: dict[str, ModuleBuilder] = {
    "Max": _reduce,
    "Mean": _reduce,
    "Min": _reduce,
    "Narrow": lambda f: Narrow(f.integer("dimension"), f.integer("index"), f.integer("length")),
    "Reshape": view,
    "Select": lambda f: Narrow(f.integer("dimension"), f.integer("index"), None),
    "Squeeze": lambda f: Squeeze(f.integer("dim") if f.has("dim") else None, _dims(f, "numInputDims")),
    "Sum": _reduce,
    "Transpose": _transpose,
    "Unsqueeze": lambda f: Unsqueeze(f.integer("pos"), _dims(f, "numInputDims")),
    "View": view,
}
