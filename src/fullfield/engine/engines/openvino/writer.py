"""Writes graphs of OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from fullfield.engine.engines.emission.writer import GraphValue
from fullfield.engine.engines.openvino.package import openvino, operators

_UNARY = {
    **{name: name for name in ("abs", "exp", "log", "sqrt", "erf", "sin", "cos", "floor", "ceil", "sign")},
    **{name: name for name in ("relu", "sigmoid", "tanh", "mish")},
    "neg": "negative",
    "ceil": "ceiling",
    "softplus": "softplus",
    "hardswish": "hswish",
    "silu": "swish",
}
_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "pow": "power",
    "maximum": "maximum",
    "minimum": "minimum",
}
_REDUCTIONS = {"mean": "reduce_mean", "sum": "reduce_sum", "max": "reduce_max", "min": "reduce_min"}


class OpenVinoWriter:
    """A graph under construction; ``GraphWriter`` says what its methods do."""

    prefers_rows = True
    spread_pool_channels = 0

    def __init__(self) -> None:
        self.op = operators()
        self._constants: dict[object, tuple[Tensor, Any]] = {}
        self.parameters: list[Any] = []
        self.results: list[Any] = []

    def model(self) -> Any:
        """The finished graph."""
        return openvino().Model(self.results, self.parameters, "part")

    def parameter(self, shape: Sequence[int]) -> GraphValue:
        """An input."""
        self.parameters.append(self.op.parameter(list(shape), np.float32))
        return self.parameters[-1]

    def result(self, value: GraphValue, shape: Sequence[int]) -> None:
        """Makes a value an output."""
        self.results.append(self.op.result(value))

    def constant(self, tensor: Tensor) -> GraphValue:
        """A fixed tensor, in torch's memory."""
        key = tensor.data_ptr(), tuple(tensor.shape), tensor.stride()
        if key not in self._constants:
            held = tensor.detach().contiguous()
            constant = self.op.constant(held.numpy(), shared_memory=held.dim() > 0)
            self._constants[key] = held, constant
        return self._constants[key][1]

    @property
    def held(self) -> list[Tensor]:
        """Tensors whose memory the graph reads."""
        return [tensor for tensor, _ in self._constants.values()]

    def _integers(self, numbers: Sequence[int]) -> GraphValue:
        return self.op.constant(np.array(numbers, np.int64))

    def unary(self, name: str, x: GraphValue) -> GraphValue:
        """A function of every number."""
        return getattr(self.op, _UNARY[name])(x)

    def binary(self, name: str, x: GraphValue, y: GraphValue) -> GraphValue:
        """A function of two numbers."""
        return getattr(self.op, _BINARY[name])(x, y)

    def clamp(self, x: GraphValue, low: float, high: float) -> GraphValue:
        """Numbers limited to a range."""
        return self.op.clamp(x, low, high)

    def elu(self, x: GraphValue, alpha: float) -> GraphValue:
        """An exponential below 0."""
        return self.op.elu(x, alpha)

    def prelu(self, x: GraphValue, slope: GraphValue) -> GraphValue:
        """A slope below 0."""
        return self.op.prelu(x, slope)

    def gelu(self, x: GraphValue, approximate: str) -> GraphValue:
        """Numbers times the normal distribution's integral up to them."""
        return self.op.gelu(x, "erf" if approximate == "none" else "tanh")

    def summand(self, x: GraphValue, channels: int) -> GraphValue:
        """The map itself."""
        del channels
        return x

    def scale_channels(self, x: GraphValue, scale: Tensor, shift: Tensor, rank: int) -> GraphValue:
        """A scale and a shift for each channel."""
        factor, term = (self.constant(t.reshape(1, -1, *[1] * (rank - 2))) for t in (scale, shift))
        return self.op.add(self.op.multiply(x, factor), term)

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
        """A convolution."""
        options = list(stride), list(low), list(high), list(dilation)
        if groups == 1:
            found = self.op.convolution(x, weight, *options)
        else:
            grouped = self._grouped(weight, shape, groups)
            found = self.op.group_convolution(x, grouped, *options)
        return self._biased(found, bias, len(shape))

    def _grouped(self, weight: GraphValue, shape: Sequence[int], groups: int) -> GraphValue:
        return self.reshape(weight, [groups, shape[0] // groups, *shape[1:]])

    def _biased(self, value: GraphValue, bias: GraphValue | None, rank: int, dim: int = 1) -> GraphValue:
        if bias is None:
            return value
        shape = [1] * rank
        shape[dim] = -1
        if bias.get_type_name() == "Constant":  # a constant that several operators read is merged with none of them
            return self.op.add(value, self.op.constant(bias.data.reshape(shape)))
        return self.op.add(value, self.reshape(bias, shape))

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
        """A transposed convolution."""
        options: dict[str, Any] = {
            "strides": list(stride),
            "pads_begin": list(padding),
            "pads_end": list(padding),
            "dilations": list(dilation),
            "output_padding": list(output_padding),
        }
        if groups == 1:
            found = self.op.convolution_backprop_data(x, weight, **options)
        else:
            found = self.op.group_convolution_backprop_data(x, self._grouped(weight, shape, groups), **options)
        return self._biased(found, bias, len(shape))

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
        pool = self.op.max_pool(x, list(stride), list(dilation), list(low), list(high), list(kernel), "floor")
        return pool.output(0)

    def average_pool(self, x: GraphValue, kernel: Sequence[int], stride: Sequence[int]) -> GraphValue:
        """The means under a kernel."""
        none = [0] * len(kernel)
        return self.op.avg_pool(x, list(stride), none, none, list(kernel), False, "floor")

    def matmul(self, x: GraphValue, y: GraphValue) -> GraphValue:
        """The product of matrices."""
        return self.op.matmul(x, y, False, False)

    def linear(self, x: GraphValue, weight: GraphValue, bias: GraphValue | None, shape: Sequence[int]) -> GraphValue:
        """A linear layer over the last dimension."""
        return self._biased(self.op.matmul(x, weight, False, True), bias, len(shape), -1)

    def reduce(self, name: str, x: GraphValue, dims: Sequence[int], *, keepdim: bool) -> GraphValue:
        """A mean, a sum or an extreme along dimensions."""
        return getattr(self.op, _REDUCTIONS[name])(x, self._integers(dims), keepdim)

    def softmax(self, x: GraphValue, dim: int) -> GraphValue:
        """Exponentials along a dimension, over their sum."""
        return self.op.softmax(x, dim)

    def normalize(self, x: GraphValue, dims: Sequence[int], rank: int, epsilon: float) -> GraphValue:
        """Numbers less their mean, over their deviation."""
        return self.op.mvn(x, self._integers(dims), True, epsilon, "inside_sqrt")

    def reshape(self, x: GraphValue, shape: Sequence[int]) -> GraphValue:
        """The same numbers in another shape."""
        return self.op.reshape(x, self._integers(shape), False)

    def transpose(self, x: GraphValue, order: Sequence[int]) -> GraphValue:
        """The dimensions in another order."""
        return self.op.transpose(x, self._integers(order))

    def slice(self, x: GraphValue, dim: int, start: int, stop: int, step: int) -> GraphValue:
        """Places along a dimension."""
        return self.op.slice(x, *(self._integers([n]) for n in (start, stop, step, dim)))

    def concat(self, values: Sequence[GraphValue], dim: int) -> GraphValue:
        """Values one after the other."""
        return self.op.concat(list(values), dim)

    def gather(self, x: GraphValue, dim: int, index: Sequence[int]) -> GraphValue:
        """Places along a dimension, in any order."""
        return self.op.gather(x, self._integers(index), self._integers([dim]))

    def pad(self, x: GraphValue, low: Sequence[int], high: Sequence[int], fill: float) -> GraphValue:
        """A number around a tensor."""
        value = self.op.constant(np.float32(fill))
        return self.op.pad(x, self._integers(low), self._integers(high), "constant", value)

    def expand(self, x: GraphValue, shape: Sequence[int]) -> GraphValue:
        """Dimensions repeated to a shape."""
        return self.op.broadcast(x, self._integers(shape))
