"""What the mapping of one layer gets to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from fullfield.importers.caffe.schema import Message
from fullfield.importers.caffe.weights import Weights
from fullfield.importers.limits import Refusal

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer with the shapes of its bottoms, batch included, and where its parameters come from.

    ``batch`` is the batch that the file declares for its input, which reshapes may repeat.
    """

    message: Message
    shapes: tuple[Shape, ...]
    weights: Weights
    batch: int

    def bottom(self, count: int = 1, *, dims: int | None = None) -> Shape:
        """The first bottom's shape.

        Raises:
            Refusal: there are not so many bottoms, or it has not so many dimensions.
        """
        if len(self.shapes) != count:
            raise Refusal(f"{len(self.shapes)} bottoms where the layer takes {count}")
        if dims is not None and len(self.shapes[0]) != dims:
            raise Refusal(f"a bottom of {len(self.shapes[0])} dimensions where the layer takes {dims}")
        return self.shapes[0]

    def axis(self, axis: int, *, end: bool = False) -> int:
        """A dimension of the first bottom that may count from the end; the batch is none.

        Raises:
            Refusal: there is no such dimension, or it is the batch.
        """
        count = len(self.shapes[0]) + end
        found = axis + count if axis < 0 else axis
        if not 0 <= found < count:
            raise Refusal(f"axis {axis} of {len(self.shapes[0])} dimensions")
        if found == 0:
            raise Refusal(f"axis {axis} is the batch: windows would no longer be scored one by one")
        return found

    def parameter(
        self, index: int, shape: Shape, filler: Message | None = None, *, turned: bool = False
    ) -> nn.Parameter:
        """The layer's parameter of that index; ``shape`` is the file's, which ``turned`` transposes."""
        return self.weights.parameter(self.message, index, shape, filler, turned=turned)

    def buffer(self, index: int, shape: Shape) -> torch.Tensor | None:
        """The layer's blob of that index, as no parameter."""
        return self.weights.tensor(self.message, index, shape)


Builder = Callable[[Layer], nn.Module]


def filler(parameters: Message, name: str) -> Message | None:
    """The filler of that name, if the file gives one."""
    return getattr(parameters, name) if parameters.HasField(name) else None
