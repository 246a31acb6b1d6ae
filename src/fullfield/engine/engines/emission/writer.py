"""What an engine's graph consists of: the primitives that each engine's writer implements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

GraphValue = Any  # of a graph under construction, opaque to all but its writer


class GraphWriter(Protocol):
    """A graph under construction. Dimensions are counted from 0; sizes are those of a program, so all are known."""

    @property
    def prefers_rows(self) -> bool:
        """Whether sums of maps that leave the graph should run on rows of channels."""

    @property
    def spread_pool_channels(self) -> int:
        """Max pools of a multiple of so many channels are as fast where their taps are spread; 0 if none are."""

    def parameter(self, shape: Sequence[int]) -> GraphValue:
        """An input."""

    def result(self, value: GraphValue, shape: Sequence[int]) -> None:
        """Makes a value an output; the order of calls is that of the outputs."""

    def constant(self, tensor: Tensor) -> GraphValue:
        """A fixed tensor, whose memory is shared with torch where it can be."""

    def unary(self, name: str, x: GraphValue) -> GraphValue:
        """A function of every number: one of ``UNARY``."""

    def binary(self, name: str, x: GraphValue, y: GraphValue) -> GraphValue:
        """A function of two numbers, one of ``BINARY``; sizes of 1 and missing first dimensions are repeated."""

    def clamp(self, x: GraphValue, low: float, high: float) -> GraphValue:
        """Numbers limited to ``[low, high]``."""

    def elu(self, x: GraphValue, alpha: float) -> GraphValue:
        """``x`` above 0, ``alpha * (exp(x) - 1)`` below."""

    def prelu(self, x: GraphValue, slope: GraphValue) -> GraphValue:
        """``x`` above 0, ``slope * x`` below; the slope has one number, or as many dimensions as ``x``."""

    def gelu(self, x: GraphValue, approximate: str) -> GraphValue:
        """``x`` times the normal distribution's integral up to it; ``approximate`` is ``none`` or ``tanh``."""

    def summand(self, x: GraphValue, channels: int) -> GraphValue:
        """A map ``(n, channels, y, x)`` from outside, as it is best added to one that the graph computes."""

    def scale_channels(self, x: GraphValue, scale: Tensor, shift: Tensor, rank: int) -> GraphValue:
        """``x * scale + shift``, of one number each for every place along dimension 1 of ``rank``."""

    def convolution(
        self,
        x: GraphValue,
        weight: GraphValue,
        bias: GraphValue | None,
        *,
        shape: Sequence[int],
        stride: Sequence[int],
        low: Sequence[int],
        high: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> GraphValue:
        """A convolution with a weight of ``shape`` and zeros at the low and at the high ends."""

    def transposed_convolution(
        self,
        x: GraphValue,
        weight: GraphValue,
        bias: GraphValue | None,
        *,
        shape: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        output_padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> GraphValue:
        """A transposed convolution with a weight of ``shape``."""

    def max_pool(
        self,
        x: GraphValue,
        kernel: Sequence[int],
        stride: Sequence[int],
        low: Sequence[int],
        high: Sequence[int],
        dilation: Sequence[int],
    ) -> GraphValue:
        """The largest numbers under a kernel."""

    def average_pool(self, x: GraphValue, kernel: Sequence[int], stride: Sequence[int]) -> GraphValue:
        """The means under a kernel, without padding."""

    def matmul(self, x: GraphValue, y: GraphValue) -> GraphValue:
        """The product of matrices; first dimensions are repeated."""

    def linear(self, x: GraphValue, weight: GraphValue, bias: GraphValue | None, shape: Sequence[int]) -> GraphValue:
        """A linear layer over the last dimension of ``x``, which has this shape."""

    def reduce(self, name: str, x: GraphValue, dims: Sequence[int], *, keepdim: bool) -> GraphValue:
        """``mean``, ``sum``, ``max`` or ``min`` along dimensions."""

    def softmax(self, x: GraphValue, dim: int) -> GraphValue:
        """Exponentials along a dimension, over their sum."""

    def normalize(self, x: GraphValue, dims: Sequence[int], rank: int, epsilon: float) -> GraphValue:
        """``(x - mean) / sqrt(variance + epsilon)`` over the last dimensions of ``rank``."""

    def reshape(self, x: GraphValue, shape: Sequence[int]) -> GraphValue:
        """The same numbers in another shape."""

    def transpose(self, x: GraphValue, order: Sequence[int]) -> GraphValue:
        """The dimensions in another order."""

    def slice(self, x: GraphValue, dim: int, start: int, stop: int, step: int) -> GraphValue:
        """Places ``start, start + step, …`` before ``stop`` along a dimension; all within it."""

    def concat(self, values: Sequence[GraphValue], dim: int) -> GraphValue:
        """Values one after the other along a dimension."""

    def gather(self, x: GraphValue, dim: int, index: Sequence[int]) -> GraphValue:
        """Places along a dimension, in the order of ``index``."""

    def pad(self, x: GraphValue, low: Sequence[int], high: Sequence[int], fill: float) -> GraphValue:
        """A number around a tensor, so many times at both ends of every dimension."""

    def expand(self, x: GraphValue, shape: Sequence[int]) -> GraphValue:
        """Dimensions of 1, and missing first ones, repeated to a shape."""


UNARY = frozenset(
    (
        *("abs", "neg", "exp", "log", "sqrt", "erf", "sin", "cos", "floor", "ceil", "sign", "relu"),
        *("sigmoid", "tanh", "softplus", "mish", "hardswish", "silu"),
    )
)
BINARY = frozenset(("add", "sub", "mul", "div", "pow", "maximum", "minimum"))
