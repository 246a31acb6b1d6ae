"""``Unrolled``: a layer as a matrix and a bias, with its input and output shape."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullfield.errors import GeometryError
from fullfield.text import size_text
from fullfield.workbench.matrices.index_tables import Array

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class Unrolled:
    """A layer, or several in a row, as one sparse matrix: ``matrix @ x.ravel() + bias == layer(x).ravel()``.

    Unpacks into the two: ``matrix, bias = fullfield.workbench.unroll(layer, size)``. Volumes are read c, y, x.

    Args:
        matrix: SciPy sparse array, outputs by inputs; the layer's Jacobian.
        bias: one number for each output.
        input_shape, output_shape: of one example.
    """

    matrix: Any
    bias: Array
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    def __iter__(self) -> Iterator[Any]:
        yield self.matrix
        yield self.bias

    def __call__(self, x: Any) -> Array:
        """The layer's output, for one example or for all along leading axes.

        Raises:
            GeometryError: ``x`` has another shape.
        """
        flat = self._flat(x, self.input_shape, "x")
        found = np.asarray((self.matrix @ flat.reshape(-1, flat.shape[-1]).T).T + self.bias)
        return found.reshape(*flat.shape[:-1], *self.output_shape)

    def backward(self, gradient: Any) -> Array:
        """The gradient at the input from the one at the output: the product with the transposed matrix.

        Raises:
            GeometryError: ``gradient`` has another shape than the output.
        """
        flat = self._flat(gradient, self.output_shape, "gradient")
        found = np.asarray((self.matrix.T @ flat.reshape(-1, flat.shape[-1]).T).T)
        return found.reshape(*flat.shape[:-1], *self.input_shape)

    @property
    def nbytes(self) -> int:
        """Bytes of matrix and bias."""
        indices = self.matrix.data.nbytes + self.matrix.indices.nbytes + self.matrix.indptr.nbytes
        return int(indices + self.bias.nbytes)

    def picture(self, *, scale: int | None = None) -> Image:
        """The matrix as a picture of its non-zero entries, equal blocks in one colour.

        A block connects one row of cells of an output map with one row of an input map. In a convolution the same few
        blocks repeat: these are the shared weights.

        Args:
            scale: pixels for each entry; by default as many as give a picture of about 1000 px.

        Raises:
            GeometryError: the picture would be larger than 4096 px.
        """
        from fullfield.workbench.matrices.picture import draw

        return draw(self.matrix, self.output_shape[-1], self.input_shape[-1], scale=scale)

    def __repr__(self) -> str:
        sides = " -> ".join(size_text(shape) for shape in (self.input_shape, self.output_shape))
        kind = f"{self.matrix.format}, {self.matrix.dtype}"
        return f"Unrolled({sides}: {self.matrix.shape[0]}x{self.matrix.shape[1]}, {self.matrix.nnz:,} entries, {kind})"

    def _flat(self, x: Any, shape: tuple[int, ...], name: str) -> Array:
        found = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)
        if found.shape[found.ndim - len(shape) :] != shape and found.shape[-1:] != (math.prod(shape),):
            raise GeometryError(name, f"{found.shape} does not end in {shape}", fix="give it in the layer's shape")
        lead = found.shape[: found.ndim - len(shape)] if found.shape[-len(shape) :] == shape else found.shape[:-1]
        return found.reshape(*lead, math.prod(shape))
