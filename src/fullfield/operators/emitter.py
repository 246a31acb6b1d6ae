"""What an operator's emission may ask of the program that it writes to; ``lower`` implements it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from fullfield.geometry.axis import Op
from fullfield.geometry.strip import Strip

Strips = tuple[Strip, Strip]  # along y and x


@dataclass(frozen=True)
class Call:
    """One call of a windowed operator in a canonical graph.

    Args:
        args: by the names of the operator's schema, tensors as their nodes in the canonical graph.
        ops: the same as integers, along y and x.
        read: numbers in one cell of what it reads.
        written: numbers in one cell of its result.
    """

    args: dict[str, Any]
    ops: tuple[Op, Op]
    read: int
    written: int

    @property
    def kernel(self) -> list[int]:
        """Rows and columns of its kernel."""
        return [op.kernel for op in self.ops]


class Emitter(Protocol):
    """A program under construction; its values are the program's own and opaque to operators."""

    @property
    def fft(self) -> bool:
        """Whether convolutions may run by Fourier transforms where these are faster."""

    def call(self, target: Any, *args: Any) -> Any:
        """The value of an ATen operator."""

    def constant(self, tensor: Tensor) -> Any:
        """A fixed tensor of the program."""

    def weight(self, node: Any) -> Any:
        """A fixed tensor of the network, by its node in the canonical graph; anything but a node unchanged."""

    def unpadded(self, value: Any, pads: list[int], fill: float) -> Any | None:
        """What ``value`` was before it was padded by ``pads`` with ``fill``, which is undone; ``None`` if it was not.

        Args:
            pads: cells on the left, on the right, at the top and at the bottom.
        """


Emission = Callable[[Emitter, Call, Any, Strips], Any]
