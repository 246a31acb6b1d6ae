"""The values of an ONNX graph during the import: known numbers, or nodes of the new graph.

The batch size is free, so every value is computed at two batch sizes. Numbers that are equal at both do not depend on
the batch; numbers that differ are ``slope * batch + offset``, the only dependence that shape arithmetic produces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from fullfield.importers.limits import LayerRefused

BATCHES = (53, 97)
"""The two batch sizes; primes that no layer's own size is likely to equal."""


@dataclass(frozen=True, eq=False)
class Known:
    """Numbers that do not depend on the pixels, at the two batch sizes.

    Args:
        tensors: the tensor at each batch size; the same object twice if it does not depend on the batch.
        name: the initialiser that it was computed from; empty for constants in the graph.
        learned: whether it becomes a parameter when a node reads it; by default, if it comes from an initialiser.
    """

    tensors: tuple[torch.Tensor, torch.Tensor]
    name: str = ""
    learned: bool | None = None

    @classmethod
    def constant(cls, tensor: torch.Tensor, name: str = "") -> Known:
        """The same numbers at every batch size."""
        return cls((tensor, tensor), name)

    @classmethod
    def of(cls, first: torch.Tensor, second: torch.Tensor, name: str = "") -> Known:
        """Numbers at the two batch sizes; constant if they are equal."""
        if first.shape == second.shape and torch.equal(first, second):
            return cls((first, first), name)
        return cls((first, second), name)

    @property
    def fixed(self) -> bool:
        """Whether the numbers are independent of the batch size."""
        return self.tensors[0] is self.tensors[1]

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shape at the two batch sizes."""
        return tuple(self.tensors[0].shape), tuple(self.tensors[1].shape)

    @property
    def dtype(self) -> torch.dtype:
        """Element type."""
        return self.tensors[0].dtype


@dataclass(frozen=True, eq=False)
class Traced:
    """A node of the new graph, with its results at the two batch sizes as tensors without data."""

    node: torch.fx.Node
    tensors: tuple[torch.Tensor, torch.Tensor]

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shape at the two batch sizes."""
        return tuple(self.tensors[0].shape), tuple(self.tensors[1].shape)

    @property
    def dtype(self) -> torch.dtype:
        """Element type."""
        return self.tensors[0].dtype


OnnxValue = Known | Traced


MOST_LISTED = 2**12
"""The most numbers of a list of sizes, axes or places."""


def listed(tensor: torch.Tensor) -> list[int]:
    """A list of sizes, axes or places as Python's numbers.

    Raises:
        LayerRefused: it has more numbers than any list that is meant.

    Examples:
        >>> listed(torch.tensor([2, 3]))
        [2, 3]
    """
    if tensor.numel() > MOST_LISTED:
        raise LayerRefused(f"reads a list of {tensor.numel()} sizes or axes, more than {MOST_LISTED}")
    return [int(number) for number in tensor.reshape(-1).tolist()]


def flat_from(shapes: tuple[tuple[int, ...], tuple[int, ...]], axis: int) -> tuple[list[int], list[int]]:
    """The shapes with all axes from one on joined to one.

    Examples:
        >>> flat_from(((53, 3, 4), (97, 3, 4)), 1)
        ([53, 12], [97, 12])
    """
    low, high = ([*shape[:axis], math.prod(shape[axis:])] for shape in shapes)
    return low, high


def affine(first: int, second: int) -> tuple[int, int]:
    """Slope and offset of the number that is ``first`` and ``second`` at the two batch sizes.

    Raises:
        ValueError: the number is not ``slope * batch + offset`` with whole numbers.

    Examples:
        >>> affine(53, 97), affine(2 * 53 + 1, 2 * 97 + 1), affine(7, 7)
        ((1, 0), (2, 1), (0, 7))
    """
    low, high = BATCHES
    slope, rest = divmod(second - first, high - low)
    if rest:
        raise ValueError("a size is not a multiple of the batch plus an offset")
    return slope, first - slope * low


def at_batch(shapes: tuple[tuple[int, ...], tuple[int, ...]], batch: int) -> tuple[int, ...]:
    """The shape at another batch size.

    Examples:
        >>> at_batch(((53, 3), (97, 3)), 1)
        (1, 3)
    """
    pairs = (affine(a, b) for a, b in zip(*shapes, strict=True))
    return tuple(slope * batch + offset for slope, offset in pairs)
