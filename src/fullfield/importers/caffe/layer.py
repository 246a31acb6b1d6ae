"""``CaffeLayer``, the input of every function that builds the module of a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from fullfield.importers.caffe.schema import Message
from fullfield.importers.caffe.weights import CaffeWeights
from fullfield.importers.limits import LayerRefused

BlobShape = tuple[int, ...]


@dataclass(frozen=True)
class CaffeLayer:
    """One layer with the shapes of its bottoms, batch included, and the source of its parameters.

    ``batch`` is the batch size that the file declares for its input, which reshapes may repeat.
    """

    message: Message
    shapes: tuple[BlobShape, ...]
    weights: CaffeWeights
    batch: int

    def bottom(self, count: int = 1, *, dims: int | None = None) -> BlobShape:
        """The first bottom's shape.

        Raises:
            LayerRefused: the layer has another number of bottoms, or the bottom another number of dimensions.
        """
        if len(self.shapes) != count:
            raise LayerRefused(f"{len(self.shapes)} bottoms where the layer takes {count}")
        if dims is not None and len(self.shapes[0]) != dims:
            raise LayerRefused(f"a bottom of {len(self.shapes[0])} dimensions where the layer takes {dims}")
        return self.shapes[0]

    def axis(self, axis: int, *, end: bool = False) -> int:
        """The index of a dimension of the first bottom, which may count from the end.

        Raises:
            LayerRefused: there is no such dimension, or it is the batch.
        """
        count = len(self.shapes[0]) + end
        found = axis + count if axis < 0 else axis
        if not 0 <= found < count:
            raise LayerRefused(f"axis {axis} of {len(self.shapes[0])} dimensions")
        if found == 0:
            raise LayerRefused(f"axis {axis} is the batch: windows would no longer be scored one by one")
        return found

    def parameter(
        self, index: int, shape: BlobShape, filler: Message | None = None, *, transposed: bool = False
    ) -> nn.Parameter:
        """The layer's parameter of that index; ``shape`` is its shape in the file, before it is transposed."""
        return self.weights.parameter(self.message, index, shape, filler, transposed=transposed)

    def buffer(self, index: int, shape: BlobShape) -> torch.Tensor | None:
        """The layer's blob of that index as a tensor that is not trained."""
        return self.weights.tensor(self.message, index, shape)


LayerBuilder = Callable[[CaffeLayer], nn.Module]


def filler(parameters: Message, name: str) -> Message | None:
    """The filler of that name, if the file has one."""
    return getattr(parameters, name) if parameters.HasField(name) else None
