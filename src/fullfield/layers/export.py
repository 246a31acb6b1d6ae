"""Translates fullfield's own operators to standard ONNX nodes, for torch's exporter."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fullfield.layers import custom_operators as own


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The ``custom_translation_table`` that ``torch.onnx.export`` takes; needs onnxscript."""
    from onnxscript import opset18

    return _Translations(opset18).table()


class _Translations:
    """One method for each operator; ``op`` creates ONNX nodes."""

    def __init__(self, op: Any) -> None:
        self.op = op

    def table(self) -> dict[Callable[..., Any], Callable[..., Any]]:
        methods: dict[Any, Callable[..., Any]] = {
            own.root.default: self.root,
            own.l2_pool2d.default: self.l2_pool,
            own.feature_l2_pool.default: self.feature_l2_pool,
            own.local_response_norm.default: self.across,
            own.local_response_norm_within.default: self.within,
            own.locally_connected2d.default: self.locally_connected,
        }
        return {operator: _function(method) for operator, method in methods.items()}

    def root(self, x: Any) -> Any:
        return self.op.Sqrt(x)

    def l2_pool(self, x: Any, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], mean: bool) -> Any:
        """``LpPool`` with p = 2; for the mean divided by the root of the number of taps."""
        pads = [*padding, *padding]
        pooled = self.op.LpPool(x, kernel_shape=list(kernel), strides=list(stride), pads=pads, p=2)
        return self._scaled(pooled, float(kernel[0] * kernel[1]) ** -0.5) if mean else pooled

    def feature_l2_pool(self, x: Any, width: int, stride: int, groups: int) -> Any:
        """Squares, their sums as a convolution of ones, the root."""
        maps = x.shape[1]
        each = maps // groups
        pooled = (each - width) // stride + 1
        ones = torch.zeros(groups * pooled, each, 1, 1)
        for row in range(groups * pooled):
            start = row % pooled * stride
            ones[row, start : start + width] = 1
        kernel = self.op.CastLike(self._constant(ones), x)
        return self.op.Sqrt(self.op.Conv(self.op.Mul(x, x), kernel, group=groups))

    def across(self, x: Any, size: int, alpha: float, beta: float, k: float, below: int) -> Any:
        """One ``LRN`` node; squares, sums and a power where ONNX centres an even size differently."""
        if below == (size - 1) // 2:
            return self.op.LRN(x, alpha=alpha, beta=beta, bias=k, size=size)
        maps = x.shape[1]
        rows, columns = torch.arange(maps)[:, None], torch.arange(maps)[None]
        near = (columns >= rows - below) & (columns < rows - below + size)
        kernel = self.op.CastLike(self._constant(near.float()[:, :, None, None] / size), x)
        return self._normalised(x, self.op.Conv(self.op.Mul(x, x), kernel), alpha, beta, k)

    def within(self, x: Any, size: int, alpha: float, beta: float, k: float) -> Any:
        """Squares, an ``AveragePool`` that counts its padding, a power."""
        before, after = size // 2, size - 1 - size // 2
        pads = [before, before, after, after]
        mean = self.op.AveragePool(self.op.Mul(x, x), kernel_shape=[size, size], pads=pads, count_include_pad=1)
        return self._normalised(x, mean, alpha, beta, k)

    def locally_connected(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> Any:
        """One ``Gather`` of the neighbourhoods of all positions, one ``MatMul`` over all of them."""
        rows, columns, out, inputs, tall, wide = (int(n) for n in weight.shape)
        (top, left), (_, c, height, width) = padding, x.shape
        if top or left:
            x = self.op.Pad(x, self._integers([0, 0, top, left, 0, 0, top, left]))
        padded = (height + 2 * top, width + 2 * left)
        flat = self.op.Reshape(x, self._integers([0, c * padded[0] * padded[1]]))
        place = torch.arange(c * padded[0] * padded[1]).reshape(c, *padded)
        steps = (padded[1] * stride[0], stride[1], padded[0] * padded[1], padded[1] * dilation[0], dilation[1])
        taken = place.as_strided((rows, columns, c, tall, wide), steps)
        positions, numbers = rows * columns * groups, inputs * tall * wide
        gathered = self.op.Gather(flat, self._constant(taken.reshape(positions, numbers)), axis=1)
        matrices = self.op.Reshape(weight, self._integers([positions, out // groups, numbers]))
        product = self.op.MatMul(matrices, self.op.Transpose(gathered, perm=[1, 2, 0]))
        maps = self.op.Reshape(self.op.Transpose(product, perm=[2, 0, 1]), self._integers([0, rows, columns, out]))
        result = self.op.Transpose(maps, perm=[0, 3, 1, 2])
        return result if bias is None else self.op.Add(result, bias)

    def _normalised(self, x: Any, mean: Any, alpha: float, beta: float, k: float) -> Any:
        scale = self.op.Add(self._scaled(mean, alpha), self._like(k, x))
        return self.op.Div(x, self.op.Pow(scale, self._like(beta, x)))

    def _scaled(self, x: Any, factor: float) -> Any:
        return self.op.Mul(x, self._like(factor, x))

    def _like(self, number: float, x: Any) -> Any:
        return self.op.CastLike(self._constant(torch.tensor(number, dtype=torch.float64)), x)

    def _integers(self, numbers: Sequence[int]) -> Any:
        return self._constant(torch.tensor(list(numbers)))

    def _constant(self, tensor: torch.Tensor) -> Any:
        from onnx.numpy_helper import from_array

        return self.op.Constant(value=from_array(tensor.contiguous().numpy()))


def _function(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method as a function with settable attributes: the exporter stores a signature on it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    call.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
    call.__name__ = method.__name__
    return call
