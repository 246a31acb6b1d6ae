"""What the values of the original network become in the canonical graph."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.fx import Node

from fullfield.canonical.layout import Layout


@dataclass(frozen=True)
class Mapped:
    """A value in canonical form ``(n, *channels, y, x)``.

    Args:
        replayed: whether an operator that stays as it is reads the original's views of the map before it was cut into
            blocks, instead of this value put back in its original shape.
    """

    node: Node
    layout: Layout
    replayed: bool = False


@dataclass(frozen=True)
class Raw:
    """A value in its original form, which is defined on one window only.

    Args:
        fixed: whether it depends on the batch size only, not on the image: a class token spread over the batch, say.
    """

    node: Node
    fixed: bool = False


@dataclass(frozen=True)
class Const:
    """A tensor that does not depend on the image."""

    node: Node
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Scalar:
    """A number: the batch size or what is computed from it."""

    node: Node


@dataclass(frozen=True)
class Term:
    """A pattern of cells, the same for all windows, times numbers of the window.

    Args:
        factors: nodes with one cell for the window, whose product is taken.
        pattern: float64 ``(c, y, x)``, or ``(c, 1, 1)`` where all cells are alike.
    """

    factors: tuple[Node, ...]
    pattern: Tensor

    @property
    def uniform(self) -> bool:
        """Whether all cells are alike."""
        return self.pattern.shape[1:] == (1, 1)


@dataclass(frozen=True)
class Standardised:
    """A map that windows share, scaled and shifted by numbers of each window: ``a(factors * base + terms)``.

    Args:
        base: of one channel dimension; the value's own layout.
        factors: nodes with one cell for the window, whose product is taken.
        terms: what is added.
        by_channel: whether factors or shifts differ between channels.
        activations: pointwise operators of the original network that never fall, applied to the sum one by one.
        squared: whether the square of it all is meant.
        replayed: whether an operator that stays as it is reads what the original's operators give, not these.
        reason: why these are not shared.
        origin: the map that was scaled or shifted first.
    """

    base: Mapped
    factors: tuple[Node, ...] = ()
    terms: tuple[Term, ...] = ()
    by_channel: bool = False
    activations: tuple[Node, ...] = ()
    squared: bool = False
    replayed: bool = True
    reason: str = "combines a map with one value for the whole window (a gate)"
    origin: Node | None = None


@dataclass(frozen=True)
class Outputs:
    """The results of an operator that has several; ``None`` for those that canonical form cannot give."""

    items: tuple[Mapped | Standardised | None, ...]


CanonicalValue = Mapped | Standardised | Raw | Const | Scalar | Outputs | int


def is_single(value: CanonicalValue) -> bool:
    """Whether it is one cell for the window, or has such a cell among several results."""
    items = value.items if isinstance(value, Outputs) else (value,)
    return any(isinstance(item, Mapped) and item.layout.single for item in items)
