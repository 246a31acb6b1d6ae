"""Writes ONNX graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from fullfield.engine.engines.emission.writer import GraphValue

_OPSET, _IR = 20, 10
_IN_GRAPH = 64  # numbers of a fixed tensor up to which it is copied into the graph, where it can be folded
_BLOCK = 16  # channels that lie together in the memory order of its convolutions: 8 or 16
_UNARY = {
    **{name: name.capitalize() for name in ("abs", "neg", "exp", "log", "sqrt", "erf", "sin", "cos", "floor", "ceil")},
    **{name: name.capitalize() for name in ("sign", "relu", "sigmoid", "tanh", "softplus", "mish")},
    "hardswish": "HardSwish",
}
_BINARY = {
    **{name: name.capitalize() for name in ("add", "sub", "mul", "div", "pow")},
    "maximum": "Max",
    "minimum": "Min",
}
_REDUCTIONS = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin"}


class OnnxWriter:
    """A graph under construction; ``GraphWriter`` says what its methods do. Its values are names."""

    prefers_rows = False
    spread_pool_channels = 16

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.tensors: list[Any] = []
        self.held: dict[str, Tensor] = {}  # by the names of tensors that the graph takes from outside
        self._constants: dict[object, tuple[Tensor, str]] = {}
        self._known: dict[tuple[int, ...], str] = {}

    def model(self) -> bytes:
        """The finished graph, without the tensors in ``held``."""
        graph = helper.make_graph(self.nodes, "part", self.inputs, self.outputs, self.tensors)
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="fullfield")
        data: bytes = model.SerializeToString()
        return data

    def _call(self, operator: str, *inputs: GraphValue, **attributes: Any) -> GraphValue:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def _store(self, array: NDArray[Any]) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def _integers(self, numbers: Sequence[int]) -> str:
        key = tuple(numbers)
        if key not in self._known:
            self._known[key] = self._store(np.array(key, np.int64))
        return self._known[key]

    def parameter(self, shape: Sequence[int]) -> GraphValue:
        """An input."""
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        return name

    def result(self, value: GraphValue, shape: Sequence[int]) -> None:
        """Makes a value an output, under a name of its own."""
        name = f"y{len(self.outputs)}"
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def constant(self, tensor: Tensor) -> GraphValue:
        """A fixed tensor, in torch's memory unless it is small."""
        key = tensor.data_ptr(), tuple(tensor.shape), tensor.stride()
        if key not in self._constants:
            held = tensor.detach().contiguous()
            name = self._store(held.numpy()) if held.numel() <= _IN_GRAPH else self._outside(held)
            self._constants[key] = tensor, name
        return self._constants[key][1]

    def _outside(self, tensor: Tensor) -> str:
        """A tensor of which the graph knows name, type and shape."""
        name = f"w{len(self.held)}"
        proto = onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=tuple(tensor.shape))
        proto.data_location = TensorProto.EXTERNAL
        proto.external_data.add(key="location", value="memory")
        self.tensors.append(proto)
        self.held[name] = tensor
        return name

    def unary(self, name: str, x: GraphValue) -> GraphValue:
        """A function of every number."""
        if name == "silu":
            return self._call("Mul", x, self._call("Sigmoid", x))
        return self._call(_UNARY[name], x)

    def binary(self, name: str, x: GraphValue, y: GraphValue) -> GraphValue:
        """A function of two numbers."""
        return self._call(_BINARY[name], x, y)

    def clamp(self, x: GraphValue, low: float, high: float) -> GraphValue:
        """Numbers limited to a range."""
        return self._call("Clip", x, *(self.constant(torch.tensor(float(n))) for n in (low, high)))

    def elu(self, x: GraphValue, alpha: float) -> GraphValue:
        """An exponential below 0."""
        return self._call("Elu", x, alpha=alpha)

    def prelu(self, x: GraphValue, slope: GraphValue) -> GraphValue:
        """A slope below 0."""
        return self._call("PRelu", x, slope)

    def gelu(self, x: GraphValue, approximate: str) -> GraphValue:
        """Numbers times the normal distribution's integral up to them."""
        return self._call("Gelu", x, approximate=approximate)

    def summand(self, x: GraphValue, channels: int) -> GraphValue:
        """A convolution that changes nothing: a sum with its result merges with the convolution of the other map."""
        if channels % _BLOCK:
            return x
        return self._depthwise(x, torch.ones(channels), torch.zeros(channels))

    def scale_channels(self, x: GraphValue, scale: Tensor, shift: Tensor, rank: int) -> GraphValue:
        """A depthwise convolution, or a norm by statistics: an activation after either merges with it."""
        if rank == 4 and len(scale) % _BLOCK == 0:
            return self._depthwise(x, scale, shift)
        zeros, ones = self.constant(torch.zeros_like(scale)), self.constant(torch.ones_like(scale))
        return self._call("BatchNormalization", x, self.constant(scale), self.constant(shift), zeros, ones, epsilon=0.0)

    def _depthwise(self, x: GraphValue, scale: Tensor, shift: Tensor) -> GraphValue:
        weight = self.constant(scale.reshape(-1, 1, 1, 1))
        return self._call("Conv", x, weight, self.constant(shift), kernel_shape=[1, 1], group=len(scale))

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
        inputs = [x, weight] + ([] if bias is None else [bias])
        options = {"strides": list(stride), "pads": [*low, *high], "dilations": list(dilation)}
        return self._call("Conv", *inputs, **options, group=groups)

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
        inputs = [x, weight] + ([] if bias is None else [bias])
        options = {"strides": list(stride), "pads": [*padding, *padding], "dilations": list(dilation)}
        return self._call("ConvTranspose", *inputs, **options, output_padding=list(output_padding), group=groups)

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
        options = {"strides": list(stride), "pads": [*low, *high], "dilations": list(dilation)}
        return self._call("MaxPool", x, kernel_shape=list(kernel), **options)

    def average_pool(self, x: GraphValue, kernel: Sequence[int], stride: Sequence[int]) -> GraphValue:
        """The means under a kernel."""
        return self._call("AveragePool", x, kernel_shape=list(kernel), strides=list(stride))

    def matmul(self, x: GraphValue, y: GraphValue) -> GraphValue:
        """The product of matrices."""
        return self._call("MatMul", x, y)

    def linear(self, x: GraphValue, weight: GraphValue, bias: GraphValue | None, shape: Sequence[int]) -> GraphValue:
        """A linear layer over the last dimension."""
        inputs = [self.reshape(x, [-1, shape[-1]]), weight] + ([] if bias is None else [bias])
        return self.reshape(self._call("Gemm", *inputs, transB=1), [*shape[:-1], -1])

    def reduce(self, name: str, x: GraphValue, dims: Sequence[int], *, keepdim: bool) -> GraphValue:
        """A mean, a sum or an extreme along dimensions."""
        return self._call(_REDUCTIONS[name], x, self._integers(dims), keepdims=int(keepdim))

    def softmax(self, x: GraphValue, dim: int) -> GraphValue:
        """Exponentials along a dimension, over their sum."""
        return self._call("Softmax", x, axis=dim)

    def normalize(self, x: GraphValue, dims: Sequence[int], rank: int, epsilon: float) -> GraphValue:
        """Numbers less their mean, over their deviation."""
        centred = self._call("Sub", x, self.reduce("mean", x, dims, keepdim=True))
        variance = self.reduce("mean", self._call("Mul", centred, centred), dims, keepdim=True)
        shifted = self._call("Add", variance, self.constant(torch.tensor(float(epsilon))))
        return self._call("Div", centred, self._call("Sqrt", shifted))

    def reshape(self, x: GraphValue, shape: Sequence[int]) -> GraphValue:
        """The same numbers in another shape."""
        return self._call("Reshape", x, self._integers(shape))

    def transpose(self, x: GraphValue, order: Sequence[int]) -> GraphValue:
        """The dimensions in another order."""
        return self._call("Transpose", x, perm=list(order))

    def slice(self, x: GraphValue, dim: int, start: int, stop: int, step: int) -> GraphValue:
        """Places along a dimension."""
        return self._call("Slice", x, *(self._integers([n]) for n in (start, stop, dim, step)))

    def concat(self, values: Sequence[GraphValue], dim: int) -> GraphValue:
        """Values one after the other."""
        return self._call("Concat", *values, axis=dim)

    def gather(self, x: GraphValue, dim: int, index: Sequence[int]) -> GraphValue:
        """Places along a dimension, in any order."""
        return self._call("Gather", x, self._integers(index), axis=dim)

    def pad(self, x: GraphValue, low: Sequence[int], high: Sequence[int], fill: float) -> GraphValue:
        """A number around a tensor."""
        return self._call("Pad", x, self._integers([*low, *high]), self.constant(torch.tensor(float(fill))))

    def expand(self, x: GraphValue, shape: Sequence[int]) -> GraphValue:
        """Dimensions repeated to a shape."""
        return self._call("Expand", x, self._integers(shape))
