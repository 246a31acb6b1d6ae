"""Counts of the operations of one operator: multiply-adds, and all others by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Work:
    """Counts of operations on one window.

    Args:
        macs: multiply-adds of convolutions, linear layers and matrix products.
        multiplies, adds, comparisons, divisions: of all other operators, one each.
        functions: values of ``exp``, ``tanh``, ``sqrt`` and their like.
    """

    macs: int = 0
    multiplies: int = 0
    adds: int = 0
    comparisons: int = 0
    divisions: int = 0
    functions: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations of the multiply-adds, two each: the sum starts at the bias, so it is in them."""
        return 2 * self.macs

    @property
    def other(self) -> int:
        """All operations but the multiply-adds."""
        return self.multiplies + self.adds + self.comparisons + self.divisions + self.functions

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, times: int) -> Work:
        return Work(*(getattr(self, f.name) * times for f in fields(self)))

    def to_dict(self) -> dict[str, int]:
        """The counts by name, ``flops`` with them."""
        return {"flops": self.flops, **asdict(self)}


def per_number(**counts: int) -> Callable[[Mapping[str, Any], int, int], Work]:
    """The counts of an operator that spends so many operations on every number of its result."""
    work = Work(**counts)
    return lambda args, read, written: work * written
