"""What a name in an ONNX graph stands for during the import: known numbers or a node of the new graph.

The batch is free, so everything is worked out at two batch sizes at once. Numbers that agree at both do not depend
on the batch; numbers that differ are ``slope * batch + offset``, which is all that shape arithmetic makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

BATCHES = (53, 97)
"""The two batch sizes; primes that no layer's own size is likely to equal."""


@dataclass(frozen=True, eq=False)
class Known:
    """Numbers that do not depend on the pixels, at the two batch sizes.

    Args:
        at: the tensor at each batch size; the same object twice where the batch does not matter.
        name: the initialiser that it is or was made from; empty for constants in the graph's text.
        learned: whether it becomes a parameter when a node needs it; by default, if it comes from an initialiser.
    """

    at: tuple[torch.Tensor, torch.Tensor]
    name: str = ""
    learned: bool | None = None

    @classmethod
    def constant(cls, tensor: torch.Tensor, name: str = "") -> Known:
        """The same numbers at every batch size."""
        return cls((tensor, tensor), name)

    @classmethod
    def of(cls, first: torch.Tensor, second: torch.Tensor, name: str = "") -> Known:
        """Numbers at the two batch sizes, recognised as constant when they agree."""
        if first.shape == second.shape and torch.equal(first, second):
            return cls((first, first), name)
        return cls((first, second), name)

    @property
    def fixed(self) -> bool:
        """Whether the batch size does not matter."""
        return self.at[0] is self.at[1]

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shape at the two batch sizes."""
        return tuple(self.at[0].shape), tuple(self.at[1].shape)

    @property
    def dtype(self) -> torch.dtype:
        """Element type."""
        return self.at[0].dtype


@dataclass(frozen=True, eq=False)
class Traced:
    """A node of the new graph, with what it returns at the two batch sizes as tensors without data."""

    node: torch.fx.Node
    at: tuple[torch.Tensor, torch.Tensor]

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shape at the two batch sizes."""
        return tuple(self.at[0].shape), tuple(self.at[1].shape)

    @property
    def dtype(self) -> torch.dtype:
        """Element type."""
        return self.at[0].dtype


Value = Known | Traced


def affine(first: int, second: int) -> tuple[int, int]:
    """Slope and offset of the number that is ``first`` and ``second`` at the two batch sizes.

    Raises:
        ValueError: the number is not a whole multiple of the batch and an offset.

    Examples:
        >>> affine(53, 97), affine(2 * 53 + 1, 2 * 97 + 1), affine(7, 7)
        ((1, 0), (2, 1), (0, 7))
    """
    low, high = BATCHES
    slope, rest = divmod(second - first, high - low)
    if rest:
        raise ValueError("a size depends on the batch in more than a multiple and an offset")
    return slope, first - slope * low


def at_batch(shapes: tuple[tuple[int, ...], tuple[int, ...]], batch: int) -> tuple[int, ...]:
    """The shape at another batch size.

    Examples:
        >>> at_batch(((53, 3), (97, 3)), 1)
        (1, 3)
    """
    pairs = (affine(a, b) for a, b in zip(*shapes, strict=True))
    return tuple(slope * batch + offset for slope, offset in pairs)
